//! The live line of the running step: one line, and a bar below it while bytes are counted.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::event::{FileState, Stage};
use crate::ui::rate::{self, Rate, clock};
use crate::ui::style::Style;
use crate::ui::wrap::shortened;
use crate::units::{self, Bytes};

/// Time between two redraws: a few in a second show that the step runs.
const TICK: Duration = Duration::from_millis(120);

/// Width of the longest title, so that clock and message fit beside it.
const TITLE: usize = 48;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Templates: a line; a line with a count; a line and a bar. `wide_msg` is cut at the edge of the terminal.
const LINE: &str = "{spinner} {prefix}  {clock}  {wide_msg}";
const COUNT: &str = "{spinner} {prefix}  {clock}  {amount}  {wide_msg}";
const BAR: &str =
    "{spinner} {prefix}  {clock}  {wide_msg}\n  {bar:20}  {percent:>3} %  {amount}  {speed}  {left}";

/// Template of a file of a pull, below the bar.
const FILE: &str = "    {wide_msg}  {percent:>3} %  {amount}  {decimal_bytes_per_sec}";
/// Files that are shown at once.
const FILES: usize = 8;

/// The running step on the screen.
pub(super) struct Live {
    bar: ProgressBar,
    style: Style,
    number: String,
    title: String,
    template: &'static str,
    files: Vec<(String, ProgressBar)>,
    /// The running stage of the engine's start, the time at which it began, and its detail.
    stage: Option<(Stage, u64, String)>,
    rate: Rate,
    /// Bytes a second, for the bar.
    speed: Speed,
}

/// A rate that a bar shows; 0 while unknown.
type Speed = Arc<AtomicU64>;

impl Live {
    /// Draws the step. The caller makes `title` safe to show.
    pub(super) fn new(bars: &MultiProgress, style: Style, number: &str, title: &str, animate: bool) -> Self {
        let bar = bars.add(ProgressBar::no_length());
        let live = Self {
            bar,
            style,
            number: number.to_owned(),
            title: title.to_owned(),
            template: LINE,
            files: Vec::new(),
            stage: None,
            rate: Rate::default(),
            speed: Speed::default(),
        };
        live.bar.set_style(template(LINE, style, &live.speed));
        live.set_title("");
        if animate {
            live.bar.enable_steady_tick(TICK);
        }
        live.bar.tick();
        live
    }

    /// Returns the title.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Returns the time since the step began.
    pub(super) fn elapsed(&self) -> String {
        units::duration(self.bar.elapsed())
    }

    /// Shows a stage that begins `at_ms` after the step. The caller makes `detail` safe to show. Returns the stage that
    /// ended, its duration in milliseconds, and its detail.
    pub(super) fn stage(&mut self, stage: Stage, at_ms: u64, detail: &str) -> Option<(Stage, u64, String)> {
        self.set_title(stage.title());
        self.bar.set_message("");
        let ended = self.stage.replace((stage, at_ms, detail.to_owned()));
        ended.map(|(stage, began, detail)| (stage, at_ms.saturating_sub(began), detail))
    }

    /// Shows a message, dimmed. The caller makes `text` safe to show.
    pub(super) fn message(&self, text: &str) {
        self.bar.set_message(self.style.dim(text.trim()));
    }

    /// Shows work that has no bytes, in place of the bytes of the work before it. The caller makes `text` safe to show.
    pub(super) fn activity(&mut self, text: &str) {
        if self.template != LINE {
            self.template = LINE;
            self.bar.set_style(template(LINE, self.style, &self.speed));
        }
        self.message(text);
    }

    /// Shows bytes, as a bar if their total is known; the rate is that of `fetched`.
    pub(super) fn progress(&mut self, done: u64, total: Option<u64>, fetched: u64, item: &str) {
        let wanted = if total.is_some() { BAR } else { COUNT };
        if self.template != wanted {
            self.template = wanted;
            self.bar.set_style(template(wanted, self.style, &self.speed));
        }
        let speed = self.rate.record(self.bar.elapsed(), fetched);
        self.speed.store(speed.unwrap_or(0), Ordering::Relaxed);
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        self.message(item);
    }

    /// Shows a file of the step while it is fetched. The caller makes `path` safe to show.
    pub(super) fn file(
        &mut self,
        bars: &MultiProgress,
        path: &str,
        (done, total): (u64, u64),
        state: FileState,
        retries: u32,
    ) {
        let known = self.files.iter().position(|(name, _)| name == path);
        if state == FileState::Proven {
            if let Some(known) = known {
                let (_, bar) = self.files.remove(known);
                bar.finish_and_clear();
                bars.remove(&bar);
            }
            return;
        }
        let known = match known {
            Some(known) => known,
            None if self.files.len() < FILES => {
                let bar = bars.add(ProgressBar::new(total));
                bar.set_style(template(FILE, self.style, &Speed::default()));
                bar.set_position(done);
                bar.reset_eta();
                self.files.push((path.to_owned(), bar));
                self.files.len() - 1
            }
            None => return,
        };
        let mut message = path.to_owned();
        match state {
            FileState::Checking => message.push_str(": checking local data"),
            FileState::Waiting => message.push_str(": waiting"),
            FileState::Fetching | FileState::Proven => {}
        }
        if retries > 0 {
            let _ = write!(message, ", retries: {retries}");
        }
        let (_, bar) = &self.files[known];
        bar.set_position(done);
        bar.set_message(self.style.dim(&message));
    }

    /// Removes the step from the screen.
    pub(super) fn clear(&self, bars: &MultiProgress) {
        for (_, bar) in &self.files {
            bar.finish_and_clear();
            bars.remove(bar);
        }
        self.bar.finish_and_clear();
        bars.remove(&self.bar);
    }

    /// Shows number, title and stage.
    fn set_title(&self, stage: &str) {
        let mut title = shortened(&self.title, TITLE);
        if !stage.is_empty() {
            title = format!("{title}: {stage}");
        }
        self.bar
            .set_prefix(format!("{} {title}", self.style.dim(&self.number)));
    }
}

/// Returns the style of a template. The test below finds a mistake in a template before a user does.
fn template(text: &str, style: Style, speed: &Speed) -> ProgressStyle {
    let (speed, for_left) = (Arc::clone(speed), Arc::clone(speed));
    let spinner: Vec<String> = SPINNER.iter().map(|frame| style.cyan(frame)).collect();
    let spinner: Vec<&str> = spinner.iter().map(String::as_str).collect();
    ProgressStyle::with_template(text)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_strings(&spinner)
        .progress_chars("━╸ ")
        .with_key("clock", move |state: &ProgressState, out: &mut dyn Write| {
            let _ = out.write_str(&style.dim(&clock(state.elapsed())));
        })
        .with_key("amount", |state: &ProgressState, out: &mut dyn Write| {
            let _ = write!(out, "{}", Bytes(state.pos()));
            if let Some(total) = state.len() {
                let _ = write!(out, " of {}", Bytes(total));
            }
        })
        .with_key("speed", move |_: &ProgressState, out: &mut dyn Write| {
            let speed = speed.load(Ordering::Relaxed);
            if speed > 0 {
                let _ = write!(out, "{}/s", Bytes(speed));
            }
        })
        .with_key("left", move |state: &ProgressState, out: &mut dyn Write| {
            let speed = for_left.load(Ordering::Relaxed);
            if let Some(left) = rate::time_left(state.pos(), state.len(), Some(speed)) {
                let _ = write!(out, "{} left", clock(left));
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        for text in [LINE, COUNT, BAR, FILE] {
            ProgressStyle::with_template(text).unwrap();
        }
    }
}
