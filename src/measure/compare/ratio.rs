//! The ratio of a figure of two sides, and its interval.

use super::side::Side;
use crate::measure::statistics::{Interval, difference_interval, mean};
use crate::report::{Figures, Noise, NoiseSource, Ratio, Times};

/// A figure of a result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) more_is_better: bool,
    value: fn(&Figures) -> Option<f64>,
    /// The noise within a run. That of a mean stands for a median, and none for a tail.
    noise: fn(&Noise) -> Option<f64>,
}

const fn rate(
    name: &'static str,
    value: fn(&Figures) -> Option<f64>,
    noise: fn(&Noise) -> Option<f64>,
) -> Metric {
    Metric {
        name,
        more_is_better: true,
        value,
        noise,
    }
}

const fn time(
    name: &'static str,
    value: fn(&Figures) -> Option<f64>,
    noise: fn(&Noise) -> Option<f64>,
) -> Metric {
    Metric {
        name,
        more_is_better: false,
        value,
        noise,
    }
}

const P50: fn(&Times) -> Option<f64> = |times| times.p50_ms;
const P90: fn(&Times) -> Option<f64> = |times| times.p90_ms;
const P99: fn(&Times) -> Option<f64> = |times| times.p99_ms;

/// The figures that are compared.
pub(super) const METRICS: [Metric; 12] = [
    rate(
        "request_throughput",
        |of| Some(of.request_throughput),
        |noise| noise.request_throughput,
    ),
    rate(
        "output_throughput",
        |of| Some(of.output_throughput),
        |noise| noise.output_throughput,
    ),
    rate(
        "total_throughput",
        |of| Some(of.total_throughput),
        |noise| noise.total_throughput,
    ),
    time("ttft.p50_ms", |of| P50(&of.ttft), |noise| noise.ttft),
    time("ttft.p90_ms", |of| P90(&of.ttft), |_| None),
    time("ttft.p99_ms", |of| P99(&of.ttft), |_| None),
    time("tpot.p50_ms", |of| P50(&of.tpot), |noise| noise.tpot),
    time("tpot.p90_ms", |of| P90(&of.tpot), |_| None),
    time("tpot.p99_ms", |of| P99(&of.tpot), |_| None),
    time("e2e.p50_ms", |of| P50(&of.e2e), |noise| noise.e2e),
    time("e2e.p90_ms", |of| P90(&of.e2e), |_| None),
    time("e2e.p99_ms", |of| P99(&of.e2e), |_| None),
];

/// Returns the ratio of a figure of B to that of A. Intervals are reckoned with logarithms: those of a ratio are a difference.
pub(super) fn compare_figure(metric: &Metric, a: &Side, b: &Side) -> Ratio {
    let logs = |side: &Side| -> Option<Vec<f64>> {
        Some(side.values(metric.value)?.into_iter().map(f64::ln).collect())
    };
    let (of_a, of_b) = (logs(a), logs(b));
    let middle = |logs: &Option<Vec<f64>>| mean(logs.as_ref()?);
    let (mid_a, mid_b) = (middle(&of_a), middle(&of_b));
    let (interval, noise) = match (&of_a, &of_b) {
        (Some(of_a), Some(of_b)) => find_interval(metric, (a, of_a), (b, of_b)),
        _ => (None, NoiseSource::Unknown),
    };
    Ratio {
        metric: metric.name.to_owned(),
        more_is_better: metric.more_is_better,
        a: mid_a.map(f64::exp),
        b: mid_b.map(f64::exp),
        ratio: mid_a.zip(mid_b).map(|(a, b)| (b - a).exp()),
        low: interval.map(|interval| interval.low().exp()),
        high: interval.map(|interval| interval.high().exp()),
        noise,
    }
}

/// Returns the interval of the difference of two sides' logarithms, and the source of its width.
fn find_interval(
    metric: &Metric,
    (a, of_a): (&Side, &[f64]),
    (b, of_b): (&Side, &[f64]),
) -> (Option<Interval>, NoiseSource) {
    if let Some(interval) = difference_interval(of_a, of_b) {
        let source = if of_a.len() > 1 && of_b.len() > 1 {
            NoiseSource::BothSides
        } else {
            NoiseSource::OneSide
        };
        return (Some(interval), source);
    }
    let within = |side: &Side| (metric.noise)(side.runs.first()?.figures.as_ref()?.noise.as_ref()?);
    match (within(a), within(b), of_a, of_b) {
        (Some(one), Some(other), [of_a], [of_b]) => {
            let interval = Interval {
                estimate: of_b - of_a,
                half_width: one.hypot(other),
            };
            (Some(interval), NoiseSource::WithinRuns)
        }
        _ => (None, NoiseSource::Unknown),
    }
}
