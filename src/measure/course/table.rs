//! The points of a course as a result, and back.

use crate::measure::course::limits::{Limits, Percentile};
use crate::measure::course::visit::{PointOutcome, Visit};
use crate::measure::load::{Arrivals, Load};
use crate::measure::statistics::{mean, repeat_interval};
use crate::report::{Mean, Measurement, SweptFigures, SweptLimits, SweptLoad, SweptPoint, Trust};

/// Returns a point that was measured, with its outcome beside the limits.
#[must_use]
pub fn describe_point(
    load: &Load,
    outcome: PointOutcome,
    limits: Option<&Limits>,
    run: &Measurement,
) -> SweptPoint {
    let high = limits.map_or(Percentile::P90, |limits| limits.percentile);
    let gpus = run.server.gpus().map(f64::from);
    let (outcome, reason) = match outcome {
        PointOutcome::Measured => ("measured", list_worst(run)),
        PointOutcome::Meets => ("meets", None),
        PointOutcome::Misses(reason) => ("misses", Some(reason)),
        PointOutcome::Undecided(reason) => ("undecided", Some(reason)),
    };
    SweptPoint {
        combination: None,
        is_on_front: false,
        kind: load.kind().to_owned(),
        max_concurrency: load.most_in_flight(),
        request_rate: load.per_second(),
        outcome: outcome.to_owned(),
        reason,
        is_saturated: run
            .verdicts
            .iter()
            .any(|verdict| verdict.about == "saturation" && verdict.trust == Trust::Untrusted),
        trust: Some(run.trust),
        figures: run.figures.as_ref().map(|figures| SweptFigures {
            request_throughput: figures.request_throughput,
            output_throughput: figures.output_throughput,
            total_throughput: figures.total_throughput,
            total_throughput_per_gpu: gpus.map(|gpus| figures.total_throughput / gpus),
            concurrency: figures.concurrency,
            ttft_p50_ms: figures.ttft.p50_ms,
            ttft_high_ms: high.of(&figures.ttft),
            tpot_p50_ms: figures.tpot.p50_ms,
            tpot_high_ms: high.of(&figures.tpot),
        }),
        file: run.saved_to.clone().unwrap_or_default(),
    }
}

/// Returns the subjects of the verdicts that make the trust in a run what it is; `None` if nothing speaks against it.
fn list_worst(run: &Measurement) -> Option<String> {
    let worst = run
        .verdicts
        .iter()
        .filter(|verdict| verdict.trust == run.trust && run.trust > Trust::Unknown);
    let subjects: Vec<&str> = worst.map(|verdict| verdict.about.as_str()).collect();
    (!subjects.is_empty()).then(|| subjects.join(", "))
}

/// Returns the point as a course takes it; `None` if it is none of this version.
#[must_use]
pub fn visit_of(point: &SweptPoint) -> Option<Visit> {
    let reason = || point.reason.clone().unwrap_or_default();
    let load = match (&*point.kind, point.max_concurrency, point.request_rate) {
        ("concurrency", Some(slots), None) if slots > 0 => Load::Concurrency(slots),
        (kind, most_in_flight, Some(per_second)) if per_second > 0.0 => Load::Rate {
            per_second,
            arrivals: match kind {
                "poisson" => Arrivals::Poisson,
                "constant" => Arrivals::Constant,
                _ => return None,
            },
            most_in_flight,
        },
        _ => return None,
    };
    let outcome = match &*point.outcome {
        "measured" => PointOutcome::Measured,
        "meets" => PointOutcome::Meets,
        "misses" => PointOutcome::Misses(reason()),
        "undecided" => PointOutcome::Undecided(reason()),
        _ => return None,
    };
    Some(Visit { load, outcome })
}

/// Returns each load once, in the order of the first points, with the means of those of its measurements that may be used.
#[must_use]
pub fn sum_up(points: &[SweptPoint]) -> Vec<SweptLoad> {
    let same = |one: &SweptPoint, other: &SweptPoint| {
        one.combination == other.combination
            && one.kind == other.kind
            && one.max_concurrency == other.max_concurrency
            && one.request_rate == other.request_rate
    };
    let is_first =
        |(index, point): &(usize, &SweptPoint)| !points[..*index].iter().any(|earlier| same(earlier, point));
    let firsts = points.iter().enumerate().filter(is_first);
    firsts
        .map(|(_, first)| {
            let used: Vec<&SweptFigures> = points
                .iter()
                .filter(|point| same(point, first) && point.trust != Some(Trust::Untrusted))
                .filter_map(|point| point.figures.as_ref())
                .collect();
            let mean_of = |value: fn(&SweptFigures) -> Option<f64>| {
                let values: Vec<f64> = used.iter().filter_map(|figures| value(figures)).collect();
                Mean {
                    mean: mean(&values),
                    half_width: repeat_interval(&values).map(|interval| interval.half_width),
                }
            };
            SweptLoad {
                combination: first.combination.clone(),
                kind: first.kind.clone(),
                max_concurrency: first.max_concurrency,
                request_rate: first.request_rate,
                count: u32::try_from(used.len()).unwrap_or(u32::MAX),
                output_throughput: mean_of(|figures| Some(figures.output_throughput)),
                ttft_p50_ms: mean_of(|figures| figures.ttft_p50_ms),
                tpot_p50_ms: mean_of(|figures| figures.tpot_p50_ms),
            }
        })
        .collect()
}

/// Returns the limits as a result.
#[must_use]
pub fn describe_limits(limits: &Limits) -> SweptLimits {
    SweptLimits {
        ttft_ms: limits.ttft_ms,
        tpot_ms: limits.tpot_ms,
        e2e_ms: limits.e2e_ms,
        percentile: limits.percentile.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_was_described() {
        let run = crate::measure::course::fixture::measurement();
        let rate = |arrivals, most_in_flight| Load::Rate {
            per_second: 2.5,
            arrivals,
            most_in_flight,
        };
        let outcomes = [
            PointOutcome::Measured,
            PointOutcome::Meets,
            PointOutcome::Misses("a".to_owned()),
            PointOutcome::Undecided("b".to_owned()),
        ];
        for load in [
            Load::Concurrency(8),
            rate(Arrivals::Poisson, None),
            rate(Arrivals::Constant, Some(4)),
        ] {
            for outcome in &outcomes {
                let visit = visit_of(&describe_point(&load, outcome.clone(), None, &run));
                assert_eq!(
                    visit,
                    Some(Visit {
                        load,
                        outcome: outcome.clone()
                    })
                );
            }
        }
        assert_eq!(visit_of(&SweptPoint::default()), None);
    }

    #[test]
    fn repeats_have_a_mean_and_an_interval_and_bad_ones_none() {
        let point = |slots, tokens, trust| SweptPoint {
            kind: "concurrency".to_owned(),
            max_concurrency: Some(slots),
            trust: Some(trust),
            figures: Some(SweptFigures {
                output_throughput: tokens,
                ..SweptFigures::default()
            }),
            ..SweptPoint::default()
        };
        let points = [
            point(1, 90.0, Trust::Trusted),
            point(4, 200.0, Trust::Trusted),
            point(1, 110.0, Trust::Doubtful),
            point(4, 1.0, Trust::Untrusted),
        ];
        let loads = sum_up(&points);
        assert_eq!(loads.len(), 2);
        assert_eq!(
            (loads[0].count, loads[0].output_throughput.mean),
            (2, Some(100.0))
        );
        // Student's t of one degree of freedom is 12.706; the standard error is 10.
        let half = loads[0].output_throughput.half_width.unwrap();
        assert!((half - 127.06).abs() < 0.1, "{half}");
        assert_eq!(
            loads[1].output_throughput,
            Mean {
                mean: Some(200.0),
                half_width: None
            }
        );
    }
}
