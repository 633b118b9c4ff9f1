//! The figures of a load with conversations, by their turns: the prompt of a later turn begins with what the server has seen, so
//! its TTFT is another quantity than that of a first turn.

use std::collections::BTreeSet;

use crate::measure::figures::{share, to_float};
use crate::measure::record::{End, Phase, Record};
use crate::measure::request::RequestTimes;
use crate::measure::times::times_of;
use crate::report::{Conversations, TurnFigures};

/// Most turns with figures of their own.
const MOST: u32 = 100;

/// Returns the figures of the measured requests by their turns; `None` without conversations.
pub(super) fn summarize_turns(records: &[Record]) -> Option<Conversations> {
    let turn_of = |record: &Record| record.turn.map(|turn| turn.turn);
    let measured = records.iter().filter(|record| record.phase == Phase::Measured);
    let measured: Vec<&Record> = measured.filter(|record| record.turn.is_some()).collect();
    let last = measured.iter().filter_map(|record| turn_of(record)).max()?;
    let within = |from: u32, to: u32| {
        let is_one = |record: &&Record| turn_of(record).is_some_and(|turn| (from..=to).contains(&turn));
        figures_of(from, measured.iter().copied().filter(is_one))
    };
    let numbers = |records: &mut dyn Iterator<Item = &Record>| -> u64 {
        let all: BTreeSet<u32> = records
            .filter_map(|record| Some(record.turn?.conversation))
            .collect();
        all.len() as u64
    };
    let has_failed = |record: &&Record| matches!(record.end, End::Failed(_));
    Some(Conversations {
        count: numbers(&mut measured.iter().copied()),
        failed: numbers(&mut records.iter().filter(has_failed)),
        first: within(1, 1),
        later: within(2, u32::MAX),
        each: (2..=last.min(MOST)).map(|turn| within(turn, turn)).collect(),
    })
}

fn figures_of<'a>(from: u32, records: impl Iterator<Item = &'a Record>) -> TurnFigures {
    let complete: Vec<&Record> = records.filter(|record| record.is_complete()).collect();
    let times: Vec<RequestTimes<'_>> = complete.iter().copied().filter_map(RequestTimes::of).collect();
    let usages = || complete.iter().filter_map(|record| record.usage);
    let prompt: u64 = usages().map(|usage| usage.prompt).sum();
    let cached: Option<u64> = usages().map(|usage| usage.cached).sum();
    TurnFigures {
        from,
        to: complete
            .iter()
            .filter_map(|record| Some(record.turn?.turn))
            .max()
            .unwrap_or(0),
        requests: complete.len() as u64,
        mean_input_len: share(prompt, usages().count() as u64),
        cached_share: cached
            .filter(|_| prompt > 0)
            .map(|cached| to_float(cached) / to_float(prompt)),
        ttft: times_of(times.iter().map(RequestTimes::ttft).collect()),
        tpot: times_of(times.iter().filter_map(RequestTimes::tpot).collect()),
        e2e: times_of(times.iter().map(RequestTimes::e2e).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::record::{
        Channel, Chunk, ConversationTurn, Failure, FailureKind, Finish, Moment, Usage,
    };

    /// Returns a measured turn of 20 tokens whose first token comes after as many seconds as its number says.
    fn record(conversation: u32, turn: u32) -> Record {
        let chunk = |token: u32| Chunk {
            after_us: turn * 1_000_000 + token * 1000,
            tokens: 1,
            channel: Channel::Answer,
        };
        let before = u64::from(turn - 1) * 120;
        Record {
            number: 0,
            phase: Phase::Measured,
            due: Moment(0),
            sent: Moment(0),
            ended: Moment(9_000_000_000),
            is_first_of_connection: false,
            turn: Some(ConversationTurn {
                conversation,
                turn,
                new_tokens: 100,
            }),
            prompt_tokens: 0,
            asked_tokens: 20,
            chunks: (0..20).map(chunk).collect(),
            usage: Some(Usage {
                prompt: before + 100,
                completion: 20,
                cached: Some(before),
                reasoning: None,
            }),
            end: End::Complete(Finish::Length),
            text: None,
        }
    }

    #[test]
    fn first_and_later_turns_have_figures_of_their_own() {
        let mut records: Vec<Record> = (0..12)
            .flat_map(|conversation| (1..=3).map(move |turn| record(conversation, turn)))
            .collect();
        records[0].phase = Phase::WarmUp;
        records[5].end = End::Failed(Failure {
            kind: FailureKind::Reset,
            text: String::new(),
        });
        let found = summarize_turns(&records).unwrap();
        assert_eq!((found.count, found.failed), (12, 1));
        let shape = |turns: &TurnFigures| (turns.from, turns.to, turns.requests, turns.mean_input_len);
        assert_eq!(shape(&found.first), (1, 1, 11, 100.0));
        assert_eq!(
            shape(&found.later),
            (2, 3, 23, (12.0 * 220.0 + 11.0 * 340.0) / 23.0)
        );
        let each: Vec<_> = found.each.iter().map(shape).collect();
        assert_eq!(each, [(2, 2, 12, 220.0), (3, 3, 11, 340.0)]);
        assert_eq!(
            (found.first.cached_share, found.each[0].cached_share),
            (Some(0.0), Some(120.0 / 220.0))
        );
        assert_eq!(
            (found.first.ttft.p50_ms, found.each[1].ttft.mean_ms),
            (Some(1000.0), Some(3000.0))
        );
        let tpot = found.each[0].tpot.p50_ms.unwrap();
        assert!((tpot - 1.0).abs() < 1e-9, "{tpot}");
    }

    #[test]
    fn a_load_without_conversations_has_no_turns() {
        let records = [Record {
            turn: None,
            ..record(0, 1)
        }];
        assert_eq!(summarize_turns(&records), None);
        // A server that does not tell its cached tokens has no share.
        let mut silent = record(0, 1);
        silent.usage.as_mut().unwrap().cached = None;
        let found = summarize_turns(&[silent]).unwrap();
        assert_eq!((found.first.cached_share, found.each.len()), (None, 0));
        assert_eq!((found.later.requests, found.later.ttft.mean_ms), (0, None));
    }
}
