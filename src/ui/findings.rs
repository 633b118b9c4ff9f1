//! The findings of `dsr1 doctor`.

use std::fmt::Write;

use super::safe;
use super::table::{pad, width};
use super::wrap::wrapped;
use crate::doctor::{Finding, Verdict};

/// Returns verdict, id and text of each finding with its fix below, then the number of each verdict. No line is longer than
/// `columns`, unless a word is.
#[must_use]
pub fn findings(findings: &[Finding], columns: usize) -> String {
    let ids = findings
        .iter()
        .map(|finding| width(&safe(&finding.id)))
        .max()
        .unwrap_or(0);
    // The verdict, two spaces, the id, two spaces.
    let indent = 4 + 2 + ids + 2;
    let block = |text: &str| {
        let text = wrapped(text, columns.saturating_sub(indent));
        text.replace('\n', &format!("\n{}", pad("", indent)))
    };
    let mut out = String::new();
    for Finding {
        id,
        verdict,
        text,
        fix,
    } in findings
    {
        let (word, id) = (word_of(*verdict), pad(&safe(id), ids));
        let _ = writeln!(out, "{word:<4}  {id}  {}", block(&safe(text)));
        if let Some(fix) = fix.as_ref().filter(|_| *verdict != Verdict::Ok) {
            let fix = format!("fix: {}", safe(fix));
            let _ = writeln!(out, "{}{}", pad("", indent), block(&fix));
        }
    }
    out + &count_verdicts(findings)
}

const fn word_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
        Verdict::NotChecked => "?",
    }
}

/// Returns the number of each verdict, the worst first: `2 failed, 1 warning, 1 not checked, 5 ok`.
fn count_verdicts(findings: &[Finding]) -> String {
    let count = |wanted| {
        findings
            .iter()
            .filter(|finding| finding.verdict == wanted)
            .count()
    };
    let warnings = count(Verdict::Warn);
    let parts = [
        (count(Verdict::Fail), "failed"),
        (warnings, if warnings == 1 { "warning" } else { "warnings" }),
        (count(Verdict::NotChecked), "not checked"),
        (count(Verdict::Ok), "ok"),
    ];
    let words: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if words.is_empty() {
        "nothing was checked\n".to_owned()
    } else {
        format!("{}\n", words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, verdict: Verdict, text: &str, fix: Option<&str>) -> Finding {
        Finding {
            id: id.to_owned(),
            verdict,
            text: text.to_owned(),
            fix: fix.map(str::to_owned),
        }
    }

    #[test]
    fn a_fix_is_below_its_finding() {
        let found = [
            finding(
                "host",
                Verdict::Ok,
                "Ubuntu 24.04, 6.8.0, linux/amd64, 128 processors",
                None,
            ),
            finding(
                "gpu.driver",
                Verdict::Fail,
                "driver 570.86.15, stack `guide` needs 575 or newer",
                Some("install a newer NVIDIA driver, then reboot"),
            ),
            finding(
                "docker.nvidia",
                Verdict::Warn,
                "no `nvidia` runtime in Docker",
                Some("install the NVIDIA Container Toolkit"),
            ),
            finding(
                "disk.weights",
                Verdict::NotChecked,
                "weights: 413.0 GB wanted at /data",
                None,
            ),
        ];
        insta::assert_snapshot!(findings(&found, usize::MAX));
        let narrow = findings(&found, 60);
        assert!(narrow.lines().all(|line| line.len() <= 60), "{narrow}");
    }
}
