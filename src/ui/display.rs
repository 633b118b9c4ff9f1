//! Choice of a display for a progress mode.

use std::borrow::Cow;
use std::io::IsTerminal;

use crate::cli::Progress;
use crate::event::{Event, Reporter};
use crate::redact::redact_certain;
use crate::ui::output::write_stderr;
use crate::ui::{json, plain, tty};

/// Returns true if the display of a progress mode is live, on a terminal that shows the results too.
#[must_use]
pub fn shows_steps(progress: Progress, dumb_terminal: bool) -> bool {
    let is_live = match progress {
        Progress::Auto => !dumb_terminal,
        Progress::Tty => true,
        Progress::Plain | Progress::Quiet | Progress::Json => false,
    };
    is_live && std::io::stderr().is_terminal() && std::io::stdout().is_terminal()
}

/// Returns the display of a progress mode. `color` allows colours; a dumb terminal gets plain lines. Certain secrets in the
/// texts of events are replaced.
///
/// Without a terminal there are no live lines even if asked for: they would be lost, and the warnings with them.
#[must_use]
pub fn display(progress: Progress, color: bool, dumb_terminal: bool) -> Box<dyn Reporter> {
    Box::new(Redacted(display_of(progress, color, dumb_terminal)))
}

fn display_of(progress: Progress, color: bool, dumb_terminal: bool) -> Box<dyn Reporter> {
    let terminal = std::io::stderr().is_terminal();
    match progress {
        Progress::Auto if terminal && !dumb_terminal => live(color),
        Progress::Tty if terminal => live(color),
        Progress::Auto | Progress::Tty | Progress::Plain => plain_lines(),
        Progress::Quiet => Box::new(Quiet),
        Progress::Json => Box::new(json::Lines::new()),
    }
}

fn live(color: bool) -> Box<dyn Reporter> {
    let tty = tty::Tty::new(color);
    if tty.is_hidden() {
        plain_lines()
    } else {
        Box::new(tty)
    }
}

fn plain_lines() -> Box<dyn Reporter> {
    Box::new(plain::Plain::new(Box::new(std::io::stderr())))
}

/// Shows warnings only.
struct Quiet;

impl Reporter for Quiet {
    fn event(&self, event: &Event) {
        if let Event::Warning { text, hint } = event {
            write_stderr(&plain::warning(text, hint));
        }
    }
}

/// A display that gets events without certain secrets: a line of a child or of a log, an answer of a hub, a URL.
struct Redacted(Box<dyn Reporter>);

impl Reporter for Redacted {
    fn event(&self, event: &Event) {
        let mut event = event.clone();
        let texts: [Option<&mut String>; 2] = match &mut event {
            Event::StepStarted { title: text, .. }
            | Event::Activity { what: text, .. }
            | Event::Line { text, .. }
            | Event::BuildStep { name: text, .. }
            | Event::Stage { detail: text, .. }
            | Event::Note { text }
            | Event::StepFailed { message: text, .. }
            | Event::StepFinished { summary: text, .. } => [Some(text), None],
            Event::Warning { text, hint } => [Some(text), Some(hint)],
            Event::Request(request) => [Some(&mut request.path), None],
            Event::Progress { .. } | Event::File { .. } => [None, None],
        };
        for text in texts.into_iter().flatten() {
            if let Cow::Owned(redacted) = redact_certain(text) {
                *text = redacted;
            }
        }
        self.0.event(&event);
    }
}
