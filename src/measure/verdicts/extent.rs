//! Runs that are too short for their figures.

use super::requests::measured;
use super::words::{verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::load::Load;
use crate::measure::record::Record;
use crate::measure::statistics::minimum_samples;
use crate::report::{Figures, Trust, Verdict};

/// Measured requests for each slot of a closed loop below which the figures are those of a start, and from which on they are
/// those of a steady load (`MLPerf` Endpoints warns at about one: samples of one wave gave a confident value three times too high).
const ONE_WAVE: f64 = 1.5;
const ENOUGH_WAVES: f64 = 5.0;
/// Shortest window in seconds: five runs of half a second of one server spread from 350 to 628 tokens/s.
const SHORTEST: f64 = 5.0;

/// Judges the beginning of a run.
pub(super) fn judge_warm_up(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    if evidence.extent.warm_up {
        let text = match (evidence.lengths.turns.is_single(), evidence.extent.ramp_s) {
            (true, _) => "handed over without a pause: no first request of a slot is measured",
            (false, 0) => {
                "handed over without a pause: no first conversation of a slot is measured, and they had all shares of the turns"
            }
            (false, _) => "handed over without a pause: no first conversation of a slot is measured",
        };
        return Some(verdict("warm-up", Trust::Trusted, text));
    }
    let text = "none: the wave of first requests, all sent at once, is in the figures";
    Some(with_hint(
        verdict("warm-up", Trust::Doubtful, text),
        "leave --no-warm-up out",
    ))
}

/// Judges the number of requests of each slot.
pub(super) fn judge_waves(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let Load::Concurrency(slots) = evidence.load else {
        return None;
    };
    let requests = u32::try_from(measured(evidence).filter(|record| record.is_complete()).count());
    let waves = f64::from(requests.unwrap_or(u32::MAX)) / f64::from(slots.max(1));
    let turns = evidence.lengths.turns;
    let text = format!("{waves:.1} requests of each of the {slots} slots");
    let (text, enough, hint) = if turns.is_single() {
        let hint = "pass a larger --num-prompts: five for each slot make a steady load";
        (text, ENOUGH_WAVES, hint)
    } else {
        // A whole conversation of each slot has each turn as often as any other one.
        let text = format!("{text}, whose conversations have {} turns", turns.count);
        let hint =
            "pass a larger --num-prompts: five for each slot, and one of each turn, make a steady load";
        (text, ENOUGH_WAVES.max(f64::from(turns.count)), hint)
    };
    let (trust, hint) = if waves < ONE_WAVE {
        (Trust::Untrusted, hint)
    } else if waves < enough {
        (Trust::Doubtful, hint)
    } else {
        (Trust::Trusted, "")
    };
    Some(with_hint(verdict("waves", trust, text), hint))
}

/// Judges whether conversations went on after their first turn. `None` for single requests.
pub(super) fn judge_turns(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    if evidence.lengths.turns.is_single() {
        return None;
    }
    let is_later = |record: &Record| record.turn.is_some_and(|turn| turn.turn > 1);
    let later = measured(evidence).filter(|record| is_later(record)).count();
    if later > 0 {
        let text = format!("{later} requests are later turns of their conversations");
        return Some(verdict("turns", Trust::Trusted, text));
    }
    Some(with_hint(
        verdict(
            "turns",
            Trust::Doubtful,
            "no conversation had a second turn: the figures are those of single requests",
        ),
        "measure longer; a record of a file needs several messages of its user, in `messages` or `conversations`",
    ))
}

/// Judges the number of samples.
pub(super) fn judge_samples(_: &Evidence, figures: &Figures) -> Option<Verdict> {
    let count = figures.ttft.count;
    let needs = |percentile| minimum_samples(percentile).unwrap_or(usize::MAX) as u64;
    if count < needs(50.0) {
        let text = format!(
            "{count} requests: too few for a median, which needs {}",
            needs(50.0)
        );
        return Some(with_hint(
            verdict("samples", Trust::Doubtful, text),
            "pass a larger --num-prompts",
        ));
    }
    let text = if count < needs(99.0) {
        let most = [("p95", 95.0), ("p90", 90.0), ("p75", 75.0), ("the median", 50.0)];
        let claimed = most
            .into_iter()
            .find(|(_, percentile)| count >= needs(*percentile));
        format!(
            "{count} requests: enough for {}; p99 needs {} and is left out",
            claimed.map_or("the median", |(name, _)| name),
            needs(99.0)
        )
    } else {
        format!("{count} requests: enough for p99")
    };
    Some(verdict("samples", Trust::Trusted, text))
}

/// Judges the length of the window.
pub(super) fn judge_duration(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let (from, to) = evidence.window?;
    let seconds = to.since(from).as_secs_f64();
    if seconds >= SHORTEST {
        return Some(verdict("duration", Trust::Trusted, format!("{seconds:.1} s")));
    }
    let text =
        format!("{seconds:.1} s: other processes of the host and pauses of the server have not averaged out");
    Some(with_hint(
        verdict("duration", Trust::Doubtful, text),
        "pass a larger --duration or --num-prompts",
    ))
}
