//! Log lines of a container. A log that is followed goes on after a restart of the daemon: each message has its time, so the
//! lines that were read are known.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::effects::docker::{Docker, errors};
use crate::effects::files;
use crate::effects::lines::{Lines, LogPart, LogStream, Splitter};
use crate::error::Result;
use crate::units;

/// Longest wait for a daemon that went away while its log was followed.
const AWAY: Duration = Duration::from_mins(2);
/// Time between two attempts to reach it.
const RETRY: Duration = Duration::from_millis(500);
/// Longest time for which a line waits for others: each hand-over wakes a thread.
const TOGETHER: Duration = Duration::from_millis(10);
/// Most messages that are handed on at once.
const BATCH: usize = 512;
/// Length of the time before each message: RFC 3339 with nine digits (`jsonmessage.RFC3339NanoFixed` of moby, in UTC).
const STAMP: usize = "2026-11-23T21:52:31.000000000Z".len();

/// The position up to which a log was read: the time of its last message, and the number of messages of that time.
#[derive(Debug, Default)]
struct Position {
    time: String,
    messages: usize,
    /// Messages of that time that a new stream repeats.
    repeated: usize,
}

impl Position {
    /// Begins a new stream, which repeats what has the time of the last message.
    const fn begin(&mut self) {
        self.repeated = self.messages;
    }

    /// Takes a message; returns its text, or `None` if it was read before.
    fn take_message<'a>(&mut self, message: &'a [u8]) -> Option<&'a [u8]> {
        let Some((time, text)) = split_stamp(message) else {
            return Some(message);
        };
        if time < self.time.as_str() {
            return None;
        }
        if time == self.time {
            if self.repeated > 0 {
                self.repeated -= 1;
                return None;
            }
            self.messages += 1;
        } else {
            self.time.clear();
            self.time.push_str(time);
            self.messages = 1;
            self.repeated = 0;
        }
        Some(text)
    }
}

/// Splits a message into its time and its text; `None` if it has no time.
fn split_stamp(message: &[u8]) -> Option<(&str, &[u8])> {
    let (stamp, rest) = message.split_at_checked(STAMP)?;
    let is_stamp = stamp[4] == b'-' && stamp[10] == b'T' && stamp[STAMP - 1] == b'Z';
    let text = rest.strip_prefix(b" ")?;
    is_stamp.then(|| Some((std::str::from_utf8(stamp).ok()?, text)))?
}

impl Docker {
    /// Returns the log's lines: the last `tail` or all, and those that arrive until the container ends if `follow` is set.
    ///
    /// # Errors
    /// [`crate::error::Kind::Docker`] when the container does not exist.
    pub async fn logs(&self, name: &str, tail: Option<u64>, follow: bool) -> Result<LogStream> {
        let part = LogPart {
            tail,
            since_s: None,
            follow,
        };
        self.log_part(name, part).await
    }

    /// Returns a part of the log.
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn log_part(&self, name: &str, part: LogPart) -> Result<LogStream> {
        let id = self
            .api
            .inspect_container(name, None)
            .await
            .map_err(|error| errors::failed(&format!("cannot read the log of {name}"), &error))?
            .id
            .unwrap_or_else(|| name.to_owned());
        let (sender, receiver) = mpsc::channel(64);
        let reader = Reader {
            docker: self.api.clone(),
            id,
            part,
            sender,
        };
        tokio::spawn(reader.read());
        Ok(LogStream::of_daemon(receiver))
    }
}

/// Reads a log and hands on its lines.
struct Reader {
    docker: bollard::Docker,
    /// The container's ID: a new container of its name is another one.
    id: String,
    part: LogPart,
    sender: mpsc::Sender<Lines>,
}

impl Reader {
    async fn read(self) {
        let mut position = Position::default();
        // Each pipe has its own unfinished line.
        let mut pipes = [Splitter::default(), Splitter::default()];
        let mut tail = self.part.tail;
        let mut since = self.part.since_s.map_or(0, files::unix_before);
        let broken = loop {
            let Some(broken) = self.read_stream(tail, since, &mut position, &mut pipes).await else {
                return;
            };
            match broken {
                Some(reason) if self.part.follow && !self.sender.is_closed() => {
                    if !self.await_daemon().await {
                        break Some(reason);
                    }
                    // The messages of the last second come again, and those that were read are left out.
                    if let Some(seconds) =
                        units::seconds_of(&position.time).and_then(|at| i32::try_from(at).ok())
                    {
                        (tail, since) = (None, seconds);
                    }
                    position.begin();
                }
                broken => break broken,
            }
        };
        let mut found = Vec::new();
        for pipe in &mut pipes {
            pipe.finish(&mut |line| found.push(line.to_owned()));
        }
        let _ = self.sender.send(Ok(found)).await;
        if let Some(reason) = broken {
            let _ = self.sender.send(Err(reason)).await;
        }
    }

    /// Reads a stream to its end. Returns the reason if it broke, and `None` if nobody wants its lines any more.
    async fn read_stream(
        &self,
        tail: Option<u64>,
        since: i32,
        position: &mut Position,
        pipes: &mut [Splitter; 2],
    ) -> Option<Option<String>> {
        let tail = tail.map_or_else(|| "all".to_owned(), |count| count.to_string());
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(self.part.follow)
            .since(since)
            .tail(&tail)
            .build();
        let stream = self.docker.logs(&self.id, Some(options));
        let mut batches = Box::pin(stream.ready_chunks(BATCH));
        let (mut found, mut until) = (Vec::new(), None);
        loop {
            let batch = match until {
                Some(until) => tokio::time::timeout_at(until, batches.next()).await,
                None => Ok(batches.next().await),
            };
            let Ok(batch) = batch else {
                self.sender.send(Ok(std::mem::take(&mut found))).await.ok()?;
                until = None;
                continue;
            };
            let is_end = batch.is_none();
            let mut broken = None;
            for output in batch.into_iter().flatten() {
                match output {
                    Ok(output) => {
                        let pipe = usize::from(matches!(output, LogOutput::StdErr { .. }));
                        if let Some(text) = position.take_message(output.as_ref()) {
                            pipes[pipe].push(text, &mut |line| found.push(line.to_owned()));
                        }
                    }
                    Err(error) => broken = Some(error.to_string()),
                }
            }
            if found.len() >= BATCH || (!found.is_empty() && (is_end || broken.is_some())) {
                self.sender.send(Ok(std::mem::take(&mut found))).await.ok()?;
                until = None;
            } else if !found.is_empty() && until.is_none() {
                until = Some(tokio::time::Instant::now() + TOGETHER);
            }
            if is_end || broken.is_some() {
                return Some(broken);
            }
        }
    }

    /// Waits until the daemon answers again; returns false if it does not, or the container is gone.
    async fn await_daemon(&self) -> bool {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < AWAY && !self.sender.is_closed() {
            tokio::time::sleep(RETRY).await;
            match tokio::time::timeout(AWAY, self.docker.inspect_container(&self.id, None)).await {
                Ok(Ok(_)) => return true,
                Ok(Err(error)) if errors::is_missing(&error) => return false,
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_split_from_its_time() {
        assert_eq!(
            split_stamp(b"2026-11-23T21:52:31.000000007Z one\n"),
            Some(("2026-11-23T21:52:31.000000007Z", &b"one\n"[..]))
        );
        for text in [&b"one"[..], b"", b"2026-11-23T21:52:31.000000007Z", &[0xff; 40]] {
            assert_eq!(split_stamp(text), None);
        }
    }

    #[test]
    fn a_new_stream_repeats_no_message() {
        let (first, second) = ("2026-11-23T21:52:31.000000001Z", "2026-11-23T21:52:31.000000002Z");
        let message = |time: &str, text: &str| format!("{time} {text}").into_bytes();
        let mut position = Position::default();
        let read = |position: &mut Position, time: &str, text: &str| {
            position.take_message(&message(time, text)).map(<[u8]>::to_vec)
        };
        for (time, text) in [(first, "a"), (second, "b"), (second, "c")] {
            assert_eq!(read(&mut position, time, text), Some(text.as_bytes().to_vec()));
        }
        position.begin();
        let again: Vec<_> = [(first, "a"), (second, "b"), (second, "c"), (second, "d")]
            .into_iter()
            .map(|(time, text)| read(&mut position, time, text))
            .collect();
        assert_eq!(again, [None, None, None, Some(b"d".to_vec())]);
    }
}
