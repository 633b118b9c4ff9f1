//! Progress as plain lines: one per event, no escape codes, fit for logs and pipes.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::safe;
use crate::event::{Event, Reporter};
use crate::units::{self, Bytes};

/// Time between two progress lines of one step.
const EVERY: Duration = Duration::from_secs(5);

/// Writes plain lines.
pub(super) struct Plain(Mutex<State>);

struct State {
    out: Box<dyn Write + Send>,
    of: usize,
    last_progress: Option<Instant>,
}

impl Plain {
    /// Writes to `out`.
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(State {
            out,
            of: 0,
            last_progress: None,
        }))
    }
}

impl Reporter for Plain {
    fn event(&self, event: &Event) {
        let Ok(mut state) = self.0.lock() else { return };
        if let Some(line) = state.line(event) {
            let _ = state.out.write_all(line.as_bytes());
        }
    }
}

impl State {
    fn line(&mut self, event: &Event) -> Option<String> {
        let of = self.of;
        Some(match event {
            Event::StepStarted { step, of, title } => {
                self.of = *of;
                self.last_progress = None;
                format!("[{step}/{of}] {}\n", safe(title))
            }
            Event::Progress {
                step,
                done_bytes,
                total_bytes,
                item,
            } => {
                if self.last_progress.is_some_and(|last| last.elapsed() < EVERY) {
                    return None;
                }
                self.last_progress = Some(Instant::now());
                let total = total_bytes.map_or_else(String::new, |total| format!(" of {}", Bytes(total)));
                format!("[{step}/{of}] {}{total} {}\n", Bytes(*done_bytes), safe(item))
            }
            Event::Line { text, .. } => format!("    | {}\n", safe(text)),
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
            Event::StepFinished {
                step,
                elapsed_ms,
                cached,
                summary,
            } => {
                let cached = if *cached { ", nothing to do" } else { "" };
                format!(
                    "[{step}/{of}] done in {}{cached}: {}\n",
                    time(*elapsed_ms),
                    safe(summary)
                )
            }
        })
    }
}

/// A warning in one or two lines.
pub(super) fn warning(text: &str, hint: &str) -> String {
    let hint = if hint.is_empty() {
        String::new()
    } else {
        format!("hint: {}\n", safe(hint))
    };
    format!("warning: {}\n{hint}", safe(text))
}

fn time(elapsed_ms: u64) -> String {
    units::duration(Duration::from_millis(elapsed_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Source, Stage};

    #[test]
    fn a_transcript_is_stable() {
        let mut state = State {
            out: Box::new(std::io::sink()),
            of: 0,
            last_progress: None,
        };
        let events = [
            Event::Note {
                text: "runtime process".to_owned(),
            },
            Event::StepStarted {
                step: 1,
                of: 2,
                title: "pull a/b".to_owned(),
            },
            Event::Progress {
                step: 1,
                done_bytes: 1_500_000,
                total_bytes: Some(3_000_000),
                item: "x".to_owned(),
            },
            Event::Progress {
                step: 1,
                done_bytes: 1_600_000,
                total_bytes: Some(3_000_000),
                item: "x".to_owned(),
            },
            Event::StepFinished {
                step: 1,
                elapsed_ms: 1_200,
                cached: true,
                summary: "8 files".to_owned(),
            },
            Event::Line {
                step: 2,
                source: Source::Engine,
                text: "\x1b[1mhi".to_owned(),
            },
            Event::Stage {
                step: 2,
                stage: Stage::LoadingWeights,
                elapsed_ms: 12_000,
                detail: String::new(),
            },
            Event::Warning {
                text: "w".to_owned(),
                hint: "h".to_owned(),
            },
        ];
        let text: String = events.iter().filter_map(|event| state.line(event)).collect();
        insta::assert_snapshot!(text, @r"
        note: runtime process
        [1/2] pull a/b
        [1/2] 1.5 MB of 3.0 MB x
        [1/2] done in 1.2s, nothing to do: 8 files
            | \u{1b}[1mhi
        [2/2] load weights after 12s
        warning: w
        hint: h
        ");
    }
}
