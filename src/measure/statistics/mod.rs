//! The statistics of a measurement, over plain numbers: no unit, no clock, no input or output.
//!
//! | module | subject |
//! |---|---|
//! | `percentile` | percentiles, and the number of samples below which none is claimed |
//! | `mean` | mean, deviation, and the interval of a mean of independent repeats |
//! | `proportion` | the interval of a share of successes |
//! | `difference` | the interval of a difference of two means |
//! | `batch` | the interval of a mean of an autocorrelated series |
//! | `trend` | a monotonic trend: Mann-Kendall with the correction of Hamed and Rao, Sen's slope |
//! | `line` | a straight line by least squares, and the interval of its slope |
//! | `change` | one change of level: Pettitt's test |
//! | `warmup` | the end of a start-up transient: MSER |
//! | `window` | the steady part of a series of blocks, or the reason why there is none |
//! | `distribution` | tails and quantiles of the normal distribution and of Student's t |
//! | `rank` | ranks with ties, the median, the autocorrelation of ranks |
//! | `number` | a count as a number |
//!
//! All functions return `None` for fewer values than they need and for values that are not finite.
//!
//! Not in this module tree: the choice of the samples (a request that failed, a warm-up request), units, and the words
//! of a verdict.

mod batch;
mod change;
mod difference;
mod distribution;
mod line;
mod mean;
mod number;
mod percentile;
mod proportion;
mod rank;
#[cfg(test)]
mod tests;
mod trend;
mod warmup;
mod window;

pub use batch::batch_interval;
pub use change::{Change, find_change};
pub use difference::difference_interval;
pub use line::{Line, fit_autocorrelated_line, fit_line};
pub use mean::{Interval, coefficient_of_variation, mean, repeat_interval, standard_deviation};
pub use percentile::{claimed_percentile, interpolated_percentile, minimum_samples};
pub use proportion::{grouped_share_interval, share_interval};
pub use trend::{Trend, test_trend};
pub use warmup::warmup_end;
pub use window::{Steadiness, Verdict, judge_steadiness};
