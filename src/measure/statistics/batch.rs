//! The interval of a mean of an autocorrelated series: batch means.
//!
//! Means of long batches of a stationary series are about independent, so that Student's t holds for them. The number of
//! batches is 10 to 30 (Schmeiser 1982, Oper. Res. 30:556-568: more gain little, and shorten the batches), and about the
//! root of the number of values between.

use super::mean::{Interval, mean, repeat_interval};
use super::number::are_usable;

const FEWEST_BATCHES: usize = 10;
const MOST_BATCHES: usize = 30;
/// Fewest values of a batch.
const FEWEST_IN_BATCH: usize = 2;

/// Returns the interval of the mean of a stationary series; `None` of fewer than 20 values.
///
/// A batch should be much longer than the memory of the series; for an autocorrelation of .5 from a value to the next, 60
/// values suffice.
#[must_use]
pub fn batch_interval(values: &[f64]) -> Option<Interval> {
    if !are_usable(values, FEWEST_BATCHES * FEWEST_IN_BATCH) {
        return None;
    }
    let batches = values.len().isqrt().clamp(FEWEST_BATCHES, MOST_BATCHES);
    // Sizes differ by at most 1, so that no value is left out.
    let edge = |batch: usize| batch * values.len() / batches;
    let means: Vec<f64> = (0..batches)
        .filter_map(|batch| mean(&values[edge(batch)..edge(batch + 1)]))
        .collect();
    Some(Interval {
        estimate: mean(values)?,
        half_width: repeat_interval(&means)?.half_width,
    })
}
