//! The load that was delivered, beside the one that was asked for.

use std::collections::BTreeMap;

use super::words::{verdict, with_hint};
use crate::measure::course::is_piling_up;
use crate::measure::evidence::Evidence;
use crate::measure::figures::to_float;
use crate::measure::load::{Arrivals, Load};
use crate::measure::record::{End, Moment, Record};
use crate::measure::statistics::mean;
use crate::report::{Figures, Trust, Verdict};

/// Share of the load below which it counts as another one.
const DELIVERED: f64 = 0.95;
const FAR_OFF: f64 = 0.8;

/// Judges the requests in flight of a closed loop, or the rate of an open one.
pub(super) fn judge_delivery(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    let (asked, delivered, unit) = match evidence.load {
        Load::Concurrency(slots) if evidence.lengths.turns.think_s > 0.0 => (
            f64::from(slots),
            figures.concurrency + thinking(evidence)?,
            "conversations, in flight or between two turns,",
        ),
        Load::Concurrency(slots) => (f64::from(slots), figures.concurrency, "in flight"),
        Load::Rate {
            per_second,
            arrivals: Arrivals::Constant,
            ..
        } => (
            per_second,
            rate_of(evidence, |record| record.sent)?,
            "requests/s sent",
        ),
        // By chance, a schedule has more or fewer requests than its rate.
        Load::Replay { .. }
        | Load::Rate {
            arrivals: Arrivals::Poisson,
            ..
        } => (
            rate_of(evidence, |record| record.due)?,
            rate_of(evidence, |record| record.sent)?,
            "requests/s sent",
        ),
    };
    let share = if asked > 0.0 { delivered / asked } else { 1.0 };
    let text = format!("{delivered:.1} {unit} of {asked:.1} asked for");
    let late = evidence.dispatch_p99().map_or(0.0, |late| late.as_secs_f64());
    // Requests that are sent later and later are fewer than those that were due.
    let window = evidence
        .window
        .map_or(f64::INFINITY, |(from, to)| to.since(from).as_secs_f64());
    if share < FAR_OFF || late > (1.0 - FAR_OFF) * window {
        return Some(verdict("load", Trust::Untrusted, text));
    }
    if share < DELIVERED {
        return Some(verdict("load", Trust::Doubtful, text));
    }
    let shortest = figures.ttft.min_ms.unwrap_or(0.0) / 1000.0;
    if late > (shortest / 10.0).max(0.01) {
        let text = format!("{text}, but 1 % of them {:.0} ms late or later", late * 1000.0);
        return Some(with_hint(
            verdict("load", Trust::Doubtful, text),
            "--max-concurrency holds requests back, or the client's host has too few processors",
        ));
    }
    Some(verdict("load", Trust::Trusted, text))
}

/// Returns the mean number of conversations in the window that were between two turns.
fn thinking(evidence: &Evidence) -> Option<f64> {
    let (from, to) = evidence.window?;
    let think_time = evidence.lengths.turns.think_time();
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for turn in evidence.records.iter().filter_map(|record| record.turn) {
        let known = last.entry(turn.conversation).or_default();
        *known = turn.turn.max(*known);
    }
    let is_followed = |record: &&Record| {
        let Some(turn) = record.turn else { return false };
        let has_next = last.get(&turn.conversation).is_some_and(|last| turn.turn < *last);
        // The run may end in the pause before the next turn.
        has_next || record.is_complete() && turn.turn < turns_of(evidence, turn.conversation)
    };
    let between = |record: &Record| {
        let end = record.ended.after(think_time).min(to);
        end.since(record.ended.max(from)).as_secs_f64()
    };
    let seconds: f64 = evidence.records.iter().filter(is_followed).map(between).sum();
    Some(seconds / to.since(from).as_secs_f64())
}

/// Returns the turns of a conversation; 0 if its file says them.
fn turns_of(evidence: &Evidence, conversation: u32) -> u32 {
    let turns = evidence.lengths.turns;
    let slots = evidence.load.slots().unwrap_or(0);
    let is_shortened = evidence.extent.warm_up && evidence.extent.ramp_s == 0 && conversation < slots;
    match (&evidence.file, is_shortened) {
        (Some(_), _) => 0,
        (None, true) => turns.of_first(conversation, slots),
        (None, false) => turns.count,
    }
}

/// Returns the requests a second that have a moment in the window.
fn rate_of(evidence: &Evidence, moment: impl Fn(&Record) -> Moment) -> Option<f64> {
    let (from, to) = evidence.window?;
    let inside = evidence
        .records
        .iter()
        .filter(|record| from <= moment(record) && moment(record) <= to)
        .count() as u64;
    Some(to_float(inside) / to.since(from).as_secs_f64())
}

/// Judges whether the server keeps up with an open loop: else requests pile up, and each figure depends on the length of the run.
pub(super) fn judge_saturation(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    if !matches!(evidence.load, Load::Rate { .. }) {
        return None;
    }
    let (from, to) = evidence.window?;
    let counts = in_flight_over_time(evidence, from, to);
    let third = counts.len() / 3;
    let (begin, end) = (mean(&counts[..third])?, mean(&counts[counts.len() - third..])?);
    if is_piling_up(&counts) {
        let text = format!(
            "requests in flight grow from {begin:.0} to {end:.0} over the run: the server does not keep up with the rate"
        );
        return Some(with_hint(
            verdict("saturation", Trust::Untrusted, text),
            "pass a smaller --request-rate",
        ));
    }
    let text = format!(
        "the server keeps up with the rate: {begin:.0} requests in flight at first, {end:.0} at last"
    );
    Some(verdict("saturation", Trust::Trusted, text))
}

/// Returns the requests in flight at 60 moments of the window.
fn in_flight_over_time(evidence: &Evidence, from: Moment, to: Moment) -> Vec<f64> {
    const LOOKS: u32 = 60;
    let length = to.since(from);
    (0..LOOKS)
        .map(|look| {
            let at = from.after(length * look / LOOKS);
            let is_there = |record: &&Record| {
                // A request that failed at once was no load.
                record.sent <= at && at < record.ended && !matches!(record.end, End::Failed(_))
            };
            let count = evidence.records.iter().filter(is_there).count() as u64;
            to_float(count)
        })
        .collect()
}
