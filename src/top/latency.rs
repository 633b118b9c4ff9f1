//! Quantiles of a histogram, as Prometheus' `histogram_quantile` computes them.

use crate::sglang::Histogram;

/// A quantile of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// There were no values.
    NoValues,
    /// About so many seconds: values are held to be spread evenly within a bucket.
    About(f64),
    /// More than the largest finite bound, in seconds.
    Above(f64),
}

/// Three quantiles of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latencies {
    /// The median.
    pub p50: Latency,
    /// The 90th percentile.
    pub p90: Latency,
    /// The 99th percentile.
    pub p99: Latency,
}

impl Latencies {
    /// Returns the quantiles of a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        Self {
            p50: quantile(histogram, 0.5),
            p90: quantile(histogram, 0.9),
            p99: quantile(histogram, 0.99),
        }
    }
}

/// Returns the quantile of a share between 0 and 1.
fn quantile(histogram: &Histogram, share: f64) -> Latency {
    let total = histogram.total();
    if total == 0 {
        return Latency::NoValues;
    }
    let rank = share * as_number(total);
    let (mut low, mut below) = (0.0, 0);
    for (bound, count) in histogram.buckets() {
        if *count > 0 && as_number(*count) >= rank {
            if bound.is_infinite() {
                return Latency::Above(low);
            }
            let inside = as_number(count.saturating_sub(below));
            let part = if inside > 0.0 {
                ((rank - as_number(below)) / inside).clamp(0.0, 1.0)
            } else {
                1.0
            };
            return Latency::About(low + (bound - low) * part);
        }
        (low, below) = (*bound, *count);
    }
    Latency::NoValues
}

#[expect(clippy::cast_precision_loss, reason = "a count; a server does not reach 2^53")]
fn as_number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_prometheus() {
        const INF: f64 = f64::INFINITY;
        for (buckets, share, expected) in [
            (&[][..], 0.5, Latency::NoValues),
            (&[(1.0, 0), (INF, 0)], 0.5, Latency::NoValues),
            // Within the first bucket, which begins at 0.
            (&[(1.0, 10), (INF, 10)], 0.5, Latency::About(0.5)),
            (&[(1.0, 10), (INF, 10)], 0.9, Latency::About(0.9)),
            // Within a later bucket.
            (
                &[(1.0, 50), (2.0, 90), (4.0, 100), (INF, 100)],
                0.5,
                Latency::About(1.0),
            ),
            (
                &[(1.0, 50), (2.0, 90), (4.0, 100), (INF, 100)],
                0.7,
                Latency::About(1.5),
            ),
            (
                &[(1.0, 50), (2.0, 90), (4.0, 100), (INF, 100)],
                0.95,
                Latency::About(3.0),
            ),
            // Empty buckets are passed over.
            (
                &[(1.0, 0), (2.0, 0), (4.0, 4), (8.0, 4), (INF, 4)],
                0.5,
                Latency::About(3.0),
            ),
            // Above the largest finite bound.
            (&[(1.0, 10), (400.0, 90), (INF, 100)], 0.99, Latency::Above(400.0)),
            (&[(INF, 3)], 0.5, Latency::Above(0.0)),
            (&[(1.0, 1), (INF, 1)], 0.99, Latency::About(0.99)),
        ] {
            assert_eq!(
                quantile(&Histogram::new(buckets.to_vec()), share),
                expected,
                "{buckets:?} {share}"
            );
        }
    }

    #[test]
    fn a_histogram_without_an_infinite_bound_has_its_last_one() {
        let histogram = Histogram::new(vec![(1.0, 1), (2.0, 2)]);
        assert_eq!(quantile(&histogram, 1.0), Latency::About(2.0));
    }

    proptest::proptest! {
        #[test]
        fn a_quantile_is_within_the_bounds(buckets in proptest::collection::vec((0.0..1e9_f64, 0_u64..u64::MAX), 0..20), share in 0.0..=1.0_f64) {
            let histogram = Histogram::new(buckets);
            let last = histogram.buckets().last().map_or(0.0, |(bound, _)| *bound);
            match quantile(&histogram, share) {
                Latency::NoValues => proptest::prop_assert_eq!(histogram.total(), 0),
                Latency::About(seconds) => proptest::prop_assert!(seconds >= 0.0 && seconds <= last),
                Latency::Above(seconds) => proptest::prop_assert!(seconds <= last),
            }
        }
    }
}
