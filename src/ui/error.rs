//! An error, for people and for machines.

use std::fmt::Write;

use serde_json::json;

use super::safe;
use super::style::Style;
use crate::error::Error;

/// `error:`, `cause:` per link, the log, `hint:` per hint.
pub(super) fn text(error: &Error, color: bool) -> String {
    let style = Style { color };
    let mut out = format!("{} {}\n", style.red("error:"), safe(&error.message()));
    for cause in error.causes() {
        let _ = writeln!(out, "{} {}", style.yellow("cause:"), safe(&cause));
    }
    if !error.log_lines().is_empty() {
        let _ = writeln!(out, "{}", style.dim("log:"));
        for line in error.log_lines() {
            let _ = writeln!(out, "  {}", style.dim(&safe(line)));
        }
    }
    for hint in error.hints() {
        let _ = writeln!(out, "{} {}", style.cyan("hint:"), safe(hint));
    }
    out
}

/// The same as one JSON document.
pub(super) fn json(error: &Error) -> String {
    super::json(&json!({
        "schema": "dsr1.error/1",
        "kind": error.kind().name(),
        "exit_code": error.kind().exit_code(),
        "message": error.message(),
        "causes": error.causes(),
        "hints": error.hints(),
        "log": error.log_lines(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn people_see_cause_log_and_hint() {
        let error = Error::new(Kind::Server, "dsr1-x ended during start")
            .cause("exit code 1")
            .hint("dsr1 logs x")
            .log(vec!["\x1b[2Jboom".to_owned()]);
        let expected = "error: dsr1-x ended during start\ncause: exit code 1\nlog:\n  \\u{1b}[2Jboom\nhint: dsr1 logs x\n";
        assert_eq!(text(&error, false), expected);
        let value: serde_json::Value = serde_json::from_str(&json(&error)).unwrap();
        assert_eq!(
            (value["exit_code"].as_u64(), value["kind"].as_str()),
            (Some(7), Some("server"))
        );
    }
}
