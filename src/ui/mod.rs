//! All output: events as progress on stderr, results on stdout, errors. The only module that prints.
//!
//! Not in this module tree: what happened (`event`, `report`), what to do about it (`commands`).

mod error;
mod json;
mod plain;
mod safe;
mod style;
mod tables;
mod text;
mod tty;

use std::io::{ErrorKind, IsTerminal, Write};

pub use safe::safe;
pub use tables::{findings, profile, profiles, status};
pub use text::{answer, report};

use crate::cli::{Format, Progress};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Reporter};

/// The display of a progress mode. `color` is whether colours are wanted at all; a dumb terminal gets plain lines.
#[must_use]
pub fn display(progress: Progress, color: bool, dumb_terminal: bool) -> Box<dyn Reporter> {
    let terminal = std::io::stderr().is_terminal() && !dumb_terminal;
    match progress {
        Progress::Auto if terminal => Box::new(tty::Tty::new(color)),
        Progress::Tty => Box::new(tty::Tty::new(color)),
        Progress::Auto | Progress::Plain => Box::new(plain::Plain::new(Box::new(std::io::stderr()))),
        Progress::Quiet => Box::new(Quiet),
        Progress::Json => Box::new(json::Lines),
    }
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

/// A result as one JSON document.
#[must_use]
pub fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Writes to stdout. A reader that went away (`| head`) is no error.
///
/// # Errors
/// [`Kind::Internal`] when stdout cannot be written, such as on a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Internal, "cannot write to standard output").cause(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Prints one line of a server's log, made safe for a terminal.
///
/// # Errors
/// As [`print`]; a reader that went away is an error here, because there is nobody to go on for.
pub fn print_log_line(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", safe(line))
        .and_then(|()| stdout.flush())
        .map_err(|error| {
            Error::new(Kind::Internal, "cannot write to standard output").cause(error.to_string())
        })
}

/// Shows an error: for people on stderr, as JSON on stdout, so that stdout is one document in either case.
pub fn print_error(error: &Error, format: Format, color: bool) {
    if error.is_told() {
        return;
    }
    match format {
        Format::Text => write_stderr(&error::text(error, color && std::io::stderr().is_terminal())),
        Format::Json => drop(print(&error::json(error))),
    }
}

fn write_stderr(text: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
