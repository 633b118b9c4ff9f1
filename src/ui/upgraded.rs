//! The replacement of a server by another plan.

use std::fmt::Write;
use std::time::Duration;

use super::compared::gated_figures;
use super::safe;
use super::table::{aligned, row};
use crate::report::{GateVerdict, Gated, Upgraded};
use crate::units;

/// Returns what was replaced, for how long nobody answered, and both measurements.
#[must_use]
pub fn upgraded(upgraded: &Upgraded) -> String {
    let down = units::duration(Duration::from_secs_f64(upgraded.down_s.max(0.0)));
    let runs = if upgraded.kept {
        &upgraded.to
    } else {
        &upgraded.from
    };
    let rows = [
        row([upgraded.server.as_str(), &format!("runs {runs}")]),
        row(["before", &upgraded.from]),
        row(["down for", &down]),
    ];
    aligned(&rows) + &upgraded.compared.as_ref().map_or_else(String::new, compared)
}

/// Returns both measurements beside each other, and what they decide.
fn compared(gated: &Gated) -> String {
    let mut out = String::new();
    if !gated.figures.is_empty() && !gated.result.files.is_empty() {
        out.push('\n');
        out.push_str(&gated_figures(&gated.figures, ("BEFORE", "AFTER")));
    }
    let reasons = gated.untrusted.iter().chain(&gated.refusals);
    for reason in reasons {
        let _ = writeln!(out, "{}", safe(reason));
    }
    out.push_str(match gated.verdict {
        GateVerdict::Passed => "not slower: nothing is worse by more than noise and tolerance\n",
        GateVerdict::Regression => "slower, by more than noise and tolerance\n",
        GateVerdict::Untrusted | GateVerdict::Refused => {
            "not decided: these measurements do not say whether it is slower\n"
        }
    });
    out
}
