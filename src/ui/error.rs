//! An error, for people and for machines.

use std::fmt::Write;

use serde_json::json;

use super::safe::{self, safe};
use super::style::Style;
use super::wrap::{shortened, shortened_inside};
use crate::cli::Format;
use crate::error::Error;
use crate::redact::redact_certain;
use crate::units::counted;

/// The terminal that shows an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Its columns.
    pub(super) columns: usize,
    /// Its rows.
    pub(super) rows: usize,
}

/// Rows of a terminal for a cause, which may be a line of a log.
const CAUSE: usize = 4;

/// Least lines of a log beside an error that fills the terminal.
const LEAST: usize = 3;

/// An error as it is shown: without certain secrets, which logs, URLs and answers of other programs may hold.
struct Shown {
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    log: Vec<String>,
}

impl Shown {
    fn new(error: &Error) -> Self {
        let clean = |texts: &[String]| {
            texts
                .iter()
                .map(|text| redact_certain(text).into_owned())
                .collect()
        };
        Self {
            message: redact_certain(&error.message()).into_owned(),
            causes: clean(&error.causes()),
            hints: clean(error.hints()),
            log: clean(error.log_lines()),
        }
    }
}

/// Returns an error in the form asked for, with a newline at its end. `screen` is `None` without a terminal.
#[must_use]
pub(super) fn error(error: &Error, format: Format, color: bool, screen: Option<Screen>) -> String {
    let style = Style { color };
    let shown = Shown::new(error);
    match (format, screen) {
        (Format::Json, _) => json_line(error, &shown),
        (Format::Text, None) => text(&shown, style),
        (Format::Text, Some(screen)) => text_on(screen, &shown, style),
    }
}

/// Returns the error, its causes, the log and the hints, which are last because they say what to do.
fn text(error: &Shown, style: Style) -> String {
    let mut out = labelled(&style.red("error:"), &error.message);
    for cause in &error.causes {
        out += &labelled(&style.yellow("cause:"), cause);
    }
    if !error.log.is_empty() {
        let _ = writeln!(out, "{}", style.dim("log:"));
        for line in &error.log {
            let _ = writeln!(out, "  {}", style.dim(&safe(line)));
        }
    }
    for hint in &error.hints {
        out += &labelled(&style.cyan("hint:"), hint);
    }
    out
}

/// Returns the log, the error, its causes and the hints for a terminal: all of them are on it at once, the log only as far as
/// there is room.
fn text_on(screen: Screen, error: &Shown, style: Style) -> String {
    let Screen { columns, rows } = screen;
    let part = |label: &str, painted: &str, text: &str| {
        let text = super::fitted(&labelled(label, text), columns);
        text.replacen(label, painted, 1)
    };
    let mut out = part("error:", &style.red("error:"), &error.message);
    // Foreign text may be as long as it likes; the whole of it is in the log.
    let most = columns
        .saturating_mul(CAUSE)
        .saturating_sub("cause: ".len() + CAUSE * 8);
    for cause in &error.causes {
        out += &part("cause:", &style.yellow("cause:"), &shortened(cause, most));
    }
    for hint in &error.hints {
        out += &part("hint:", &style.cyan("hint:"), hint);
    }
    let lines = &error.log;
    if lines.is_empty() {
        return out;
    }
    // One row for the label, one for the prompt, and one for the step that failed.
    let room = rows.saturating_sub(out.lines().count() + 3).max(LEAST);
    let left_out = lines.len().saturating_sub(room);
    let title = match left_out {
        0 => "log:".to_owned(),
        count => format!("log, without its first {}:", counted(count, "line")),
    };
    let mut log = format!("{}\n", style.dim(&title));
    for line in &lines[left_out..] {
        let line = shortened_inside(&safe(line), columns.saturating_sub(2));
        let _ = writeln!(log, "  {}", style.dim(&line));
    }
    log + &out
}

/// Returns a label and a text. Further lines of the text are indented, so that none looks like a label.
fn labelled(label: &str, text: &str) -> String {
    format!("{label} {}\n", safe::lines(text, "  ").trim())
}

/// Returns the error as one line, for a log of many runs.
fn json_line(error: &Error, shown: &Shown) -> String {
    let document = json!({
        "schema": "dsr1.error/1",
        "kind": error.kind().name(),
        "exit_code": error.kind().exit_code(),
        "message": shown.message,
        "causes": shown.causes,
        "hints": shown.hints,
        "log": shown.log,
    });
    safe::json(document.to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn example() -> Error {
        Error::new(Kind::Server, "dsr1-fp8-low-latency ended during start")
            .cause("torch.OutOfMemoryError: CUDA out of memory.\nerror: not ours")
            .hint("lower the memory fraction: dsr1 serve --profile low-latency -- --mem-fraction-static 0.80")
            .hint("dsr1 logs fp8-low-latency shows the whole log")
            .log(vec![
                "[TP0] Load weight end.".to_owned(),
                "\x1b[2J\u{202e}boom".to_owned(),
            ])
    }

    #[test]
    fn people_see_cause_log_and_hint() {
        insta::assert_snapshot!(error(&example(), Format::Text, false, None));
    }

    #[test]
    fn only_the_labels_have_colours() {
        let error = error(
            &Error::new(Kind::Usage, "no").hint("yes"),
            Format::Text,
            true,
            None,
        );
        assert_eq!(error, "\x1b[1;31merror:\x1b[0m no\n\x1b[36mhint:\x1b[0m yes\n");
    }

    #[test]
    fn error_cause_and_hint_are_last_and_all_on_a_terminal() {
        let long = format!("server_args=ServerArgs({})", "model_path='/x', ".repeat(300));
        let lines: Vec<String> = (0..20).map(|_| long.clone()).collect();
        let failed = Error::new(Kind::Server, "dsr1-rehearsal ended during start")
            .cause(format!("{long} (exit code 1)"))
            .hint("the whole log is in /home/user/.local/state/dsr1/servers/dsr1-rehearsal.ended.log")
            .log(lines);
        let screen = Screen {
            columns: 80,
            rows: 24,
        };
        let shown = error(&failed, Format::Text, false, Some(screen));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.len() < 24, "{shown}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(
            lines[0].starts_with("log, without its first ") && lines[1].contains('…'),
            "{shown}"
        );
        let error = lines.iter().position(|line| line.starts_with("error: ")).unwrap();
        let hint = lines.iter().position(|line| line.starts_with("hint: ")).unwrap();
        assert!(
            lines[error + 1].starts_with("cause: ") && hint > error && hint + 2 >= lines.len(),
            "{shown}"
        );
    }

    #[test]
    fn machines_get_one_line() {
        let line = error(&example(), Format::Json, true, None);
        assert_eq!(
            (
                line.lines().count(),
                line.contains('\x1b'),
                line.contains('\u{202e}')
            ),
            (1, false, false)
        );
        insta::assert_snapshot!(line);
    }
}
