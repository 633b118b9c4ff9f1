//! A log as a stream of lines that says how it ended.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::effects::lines::file::LogFile;

/// The way in which a log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEnd {
    /// Whoever wrote it closed it: there is no more.
    Complete,
    /// The connection to it broke; the reason, in words. There may be more that nobody can read.
    Broken(String),
}

/// Lines of a server's log, from a daemon or from a file.
#[derive(Debug)]
pub struct LogStream {
    source: Source,
    end: Option<LogEnd>,
}

#[derive(Debug)]
enum Source {
    /// Lines from the daemon; an error is the last item.
    Daemon(mpsc::Receiver<Result<String, String>>),
    /// A file, which has no end: its writer may go on.
    File(LogFile),
}

impl LogStream {
    /// A stream of what a daemon sends. An `Err` is the reason why its connection broke.
    pub(in crate::effects) const fn of_daemon(receiver: mpsc::Receiver<Result<String, String>>) -> Self {
        Self {
            source: Source::Daemon(receiver),
            end: None,
        }
    }

    /// A stream of a file, from where it was read up to.
    pub(in crate::effects) const fn of_file(file: LogFile) -> Self {
        Self {
            source: Source::File(file),
            end: None,
        }
    }

    /// The way in which the log ended; `None` while more may come.
    #[must_use]
    pub const fn end(&self) -> Option<&LogEnd> {
        self.end.as_ref()
    }

    /// Returns the lines that arrived since the last call, without waiting.
    pub fn arrived(&mut self) -> Vec<String> {
        match &mut self.source {
            Source::File(file) => file.read(),
            Source::Daemon(receiver) => {
                let mut lines = Vec::new();
                while self.end.is_none() {
                    match receiver.try_recv() {
                        Ok(Ok(line)) => lines.push(line),
                        Ok(Err(reason)) => self.end = Some(LogEnd::Broken(reason)),
                        Err(mpsc::error::TryRecvError::Disconnected) => self.end = Some(LogEnd::Complete),
                        Err(mpsc::error::TryRecvError::Empty) => break,
                    }
                }
                lines
            }
        }
    }

    /// Waits until `deadline` for the next lines, or without a limit for the next ones at all. Empty at the deadline
    /// and at the end; a file never waits.
    pub async fn wait(&mut self, deadline: Option<Instant>) -> Vec<String> {
        let mut lines = self.arrived();
        if !lines.is_empty() || self.end.is_some() {
            return lines;
        }
        if let Source::Daemon(receiver) = &mut self.source {
            let next = match deadline {
                Some(deadline) => match tokio::time::timeout_at(deadline, receiver.recv()).await {
                    Ok(next) => next,
                    Err(_) => return lines,
                },
                None => receiver.recv().await,
            };
            match next {
                Some(Ok(line)) => lines.push(line),
                Some(Err(reason)) => self.end = Some(LogEnd::Broken(reason)),
                None => self.end = Some(LogEnd::Complete),
            }
        }
        lines
    }

    /// Returns everything up to the end of the log, or what arrives within `limit`.
    pub async fn rest(&mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.arrived();
        while matches!(self.source, Source::Daemon(_)) && self.end.is_none() {
            let more = self.wait(Some(deadline)).await;
            if more.is_empty() && Instant::now() >= deadline {
                break;
            }
            lines.extend(more);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(items: &[Result<&str, &str>]) -> (mpsc::Sender<Result<String, String>>, LogStream) {
        let (sender, receiver) = mpsc::channel(16);
        for item in items {
            let item = item.map(str::to_owned).map_err(str::to_owned);
            sender.try_send(item).unwrap();
        }
        (sender, LogStream::of_daemon(receiver))
    }

    #[test]
    fn nothing_yet_a_closed_log_and_a_broken_one_are_three_things() {
        let (sender, mut open) = stream(&[Ok("one")]);
        assert_eq!((open.arrived(), open.end()), (vec!["one".to_owned()], None));
        assert_eq!((open.arrived(), open.end()), (vec![], None));
        drop(sender);
        assert_eq!((open.arrived(), open.end()), (vec![], Some(&LogEnd::Complete)));

        let (_sender, mut broken) = stream(&[Ok("one"), Err("reset by peer")]);
        assert_eq!(broken.arrived(), ["one"]);
        assert_eq!(broken.end(), Some(&LogEnd::Broken("reset by peer".to_owned())));
    }

    #[tokio::test]
    async fn the_rest_of_a_log_ends_with_it_or_with_its_time() {
        let (sender, mut open) = stream(&[Ok("one")]);
        assert_eq!(open.rest(Duration::from_millis(20)).await, ["one"]);
        assert_eq!(open.end(), None);
        sender.send(Ok("two".to_owned())).await.unwrap();
        drop(sender);
        assert_eq!(open.rest(Duration::from_mins(1)).await, ["two"]);
        assert_eq!(open.end(), Some(&LogEnd::Complete));
    }
}
