//! The verification of a server's answers.

use std::fmt::Write;

use super::safe;
use crate::report::Verification;

/// Returns the verdict with its scope, each check, and a note about checks that were not made.
#[must_use]
pub fn verification(verification: &Verification) -> String {
    let wiring_only = verification.scope == "wiring";
    let verdict = if verification.passed() {
        "VERIFIED"
    } else {
        "NOT VERIFIED"
    };
    let scope = if wiring_only {
        "wiring: what a server of any model must do"
    } else {
        "wiring and answers"
    };
    let mut out = format!("{verdict} ({scope})\n");
    for check in &verification.checks {
        let word = if check.passed { "ok" } else { "FAIL" };
        let _ = writeln!(out, "  {word:<4}  {}: {}", safe(&check.name), safe(&check.seen));
    }
    if wiring_only {
        out += "  ?     content was not checked: the model is random, and its answers mean nothing\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::AnswerCheck;

    fn example(scope: &str, passed: bool) -> Verification {
        let check = |name: &str, passed, seen: &str| AnswerCheck {
            name: name.to_owned(),
            passed,
            seen: seen.to_owned(),
        };
        let checks = vec![
            check("one model is listed", true, "deepseek-ai/DeepSeek-R1-0528"),
            check(
                "the same question twice, the same answer",
                passed,
                "\"ab\" and \"ab\"",
            ),
        ];
        Verification {
            scope: scope.to_owned(),
            checks,
        }
    }

    #[test]
    fn wiring_alone_says_what_it_did_not_check() {
        insta::assert_snapshot!(verification(&example("wiring", true)));
    }

    #[test]
    fn a_failed_check_is_no_verification() {
        insta::assert_snapshot!(verification(&example("answers", false)));
    }
}
