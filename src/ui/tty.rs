//! Progress on a terminal: a live line for the running step, a lasting line for each finished one. The only
//! home of indicatif (with `live`, its templates).
//!
//! Not in this module: output that is no terminal (`plain`).

mod live;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use live::Live;

use super::plain;
use super::rate::time;
use super::safe::safe;
use super::style::Style;
use super::table::pad;
use crate::event::{BuildState, Event, Reporter, Stage};

/// Columns of a finished step's title; the times of ordinary titles stand below each other.
const TITLE: usize = 36;

/// Draws on the terminal.
pub(super) struct Tty {
    bars: MultiProgress,
    /// The same terminal, for lines while nothing is live: indicatif would leave the last of them without its
    /// newline, and what is printed next, such as a prompt, on top of it.
    out: Mutex<Box<dyn Write + Send>>,
    style: Style,
    /// Whether a thread keeps spinner and clock going; tests draw on events only.
    animate: bool,
    running: Mutex<Option<Live>>,
}

impl Tty {
    /// Draws on stderr.
    pub(super) fn new(color: bool) -> Self {
        Self::on(
            ProgressDrawTarget::stderr(),
            Box::new(std::io::stderr()),
            color,
            true,
        )
    }

    fn on(target: ProgressDrawTarget, out: Box<dyn Write + Send>, color: bool, animate: bool) -> Self {
        let bars = MultiProgress::with_draw_target(target);
        Self {
            bars,
            out: Mutex::new(out),
            style: Style { color },
            animate,
            running: Mutex::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Live>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing that is drawn can be seen.
    pub(super) fn is_hidden(&self) -> bool {
        self.bars.is_hidden()
    }

    /// A line that stays, above the live one.
    fn keep(&self, line: &str) {
        // Nobody is left to be told when the terminal is gone.
        let _ = if self.running().is_some() {
            self.bars.println(line.trim_end())
        } else {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(format!("{}\n", line.trim_end()).as_bytes())
                .and_then(|()| out.flush())
        };
    }

    /// Changes the running step, if there is one.
    fn change(&self, change: impl FnOnce(&mut Live)) {
        if let Some(live) = self.running().as_mut() {
            change(live);
        }
    }

    /// Takes the running step off the screen.
    fn take(&self) -> Option<Live> {
        let live = self.running().take()?;
        live.clear(&self.bars);
        Some(live)
    }

    fn start(&self, step: usize, of: usize, title: &str) {
        // A step that never finished leaves no line behind.
        drop(self.take());
        let live = Live::new(
            &self.bars,
            self.style,
            &format!("[{step}/{of}]"),
            &safe(title),
            self.animate,
        );
        *self.running() = Some(live);
    }

    fn finish(&self, elapsed_ms: u64, cached: bool, summary: &str) {
        let title = self
            .take()
            .map(|live| live.title().to_owned())
            .unwrap_or_default();
        let time = if cached {
            "(cached)".to_owned()
        } else {
            time(elapsed_ms)
        };
        self.keep(&format!(
            "{} {} {}  {}",
            self.style.green("✓"),
            pad(&title, TITLE),
            self.style.dim(&format!("{time:>8}")),
            self.summary(summary)
        ));
    }

    /// A summary is dim, but for the word that the user waited for: `READY`, `VERIFIED`.
    fn summary(&self, text: &str) -> String {
        let text = safe(text);
        let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
        if first.len() > 3 && first.chars().all(|c| c.is_ascii_uppercase()) {
            return format!("{} {rest}", self.style.bold_green(first));
        }
        self.style.dim(&text)
    }

    /// A leaf of the step's tree for each step of a build that ended; the one that runs is beside the clock.
    fn build_step(&self, name: &str, state: BuildState, elapsed_ms: u64) {
        let name = safe(name);
        let time = match state {
            BuildState::Started => return self.change(|live| live.message(&name)),
            BuildState::Cached => "(cached)".to_owned(),
            BuildState::Done | BuildState::Failed => time(elapsed_ms),
        };
        let short: String = name.chars().take(TITLE - 2).collect();
        let line = format!("{} {time:>8}", pad(&short, TITLE - 2));
        self.keep(&match state {
            BuildState::Failed => format!("  {} {line}", self.style.red("✗")),
            _ => self.style.dim(&format!("  · {line}")),
        });
    }

    fn stage(&self, stage: Stage, elapsed_ms: u64, detail: &str) {
        self.change(|live| live.stage(stage.title()));
        // The step's own line comes at once and says READY.
        if stage != Stage::Ready {
            let line = format!(
                "  · {} {:>8}  {}",
                pad(stage.title(), TITLE - 2),
                time(elapsed_ms),
                safe(detail)
            );
            self.keep(&self.style.dim(line.trim_end()));
        }
    }
}

impl Reporter for Tty {
    fn event(&self, event: &Event) {
        match event {
            Event::StepStarted { step, of, title } => self.start(*step, *of, title),
            Event::Progress {
                done_bytes,
                total_bytes,
                fetched_bytes,
                item,
                ..
            } => {
                let fetched = fetched_bytes.unwrap_or(*done_bytes);
                self.change(|live| live.progress(*done_bytes, *total_bytes, fetched, &safe(item)));
            }
            Event::File {
                path,
                done_bytes,
                total_bytes,
                state,
                retries,
                ..
            } => {
                let (path, bytes) = (safe(path), (*done_bytes, *total_bytes));
                self.change(|live| live.file(&self.bars, &path, bytes, *state, *retries));
            }
            Event::Line { text, .. } => self.change(|live| live.message(&safe(text))),
            Event::BuildStep {
                name,
                state,
                elapsed_ms,
                ..
            } => self.build_step(name, *state, *elapsed_ms),
            Event::Stage {
                stage,
                elapsed_ms,
                detail,
                ..
            } => self.stage(*stage, *elapsed_ms, detail),
            Event::Warning { text, hint } => {
                self.keep(&format!("{} {}", self.style.yellow("warning:"), safe(text)));
                if !hint.is_empty() {
                    self.keep(&format!("{} {}", self.style.cyan("hint:"), safe(hint)));
                }
            }
            Event::Note { text } => self.keep(&self.style.dim(&format!("note: {}", safe(text)))),
            Event::Request(one) => self.keep(&self.style.dim(&plain::request(one))),
            Event::StepFinished {
                elapsed_ms,
                cached,
                summary,
                ..
            } => self.finish(*elapsed_ms, *cached, summary),
        }
    }
}

impl Drop for Tty {
    /// The live line goes; a step that did not finish is named, for the error that follows.
    fn drop(&mut self) {
        if let Some(live) = self.take() {
            let time = self.style.dim(&format!("{:>8}", live.elapsed()));
            self.keep(&format!(
                "{} {} {time}",
                self.style.red("✗"),
                pad(live.title(), TITLE)
            ));
        }
    }
}
