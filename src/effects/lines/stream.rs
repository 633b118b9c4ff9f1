//! A log as a stream of lines that says how it ended.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::effects::lines::file::LogFile;

/// Time between two looks at a file that grows.
const FILE_POLL: Duration = Duration::from_millis(200);

/// The way in which a log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEnd {
    /// Its writer ended, and every line was read.
    Complete,
    /// The connection to the daemon broke, for this reason. More lines may exist.
    Broken(String),
}

/// The lines of a log that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogPart {
    /// Only the last ones, so many; all without.
    pub tail: Option<u64>,
    /// Only those of so many last seconds.
    pub since_s: Option<u64>,
    /// True for those that arrive until the server ends.
    pub follow: bool,
}

impl LogPart {
    /// Returns the last lines that are there now.
    #[must_use]
    pub const fn last(count: u64) -> Self {
        Self {
            tail: Some(count),
            since_s: None,
            follow: false,
        }
    }
}

/// Lines of a server's log, from a daemon or from a file.
#[derive(Debug)]
pub struct LogStream {
    source: Source,
    end: Option<LogEnd>,
}

#[derive(Debug)]
enum Source {
    /// Lines from the daemon, some at a time; an error is the last item.
    Daemon(mpsc::Receiver<Lines>),
    /// A file, which ends with its writer.
    File(LogFile),
}

/// Lines that a daemon sent, or the reason why its connection broke.
pub(in crate::effects) type Lines = Result<Vec<String>, String>;

/// Returns the lines of an item from the daemon, or sets `end`: an error is a broken connection, `None` a closed log.
fn lines_or_end(item: Option<Lines>, end: &mut Option<LogEnd>) -> Vec<String> {
    match item {
        Some(Ok(lines)) => return lines,
        Some(Err(reason)) => *end = Some(LogEnd::Broken(reason)),
        None => *end = Some(LogEnd::Complete),
    }
    Vec::new()
}

impl LogStream {
    /// Returns a stream of what a daemon sends. An `Err` is the reason why its connection broke.
    pub(in crate::effects) const fn of_daemon(receiver: mpsc::Receiver<Lines>) -> Self {
        Self {
            source: Source::Daemon(receiver),
            end: None,
        }
    }

    /// Returns a stream of a file, from the position up to which it was read.
    pub(in crate::effects) const fn of_file(file: LogFile) -> Self {
        Self {
            source: Source::File(file),
            end: None,
        }
    }

    /// Returns the way in which the log ended; `None` while more lines may come.
    #[must_use]
    pub const fn end(&self) -> Option<&LogEnd> {
        self.end.as_ref()
    }

    /// Returns the lines that arrived since the last call, without waiting.
    pub fn arrived(&mut self) -> Vec<String> {
        match &mut self.source {
            Source::File(file) => file.read_lines(),
            Source::Daemon(receiver) => {
                let mut lines = Vec::new();
                while self.end.is_none() {
                    let item = match receiver.try_recv() {
                        Ok(item) => Some(item),
                        Err(mpsc::error::TryRecvError::Disconnected) => None,
                        Err(mpsc::error::TryRecvError::Empty) => break,
                    };
                    lines.extend(lines_or_end(item, &mut self.end));
                }
                lines
            }
        }
    }

    /// Waits for the next lines, at most until `deadline`. Returns none at the deadline and at the end.
    pub async fn wait(&mut self, deadline: Option<Instant>) -> Vec<String> {
        let lines = self.arrived();
        if !lines.is_empty() || self.end.is_some() {
            return lines;
        }
        match &mut self.source {
            Source::Daemon(receiver) => {
                let next = match deadline {
                    Some(deadline) => match tokio::time::timeout_at(deadline, receiver.recv()).await {
                        Ok(next) => next,
                        Err(_) => return lines,
                    },
                    None => receiver.recv().await,
                };
                lines_or_end(next, &mut self.end)
            }
            Source::File(file) => loop {
                let next = Instant::now() + FILE_POLL;
                // The writer is looked up among all processes: not for a wait that is shorter than a poll.
                if let Some(deadline) = deadline.filter(|deadline| *deadline <= next) {
                    tokio::time::sleep_until(deadline).await;
                    return file.read_lines();
                }
                let is_written = file.is_written();
                let lines = file.read_lines();
                if !lines.is_empty() {
                    return lines;
                }
                if !is_written {
                    self.end = Some(LogEnd::Complete);
                    return file.unfinished_line().into_iter().collect();
                }
                tokio::time::sleep_until(next).await;
            },
        }
    }

    /// Returns everything up to the end of the log, or what arrives within `limit`.
    pub async fn rest(&mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.arrived();
        while self.end.is_none() {
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

    fn stream(items: &[Result<&str, &str>]) -> (mpsc::Sender<Lines>, LogStream) {
        let (sender, receiver) = mpsc::channel(16);
        for item in items {
            let item = item.map(|line| vec![line.to_owned()]).map_err(str::to_owned);
            sender.try_send(item).unwrap();
        }
        (sender, LogStream::of_daemon(receiver))
    }

    #[test]
    fn an_open_a_closed_and_a_broken_log_differ() {
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
    async fn reading_the_rest_of_a_log_stops_at_its_end_or_at_the_limit() {
        let (sender, mut open) = stream(&[Ok("one")]);
        assert_eq!(open.rest(Duration::from_millis(20)).await, ["one"]);
        assert_eq!(open.end(), None);
        sender.send(Ok(vec!["two".to_owned()])).await.unwrap();
        drop(sender);
        assert_eq!(open.rest(Duration::from_mins(1)).await, ["two"]);
        assert_eq!(open.end(), Some(&LogEnd::Complete));
    }

    #[tokio::test]
    async fn a_file_is_followed_to_the_end_of_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        std::fs::write(&log, "one\ntwo\n").unwrap();
        // The writer lives as long as the file beside the log exists.
        let alive = log.with_extension("alive");
        std::fs::write(&alive, "").unwrap();
        let is_written = |log: &std::path::Path| log.with_extension("alive").exists();
        let mut followed = LogStream::of_file(LogFile::new(&log, is_written).skip_to_last(1));
        assert_eq!(followed.wait(None).await, ["two"]);
        assert_eq!(followed.wait(Some(Instant::now())).await, Vec::<String>::new());
        assert_eq!(followed.end(), None);
        std::fs::write(&log, "one\ntwo\nthree\n").unwrap();
        std::fs::remove_file(alive).unwrap();
        assert_eq!(followed.rest(Duration::from_mins(1)).await, ["three"]);
        assert_eq!(followed.end(), Some(&LogEnd::Complete));
    }

    #[tokio::test]
    async fn a_last_line_without_end_counts_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        std::fs::write(&log, "one\ntwo\nthree").unwrap();
        for (count, expected) in [(1, vec!["three"]), (2, vec!["two", "three"])] {
            let mut last = LogStream::of_file(LogFile::new(&log, |_| false).skip_to_last(count));
            assert_eq!(last.rest(Duration::from_mins(1)).await, expected, "{count}");
        }
    }

    #[tokio::test]
    async fn the_last_lines_of_a_large_file_are_those_of_the_whole() {
        use std::fmt::Write;
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let mut text = String::new();
        for line in 0..300_000 {
            writeln!(text, "line {line} {}", "x".repeat(line % 40)).unwrap();
        }
        std::fs::write(&log, &text).unwrap();
        let all: Vec<&str> = text.lines().collect();
        for count in [1, 2, 7, 30_000, 299_999, 300_000, 300_001] {
            let mut last = LogStream::of_file(LogFile::new(&log, |_| false).skip_to_last(count));
            let lines = last.rest(Duration::from_mins(1)).await;
            let from = all.len().saturating_sub(usize::try_from(count).unwrap());
            assert_eq!(lines, all[from..], "{count}");
        }
    }

    #[tokio::test]
    async fn the_last_line_of_a_killed_writer_needs_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.log");
        let endless = "x".repeat(9 << 20);
        std::fs::write(&file, format!("one\n{endless}\ntorch.OutOfMemoryError: CUDA")).unwrap();
        let mut followed = LogStream::of_file(LogFile::new(&file, |_| false));
        let lines = followed.rest(Duration::from_mins(1)).await;
        let short: Vec<_> = lines.iter().map(|line| &line[..line.len().min(30)]).collect();
        assert_eq!(short, ["one", &"x".repeat(30), "torch.OutOfMemoryError: CUDA"]);
        assert_eq!(followed.end(), Some(&LogEnd::Complete));
    }
}
