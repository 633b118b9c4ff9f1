//! The gate: a regression beyond noise and tolerance.
//!
//! Throughput and TPOT are steady between runs of one server. TTFT is not: its p99 was 708 to 1670 ms in runs of one load
//! (`aicr`#1192, #1196, #1197), so that its median has a tolerance of its own, and its tail is not judged.

use super::comparison::refuse_differences;
use super::difference::{list_differences, list_missing_of_sides};
use super::ratio::{METRICS, compare_figure};
use super::side::Side;
use crate::report::{FigureVerdict, GateVerdict, Gated, GatedFigure, Ratio, SideDifference, Trust};

/// The parts by which a figure may be worse, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerances {
    /// Of throughput and of the median of TPOT.
    pub percent: f64,
    /// Of the median of TTFT.
    pub ttft_percent: f64,
}

/// The figures at the gate.
const FIGURES: [&str; 4] = [
    "request_throughput",
    "output_throughput",
    "tpot.p50_ms",
    "ttft.p50_ms",
];

/// Facts that make a server or a host another one. The engine's version, image and arguments are not among them: their effect
/// is the subject of a gate.
const IDENTITY: [&str; 9] = [
    "model",
    "weights",
    "profile",
    "gpus",
    "driver",
    "cpus",
    "memory",
    "client_cpus",
    "address",
];

/// Growth of the share of failed requests that is a regression by itself.
const MORE_FAILURES: f64 = 0.01;

/// The rules of a judgement.
#[derive(Debug, Clone, Copy)]
struct Rules {
    tolerances: Tolerances,
    /// True if the sides may be of two servers, which are compared with each other.
    takes_other_server: bool,
    /// True if reasons against the comparison are ignored.
    anyway: bool,
    /// True if a figure without an interval is judged by its tolerance alone.
    judges_without_noise: bool,
}

/// Returns the verdict on a result beside its baseline. Differences of load, server and host refuse it, unless `anyway` is set;
/// nothing makes results pass that must not be used. A figure without an interval is judged by its tolerance alone: a gate errs
/// towards a stop.
#[must_use]
pub fn judge_change(baseline: &Side, result: &Side, tolerances: Tolerances, anyway: bool) -> Gated {
    let rules = Rules {
        tolerances,
        takes_other_server: false,
        anyway,
        judges_without_noise: true,
    };
    judge(baseline, result, rules)
}

/// Returns the verdict on a server beside the one that it replaces. Its model, profile and GPUs may be others; a difference of the
/// load or of the meaning of the figures refuses it. Nothing is worse of which the noise is not known.
#[must_use]
pub fn judge_replacement(before: &Side, after: &Side, tolerances: Tolerances) -> Gated {
    let rules = Rules {
        tolerances,
        takes_other_server: true,
        anyway: false,
        judges_without_noise: false,
    };
    judge(before, after, rules)
}

fn judge(baseline: &Side, result: &Side, rules: Rules) -> Gated {
    let differences = list_differences(baseline, result);
    let mut refusals = refuse_differences(&differences);
    if !rules.takes_other_server {
        refusals.extend(refuse_others(&differences));
    }
    let mut untrusted = baseline.reasons_for_distrust();
    untrusted.extend(result.reasons_for_distrust());
    let is_refused = !refusals.is_empty() && !rules.anyway;
    let figures: Vec<GatedFigure> = if is_refused {
        Vec::new()
    } else {
        METRICS
            .iter()
            .filter(|metric| FIGURES.contains(&metric.name))
            .map(|metric| compare_figure(metric, baseline, result))
            // A figure that neither side has does not arise: answers of one token have no TPOT.
            .filter(|ratio| ratio.a.is_some() || ratio.b.is_some())
            .map(|ratio| judge_figure(ratio, rules))
            .collect()
    };
    let is_any = |verdict| figures.iter().any(|figure| figure.verdict == verdict);
    if !is_refused && untrusted.is_empty() {
        let missing = figures
            .iter()
            .filter(|figure| figure.verdict == FigureVerdict::Missing);
        untrusted.extend(missing.map(|figure| {
            let metric = &figure.ratio.metric;
            let side = if figure.ratio.a.is_none() {
                "baseline"
            } else {
                "result"
            };
            format!("the {side} has too few requests for {metric}")
        }));
        if figures.is_empty() {
            untrusted.push("neither side has a figure to judge".to_owned());
        }
    }
    // Many failures make a result untrusted: that is the server's regression unless the client is to blame.
    let has_more_failures = result.failed_share() - baseline.failed_share() > MORE_FAILURES
        && baseline.trust() != Trust::Untrusted
        && !result.is_fault_of_client();
    let verdict = if has_more_failures && !is_refused {
        GateVerdict::Regression
    } else if !untrusted.is_empty() {
        GateVerdict::Untrusted
    } else if is_refused {
        GateVerdict::Refused
    } else if is_any(FigureVerdict::Regression) {
        GateVerdict::Regression
    } else {
        GateVerdict::Passed
    };
    Gated {
        baseline: baseline.describe(),
        result: result.describe(),
        missing: list_missing_of_sides(baseline, result),
        differences,
        refusals,
        untrusted,
        figures,
        verdict,
    }
}

fn refuse_others(differences: &[SideDifference]) -> Vec<String> {
    let others = differences
        .iter()
        .filter(|one| IDENTITY.contains(&one.what.as_str()));
    others
        .map(|one| {
            format!(
                "the {} is another one: {} is {} in the baseline, {} now",
                one.subject.word(),
                one.what,
                one.a,
                one.b
            )
        })
        .collect()
}

/// Judges one figure.
fn judge_figure(ratio: Ratio, rules: Rules) -> GatedFigure {
    let tolerance_percent = if ratio.metric.starts_with("ttft") {
        rules.tolerances.ttft_percent
    } else {
        rules.tolerances.percent
    };
    let tolerance = tolerance_percent / 100.0;
    let verdict = match ratio.ratio {
        None => FigureVerdict::Missing,
        Some(value) => {
            // Positive for a figure that is worse, whichever way that is.
            let worse = if ratio.more_is_better {
                1.0 - value
            } else {
                value - 1.0
            };
            let is_beyond_noise = match (ratio.low, ratio.high) {
                (Some(low), Some(high)) => !(low..=high).contains(&1.0),
                _ => rules.judges_without_noise,
            };
            if worse > tolerance && is_beyond_noise {
                FigureVerdict::Regression
            } else if worse > tolerance {
                FigureVerdict::Noise
            } else if -worse > tolerance && is_beyond_noise {
                FigureVerdict::Better
            } else {
                FigureVerdict::Passed
            }
        }
    };
    GatedFigure {
        ratio,
        tolerance_percent,
        verdict,
    }
}
