//! An error, for people and for machines.

use std::fmt::Write;

use serde_json::json;

use super::safe::{self, safe};
use super::style::Style;
use crate::cli::Format;
use crate::error::Error;

/// Returns an error in the form asked for, with a newline at its end.
#[must_use]
pub fn error(error: &Error, format: Format, color: bool) -> String {
    match format {
        Format::Text => text(error, Style { color }),
        Format::Json => json_line(error),
    }
}

/// Returns the error, its causes, the log and the hints, which are last because they say what to do.
fn text(error: &Error, style: Style) -> String {
    let mut out = labelled(&style.red("error:"), &error.message());
    for cause in error.causes() {
        out += &labelled(&style.yellow("cause:"), &cause);
    }
    if !error.log_lines().is_empty() {
        let _ = writeln!(out, "{}", style.dim("log:"));
        for line in error.log_lines() {
            let _ = writeln!(out, "  {}", style.dim(&safe(line)));
        }
    }
    for hint in error.hints() {
        out += &labelled(&style.cyan("hint:"), hint);
    }
    out
}

/// Returns a label and a text. Further lines of the text are indented, so that none looks like a label.
fn labelled(label: &str, text: &str) -> String {
    format!("{label} {}\n", safe::lines(text, "  ").trim())
}

/// Returns the error as one line, for a log of many runs.
fn json_line(error: &Error) -> String {
    let document = json!({
        "schema": "dsr1.error/1",
        "kind": error.kind().name(),
        "exit_code": error.kind().exit_code(),
        "message": error.message(),
        "causes": error.causes(),
        "hints": error.hints(),
        "log": error.log_lines(),
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
        insta::assert_snapshot!(error(&example(), Format::Text, false));
    }

    #[test]
    fn only_the_labels_have_colours() {
        let error = error(&Error::new(Kind::Usage, "no").hint("yes"), Format::Text, true);
        assert_eq!(error, "\x1b[1;31merror:\x1b[0m no\n\x1b[36mhint:\x1b[0m yes\n");
    }

    #[test]
    fn machines_get_one_line() {
        let line = error(&example(), Format::Json, true);
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
