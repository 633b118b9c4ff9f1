//! Percentiles, and the number of samples below which none is claimed.
//!
//! The floor is that of `MLPerf` Endpoints (mlcommons/endpoints v0.5, `docs/early_stopping.md` and
//! `metrics/early_stopping.py`), which has it from the early stopping of `MLPerf` `LoadGen` (`loadgen/early_stopping.cc`,
//! `results.cc`). `LoadGen` claims a percentile p by a test of t slow requests among n: the largest t whose probability
//! of at most t slow requests, if the share of slow ones were 1 − p, is below 1 − .99; the t-th largest value is then
//! an upper bound of the percentile with a confidence of .99 and a tolerance of 0. The floor is the smallest n for
//! which t = 1 passes, that is
//!
//! ```text
//! pⁿ + n·(1 − p)·pⁿ⁻¹ < 1 − .99
//! ```
//!
//! It is about 6.64 / (1 − p). Below the median, where `MLPerf` claims nothing, the floor is that of the mirrored
//! percentile, because the tail with fewer values decides there too.

use super::number::{are_usable, as_number};

/// Confidence of the bound (`CONFIDENCE` of `metrics/early_stopping.py`; `results.cc:157` of `LoadGen`).
const CONFIDENCE: f64 = 0.99;

/// Most samples that a floor may ask for; a percentile that needs more is refused.
const MOST_SAMPLES: usize = 1 << 40;

/// Returns the number of samples that a claim of this percentile (0 to 100, both excluded) needs; `None` if no number
/// suffices.
#[must_use]
pub fn minimum_samples(percentile: f64) -> Option<usize> {
    if !(percentile > 0.0 && percentile < 100.0) {
        return None;
    }
    let share = percentile.max(100.0 - percentile) / 100.0;
    let passes = |samples: usize| {
        let samples = as_number(samples);
        share.powf(samples - 1.0) * (share + samples * (1.0 - share)) < 1.0 - CONFIDENCE
    };
    let mut high = 2;
    while !passes(high) {
        high *= 2;
        if high > MOST_SAMPLES {
            return None;
        }
    }
    // At 1 the probability is 1, so that the answer is above `low`.
    let mut low = 1;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if passes(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// Returns the percentile (0 to 100) of ascending values by linear interpolation; `None` below the floor of
/// [`minimum_samples`].
#[must_use]
pub fn claimed_percentile(sorted: &[f64], percentile: f64) -> Option<f64> {
    if sorted.len() < minimum_samples(percentile)? {
        return None;
    }
    interpolated_percentile(sorted, percentile)
}

/// Returns the percentile (0 to 100) of ascending values by linear interpolation, however few they are; `None` if there
/// are none.
///
/// It is the default of `numpy.percentile` (Hyndman and Fan 1996, type 7) with numpy's order of operations, so that a
/// figure agrees with that of SGLang's benchmark.
#[must_use]
pub fn interpolated_percentile(sorted: &[f64], percentile: f64) -> Option<f64> {
    if !are_usable(sorted, 1) || !(0.0..=100.0).contains(&percentile) {
        return None;
    }
    let position = as_number(sorted.len() - 1) * (percentile / 100.0);
    let index = floor_index(position);
    let low = *sorted.get(index)?;
    let high = *sorted.get(index + 1).unwrap_or(&low);
    let part = position - as_number(index);
    // `_lerp` of numpy/lib/_function_base_impl.py (2.4): from the nearer end, so that the last value is exact.
    Some(if part >= 0.5 {
        high - (high - low) * (1.0 - part)
    } else {
        low + (high - low) * part
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position in a slice is not negative, and below its length"
)]
fn floor_index(position: f64) -> usize {
    position as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_those_of_mlperf_endpoints() {
        // `find_min_passing(1, p) + 1` of metrics/early_stopping.py @ea33275.
        for (percentile, floor) in [
            (50.0, 11),
            (75.0, 24),
            (80.0, 31),
            (90.0, 64),
            (95.0, 130),
            (97.0, 219),
            (99.0, 662),
            (99.9, 6636),
            (99.99, 66_381),
        ] {
            assert_eq!(minimum_samples(percentile), Some(floor), "p{percentile}");
        }
        assert_eq!(minimum_samples(1.0), Some(662));
        assert_eq!(minimum_samples(25.0), Some(24));
        for percentile in [0.0, 100.0, -1.0, 101.0, f64::NAN, 100.0_f64.next_down()] {
            assert_eq!(minimum_samples(percentile), None, "p{percentile}");
        }
    }

    #[test]
    fn a_percentile_is_claimed_from_its_floor_on() {
        let values: Vec<f64> = (0..64).map(f64::from).collect();
        assert_eq!(claimed_percentile(&values[..63], 90.0), None);
        assert!((claimed_percentile(&values, 90.0).unwrap() - 56.7).abs() < 1e-12);
        assert_eq!(claimed_percentile(&values, 100.0), None);
    }

    #[test]
    fn interpolation_is_that_of_numpy() {
        let values = [0.1, 0.25, 0.7, 1.3, 1.31, 2.9, 11.0];
        // numpy 2.4.6: np.percentile(values, p).
        for (percentile, expected) in INTERPOLATED {
            assert_eq!(
                interpolated_percentile(&values, percentile),
                Some(expected),
                "p{percentile}"
            );
        }
        assert_eq!(interpolated_percentile(&[3.5], 99.0), Some(3.5));
        assert_eq!(interpolated_percentile(&[], 50.0), None);
        assert_eq!(interpolated_percentile(&values, 101.0), None);
    }

    const INTERPOLATED: [(f64, f64); 12] = [
        (0.0, 0.1),
        (1.0, 0.109),
        (10.0, 0.19),
        (25.0, 0.475),
        (50.0, 1.3),
        (66.6, 1.30996),
        (75.0, 2.105),
        (90.0, 6.140_000_000_000_002),
        (95.0, 8.569_999_999_999_995),
        (99.0, 10.513_999_999_999_996),
        (99.9, 10.951_400_000_000_005),
        (100.0, 11.0),
    ];
}
