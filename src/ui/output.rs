//! Writing to stdout and stderr.

use std::io::{ErrorKind, IsTerminal, Write};

use crate::cli::Format;
use crate::error::{At, Error, Kind, Result};
use crate::redact::redact_certain;
use crate::ui::error::{Screen, error as error_text};
use crate::ui::safe::{json_line, safe};
use crate::ui::wrap::fitted;

/// Writes to stdout. A closed pipe (`| head`) is not an error.
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

/// Returns true if people read stdout as it is written.
#[must_use]
pub fn is_live() -> bool {
    std::io::stdout().is_terminal()
}

/// Returns the columns of the terminal that shows stdout; the largest number without one.
#[must_use]
pub fn columns() -> usize {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    size.map_or(usize::MAX, |(width, _)| usize::from(width.0))
}

/// Returns the columns of the terminal that shows stderr; the largest number without one.
#[must_use]
pub fn columns_of_errors() -> usize {
    let size = terminal_size::terminal_size_of(std::io::stderr());
    size.map_or(usize::MAX, |(width, _)| usize::from(width.0))
}

/// Returns true if a question can be put to a person, who can answer it.
#[must_use]
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Puts a question to the user and returns true if the answer is yes.
///
/// # Errors
/// [`Kind::Internal`] when it cannot be written, or the answer cannot be read.
pub fn agrees(question: &str) -> Result<bool> {
    let question: Vec<_> = question.split('\n').map(safe).collect();
    print_to(&mut std::io::stderr().lock(), &question.join("\n"))?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .at(Kind::Internal, || "cannot read the answer".to_owned())?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Prints lines of a server's log without certain secrets, made safe for a terminal, or each as a JSON object of its own; all by one
/// write.
///
/// # Errors
/// As [`print_on()`].
pub fn print_log_lines<'a>(server: &str, lines: impl Iterator<Item = &'a str>, format: Format) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        let line = redact_certain(line);
        match format {
            Format::Text => text += &safe(&line),
            Format::Json => text += &json_line(&serde_json::json!({ "server": server, "text": line })),
        }
        text.push('\n');
    }
    if text.is_empty() { Ok(()) } else { print_on(&text) }
}

/// Prints a value as JSON on a line of its own.
///
/// # Errors
/// As [`print_on()`].
pub fn print_json_line<T: serde::Serialize>(value: &T) -> Result<()> {
    print_on(&(json_line(value) + "\n"))
}

/// Writes a part of an output that goes on.
///
/// # Errors
/// As [`print()`]; a closed pipe is an error here, because it ends the command, but nobody is told: its reader has enough.
pub fn print_on(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| {
            let is_closed = error.kind() == std::io::ErrorKind::BrokenPipe;
            unwritable(&error).reported_if(is_closed)
        })
}

/// A text that is printed again and again: on a terminal in the place of the last one, else below it, with an empty line between.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Rows of the terminal that the last text takes.
    rows: usize,
    was_shown: bool,
}

impl Renewed {
    /// Prints the next text.
    ///
    /// # Errors
    /// As [`print_on()`].
    pub fn show(&mut self, text: &str) -> Result<()> {
        let size = terminal_size::terminal_size_of(std::io::stdout());
        let Some((columns, rows)) = size else {
            let gap = if self.was_shown { "\n" } else { "" };
            self.was_shown = true;
            return print_on(&format!("{gap}{text}"));
        };
        let fitted = fitted(text, usize::from(columns.0));
        // What scrolled away cannot be written over.
        let lines: Vec<&str> = fitted
            .lines()
            .take(usize::from(rows.0).saturating_sub(1))
            .collect();
        let mut out = match self.rows {
            0 => String::new(),
            rows => format!("\x1b[{rows}A\r"),
        };
        for line in &lines {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        self.rows = lines.len();
        print_on(&out)
    }
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::new(Kind::Internal, "cannot write to standard output").cause(error.to_string())
}

/// Shows an error: for people on stderr, or as JSON on stdout, which is one document in either case.
pub fn print_error(error: &Error, format: Format, color: bool) {
    if error.is_reported() {
        return;
    }
    let screen = terminal_size::terminal_size_of(std::io::stderr()).map(|(columns, rows)| Screen {
        columns: usize::from(columns.0),
        rows: usize::from(rows.0),
    });
    let color = color && std::io::stderr().is_terminal();
    let text = error_text(error, format, color, screen);
    match format {
        Format::Text => write_stderr(&text),
        // A second error, about stdout, would hide this one.
        Format::Json => drop(print(&text)),
    }
}

/// Prints the help in answer to a command line that is not complete.
pub fn print_help(text: &str) {
    write_stderr(text);
}

/// Writes to stderr, and ignores a failure.
pub(super) fn write_stderr(text: &str) {
    // Without stderr there is no place to report the failure.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
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
    fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
        assert!(print_to(&mut Broken(ErrorKind::BrokenPipe), "x").is_ok());
        let error = print_to(&mut Broken(ErrorKind::StorageFull), "x").unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::Internal, "cannot write to standard output".to_owned())
        );
    }
}
