//! Results and progress for machines. The types in `event` and `report` derive the form of the JSON.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::output::write_stderr;
use super::rate::{self, Rate};
use super::safe;
use crate::event::{Event, FileState, Reporter};
use crate::units;

/// Least time between two reports of a step's bytes, so that a pull of an hour has less than 36,000 lines.
const EVERY: Duration = Duration::from_secs(1);

/// Returns a result as one JSON document, with a newline at its end.
#[must_use]
pub fn json<T: serde::Serialize>(value: &T) -> String {
    safe::json(serde_json::to_string_pretty(value).unwrap_or_default() + "\n")
}

/// A display of progress as one JSON object for each event, on a line of its own.
pub(super) struct Lines {
    begun: Instant,
    state: Mutex<State>,
}

impl Lines {
    /// Returns a display whose clock starts now.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            state: Mutex::new(State {
                began_ms: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)),
                ..State::default()
            }),
        }
    }
}

impl Reporter for Lines {
    fn event(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = state.line(event, self.begun.elapsed()) {
            write_stderr(&line);
        }
    }
}

/// Rates of the running step and its files.
#[derive(Default)]
struct State {
    /// Milliseconds since 1970 at which the display was made.
    began_ms: u64,
    step: Rate,
    files: BTreeMap<String, Rate>,
    shown: Option<Duration>,
}

/// An event, with its time and the rate of its bytes.
#[derive(Serialize)]
struct Line<'a> {
    /// UTC, in the format of RFC 3339.
    time: String,
    #[serde(flatten)]
    event: &'a Event,
    #[serde(flatten)]
    pace: Option<Pace>,
}

#[derive(Serialize)]
struct Pace {
    /// Bytes a second, over the last ten seconds; `null` while unknown.
    bytes_per_second: Option<u64>,
    /// Seconds until all bytes are fetched; `null` while unknown.
    seconds_left: Option<u64>,
}

impl Pace {
    fn new(done: u64, total: Option<u64>, bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second,
            seconds_left: rate::time_left(done, total, bytes_per_second).map(|left| left.as_secs()),
        }
    }
}

impl State {
    /// Returns the line of an event at `now`; `None` if it is too soon after the last.
    fn line(&mut self, event: &Event, now: Duration) -> Option<String> {
        let pace = match event {
            Event::StepStarted { .. } => {
                *self = Self {
                    began_ms: self.began_ms,
                    ..Self::default()
                };
                None
            }
            Event::Progress {
                done_bytes: done,
                total_bytes: total,
                fetched_bytes,
                ..
            } => {
                let speed = self.step.record(now, fetched_bytes.unwrap_or(*done));
                let is_soon = self.shown.is_some_and(|shown| now.saturating_sub(shown) < EVERY);
                if is_soon && *total != Some(*done) {
                    return None;
                }
                self.shown = Some(now);
                Some(Pace::new(*done, *total, speed))
            }
            Event::File {
                path,
                // Reading from the disk is not a rate of its stream.
                state: FileState::Proven | FileState::Checking,
                ..
            } => {
                self.files.remove(path);
                None
            }
            Event::File {
                path,
                done_bytes: done,
                total_bytes: total,
                ..
            } => {
                let speed = self.files.entry(path.clone()).or_default().record(now, *done);
                Some(Pace::new(*done, Some(*total), speed))
            }
            _ => None,
        };
        let time = units::utc_millis(self.began_ms + u64::try_from(now.as_millis()).unwrap_or(0));
        Some(safe::json_line(&Line { time, event, pace }) + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Source;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let event = Event::Line {
            step: 2,
            source: Source::Engine,
            text: "\x1b[1mhi\u{9b}\n".to_owned(),
        };
        assert_eq!(
            State::default().line(&event, Duration::ZERO).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"line\",\"step\":2,\"source\":\"engine\",\"text\":\"\\u001b[1mhi\\u009b\\n\"}\n"
        );
    }

    #[test]
    fn bytes_are_reported_with_their_rate_once_a_second_and_at_the_end() {
        let mut state = State::default();
        let mut line = |millis, done| {
            let event = Event::Progress {
                step: 1,
                done_bytes: done,
                total_bytes: Some(10_000),
                fetched_bytes: None,
                item: String::new(),
            };
            state.line(&event, Duration::from_millis(millis))
        };
        let pace = |speed: &str, left: &str| {
            format!("\"item\":\"\",\"bytes_per_second\":{speed},\"seconds_left\":{left}}}\n")
        };
        assert!(line(0, 0).unwrap().ends_with(&pace("null", "null")));
        assert_eq!(line(500, 1000), None);
        assert!(line(1000, 2000).unwrap().ends_with(&pace("2000", "4")));
        assert!(line(1100, 10_000).unwrap().ends_with(&pace("9090", "null")));
    }

    #[test]
    fn a_file_is_reported_with_its_rate() {
        let mut state = State::default();
        let mut line = |seconds, done, file| {
            let event = Event::File {
                step: 1,
                path: "a".to_owned(),
                done_bytes: done,
                total_bytes: 100,
                state: file,
                retries: 0,
            };
            state.line(&event, Duration::from_secs(seconds)).unwrap()
        };
        line(0, 10, FileState::Fetching);
        let second = line(1, 30, FileState::Fetching);
        assert!(
            second.ends_with("\"retries\":0,\"bytes_per_second\":20,\"seconds_left\":3}\n"),
            "{second}"
        );
        assert!(line(2, 100, FileState::Proven).ends_with("\"retries\":0}\n"));
    }
}
