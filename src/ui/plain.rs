//! Progress as plain lines for logs and pipes: one for each event, without escape codes.
//!
//! Lines begin with `[step/of]`, and output of a child with `    | `. Their form is stable.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::rate::time;
use super::rate::{self, Rate, clock};
use super::safe::safe;
use crate::event::{BuildState, Event, FileState, Reporter, Request};
use crate::units::{self, Bytes};

/// Least time between two progress lines of one step, unless another tenth is done.
const EVERY: Duration = Duration::from_secs(5);
/// The same for a step that has run for [`LONG`], so that an hour of download is not 720 lines.
const EVERY_OF_LONG: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_mins(1);
/// Size from which a file has a line of its own.
const LARGE: u64 = 64 << 20;

/// A display of plain lines.
pub(super) struct Plain {
    begun: Instant,
    state: Mutex<State>,
    out: Mutex<Box<dyn Write + Send>>,
}

impl Plain {
    /// Returns a display that writes to `out`.
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            begun: Instant::now(),
            state: Mutex::default(),
            out: Mutex::new(out),
        }
    }

    fn write(&self, line: &str) {
        if let Ok(mut out) = self.out.lock() {
            // Without stderr there is no place to report a failure.
            let _ = out.write_all(line.as_bytes());
        }
    }
}

impl Reporter for Plain {
    fn event(&self, event: &Event) {
        let line = self
            .state
            .lock()
            .ok()
            .and_then(|mut state| state.line(event, self.begun.elapsed()));
        if let Some(line) = line {
            self.write(&line);
        }
    }
}

impl Drop for Plain {
    /// Names the unfinished step, to which the error that follows belongs.
    fn drop(&mut self) {
        let now = self.begun.elapsed();
        let line = self.state.lock().ok().and_then(|state| state.unfinished(now));
        if let Some(line) = line {
            self.write(&line);
        }
    }
}

/// State on which the form of the next line depends.
#[derive(Debug, Default)]
struct State {
    of: usize,
    running: Option<Running>,
}

/// The running step; times begin when the display was made.
#[derive(Debug)]
struct Running {
    step: usize,
    since: Duration,
    rate: Rate,
    /// Time and bytes of the last progress line.
    shown: Option<(Duration, u64)>,
}

impl State {
    fn line(&mut self, event: &Event, now: Duration) -> Option<String> {
        let of = self.of;
        Some(match event {
            Event::StepStarted { step, of, title } => {
                self.of = *of;
                self.running = Some(Running {
                    step: *step,
                    since: now,
                    rate: Rate::default(),
                    shown: None,
                });
                format!("[{step}/{of}] {}\n", safe(title))
            }
            Event::Progress {
                step,
                done_bytes,
                total_bytes,
                fetched_bytes,
                item,
            } => {
                let running = self.running.as_mut()?;
                let speed = running.rate.record(now, fetched_bytes.unwrap_or(*done_bytes));
                let figures = running.progress(*done_bytes, *total_bytes, speed, now)?;
                let item = if item.is_empty() {
                    String::new()
                } else {
                    format!(": {}", safe(item))
                };
                format!("[{step}/{of}] {figures}{item}\n")
            }
            Event::File {
                step,
                path,
                total_bytes,
                state: FileState::Proven,
                ..
            } if *total_bytes >= LARGE => {
                format!("[{step}/{of}] verified {}, {}\n", safe(path), Bytes(*total_bytes))
            }
            // The lines of the step show the progress of the other files, and the child's own lines count. At the end of the
            // display is a line about a step that failed, and the error follows.
            Event::File { .. } | Event::Activity { done: Some(_), .. } | Event::StepFailed { .. } => {
                return None;
            }
            Event::Activity { step, what, .. } => format!("[{step}/{of}] {}\n", safe(what)),
            Event::Line { text, .. } => format!("    | {}\n", safe(text)),
            Event::BuildStep {
                name,
                state,
                elapsed_ms,
                ..
            } => match state {
                BuildState::Started => format!("    > {}\n", safe(name)),
                BuildState::Cached => format!("    > cached {}\n", safe(name)),
                BuildState::Done => format!("    > done in {}: {}\n", time(*elapsed_ms), safe(name)),
                BuildState::Failed => format!("    > failed after {}: {}\n", time(*elapsed_ms), safe(name)),
            },
            Event::Stage {
                step,
                stage,
                elapsed_ms,
                detail,
            } => {
                let detail = if detail.is_empty() {
                    String::new()
                } else {
                    format!(": {}", safe(detail))
                };
                format!(
                    "[{step}/{of}] {} after {}{detail}\n",
                    stage.title(),
                    time(*elapsed_ms)
                )
            }
            Event::Warning { text, hint } => warning(text, hint),
            Event::Note { text } => format!("note: {}\n", safe(text)),
            Event::Request(one) => request_line(one) + "\n",
            Event::StepFinished {
                step,
                elapsed_ms,
                cached,
                summary,
            } => {
                self.running = None;
                let cached = if *cached { " (cached)" } else { "" };
                let summary = if summary.is_empty() {
                    String::new()
                } else {
                    format!(": {}", safe(summary))
                };
                format!("[{step}/{of}] done in {}{cached}{summary}\n", time(*elapsed_ms))
            }
        })
    }

    fn unfinished(&self, now: Duration) -> Option<String> {
        let running = self.running.as_ref()?;
        let after = units::duration(now.saturating_sub(running.since));
        Some(format!(
            "[{}/{}] not finished after {after}\n",
            running.step, self.of
        ))
    }
}

impl Running {
    /// Returns the figures of a progress line; `None` if it is too soon for one.
    fn progress(
        &mut self,
        done: u64,
        total: Option<u64>,
        speed: Option<u64>,
        now: Duration,
    ) -> Option<String> {
        let every = if now.saturating_sub(self.since) < LONG {
            EVERY
        } else {
            EVERY_OF_LONG
        };
        let tenth = |bytes: u64| {
            total
                .filter(|total| *total > 0)
                .map(|total| u128::from(bytes) * 10 / u128::from(total))
        };
        if let Some((at, bytes)) = self.shown
            && now.saturating_sub(at) < every
            && tenth(done) <= tenth(bytes)
        {
            return None;
        }
        self.shown = Some((now, done));
        Some(figures(done, total, speed))
    }
}

/// Returns the known figures, as in `1.5 GB of 3.0 GB (50 %), 0.5 GB/s, 3.0s left`.
fn figures(done: u64, total: Option<u64>, speed: Option<u64>) -> String {
    let amount = match total {
        None => Bytes(done).to_string(),
        Some(total) => {
            let percent = u128::from(done) * 100 / u128::from(total.max(1));
            format!("{} of {} ({percent} %)", Bytes(done), Bytes(total))
        }
    };
    let left = rate::time_left(done, total, speed).map(clock);
    let speed = speed.map(|speed| format!("{}/s", Bytes(speed)));
    [Some(amount), speed, left.map(|left| format!("{left} left"))]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns the work of a step in words: `load shards: 5 of 22`.
pub(super) fn activity(what: &str, done: Option<u64>, total: Option<u64>) -> String {
    match (done, total) {
        (Some(done), Some(total)) => format!("{what}: {done} of {total}"),
        _ => what.to_owned(),
    }
}

/// Returns a warning in one or two lines.
pub(super) fn warning(text: &str, hint: &str) -> String {
    let hint = if hint.is_empty() {
        String::new()
    } else {
        format!("hint: {}\n", safe(hint))
    };
    format!("warning: {}\n{hint}", safe(text))
}

/// Returns a line of a mirror's log: time, client, request and response.
pub(super) fn request_line(one: &Request) -> String {
    let Request {
        time: when,
        client,
        method,
        path,
        range,
        status,
        bytes,
        elapsed_ms,
    } = one;
    let shown = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            safe(text).into_owned()
        }
    };
    format!(
        "{when} {} {} {} {} {status}, {} in {}",
        shown(client),
        shown(method),
        shown(path),
        shown(range),
        Bytes(*bytes),
        time(*elapsed_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::tests::transcript;

    #[test]
    fn a_transcript_is_stable() {
        let mut state = State::default();
        let lines = |(at, event): (u64, Event)| state.line(&event, Duration::from_secs(at));
        let text: String = transcript().into_iter().filter_map(lines).collect();
        let end = state.unfinished(Duration::from_secs(652)).unwrap();
        insta::assert_snapshot!(text + &end);
    }

    #[test]
    fn every_request_is_one_line() {
        let event = |method: &str, path: &str, range: &str| {
            Event::Request(Request {
                time: "2026-11-27T07:41:00Z".to_owned(),
                client: "10.0.0.7".to_owned(),
                method: method.to_owned(),
                path: path.to_owned(),
                range: range.to_owned(),
                status: 206,
                bytes: 4_300_000_000,
                elapsed_ms: 3400,
            })
        };
        let line = |event| State::default().line(&event, Duration::ZERO).unwrap();
        assert_eq!(
            line(event("GET", "/a/b/resolve/main/x\x1b[2J\n", "bytes=0-\x1b")),
            "2026-11-27T07:41:00Z 10.0.0.7 GET /a/b/resolve/main/x\\x1b[2J\\x0a bytes=0-\\x1b 206, 4.3 GB in 3.4s\n"
        );
        assert_eq!(
            line(event("", "", "")),
            "2026-11-27T07:41:00Z 10.0.0.7 - - - 206, 4.3 GB in 3.4s\n"
        );
    }

    #[test]
    fn progress_of_unknown_size_is_shown_by_time() {
        let mut running = Running {
            step: 1,
            since: Duration::ZERO,
            rate: Rate::default(),
            shown: None,
        };
        let mut at = |seconds, done| {
            let now = Duration::from_secs(seconds);
            let speed = running.rate.record(now, done);
            running.progress(done, None, speed, now)
        };
        assert_eq!(at(0, 0).as_deref(), Some("0 B"));
        assert_eq!(at(4, 9_000_000), None);
        assert_eq!(at(5, 10_000_000).as_deref(), Some("10.0 MB, 2.0 MB/s"));
    }
}
