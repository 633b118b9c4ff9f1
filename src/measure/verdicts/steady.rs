//! Servers that change while they are measured.

use super::requests::measured;
use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::figures::tokens_of;
use crate::measure::record::Moment;
use crate::measure::request::RequestTimes;
use crate::measure::statistics::{self, Steadiness, judge_steadiness};
use crate::report::{Figures, Trust, Verdict};

/// Blocks into which the requests of a run are put.
const BLOCKS: usize = 40;
/// Fewest blocks with a verdict (`statistics::window`).
const FEWEST: usize = 30;
/// Change of the rate of tokens that matters: blocks of time hold a changing number of chunks.
const RATE_STEP: f64 = 0.2;

/// Judges the time per token over the run, in blocks of requests in the order of their issue.
pub(super) fn judge_tpot(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let values: Vec<f64> = measured(evidence)
        .filter_map(RequestTimes::of)
        .filter_map(|request| request.tpot())
        .collect();
    if values.is_empty() {
        return None;
    }
    if values.len() < FEWEST {
        let text = format!("{} requests are too few to see a trend of TPOT", values.len());
        return Some(verdict("steady", Trust::Unknown, text));
    }
    let blocks = medians_of(&values, BLOCKS.min(values.len()));
    Some(TPOT.describe(judge_steadiness(&blocks), blocks.len()))
}

/// Judges the rate of tokens over the window, in blocks of time: half of the workers may be gone while each stream has its rate.
pub(super) fn judge_throughput(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    let (from, to) = evidence.window?;
    let blocks = rates_of(evidence, from, to, figures.tokens_per_chunk);
    let steadiness = judge_steadiness(&blocks);
    let is_large = |relative: f64| relative.abs() >= RATE_STEP;
    match steadiness.verdict {
        statistics::Verdict::Staircase { .. } => steadiness
            .change
            .is_some_and(|change| is_large(change.relative_step()))
            .then(|| RATE.describe(steadiness, blocks.len())),
        statistics::Verdict::DriftingUp | statistics::Verdict::DriftingDown => steadiness
            .trend
            .is_some_and(|trend| is_large(trend.relative_total))
            .then(|| RATE.describe(steadiness, blocks.len())),
        _ => None,
    }
}

/// A series whose steadiness is judged.
struct Series {
    /// Subject of its verdict.
    about: &'static str,
    /// Its name in a sentence.
    what: &'static str,
    /// True if a server that became worse makes it rise.
    rises_if_worse: bool,
}

const TPOT: Series = Series {
    about: "steady",
    what: "TPOT",
    rises_if_worse: true,
};
const RATE: Series = Series {
    about: "tokens/s",
    what: "the rate of tokens",
    rises_if_worse: false,
};

impl Series {
    /// Returns the verdict in words. `blocks` is the number of blocks.
    fn describe(&self, steadiness: Steadiness, blocks: usize) -> Verdict {
        let Self { about, what, .. } = *self;
        let vary = percent(steadiness.variation.unwrap_or(0.0));
        match steadiness.verdict {
            statistics::Verdict::Plateau { .. } => verdict(
                about,
                Trust::Trusted,
                format!("{what} has a plateau; its blocks vary by {vary}"),
            ),
            statistics::Verdict::DriftingUp | statistics::Verdict::DriftingDown => {
                let total = steadiness.trend.map_or(0.0, |trend| trend.relative_total);
                let text = format!(
                    "{} over the run: there is no steady state",
                    self.change_in_words(total)
                );
                self.unsteady(text, total)
            }
            statistics::Verdict::Staircase { at } => {
                let step = steadiness.change.map_or(0.0, |change| change.relative_step());
                #[expect(clippy::cast_precision_loss, reason = "an index below 100")]
                let place = percent(at as f64 / blocks as f64);
                let text = format!("{} at once, after {place} of the run", self.change_in_words(step));
                self.unsteady(text, step)
            }
            statistics::Verdict::None => with_hint(
                verdict(
                    about,
                    Trust::Doubtful,
                    format!("{what} has no level: its blocks vary by {vary}"),
                ),
                "measure longer, on a host without other work",
            ),
            statistics::Verdict::TooShort => verdict(
                about,
                Trust::Unknown,
                format!("the run is too short to see a trend of {what}"),
            ),
        }
    }

    fn change_in_words(&self, change: f64) -> String {
        if !change.is_finite() {
            return format!("{} rises from nothing", self.what);
        }
        let way = if change > 0.0 { "rises" } else { "falls" };
        format!("{} {way} by {}", self.what, percent(change.abs()))
    }

    fn unsteady(&self, text: String, change: f64) -> Verdict {
        let hint = if (change > 0.0) == self.rises_if_worse {
            "the server became slower: dsr1 logs and dsr1 top show whether a worker was lost, memory ran short or clocks fell"
        } else {
            "the server became faster: it was not warm; measure again"
        };
        with_hint(verdict(self.about, Trust::Untrusted, text), hint)
    }
}

/// Returns the medians of `count` blocks of nearly equal size.
fn medians_of(values: &[f64], count: usize) -> Vec<f64> {
    (0..count)
        .map(|block| {
            let bound = |block: usize| block * values.len() / count;
            let mut part = values[bound(block)..bound(block + 1)].to_vec();
            part.sort_by(f64::total_cmp);
            statistics::interpolated_percentile(&part, 50.0).unwrap_or(0.0)
        })
        .collect()
}

/// Returns the tokens of each block of time. The blocks are longer than the time between two chunks of a stream.
fn rates_of(evidence: &Evidence, from: Moment, to: Moment, tokens_per_chunk: f64) -> Vec<f64> {
    let length = to.since(from).as_nanos();
    let mut blocks = vec![0.0; BLOCKS];
    for record in &evidence.records {
        for chunk in &record.chunks {
            let at = record.arrival(chunk);
            if at < from || at >= to {
                continue;
            }
            let index = at.since(from).as_nanos() * BLOCKS as u128 / length.max(1);
            if let Some(block) = usize::try_from(index)
                .ok()
                .and_then(|index| blocks.get_mut(index))
            {
                *block += tokens_of(*chunk, tokens_per_chunk);
            }
        }
    }
    blocks
}
