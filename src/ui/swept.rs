//! Several loads that were measured one after the other.

use std::fmt::Write;

use super::safe;
use super::table::{aligned, row};
use crate::report::{FoundLoad, Mean, Sweep, SweptLoad, SweptPoint, Trust};

/// Returns a sweep as tables.
#[must_use]
pub fn sweep(sweep: &Sweep) -> String {
    let mut out = points(sweep);
    let has_repeats = sweep.loads.iter().any(|load| load.count > 1);
    if has_repeats {
        let _ = write!(out, "\n{}", means(&sweep.loads));
    }
    if let Some(limits) = &sweep.limits {
        let named = [
            ("TTFT", limits.ttft_ms),
            ("TPOT", limits.tpot_ms),
            ("E2E latency", limits.e2e_ms),
        ];
        let named: Vec<String> = named
            .iter()
            .filter_map(|(name, limit)| limit.map(|limit| format!("{name} <= {limit} ms")))
            .collect();
        let _ = writeln!(
            out,
            "\nLimits at {}: {}",
            safe(&limits.percentile),
            named.join(", ")
        );
    }
    if let Some(found) = &sweep.found {
        let _ = writeln!(out, "{}", found_load(found));
    }
    if let Some(path) = &sweep.saved_to {
        let _ = writeln!(out, "kept in {}", safe(path));
    }
    out
}

fn points(sweep: &Sweep) -> String {
    let high = sweep.limits.as_ref().map_or("p90", |limits| &limits.percentile);
    let has_gpus = sweep
        .points
        .iter()
        .filter_map(|point| point.figures.as_ref())
        .any(|figures| figures.total_throughput_per_gpu.is_some());
    let mut head = vec!["load", "output tok/s", "tok/s per user"];
    if has_gpus {
        head.push("all tok/s per GPU");
    }
    let of_both = if high == "p50" {
        "p50".to_owned()
    } else {
        format!("p50/{high}")
    };
    let (ttft, tpot) = (format!("TTFT {of_both}"), format!("TPOT {of_both}"));
    head.extend([&*ttft, &*tpot, "trust"]);
    let mut rows = vec![row(head)];
    for point in &sweep.points {
        rows.push(row_of(point, has_gpus, high != "p50"));
    }
    aligned(&rows)
}

fn row_of(point: &SweptPoint, has_gpus: bool, has_high: bool) -> Vec<String> {
    let figures = point.figures.unwrap_or_default();
    let of = |value: Option<f64>| value.filter(|_| point.figures.is_some());
    let number = |value: Option<f64>| of(value).map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    let pair = |low, high| {
        if has_high {
            format!("{} / {} ms", number(low), number(high))
        } else {
            format!("{} ms", number(low))
        }
    };
    let outcome = match (&*point.outcome, point.trust) {
        ("measured", trust) => {
            let word = trust.map_or("-", Trust::word);
            match &point.reason {
                Some(reason) => format!("{word}: {reason}"),
                None => word.to_owned(),
            }
        }
        (outcome, _) => match &point.reason {
            Some(reason) => format!("{outcome}: {reason}"),
            None => outcome.to_owned(),
        },
    };
    let mut cells = vec![
        load_of(&point.kind, point.max_concurrency, point.request_rate),
        number(Some(figures.output_throughput)),
        number(figures.tpot_p50_ms.filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms)),
    ];
    if has_gpus {
        cells.push(number(figures.total_throughput_per_gpu));
    }
    cells.extend([
        pair(figures.ttft_p50_ms, figures.ttft_high_ms),
        pair(figures.tpot_p50_ms, figures.tpot_high_ms),
        outcome,
    ]);
    row(cells.iter().map(String::as_str))
}

/// Returns a load in words.
pub(super) fn load_of(kind: &str, slots: Option<u32>, rate: Option<f64>) -> String {
    match (slots, rate) {
        (_, Some(rate)) => format!("{rate}/s {kind}"),
        (Some(slots), None) => format!("{slots} in flight"),
        (None, None) => kind.to_owned(),
    }
}

fn means(loads: &[SweptLoad]) -> String {
    let of = |mean: Mean| match (mean.mean, mean.half_width) {
        (Some(mean), Some(half)) => format!("{mean:.1} +- {half:.1}"),
        (Some(mean), None) => format!("{mean:.1}"),
        _ => "-".to_owned(),
    };
    let mut rows = vec![row([
        "mean of repeats (95 %)",
        "runs",
        "output tok/s",
        "TTFT p50 ms",
        "TPOT p50 ms",
    ])];
    for load in loads {
        let cells = [
            load_of(&load.kind, load.max_concurrency, load.request_rate),
            load.count.to_string(),
            of(load.output_throughput),
            of(load.ttft_p50_ms),
            of(load.tpot_p50_ms),
        ];
        rows.push(row(cells.iter().map(String::as_str)));
    }
    aligned(&rows)
}

fn found_load(found: &FoundLoad) -> String {
    let unit = safe(&found.unit);
    match (found.meets, found.misses) {
        (Some(meets), Some(misses)) => {
            format!("Largest load within the limits: {meets} {unit}; {misses} exceeds one")
        }
        (Some(meets), None) => {
            format!(
                "All loads keep the limits, up to {meets} {unit}, the largest tried; --to tries larger ones"
            )
        }
        (None, Some(misses)) => {
            format!("No load keeps the limits: {misses} {unit}, the smallest tried, exceeds one")
        }
        (None, None) => "No load was measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{SweptFigures, SweptLimits};

    #[test]
    fn a_sweep_and_a_search_are_tables() {
        let point = |slots, tokens, outcome: &str, reason: Option<&str>| SweptPoint {
            kind: "concurrency".to_owned(),
            max_concurrency: Some(slots),
            outcome: outcome.to_owned(),
            reason: reason.map(str::to_owned),
            trust: Some(Trust::Doubtful),
            figures: Some(SweptFigures {
                output_throughput: tokens,
                total_throughput_per_gpu: Some(tokens / 4.0),
                ttft_p50_ms: Some(50.0),
                ttft_high_ms: None,
                tpot_p50_ms: Some(8.0),
                tpot_high_ms: Some(9.5),
                ..SweptFigures::default()
            }),
            ..SweptPoint::default()
        };
        let mean = |mean, half_width| Mean {
            mean: Some(mean),
            half_width,
        };
        let repeats = Sweep {
            points: vec![
                point(4, 480.0, "measured", None),
                SweptPoint {
                    figures: None,
                    ..point(16, 0.0, "measured", None)
                },
            ],
            loads: vec![SweptLoad {
                kind: "concurrency".to_owned(),
                max_concurrency: Some(4),
                count: 3,
                output_throughput: mean(480.0, Some(3.2)),
                ttft_p50_ms: mean(50.0, Some(1.0)),
                tpot_p50_ms: mean(8.0, None),
                ..SweptLoad::default()
            }],
            saved_to: Some("/r/a.json".to_owned()),
            ..Sweep::default()
        };
        let search = Sweep {
            points: vec![
                point(64, 900.0, "meets", None),
                point(128, 950.0, "misses", Some("p99 of TTFT is 700.0 ms, over 500.0")),
            ],
            limits: Some(SweptLimits {
                ttft_ms: Some(500.0),
                percentile: "p99".to_owned(),
                ..SweptLimits::default()
            }),
            found: Some(FoundLoad {
                unit: "requests in flight".to_owned(),
                meets: Some(64.0),
                misses: Some(128.0),
            }),
            ..Sweep::default()
        };
        insta::assert_snapshot!(format!("{}---\n{}", sweep(&repeats), sweep(&search)));
    }
}
