//! A sweep over servers: a block for each, and all of them beside each other.

use std::fmt::Write;

use super::safe;
use super::swept::{load_of, sweep};
use super::table::{aligned, row};
use crate::measure::course::{is_per_gpu, speed_of, throughput_of};
use crate::report::{Sweep, SweptCombination, SweptFigures, SweptPoint, Trust};

/// Returns the points of each server, and a table of the servers with the best points of each.
#[must_use]
pub fn combinations(all: &Sweep) -> String {
    let mut out = String::new();
    for one in &all.combinations {
        let _ = writeln!(out, "{}", safe(&one.name));
        out.push_str(&block(all, one));
        out.push('\n');
    }
    out.push_str(&best(all));
    if let Some(path) = &all.saved_to {
        let _ = writeln!(out, "kept in {}", safe(path));
    }
    out
}

/// Returns the points of a server, and the reason why some are not there.
fn block(all: &Sweep, one: &SweptCombination) -> String {
    let is_own = |name: &Option<String>| name.as_ref() == Some(&one.name);
    let own = Sweep {
        points: all
            .points
            .iter()
            .filter(|point| is_own(&point.combination))
            .cloned()
            .collect(),
        loads: all
            .loads
            .iter()
            .filter(|load| is_own(&load.combination))
            .cloned()
            .collect(),
        ..Sweep::default()
    };
    let mut out = String::new();
    if !own.points.is_empty() {
        out.push_str(&sweep(&own));
    }
    if let Some(failure) = &one.failure {
        let _ = writeln!(out, "FAILED: {}", safe(&failure.message));
        for cause in &failure.causes {
            let _ = writeln!(out, "  cause: {}", safe(cause));
        }
        for hint in &failure.hints {
            let _ = writeln!(out, "  -> {}", safe(hint));
        }
    }
    out
}

/// Returns the best throughput and the best speed of each server, and its points on the Pareto front. Figures that must not be used
/// are in none of them.
fn best(all: &Sweep) -> String {
    let usable = |point: &&SweptPoint| point.trust != Some(Trust::Untrusted);
    let per_gpu = is_per_gpu(&all.points);
    let throughput = if per_gpu {
        "best all tok/s per GPU"
    } else {
        "best output tok/s"
    };
    let mut rows = vec![row([
        "server",
        throughput,
        "best TPOT p50",
        "on the Pareto front",
    ])];
    for one in &all.combinations {
        let own = || {
            let of = all.points.iter().filter(usable);
            of.filter(|point| point.combination.as_ref() == Some(&one.name))
        };
        let largest = |value: &dyn Fn(&SweptFigures) -> Option<f64>| {
            let values = own().filter_map(|point| Some((point, value(point.figures.as_ref()?)?)));
            values.max_by(|(_, one), (_, other)| one.total_cmp(other))
        };
        let load = |point: &SweptPoint| load_of(&point.kind, point.max_concurrency, point.request_rate);
        let most = largest(&|figures| throughput_of(figures, per_gpu));
        let fastest = largest(&speed_of);
        let front: Vec<String> = own().filter(|point| point.is_on_front).map(load).collect();
        let cells = [
            one.name.clone(),
            most.map_or_else(
                || "-".to_owned(),
                |(point, value)| format!("{value:.1} at {}", load(point)),
            ),
            fastest.map_or_else(
                || "-".to_owned(),
                |(point, speed)| format!("{:.1} ms at {}", 1000.0 / speed, load(point)),
            ),
            if front.is_empty() {
                "-".to_owned()
            } else {
                front.join(", ")
            },
        ];
        rows.push(row(cells.iter().map(String::as_str)));
    }
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::course::combine;
    use crate::report::SweptFailure;

    #[test]
    fn each_server_has_a_block_and_a_row() {
        let point = |slots, tokens, tpot, trust| SweptPoint {
            kind: "concurrency".to_owned(),
            max_concurrency: Some(slots),
            outcome: "measured".to_owned(),
            trust: Some(trust),
            figures: Some(SweptFigures {
                output_throughput: tokens,
                ttft_p50_ms: Some(50.0),
                tpot_p50_ms: Some(tpot),
                ..SweptFigures::default()
            }),
            ..SweptPoint::default()
        };
        let named = |name: &str, failure| SweptCombination {
            name: name.to_owned(),
            failure,
            ..SweptCombination::default()
        };
        let failure = SweptFailure {
            message: "dsr1-wide ended during start".to_owned(),
            causes: vec!["GPU memory ran out at the capture of graphs".to_owned()],
            hints: vec!["dsr1 diagnose wide".to_owned()],
        };
        let mut all = Sweep {
            saved_to: Some("/r/profiles-sweep-1.json".to_owned()),
            ..Sweep::default()
        };
        let (good, bad) = (Trust::Trusted, Trust::Untrusted);
        let fast = vec![point(1, 120.0, 8.0, good), point(64, 2000.0, 30.0, good)];
        combine(&mut all, named("low-latency on current", None), fast);
        let many = vec![point(1, 90.0, 11.0, good), point(64, 3000.0, 20.0, bad)];
        combine(&mut all, named("high-throughput on current", None), many);
        combine(&mut all, named("wide on current", Some(failure)), Vec::new());
        insta::assert_snapshot!(combinations(&all));
    }
}
