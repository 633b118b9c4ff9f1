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

/// Length of the part of that time that says the second.
const SECOND: usize = "2026-11-23T21:52:31".len();

/// The position up to which a log was read: its latest second, and the number of messages that were read since that second
/// began. A stream that begins at that second repeats them.
///
/// The order of the messages is the daemon's and not that of their times: each part of a long line has the time of its first
/// part (`daemon/logger/copier.go` of moby 28), a line of the other pipe may lie between them, and a clock may be set back.
#[derive(Debug, Default)]
struct Position {
    second: String,
    messages: usize,
    /// Messages that a new stream still repeats.
    repeated: usize,
}

impl Position {
    /// Begins a new stream at [`Self::second`], which repeats what was read since then.
    const fn begin(&mut self) {
        self.repeated = self.messages;
    }

    /// Takes a message; returns its text, or `None` if it was read before.
    fn take_message<'a>(&mut self, message: &'a [u8]) -> Option<&'a [u8]> {
        let Some((time, text)) = split_stamp(message) else {
            return Some(message);
        };
        let second = &time[..SECOND];
        let is_earlier = second < self.second.as_str();
        if second > self.second.as_str() {
            // The daemon had fewer messages than were read: a later second repeats nothing.
            self.repeated = 0;
        }
        if self.repeated > 0 {
            // A daemon may repeat an earlier message that lies between them, or leave it out: it is not counted.
            self.repeated -= usize::from(!is_earlier);
            return None;
        }
        if second > self.second.as_str() {
            self.second.clear();
            self.second.push_str(second);
            self.messages = 0;
        }
        self.messages += usize::from(!is_earlier);
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
                        units::seconds_of(&position.second).and_then(|at| i32::try_from(at).ok())
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

    const EARLIER: &str = "2026-11-23T21:52:31.000000001Z";
    const LATER: &str = "2026-11-23T21:52:31.000000002Z";
    const NEXT: &str = "2026-11-23T21:52:32.000000000Z";

    /// Returns the messages that are not known.
    fn read(position: &mut Position, messages: &[(&str, &str)]) -> Vec<String> {
        let messages = messages.iter().map(|(time, text)| format!("{time} {text}"));
        messages
            .filter_map(|message| {
                let text = position.take_message(message.as_bytes())?;
                Some(String::from_utf8_lossy(text).into_owned())
            })
            .collect()
    }

    #[test]
    fn a_new_stream_repeats_no_message() {
        let mut position = Position::default();
        let log = [
            (EARLIER, "a"),
            (LATER, "b"),
            (LATER, "c"),
            (NEXT, "d"),
            (NEXT, "e"),
        ];
        assert_eq!(read(&mut position, &log[..3]), ["a", "b", "c"]);
        position.begin();
        assert_eq!(read(&mut position, &log), ["d", "e"]);
        position.begin();
        assert_eq!(read(&mut position, &log[3..]), [""; 0]);
        assert_eq!(read(&mut position, &[(NEXT, "f")]), ["f"]);
    }

    /// A daemon may have lost messages that were read, by a rotation of its file.
    #[test]
    fn new_messages_are_read_even_if_old_ones_are_gone() {
        let mut position = Position::default();
        assert_eq!(
            read(&mut position, &[(EARLIER, "a"), (LATER, "b"), (LATER, "c")]),
            ["a", "b", "c"]
        );
        position.begin();
        assert_eq!(
            read(&mut position, &[(LATER, "c"), (NEXT, "d"), (NEXT, "e")]),
            ["d", "e"]
        );
    }

    /// A part of a long line has the time of the line's first part, and a clock may be set back.
    #[test]
    fn a_message_with_an_earlier_time_is_not_lost() {
        let mut position = Position::default();
        let log = [
            (EARLIER, "part"),
            (NEXT, "of the other pipe"),
            (EARLIER, "rest"),
            (NEXT, "end"),
        ];
        assert_eq!(
            read(&mut position, &log),
            ["part", "of the other pipe", "rest", "end"]
        );
        // A daemon that begins at the second leaves out the earlier one, or has it.
        for again in [&log[1..], &[log[1], log[3]]] {
            position.begin();
            assert_eq!(read(&mut position, again), [""; 0]);
        }
        assert_eq!(read(&mut position, &[(EARLIER, "earlier")]), ["earlier"]);
    }
}
