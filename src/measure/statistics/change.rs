//! One change of level: the test of Pettitt (1979, Appl. Statist. 28:126-135).

use super::number::{are_usable, as_number};
use super::rank::rank_values;

/// The most likely change of level of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The index of the first value of the second level.
    pub at: usize,
    /// Pettitt's statistic K: the largest distance of the sum of ranks from that without a change, doubled.
    pub statistic: f64,
    /// The two-sided probability of such a statistic without a change: Pettitt's approximation, for independent values.
    /// It is right to .01 up to about .5.
    pub p: f64,
    /// The mean of the values before the change.
    pub before: f64,
    /// The mean of the values from the change on.
    pub after: f64,
}

impl Change {
    /// Returns the step relative to the level before it; not finite if that is 0.
    #[must_use]
    pub fn relative_step(&self) -> f64 {
        (self.after - self.before) / self.before
    }
}

/// Returns the most likely change of level; `None` of fewer than two values.
///
/// The first of several equal statistics counts. A series without a change has one too: its p says so.
#[must_use]
pub fn find_change(values: &[f64]) -> Option<Change> {
    let changes = list_changes(values);
    let mut best = *changes.first()?;
    for change in changes {
        if change.statistic > best.statistic {
            best = change;
        }
    }
    Some(best)
}

/// Returns a change at each index, with the statistic there; none of fewer than two values.
pub(super) fn list_changes(values: &[f64]) -> Vec<Change> {
    if !are_usable(values, 2) {
        return Vec::new();
    }
    let count = as_number(values.len());
    let total: f64 = values.iter().sum();
    let (mut ranks, mut sum) = (0.0, 0.0);
    let changes = rank_values(values).into_iter().zip(values).enumerate();
    changes
        .take(values.len() - 1)
        .map(|(index, (rank, value))| {
            ranks += rank;
            sum += value;
            let before = as_number(index + 1);
            let statistic = (2.0 * ranks - before * (count + 1.0)).abs();
            Change {
                at: index + 1,
                statistic,
                p: (2.0 * (-6.0 * statistic * statistic / (count.powi(3) + count.powi(2))).exp()).min(1.0),
                before: sum / before,
                after: (total - sum) / (count - before),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{AUTOCORRELATED, FALLING, NILE, TIED};
    use super::*;

    #[test]
    fn a_change_is_that_of_pyhomogeneity() {
        // pyhomogeneity 1.1, `pettitt_test(x, sim=None)`: cp, U, p, avg. The Nile fell in 1899, after 28 years.
        for (values, at, statistic, p, before, after) in [
            (
                &TIED[..],
                7,
                32.0,
                0.075_102_299_501_129_14,
                3.285_714_285_714,
                5.0,
            ),
            (
                &FALLING,
                5,
                35.0,
                0.039_433_685_314_621_39,
                9.08,
                7.571_428_571_429,
            ),
            (
                &AUTOCORRELATED,
                17,
                210.0,
                0.000_152_137_812_427_1,
                19.84,
                18.946_153_846_154,
            ),
            (&NILE, 28, 724.0, 1.205_517_704_109_449e-6, 1097.75, 834.375),
        ] {
            let change = find_change(values).unwrap();
            assert_eq!(change.at, at);
            assert!((change.statistic - statistic).abs() < 1e-9, "{change:?}");
            assert!((change.p / p - 1.0).abs() < 1e-9, "{change:?}");
            assert!((change.before - before).abs() < 1e-9, "{change:?}");
            assert!((change.after - after).abs() < 1e-9, "{change:?}");
        }
        let nile = find_change(&NILE).unwrap();
        assert!((nile.relative_step() + 0.239_923).abs() < 1e-6, "{nile:?}");
    }

    #[test]
    fn equal_values_have_an_improbable_change() {
        let change = find_change(&[3.0; 5]).unwrap();
        assert_eq!((change.at, change.statistic, change.p), (1, 0.0, 1.0));
        assert_eq!(find_change(&[1.0]), None);
        assert_eq!(find_change(&[1.0, f64::NAN]), None);
    }
}
