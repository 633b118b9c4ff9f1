//! Progress on a terminal: a live line for the running step, a lasting line for each finished one. The only
//! home of indicatif.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::safe;
use super::style::Style;
use crate::event::{Event, Reporter};
use crate::units;

/// Draws on the terminal.
pub(super) struct Tty {
    bars: MultiProgress,
    style: Style,
    running: Mutex<Option<Running>>,
}

/// The running step.
struct Running {
    title: String,
    bar: ProgressBar,
    counts_bytes: bool,
}

impl Tty {
    /// Draws on stderr.
    pub(super) fn new(color: bool) -> Self {
        Self::on(ProgressDrawTarget::stderr(), color)
    }

    fn on(target: ProgressDrawTarget, color: bool) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(target),
            style: Style { color },
            running: Mutex::new(None),
        }
    }

    /// A line that stays, above the live one.
    fn keep(&self, line: &str) {
        let _ = self.bars.println(line);
    }

    fn with(&self, change: impl FnOnce(&mut Option<Running>)) {
        if let Ok(mut running) = self.running.lock() {
            change(&mut running);
        }
    }

    fn start(&self, title: &str) {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(template("{spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}"));
        bar.set_prefix(safe(title).into_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        let next = Running {
            title: title.to_owned(),
            bar,
            counts_bytes: false,
        };
        self.with(|running| {
            if let Some(before) = running.replace(next) {
                before.bar.finish_and_clear();
            }
        });
    }

    fn finish(&self, elapsed_ms: u64, cached: bool, summary: &str) {
        let mut title = String::new();
        self.with(|running| {
            if let Some(step) = running.take() {
                step.bar.finish_and_clear();
                self.bars.remove(&step.bar);
                title = step.title;
            }
        });
        let time = if cached {
            "cached".to_owned()
        } else {
            units::duration(Duration::from_millis(elapsed_ms))
        };
        let summary = if summary.is_empty() {
            String::new()
        } else {
            format!("  {}", safe(summary))
        };
        self.keep(&format!(
            "{} {} {}{}",
            self.style.green("✓"),
            safe(&title),
            self.style.dim(&time),
            self.style.dim(&summary)
        ));
    }

    fn progress(&self, done: u64, total: Option<u64>, item: &str) {
        self.with(|running| {
            let Some(step) = running else { return };
            if let Some(total) = total {
                if !step.counts_bytes {
                    step.counts_bytes = true;
                    step.bar.set_style(template(
                        "{spinner} {prefix} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} {wide_msg:.dim}",
                    ));
                }
                step.bar.set_length(total);
            }
            step.bar.set_position(done);
            step.bar.set_message(safe(item).into_owned());
        });
    }
}

impl Reporter for Tty {
    fn event(&self, event: &Event) {
        match event {
            Event::StepStarted { title, .. } => self.start(title),
            Event::Progress {
                done_bytes,
                total_bytes,
                item,
                ..
            } => self.progress(*done_bytes, *total_bytes, item),
            Event::Line { text, .. } => self.with(|running| {
                if let Some(step) = running {
                    step.bar.set_message(safe(text).into_owned());
                }
            }),
            Event::Stage {
                stage,
                elapsed_ms,
                detail,
                ..
            } => {
                let time = units::duration(Duration::from_millis(*elapsed_ms));
                self.keep(
                    &self
                        .style
                        .dim(&format!("    {time:>6}  {}  {}", stage.title(), safe(detail))),
                );
            }
            Event::Warning { text, hint } => {
                self.keep(&format!("{} {}", self.style.yellow("warning:"), safe(text)));
                if !hint.is_empty() {
                    self.keep(&format!("{} {}", self.style.cyan("hint:"), safe(hint)));
                }
            }
            Event::Note { text } => self.keep(&self.style.dim(&format!("note: {}", safe(text)))),
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
    /// An interrupted step leaves no live line behind.
    fn drop(&mut self) {
        self.with(|running| {
            if let Some(step) = running.take() {
                step.bar.finish_and_clear();
            }
        });
    }
}

/// A template of ours; a mistake in one is caught by the test below, not by the user.
fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        for text in [
            "{spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}",
            "{spinner} {prefix} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} {wide_msg:.dim}",
        ] {
            ProgressStyle::with_template(text).unwrap();
        }
    }
}
