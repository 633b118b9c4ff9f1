//! The difference of two means of independent repeats, and its interval.

use super::distribution::student_quantile;
use super::mean::{Interval, RISK, mean, squared_deviations};
use super::number::{are_usable, as_number};

/// Returns the interval of the mean of `after` less the mean of `before`; `None` unless one of them has at least two values
/// and the other one at least one.
///
/// Two samples may have different deviations (Welch 1947, Biometrika 34:28-35, with his degrees of freedom). A single value
/// has no deviation of its own: it takes that of the other sample, as Student's test of two samples does.
#[must_use]
pub fn difference_interval(before: &[f64], after: &[f64]) -> Option<Interval> {
    if !are_usable(before, 1) || !are_usable(after, 1) {
        return None;
    }
    let (squared, degrees) = match (before.len(), after.len()) {
        (1, 1) => return None,
        (1, _) => pooled(after),
        (_, 1) => pooled(before),
        _ => separate(before, after),
    };
    let half_width = if squared > 0.0 {
        student_quantile(RISK, degrees)? * squared.sqrt()
    } else {
        0.0
    };
    Some(Interval {
        estimate: mean(after)? - mean(before)?,
        half_width,
    })
}

/// Returns the squared error of the difference of a sample's mean and one further value, and its degrees of freedom.
fn pooled(many: &[f64]) -> (f64, f64) {
    let count = as_number(many.len());
    let variance = squared_deviations(many) / (count - 1.0);
    (variance * (1.0 + 1.0 / count), count - 1.0)
}

/// Returns the squared error of the difference of two means, and Welch's degrees of freedom.
fn separate(before: &[f64], after: &[f64]) -> (f64, f64) {
    let part = |values: &[f64]| {
        let count = as_number(values.len());
        let squared = squared_deviations(values) / (count - 1.0) / count;
        (squared, squared * squared / (count - 1.0))
    };
    let ((one, of_one), (other, of_other)) = (part(before), part(after));
    let squared = one + other;
    (squared, squared * squared / (of_one + of_other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_scipy() {
        // scipy 1.17.1: ttest_ind(after, before, equal_var=False).confidence_interval(.95); with a single value
        // equal_var=True.
        let cases: [(&[f64], &[f64], f64, f64); 5] = [
            (
                &[4.60, 4.62, 4.61],
                &[4.55, 4.58, 4.53],
                -0.110_818_563_881,
                -0.002_514_769_452,
            ),
            (
                &[1.0, 1.2],
                &[0.9, 1.0, 1.3, 0.8],
                -0.550_177_047_346,
                0.350_177_047_346,
            ),
            (
                &[3.1, 3.1, 3.1],
                &[3.0, 3.2],
                -1.270_620_473_617,
                1.270_620_473_617,
            ),
            (&[4.6], &[4.55, 4.58, 4.53], -0.171_698_856_254, 0.078_365_522_921),
            (&[1.0, 1.2, 1.1], &[1.5], -0.096_827_542_350, 0.896_827_542_350),
        ];
        for (before, after, low, high) in cases {
            let found = difference_interval(before, after).unwrap();
            assert!((found.low() - low).abs() < 1e-6, "{found:?} {low}");
            assert!((found.high() - high).abs() < 1e-6, "{found:?} {high}");
        }
    }

    #[test]
    fn single_values_have_no_interval_and_equal_ones_one_without_width() {
        assert_eq!(difference_interval(&[1.0], &[2.0]), None);
        assert_eq!(difference_interval(&[], &[2.0, 3.0]), None);
        assert_eq!(difference_interval(&[1.0, f64::NAN], &[2.0, 3.0]), None);
        let equal = difference_interval(&[1.0, 1.0], &[2.0, 2.0]).unwrap();
        assert!((equal.low() - 1.0).abs() < 1e-12 && (equal.high() - 1.0).abs() < 1e-12);
    }
}
