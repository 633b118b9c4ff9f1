//! A straight line by least squares, and the interval of its slope.

use super::distribution::{student_quantile, student_tails};
use super::mean::{Interval, RISK, squared_deviations};
use super::number::{are_usable, as_number};

/// Fewest points with an error of the slope.
const FEWEST: usize = 3;
/// The largest autocorrelation that is taken for one; nearer to 1 the residuals are no stationary series.
const MOST_CORRELATION: f64 = 0.99;

/// A fitted line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// The change of y per unit of x.
    pub slope: f64,
    /// The value at x = 0.
    pub intercept: f64,
    /// The standard error of the slope.
    pub standard_error: f64,
    /// The number of independent residuals, less 2.
    pub degrees_of_freedom: f64,
    /// The sum of the squared residuals.
    pub squared_residuals: f64,
}

impl Line {
    /// Returns the interval of the slope by Student's t.
    #[must_use]
    pub fn slope_interval(&self) -> Option<Interval> {
        Some(Interval {
            estimate: self.slope,
            half_width: student_quantile(RISK, self.degrees_of_freedom)? * self.standard_error,
        })
    }

    /// Returns the two-sided probability of a slope so far from 0 without one.
    #[must_use]
    pub fn p(&self) -> Option<f64> {
        if self.slope == 0.0 {
            return Some(1.0);
        }
        student_tails(self.slope / self.standard_error, self.degrees_of_freedom)
    }
}

/// Returns the line through points (x, y) whose residuals are independent; `None` of fewer than three points and if all
/// have the same x.
#[must_use]
pub fn fit_line(points: &[(f64, f64)]) -> Option<Line> {
    fit(points, |_| 0.0)
}

/// Returns the same line, with an error for residuals that depend on their predecessors, as those of a quantity over time
/// do. Points are in order and about evenly spaced.
///
/// A lag-1 autocorrelation r of the residuals leaves n (1 − r) / (1 + r) independent ones, by which both the error and
/// the degrees of freedom are reckoned (Santer et al. 2000, J. Geophys. Res. 105:7337-7356, "adjusted SE + adjusted
/// df"). A negative r counts as 0.
#[must_use]
pub fn fit_autocorrelated_line(points: &[(f64, f64)]) -> Option<Line> {
    fit(points, |residuals| {
        let squares: f64 = residuals.iter().map(|residual| residual.powi(2)).sum();
        let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
        if squares > 0.0 {
            (products / squares).clamp(0.0, MOST_CORRELATION)
        } else {
            0.0
        }
    })
}

/// Returns the line through values over their index, with the error of [`fit_autocorrelated_line`].
pub(super) fn fit_line_over_order(values: &[f64]) -> Option<Line> {
    let points: Vec<(f64, f64)> = values
        .iter()
        .enumerate()
        .map(|(index, value)| (as_number(index), *value))
        .collect();
    fit_autocorrelated_line(&points)
}

fn fit(points: &[(f64, f64)], correlation: impl Fn(&[f64]) -> f64) -> Option<Line> {
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    if !are_usable(&xs, FEWEST) || !are_usable(&ys, FEWEST) {
        return None;
    }
    let count = as_number(points.len());
    let (x_mean, y_mean) = (xs.iter().sum::<f64>() / count, ys.iter().sum::<f64>() / count);
    let spread = squared_deviations(&xs);
    if spread <= 0.0 {
        return None;
    }
    let slope = points
        .iter()
        .map(|(x, y)| (x - x_mean) * (y - y_mean))
        .sum::<f64>()
        / spread;
    let residuals: Vec<f64> = points
        .iter()
        .map(|(x, y)| y - y_mean - slope * (x - x_mean))
        .collect();
    let squared_residuals: f64 = residuals.iter().map(|residual| residual.powi(2)).sum();
    let correlation = correlation(&residuals);
    let independent = count * (1.0 - correlation) / (1.0 + correlation);
    // Below one degree of freedom Student's t has no meaning; its tails at one are wide enough to claim nothing.
    let degrees_of_freedom = (independent - 2.0).max(1.0);
    Some(Line {
        slope,
        intercept: y_mean - slope * x_mean,
        standard_error: (squared_residuals / degrees_of_freedom / spread).sqrt(),
        degrees_of_freedom,
        squared_residuals,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{AUTOCORRELATED, NILE, TIED};
    use super::*;

    fn points(values: &[f64]) -> Vec<(f64, f64)> {
        values
            .iter()
            .enumerate()
            .map(|(index, value)| (as_number(index), *value))
            .collect()
    }

    #[test]
    fn a_line_is_that_of_statsmodels() {
        // statsmodels 0.15.0, OLS: params, bse, pvalues, conf_int, ssr.
        for (values, intercept, slope, error, p, low, high, residuals) in [
            (
                &TIED[..],
                2.653_846_15,
                0.244_755_24,
                0.061_641_680_758_151_1,
                0.002_640_725_446_556_675_3,
                0.107_409_02,
                0.382_101_47,
                5.433_566_433_566_434,
            ),
            (
                &NILE,
                1_147.210_382_51,
                -6.438_205_06,
                1.147_465_370_065_513_7,
                5.914_593_950_940_319e-7,
                -8.735_106_55,
                -4.141_303_56,
                1_374_228.717_356_673_2,
            ),
        ] {
            let line = fit_line(&points(values)).unwrap();
            let interval = line.slope_interval().unwrap();
            assert!((line.intercept / intercept - 1.0).abs() < 1e-8, "{line:?}");
            assert!((line.slope / slope - 1.0).abs() < 1e-7, "{line:?}");
            assert!((line.standard_error / error - 1.0).abs() < 1e-9, "{line:?}");
            assert!((line.p().unwrap() / p - 1.0).abs() < 1e-7, "{line:?}");
            assert!((interval.low() - low).abs() < 1e-7, "{interval:?}");
            assert!((interval.high() - high).abs() < 1e-7, "{interval:?}");
            assert!(
                (line.squared_residuals / residuals - 1.0).abs() < 1e-9,
                "{line:?}"
            );
        }
    }

    #[test]
    fn memory_widens_the_error() {
        // The formula of Santer et al. in numpy, on the residuals of statsmodels.
        for (values, error, degrees) in [
            (
                &AUTOCORRELATED[..],
                0.021_363_524_590_635_327,
                5.534_803_639_934_724,
            ),
            (&NILE, 1.520_464_860_085_605, 33.033_485_005_479_26),
            // A negative autocorrelation counts as 0.
            (&TIED, 0.061_641_680_758_151_08, 10.0),
        ] {
            let line = fit_autocorrelated_line(&points(values)).unwrap();
            assert!((line.standard_error / error - 1.0).abs() < 1e-9, "{line:?}");
            assert!((line.degrees_of_freedom / degrees - 1.0).abs() < 1e-9, "{line:?}");
            assert!((line.slope - fit_line(&points(values)).unwrap().slope).abs() < 1e-15);
        }
    }

    #[test]
    fn points_without_a_line_have_none() {
        assert_eq!(fit_line(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(fit_line(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(fit_line(&[(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)]), None);
        let flat = fit_line(&[(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)]).unwrap();
        assert_eq!(flat.p(), Some(1.0));
        let exact = fit_autocorrelated_line(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]).unwrap();
        assert!(exact.p().unwrap() < 1e-6);
        assert!(exact.slope_interval().unwrap().contains(1.0));
    }
}
