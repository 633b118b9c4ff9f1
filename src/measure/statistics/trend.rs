//! A monotonic trend: the test of Mann and Kendall with the correction of Hamed and Rao, and Sen's slope.
//!
//! The test counts the pairs that rise and fall (Mann 1945, Kendall 1975). Values that depend on their predecessors rise
//! or fall in runs without a trend; Hamed and Rao (1998, J. Hydrol. 204:182-196) multiply the variance of the count by
//! a factor from the autocorrelations of the ranks, of which those count that are significant (two-sided 5 %). The ranks
//! are those of the series less Sen's slope. The lags and the detrending follow `hamed_rao_modification_test` of
//! pymannkendall 1.4.3.
//!
//! One thing differs: the factor is at least 1. Negative autocorrelations (values that alternate) would make it smaller,
//! at times negative, so that a small count would pass for a trend.

use super::distribution::normal_tails;
use super::number::{are_usable, as_number};
use super::rank::{autocorrelations, median, rank_values, tie_sizes};

/// The factor of Hamed and Rao divides by n − 2, and a test of fewer values cannot be significant.
const FEWEST: usize = 4;
/// The 97.5th percentile of the standard normal distribution: an autocorrelation beyond it by √n is significant.
const SIGNIFICANT: f64 = 1.959_963_984_540_054;
/// Spread of a detrended series, relative to its values, below which it is rounding errors.
const ROUNDING: f64 = 1e-12;

/// The result of a test for a monotonic trend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// The number of pairs that rise, less that of those that fall (Kendall's S).
    pub score: i64,
    /// The score in corrected standard deviations.
    pub z: f64,
    /// The two-sided probability of such a score without a trend.
    pub p: f64,
    /// The median of the slopes of all pairs per step (Sen 1968).
    pub slope: f64,
    /// The slope relative to the median of the values, per step; not finite if that is 0.
    pub relative_per_step: f64,
    /// The same from the first value to the last.
    pub relative_total: f64,
}

/// Returns the trend of values in order; `None` of fewer than four. Time and memory grow with the square of their number.
#[must_use]
pub fn test_trend(values: &[f64]) -> Option<Trend> {
    if !are_usable(values, FEWEST) {
        return None;
    }
    let (score, slope) = score_and_slope(values)?;
    let variance = score_variance(values) * variance_factor(values, slope);
    // The score has steps of 1 or 2; the continuity correction moves it one towards 0.
    let distance = as_real(score.abs() - score.signum().abs());
    let z = if variance > 0.0 {
        distance * as_real(score.signum()) / variance.sqrt()
    } else {
        0.0
    };
    let relative_per_step = slope / median(values.to_vec())?;
    Some(Trend {
        score,
        z,
        p: normal_tails(z),
        slope,
        relative_per_step,
        relative_total: relative_per_step * as_number(values.len() - 1),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of pairs in memory is below 2^53"
)]
fn as_real(count: i64) -> f64 {
    count as f64
}

/// Returns Kendall's S and Sen's slope.
fn score_and_slope(values: &[f64]) -> Option<(i64, f64)> {
    let mut score = 0;
    let mut slopes = Vec::with_capacity(values.len() * (values.len() - 1) / 2);
    for (index, first) in values.iter().enumerate() {
        for (step, second) in values[index + 1..].iter().enumerate() {
            score += i64::from(second > first) - i64::from(second < first);
            slopes.push((second - first) / as_number(step + 1));
        }
    }
    Some((score, median(slopes)?))
}

/// Returns the variance of the score of independent values, with ties.
fn score_variance(values: &[f64]) -> f64 {
    let term = |count: usize| {
        let count = as_number(count);
        count * (count - 1.0) * (2.0 * count + 5.0)
    };
    let ties: f64 = tie_sizes(values).into_iter().map(term).sum();
    (term(values.len()) - ties) / 18.0
}

/// Returns the factor of Hamed and Rao by which autocorrelation widens the variance of the score, at least 1.
fn variance_factor(values: &[f64], slope: f64) -> f64 {
    let residuals: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(index, value)| value - slope * as_number(index + 1))
        .collect();
    let (low, high) = residuals
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
    let largest = values
        .iter()
        .fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if high - low <= ROUNDING * largest {
        return 1.0;
    }
    let count = as_number(values.len());
    let bound = SIGNIFICANT / count.sqrt();
    let sum: f64 = autocorrelations(&rank_values(&residuals))
        .into_iter()
        .enumerate()
        .filter(|(_, correlation)| correlation.abs() > bound)
        .map(|(index, correlation)| {
            let rest = count - as_number(index + 1);
            rest * (rest - 1.0) * (rest - 2.0) * correlation
        })
        .sum();
    (1.0 + 2.0 * sum / (count * (count - 1.0) * (count - 2.0))).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{AUTOCORRELATED, FALLING, NILE, RISING_WITH_MEMORY, TIED, ripple};
    use super::*;

    fn assert_near(found: f64, expected: f64, subject: &str) {
        assert!(
            (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
            "{subject}: {found}, not {expected}"
        );
    }

    #[test]
    fn a_trend_is_that_of_pymannkendall() {
        // pymannkendall 1.4.3: `hamed_rao_modification_test` for the first three, whose factors are at least 1 (1, 1 and
        // 1.714), `original_test` for the others, whose factors (.147 and .791) this module does not take.
        for (subject, values, score, z, p, slope) in [
            (
                "ties",
                &TIED[..],
                38,
                2.638_373_921_405_482,
                0.008_330_467_055_410_962,
                0.25,
            ),
            (
                "autocorrelated",
                &AUTOCORRELATED,
                -186,
                -2.523_227_084_670_732,
                0.011_628_328_260_328_89,
                -0.037_407_407_407_407_334,
            ),
            (
                "rising with memory",
                &RISING_WITH_MEMORY,
                216,
                5.342_817_404_519_09,
                9.151_293_545_173_189e-8,
                0.129_285_714_285_714_23,
            ),
            (
                "falling",
                &FALLING,
                -58,
                -3.908_635_243_545_327_3,
                9.281_898_133_684_614e-5,
                -0.25,
            ),
            (
                "Nile",
                &NILE,
                -711,
                -4.529_465_256_804_18,
                5.913_315_665_655_462e-6,
                -6.298_936_170_212_766,
            ),
        ] {
            let trend = test_trend(values).unwrap();
            assert_eq!(trend.score, score, "{subject}");
            assert_near(trend.z, z, subject);
            assert!((trend.p / p - 1.0).abs() < 1e-9, "{subject}: {}", trend.p);
            assert_near(trend.slope, slope, subject);
        }
    }

    #[test]
    fn a_slope_is_relative_to_the_median_and_to_the_whole_series() {
        let values: Vec<f64> = (0..21).map(|index| 100.0 + f64::from(index)).collect();
        let trend = test_trend(&values).unwrap();
        assert_eq!(trend.score, 210);
        assert_near(trend.relative_per_step, 1.0 / 110.0, "per step");
        assert_near(trend.relative_total, 20.0 / 110.0, "total");
        // No rounding error of the detrended series passes for autocorrelation: 209 / sqrt(21 * 20 * 47 / 18).
        assert_near(trend.z, 209.0 / (21.0 * 20.0 * 47.0 / 18.0_f64).sqrt(), "z");
    }

    #[test]
    fn values_without_a_trend_have_none() {
        let equal = test_trend(&[2.0; 12]).unwrap();
        assert_eq!((equal.score, equal.z, equal.p, equal.slope), (0, 0.0, 1.0, 0.0));
        let alternating: Vec<f64> = (0..40)
            .map(|index| if index % 2 == 0 { 1.0 } else { 1.3 })
            .collect();
        assert!(test_trend(&alternating).unwrap().p > 0.5);
        let ripple: Vec<f64> = (0..40).map(|index| 1.0 + 0.1 * ripple(index)).collect();
        assert!(test_trend(&ripple).unwrap().p > 0.1);
        assert_eq!(test_trend(&[1.0, 2.0, 3.0]), None);
        assert_eq!(test_trend(&[1.0, 2.0, 3.0, f64::NAN]), None);
    }
}
