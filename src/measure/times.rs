//! Distributions of times: milliseconds with the percentiles that their number of samples allows.

use crate::measure::statistics::{claimed_percentile, interpolated_percentile, mean, minimum_samples};
use crate::report::Times;

/// A value of a percentile, and the number of samples that decides whether it is claimed.
type Claim = fn(&[f64], f64) -> Option<f64>;

/// Returns the distribution of values in seconds, with the percentiles that their number allows.
pub(super) fn times_of(values: Vec<f64>) -> Times {
    distribution(values, claimed_percentile)
}

/// Returns the distribution of values in seconds with all percentiles, as tools without sample floors print them.
pub(super) fn all_times_of(values: Vec<f64>) -> Times {
    distribution(values, interpolated_percentile)
}

fn distribution(mut values: Vec<f64>, claim: Claim) -> Times {
    values.sort_by(f64::total_cmp);
    let at = |percentile| claim(&values, percentile).map(millis);
    Times {
        count: values.len() as u64,
        mean_ms: mean(&values).map(millis),
        p50_ms: at(50.0),
        p75_ms: at(75.0),
        p90_ms: at(90.0),
        p95_ms: at(95.0),
        p99_ms: at(99.0),
        p99_9_ms: at(99.9),
        min_ms: values.first().copied().map(millis),
        max_ms: values.last().copied().map(millis),
    }
}

/// Most values of a distribution for a plot: the least, the most, and a percentile each between them.
const MOST_VALUES: u32 = 101;

/// Returns values in seconds as at most [`MOST_VALUES`] milliseconds, ascending, at even distances in their order.
pub(super) fn distribution_of(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let count = u32::try_from(values.len()).map_or(MOST_VALUES, |count| count.min(MOST_VALUES));
    let last = f64::from(count.saturating_sub(1).max(1));
    (0..count)
        .filter_map(|index| interpolated_percentile(&values, f64::from(index) / last * 100.0))
        // A microsecond is finer than a plot, and than the clock of most servers.
        .map(|value| (millis(value) * 1000.0).round() / 1000.0)
        .collect()
}

/// Returns the distribution of values in seconds that stand for several samples each.
pub(super) fn weighted_times_of(mut values: Vec<(f64, u32)>) -> Times {
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let count: u64 = values.iter().map(|(_, weight)| u64::from(*weight)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
    let total = count as f64;
    let sum: f64 = values
        .iter()
        .map(|(value, weight)| value * f64::from(*weight))
        .sum();
    let at = |percentile: f64| {
        let is_enough = minimum_samples(percentile).is_some_and(|least| count >= least as u64);
        is_enough
            .then(|| value_at(&values, (total - 1.0) * percentile / 100.0))
            .flatten()
            .map(millis)
    };
    Times {
        count,
        mean_ms: (count > 0).then(|| millis(sum / total)),
        p50_ms: at(50.0),
        p75_ms: at(75.0),
        p90_ms: at(90.0),
        p95_ms: at(95.0),
        p99_ms: at(99.0),
        p99_9_ms: at(99.9),
        min_ms: values.first().map(|(value, _)| millis(*value)),
        max_ms: values.last().map(|(value, _)| millis(*value)),
    }
}

/// Returns the value at a rank, from 0, of ascending values. Ranks between two samples take the lower one.
fn value_at(values: &[(f64, u32)], rank: f64) -> Option<f64> {
    let mut seen = 0.0;
    for (value, weight) in values {
        seen += f64::from(*weight);
        if seen > rank {
            return Some(*value);
        }
    }
    values.last().map(|(value, _)| *value)
}

fn millis(seconds: f64) -> f64 {
    seconds * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_its_samples() {
        let some = times_of((1..=64).map(f64::from).collect());
        assert_eq!((some.count, some.p95_ms, some.p99_ms), (64, None, None));
        assert!(some.p50_ms.is_some() && some.p90_ms.is_some());
        assert_eq!((some.min_ms, some.max_ms), (Some(1000.0), Some(64_000.0)));
        assert_eq!(times_of(vec![1.0; 10]).p50_ms, None);
        assert_eq!(all_times_of(vec![2.0]).p99_ms, Some(2000.0));
        assert_eq!(times_of(Vec::new()), Times::default());
    }

    #[test]
    fn a_distribution_has_at_most_a_value_for_each_percentile() {
        let whole = distribution_of((0..=1000).rev().map(|value| f64::from(value) / 1000.0).collect());
        assert_eq!(whole.len(), 101);
        assert_eq!((whole[0], whole[50], whole[100]), (0.0, 500.0, 1000.0));
        assert_eq!(distribution_of(vec![0.003, 0.001, 0.002]), [1.0, 2.0, 3.0]);
        assert_eq!(distribution_of(vec![0.002]), [2.0]);
        assert_eq!(distribution_of(Vec::new()), [0.0; 0]);
    }

    #[test]
    fn weights_count_as_samples() {
        let weighted = weighted_times_of(vec![(3.0, 10), (1.0, 90)]);
        assert_eq!((weighted.count, weighted.mean_ms), (100, Some(1200.0)));
        assert_eq!((weighted.p50_ms, weighted.p90_ms), (Some(1000.0), Some(1000.0)));
        assert_eq!(weighted_times_of(vec![(3.0, 20), (1.0, 80)]).p90_ms, Some(3000.0));
        assert_eq!(weighted.p95_ms, None);
        assert_eq!(weighted_times_of(Vec::new()).mean_ms, None);
    }
}
