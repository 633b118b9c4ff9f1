//! The steady part of a series of blocks, or the reason why there is none.
//!
//! A block is a number of requests in the order of their issue, and its value a robust figure of them: the median of
//! their TPOT, whose values scatter by 1 to 3 % from block to block on a steady server, where those of TTFT scatter by
//! 30 to 90 % (mlcommons/endpoints, `docs/steady-state-detection.md`, from which the order of the rules is). The rules,
//! of which the first that applies decides:
//!
//! 1. Fewer than 30 blocks: [`Verdict::TooShort`].
//! 2. A change of level in the whole series whose first level has at least a quarter of the blocks:
//!    [`Verdict::Staircase`]. An earlier change belongs to the start.
//! 3. The start-up transient is cropped by precision alone (`warmup`), at most half of the blocks. All later rules are
//!    about the rest, the window.
//! 4. A change of level in the window: [`Verdict::Staircase`].
//! 5. A drift over the window: [`Verdict::DriftingUp`] or [`Verdict::DriftingDown`].
//! 6. A coefficient of variation above .15: [`Verdict::None`].
//! 7. Else [`Verdict::Plateau`].
//!
//! A *drift* is significant (Mann-Kendall with Hamed and Rao's correction, p < .01), is confirmed by a line whose error
//! allows for autocorrelation (p < .01), and comes to at least 5 % of the median over the window, by Sen's slope. The
//! second test is there because Hamed and Rao's correction alone is too small for few blocks: at 20 to 40 blocks with an
//! autocorrelation of .5, 4 to 7 % of steady series passed for drifts; with it, half of them.
//!
//! A *change of level* is significant (Pettitt, p < .01), comes to at least 10 %, leaves smaller squared residuals than
//! a straight line, is confirmed as a regressor whose error allows for autocorrelation (p < .01), and is larger than the
//! change within its first level, by Sen's slope: a ramp is no level.
//!
//! Of 1000 simulated series (AR(1) with this autocorrelation and variation of the blocks), so many percent were not called
//! a plateau if they were steady, were called drifts in the right direction if they rose by 10 % in all, and staircases if
//! they rose by 20 % at the half:
//!
//! | autocorrelation | variation | blocks | steady | drift | step |
//! |---|---|---|---|---|---|
//! | 0 | 3 % | 30, 60, 100 | .2, .1, 0 | 95, 100, 100 | 100, 100, 100 |
//! | .5 | 1.5 % | 30, 60, 100 | 0, 0, 0 | 92, 100, 100 | 100, 100, 100 |
//! | .5 | 3 % | 30, 60, 100 | 1.5, 1.2, .3 | 61, 86, 99 | 99, 100, 100 |
//! | .5 | 5 % | 30, 60, 100 | 3.2, 2.0, 1.8 | 24, 42, 66 | 93, 100, 100 |
//! | .5 | 10 % | 30, 60, 100 | 7.0, 6.4, 4.9 | 3, 3, 5 | 65, 85, 94 |
//!
//! So a plateau of noisy blocks says little about a drift of 10 %: there, more blocks or longer ones are needed. A step
//! in the first quarter passes for the start-up, and one in the last few blocks is not significant.

use super::change::{Change, find_change, list_changes};
use super::line::{Line, fit_autocorrelated_line, fit_line_over_order};
use super::mean::coefficient_of_variation;
use super::number::{are_usable, as_number};
use super::trend::{Trend, test_trend};
use super::warmup::warmup_end;

/// Fewest blocks with a verdict. Below it, Pettitt's test does not see a step that leaves a quarter of the
/// blocks on one side, and more than 2 % of steady series with an autocorrelation of .5 pass for drifts.
const FEWEST_BLOCKS: usize = 30;
/// Probability below which a trend or a change is significant.
const SIGNIFICANT: f64 = 0.01;
/// Change over the window that matters (`TREND_REL_DRIFT_MIN` of mlcommons/endpoints).
const LEAST_DRIFT: f64 = 0.05;
/// Step that matters: above the 5 % of a drift, because a step is reported with its place.
const LEAST_STEP: f64 = 0.10;
/// The first level of a staircase has at least this part of the blocks: one in so many.
const FIRST_LEVEL: usize = 4;
/// Coefficient of variation above which blocks are not steady: the loosest bound of the ensemble of mlcommons/endpoints
/// (`DEFAULT_ENSEMBLE` of `steady_state/drift.py`: .03 to .15).
const MOST_VARIATION: f64 = 0.15;

/// The verdict on a series of blocks. Indices are those of the whole series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The blocks `from..to` are steady.
    Plateau {
        /// The first block.
        from: usize,
        /// The block after the last.
        to: usize,
    },
    /// The values rise until the end.
    DriftingUp,
    /// The values fall until the end.
    DriftingDown,
    /// The level changes once.
    Staircase {
        /// The first block of the second level.
        at: usize,
    },
    /// The blocks scatter too much to have a level.
    None,
    /// There are too few blocks.
    TooShort,
}

/// The verdict on a series of blocks, and its evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steadiness {
    /// The verdict.
    pub verdict: Verdict,
    /// The blocks at the start that were cropped.
    pub cropped: usize,
    /// The trend of the blocks after the crop; `None` of too few blocks.
    pub trend: Option<Trend>,
    /// The step of a staircase, else the most likely change of level of the blocks after the crop (Pettitt), at the index of
    /// the whole series.
    pub change: Option<Change>,
    /// The coefficient of variation of the blocks after the crop.
    pub variation: Option<f64>,
}

/// Returns the verdict on the values of blocks in the order of their issue.
#[must_use]
pub fn judge_steadiness(blocks: &[f64]) -> Steadiness {
    if !are_usable(blocks, FEWEST_BLOCKS) {
        return Steadiness {
            verdict: Verdict::TooShort,
            cropped: 0,
            trend: None,
            change: None,
            variation: None,
        };
    }
    let early = find_step(blocks).filter(|change| change.at * FIRST_LEVEL >= blocks.len());
    let cropped = if early.is_some() { 0 } else { warmup_end(blocks) };
    let window = &blocks[cropped..];
    let step = early.or_else(|| find_step(window));
    let trend = test_trend(window);
    let variation = coefficient_of_variation(window);
    let verdict = if let Some(step) = step {
        Verdict::Staircase {
            at: cropped + step.at,
        }
    } else if let Some(trend) = trend.filter(|trend| is_drift(trend, window)) {
        if trend.slope > 0.0 {
            Verdict::DriftingUp
        } else {
            Verdict::DriftingDown
        }
    } else if variation.is_none_or(|variation| variation > MOST_VARIATION) {
        Verdict::None
    } else {
        Verdict::Plateau {
            from: cropped,
            to: blocks.len(),
        }
    };
    Steadiness {
        verdict,
        cropped,
        trend,
        change: step.or_else(|| find_change(window)).map(|change| Change {
            at: cropped + change.at,
            ..change
        }),
        variation,
    }
}

/// Returns whether a trend is significant and matters.
fn is_drift(trend: &Trend, window: &[f64]) -> bool {
    let is_confirmed = || {
        let line = fit_line_over_order(window)?;
        let p = line.p()?;
        Some(p < SIGNIFICANT && (line.slope > 0.0) == (trend.slope > 0.0))
    };
    trend.p < SIGNIFICANT && trend.relative_total.abs() >= LEAST_DRIFT && is_confirmed().unwrap_or(false)
}

/// Returns the change of level if it is significant, matters, and is a step rather than a slope.
///
/// Pettitt's index is that of the largest sum of ranks, which a slope of the longer level moves. The step is at the
/// significant index with the smallest squared residuals.
fn find_step(blocks: &[f64]) -> Option<Change> {
    let (change, step) = list_changes(blocks)
        .into_iter()
        .filter(|change| change.p < SIGNIFICANT)
        .filter_map(|change| Some((change, fit_step(blocks, change.at)?)))
        .min_by(|a, b| a.1.squared_residuals.total_cmp(&b.1.squared_residuals))?;
    let first = &blocks[..change.at];
    let within_first = test_trend(first).map_or(0.0, |trend| trend.slope * as_number(first.len() - 1));
    let is_step = change.relative_step().abs() >= LEAST_STEP
        && step.p()? < SIGNIFICANT
        && step.squared_residuals < fit_line_over_order(blocks)?.squared_residuals
        && within_first.abs() < step.slope.abs();
    is_step.then_some(change)
}

/// Returns the step as the slope of a line over an x that is 0 before it and 1 from it on.
fn fit_step(blocks: &[f64], at: usize) -> Option<Line> {
    let points: Vec<(f64, f64)> = blocks
        .iter()
        .enumerate()
        .map(|(index, value)| (if index < at { 0.0 } else { 1.0 }, *value))
        .collect();
    fit_autocorrelated_line(&points)
}
