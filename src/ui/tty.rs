//! Progress on a terminal: a live line for the running step, a lasting line for each finished one.

pub(super) mod echo;
mod live;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use echo::NoEcho;
use indicatif::{MultiProgress, ProgressDrawTarget};
use live::{Columns, Live};

use super::plain::{self, activity};
use super::rate::time;
use super::safe::safe;
use super::style::Style;
use super::table::{pad, width};
use super::wrap::{shortened, wrapped};
use crate::event::{BuildState, Event, Reporter, Stage};
use crate::plan;

/// Width of a finished step's title, so that the times of ordinary titles are in one column.
const TITLE: usize = 36;

/// Space before a line that belongs to the one above it.
const INDENT: &str = "    ";

/// A display on the terminal.
pub(super) struct Tty {
    bars: MultiProgress,
    /// The same terminal, for lines while no line is live: indicatif would write the last of them without a newline, and the
    /// next output, such as a prompt, would be on the same line.
    out: Mutex<Box<dyn Write + Send>>,
    style: Style,
    columns: Columns,
    /// True if a thread redraws spinner and clock; tests draw on events only.
    animate: bool,
    running: Mutex<Option<Live>>,
    /// Present on a real terminal.
    _no_echo: Option<NoEcho>,
}

impl Tty {
    /// Returns a display on stderr.
    pub(super) fn new(color: bool) -> Self {
        Self::new_on(
            ProgressDrawTarget::stderr(),
            Box::new(std::io::stderr()),
            color,
            None,
        )
    }

    /// Returns a display on `target`; one of a fixed number of columns is drawn on events only.
    fn new_on(
        target: ProgressDrawTarget,
        out: Box<dyn Write + Send>,
        color: bool,
        columns: Option<usize>,
    ) -> Self {
        let bars = MultiProgress::with_draw_target(target);
        Self {
            bars,
            out: Mutex::new(out),
            style: Style { color },
            columns: Columns(columns),
            animate: columns.is_none(),
            running: Mutex::default(),
            _no_echo: columns.is_none().then(NoEcho::new),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Live>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if drawings are not visible.
    pub(super) fn is_hidden(&self) -> bool {
        self.bars.is_hidden()
    }

    /// Prints a line that stays, above the live one.
    fn print_line(&self, line: &str) {
        // Without the terminal there is no place to report a failure.
        let _ = if self.running().is_some() {
            self.bars.println(line.trim_end())
        } else {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(format!("{}\n", line.trim_end()).as_bytes())
                .and_then(|()| out.flush())
        };
    }

    /// Prints a sentence that stays, broken between words; each line is dressed on its own.
    fn print_text(&self, text: &str, dress: impl Fn(&str) -> String) {
        for line in wrapped(&safe(text), self.columns.get()).lines() {
            self.print_line(&dress(line));
        }
    }

    /// Updates the running step, if there is one.
    fn update(&self, update: impl FnOnce(&mut Live)) {
        if let Some(live) = self.running().as_mut() {
            update(live);
        }
    }

    /// Removes the running step from the screen.
    fn remove_running(&self) -> Option<Live> {
        let live = self.running().take()?;
        live.clear(&self.bars);
        Some(live)
    }

    fn start(&self, step: usize, of: usize, title: &str) {
        // A step that did not finish leaves no line.
        drop(self.remove_running());
        let live = Live::new(
            &self.bars,
            (self.style, self.columns),
            &format!("[{step}/{of}]"),
            &safe(title),
            self.animate,
        );
        *self.running() = Some(live);
    }

    fn finish(&self, elapsed_ms: u64, cached: bool, summary: &str) {
        let title = self
            .remove_running()
            .map(|live| live.title().to_owned())
            .unwrap_or_default();
        let time = if cached {
            "(cached)".to_owned()
        } else {
            time(elapsed_ms)
        };
        let step = format!(
            "{} {} {}",
            self.style.green("✓"),
            pad(&title, TITLE),
            self.style.dim(&format!("{time:>8}")),
        );
        let columns = self.columns.get();
        if width(&title).max(TITLE) + 2 + 1 + 8 + 2 + width(&safe(summary)) <= columns {
            return self.print_line(&format!("{step}  {}", self.styled_summary(summary)));
        }
        // A summary that does not fit beside its step is below it, broken between words.
        self.print_line(&step);
        for line in wrapped(&safe(summary), columns.saturating_sub(INDENT.len())).lines() {
            self.print_line(&format!("{INDENT}{}", self.styled_summary(line)));
        }
    }

    /// Returns a summary in dim text, except for the word that the user waits for: `READY`, `VERIFIED`.
    fn styled_summary(&self, text: &str) -> String {
        let text = safe(text);
        let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
        if first.len() > 3 && first.chars().all(|c| c.is_ascii_uppercase()) {
            return format!("{} {rest}", self.style.bold_green(first));
        }
        self.style.dim(&text)
    }

    /// Prints a line for each step of a build that ended, and shows the running one beside the clock.
    fn build_step(&self, name: &str, state: BuildState, elapsed_ms: u64) {
        let title = plan::step_title(name);
        let name = safe(title.as_deref().unwrap_or(name));
        let time = match state {
            BuildState::Started => return self.update(|live| live.message(&name)),
            BuildState::Cached => "(cached)".to_owned(),
            BuildState::Done | BuildState::Failed => time(elapsed_ms),
        };
        // Beside the sign, which has four columns, and the time with its space.
        let room = self.columns.get().saturating_sub(4 + 9).max(TITLE - 2);
        let line = format!("{} {time:>8}", pad(&shortened(&name, room), TITLE - 2));
        self.print_line(&match state {
            BuildState::Failed => format!("  {} {line}", self.style.red("✗")),
            _ => self.style.dim(&format!("  · {line}")),
        });
    }

    /// Shows the stage that begins, and prints a line for the one that ended, with its duration.
    fn stage(&self, stage: Stage, elapsed_ms: u64, detail: &str) {
        let mut ended = None;
        self.update(|live| ended = live.stage(stage, elapsed_ms, &safe(detail)));
        if let Some((stage, took_ms, detail)) = ended {
            let line = format!(
                "  · {} {:>8}  {detail}",
                pad(stage.title(), TITLE - 2),
                time(took_ms),
            );
            self.print_line(&self.style.dim(line.trim_end()));
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
                self.update(|live| live.progress(*done_bytes, *total_bytes, fetched, &safe(item)));
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
                self.update(|live| live.file(&self.bars, &path, bytes, *state, *retries));
            }
            Event::Activity {
                what, done, total, ..
            } => {
                let text = activity(what, *done, *total);
                self.update(|live| live.activity(&safe(&text)));
            }
            // What a child prints last seldom says how far it is. The line of a step that failed is drawn when the display
            // ends, and the error follows.
            Event::Line { .. } | Event::StepFailed { .. } => {}
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
                let dress = |line: &str| line.replacen("warning:", &self.style.yellow("warning:"), 1);
                self.print_text(&format!("warning: {text}"), dress);
                if !hint.is_empty() {
                    let dress = |line: &str| line.replacen("hint:", &self.style.cyan("hint:"), 1);
                    self.print_text(&format!("hint: {hint}"), dress);
                }
            }
            Event::Note { text } => self.print_text(&format!("note: {text}"), |line| self.style.dim(line)),
            Event::Request(one) => self.print_line(&self.style.dim(&plain::request_line(one))),
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
    /// Removes the live line, and names a step that did not finish, to which the error that follows belongs.
    fn drop(&mut self) {
        if let Some(live) = self.remove_running() {
            let time = self.style.dim(&format!("{:>8}", live.elapsed()));
            self.print_line(&format!(
                "{} {} {time}",
                self.style.red("✗"),
                pad(live.title(), TITLE)
            ));
        }
    }
}
