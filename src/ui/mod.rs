//! All output: events as progress on stderr, results on stdout, errors. The only module that prints.
//!
//! | form | progress | result | error |
//! |---|---|---|---|
//! | people | `tty` on a terminal, else `plain` | one file per sort of result, put together in `text` | `error` |
//! | machines | `json` | `json` | `error` |
//!
//! Whatever a child, the hub or a file said goes through [`safe()`] first.
//! Not in this module tree: what happened (`event`, `report`), what to do about it (`commands`).

mod advice;
mod answer;
mod corrections;
mod error;
mod explanation;
mod findings;
mod images;
mod json;
mod lock;
mod measured;
mod memory;
mod mirrored;
mod parsed;
mod plain;
mod plan;
mod profiles;
mod rate;
mod safe;
mod servers;
mod stacks;
mod style;
mod table;
mod text;
mod tty;
mod verification;
mod weights;

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

pub use advice::advice;
pub use answer::answer;
pub use corrections::corrections;
pub use error::error;
pub use explanation::explanation;
pub use findings::findings;
pub use images::{image, images, pruned};
pub use json::json;
pub use lock::lock_check;
pub use measured::{benchmark, gsm8k};
pub use memory::memory;
pub use mirrored::mirrored;
pub use parsed::profiles_verified;
pub use plan::plan;
pub use profiles::{checks, profile, profile_diff, profiles};
pub use safe::safe;
pub use servers::status;
pub use stacks::{drift, stack, stack_diff, stacks};
pub use text::{outcome, report};
pub use verification::verification;
pub use weights::{pull_survey, weights, weights_checked, weights_space};

use crate::cli::{Format, Progress};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Reporter};
use crate::units;

/// The display of a progress mode. `color` is whether colours are wanted at all; a dumb terminal gets plain lines.
///
/// What is no terminal gets no live lines even when asked: they would be lost there, warnings with them.
#[must_use]
pub fn display(progress: Progress, color: bool, dumb_terminal: bool) -> Box<dyn Reporter> {
    let terminal = std::io::stderr().is_terminal();
    match progress {
        Progress::Auto if terminal && !dumb_terminal => live(color),
        Progress::Tty if terminal => live(color),
        Progress::Auto | Progress::Tty | Progress::Plain => plain(),
        Progress::Quiet => Box::new(Quiet),
        Progress::Json => Box::new(json::Lines::new()),
    }
}

fn live(color: bool) -> Box<dyn Reporter> {
    let tty = tty::Tty::new(color);
    if tty.is_hidden() { plain() } else { Box::new(tty) }
}

fn plain() -> Box<dyn Reporter> {
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

/// Writes to stdout. A reader that went away (`| head`) is no error.
///
/// # Errors
/// [`Kind::Internal`] when stdout cannot be written, such as on a full disk.
pub fn print(text: &str) -> Result<()> {
    print_to(&mut std::io::stdout().lock(), text)
}

fn print_to(out: &mut impl Write, text: &str) -> Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritable(&error)),
        _ => Ok(()),
    }
}

/// Puts a question to the user, on stderr: stdout is for results.
///
/// # Errors
/// [`Kind::Internal`] when it cannot be written: then nobody can answer.
pub fn ask(question: &str) -> Result<()> {
    print_to(
        &mut std::io::stderr().lock(),
        &question.split('\n').map(safe).collect::<Vec<_>>().join("\n"),
    )
}

/// Prints one line of a server's log, made safe for a terminal.
///
/// # Errors
/// As [`print()`]; a reader that went away is an error here, because there is nobody to go on for.
pub fn print_log_line(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", safe(line))
        .and_then(|()| stdout.flush())
        .map_err(|error| unwritable(&error))
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::new(Kind::Internal, "cannot write to standard output").cause(error.to_string())
}

/// Shows an error: for people on stderr, as JSON on stdout, so that stdout is one document in either case.
pub fn print_error(error: &Error, format: Format, color: bool) {
    if error.is_told() {
        return;
    }
    let color = color && std::io::stderr().is_terminal();
    let text = self::error(error, format, color);
    match format {
        Format::Text => write_stderr(&text),
        // Already on the way out with an error: a second one, about stdout, would hide it.
        Format::Json => drop(print(&text)),
    }
}

fn write_stderr(text: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Milliseconds as people say them.
fn time(elapsed_ms: u64) -> String {
    units::duration(Duration::from_millis(elapsed_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stdout that fails in one way.
    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_may_go_away_and_a_disk_may_not_be_full() {
        assert!(print_to(&mut Broken(ErrorKind::BrokenPipe), "x").is_ok());
        let error = print_to(&mut Broken(ErrorKind::StorageFull), "x").unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::Internal, "cannot write to standard output".to_owned())
        );
    }
}
