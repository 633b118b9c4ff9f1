//! A count as a number.

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of values in memory is below 2^53"
)]
pub(super) fn as_number(count: usize) -> f64 {
    count as f64
}

/// Returns whether there are at least `fewest` values, and all of them are finite.
pub(super) fn are_usable(values: &[f64], fewest: usize) -> bool {
    values.len() >= fewest && values.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_values_and_infinite_ones_are_not_usable() {
        assert!(are_usable(&[1.0, 2.0], 2));
        assert!(!are_usable(&[1.0], 2));
        assert!(!are_usable(&[1.0, f64::NAN], 2));
        assert!(!are_usable(&[1.0, f64::INFINITY], 2));
    }
}
