//! Mean, deviation, and the interval of a mean of independent repeats.

use super::distribution::student_quantile;
use super::number::{are_usable, as_number};

/// Probability that an interval misses the true value: intervals are those of 95 %.
pub(super) const RISK: f64 = 0.05;

/// A two-sided confidence interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The estimate, in the middle of the interval.
    pub estimate: f64,
    /// The distance from the estimate to either end.
    pub half_width: f64,
}

impl Interval {
    /// Returns the lower end.
    #[must_use]
    pub fn low(&self) -> f64 {
        self.estimate - self.half_width
    }

    /// Returns the upper end.
    #[must_use]
    pub fn high(&self) -> f64 {
        self.estimate + self.half_width
    }

    /// Returns whether a value lies in the interval.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low()..=self.high()).contains(&value)
    }
}

/// Returns the arithmetic mean; `None` of no value.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    are_usable(values, 1).then(|| values.iter().sum::<f64>() / as_number(values.len()))
}

/// Returns the sum of the squared distances from the mean; 0 of no value.
pub(super) fn squared_deviations(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / as_number(values.len().max(1));
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Returns the standard deviation of a sample, with n − 1 below the root; `None` of fewer than two values.
#[must_use]
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    are_usable(values, 2).then(|| (squared_deviations(values) / as_number(values.len() - 1)).sqrt())
}

/// Returns the standard deviation relative to the mean; `None` of fewer than two values and for a mean of 0.
#[must_use]
pub fn coefficient_of_variation(values: &[f64]) -> Option<f64> {
    let deviation = standard_deviation(values)?;
    let mean = mean(values)?;
    (mean != 0.0).then(|| deviation / mean.abs())
}

/// Returns the interval of the mean of independent repeats by Student's t; `None` of fewer than two.
///
/// Values of one run are not independent: [`batch_interval`](super::batch_interval) is for them.
#[must_use]
pub fn repeat_interval(values: &[f64]) -> Option<Interval> {
    let deviation = standard_deviation(values)?;
    let count = as_number(values.len());
    Some(Interval {
        estimate: mean(values)?,
        half_width: student_quantile(RISK, count - 1.0)? * deviation / count.sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_repeats_is_that_of_scipy() {
        // scipy 1.17.1: numpy.std(ddof=1); t.interval(.95, n - 1, mean, sem).
        for (values, expected_mean, deviation, low, high) in REPEATS {
            let interval = repeat_interval(values).unwrap();
            assert!((interval.estimate - expected_mean).abs() < 1e-9, "{values:?}");
            assert!(
                (standard_deviation(values).unwrap() - deviation).abs() < 1e-9,
                "{values:?}"
            );
            assert!((interval.low() - low).abs() < 1e-6, "{values:?}: {interval:?}");
            assert!((interval.high() - high).abs() < 1e-6, "{values:?}: {interval:?}");
            assert!(interval.contains(expected_mean) && !interval.contains(high + 1e-3));
        }
    }

    #[test]
    fn too_few_values_have_no_figures() {
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0, f64::NAN]), None);
        assert_eq!(standard_deviation(&[1.0]), None);
        assert_eq!(repeat_interval(&[1.0]), None);
        assert_eq!(coefficient_of_variation(&[-1.0, 1.0]), None);
        assert!((coefficient_of_variation(&[9.0, 11.0]).unwrap() - 0.02_f64.sqrt()).abs() < 1e-12);
    }

    const REPEATS: [(&[f64], f64, f64, f64, f64); 4] = [
        (
            &[10.0, 12.0],
            11.0,
            std::f64::consts::SQRT_2,
            -1.706_204_736_2,
            23.706_204_736_2,
        ),
        (
            &[782.0, 770.5, 779.25],
            777.25,
            6.005_206_074_7,
            762.332_241_122_9,
            792.167_758_877_1,
        ),
        (
            &[0.0201, 0.0199, 0.0204, 0.0198, 0.02],
            0.02004,
            0.000_230_217_288_7,
            0.019_754_147_480_9,
            0.020_325_852_519_1,
        ),
        (
            &[100.0, 101.0, 99.0, 100.5, 98.5, 100.2, 99.9, 101.3],
            100.05,
            0.942_640_667_8,
            99.261_932_680_1,
            100.838_067_319_9,
        ),
    ];
}
