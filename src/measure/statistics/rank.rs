//! Ranks with ties, the median, and the autocorrelation of ranks.

use super::number::as_number;

/// Returns the ranks of values from 1; equal values share the mean of their ranks.
#[expect(clippy::float_cmp, reason = "a tie is a pair of equal values")]
pub(super) fn rank_values(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut begin = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = as_number(2 * begin + group.len() + 1) / 2.0;
        for index in group {
            ranks[*index] = rank;
        }
        begin += group.len();
    }
    ranks
}

/// Returns the median; `None` of no value.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    let half = values.len() / 2;
    let is_even = values.len().is_multiple_of(2);
    if values.is_empty() {
        return None;
    }
    let (below, middle, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let middle = *middle;
    if !is_even {
        return Some(middle);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some(f64::midpoint(lower, middle))
}

/// Returns the sizes of the groups of equal values.
#[expect(clippy::float_cmp, reason = "a tie is a pair of equal values")]
pub(super) fn tie_sizes(values: &[f64]) -> Vec<usize> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(<[f64]>::len).collect()
}

/// Returns the autocorrelations of the lags 1, 2, ... up to the number of values less 1; all are 0 if the values are equal.
pub(super) fn autocorrelations(values: &[f64]) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / as_number(values.len().max(1));
    let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let product = |lag: usize| -> f64 {
        deviations
            .iter()
            .zip(&deviations[lag..])
            .map(|(a, b)| a * b)
            .sum()
    };
    let variance = product(0);
    (1..values.len())
        .map(|lag| {
            if variance > 0.0 {
                product(lag) / variance
            } else {
                0.0
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_mean_rank() {
        assert_eq!(rank_values(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(rank_values(&[0.0, -0.0, 1.0]), [1.5, 1.5, 3.0]);
        assert_eq!(tie_sizes(&[3.0, 1.0, 3.0, 2.0, 3.0]), [1, 1, 3]);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn autocorrelations_are_those_of_the_textbook() {
        // By hand: deviations -1.5, -.5, .5, 1.5; their products by lag 1.25, -1.5, -2.25; variance 5.
        let found = autocorrelations(&[1.0, 2.0, 3.0, 4.0]);
        for (found, expected) in found.iter().zip([0.25, -0.3, -0.45]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        assert_eq!(autocorrelations(&[2.0; 3]), [0.0, 0.0]);
    }
}
