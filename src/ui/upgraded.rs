//! The replacement of a server by another plan.

use std::time::Duration;

use super::table::{aligned, row};
use crate::report::{Benchmark, Upgraded};
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
    let mut rows = vec![
        row([upgraded.server.as_str(), &format!("runs {runs}")]),
        row(["before", &upgraded.from]),
        row(["down for", &down]),
    ];
    if let (Some(before), Some(after), Some(speed)) = (&upgraded.before, &upgraded.after, upgraded.speed()) {
        rows.push(row([
            "tokens/s",
            &format!(
                "{:.1} before, {:.1} after: {speed:.2}x",
                before.output_throughput, after.output_throughput
            ),
        ]));
        rows.push(row(["TTFT", &medians(before, after, |one| one.ttft.median_ms)]));
        rows.push(row(["TPOT", &medians(before, after, |one| one.tpot.median_ms)]));
    }
    aligned(&rows)
}

/// Returns the medians of both measurements.
fn medians(before: &Benchmark, after: &Benchmark, of: impl Fn(&Benchmark) -> Option<f64>) -> String {
    let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    format!("{} before, {} after (median)", text(of(before)), text(of(after)))
}
