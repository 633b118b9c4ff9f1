//! Each second of a run: requests in flight, and tokens.

use crate::measure::figures::tokens_of;
use crate::measure::record::{End, Moment, Record};
use crate::report::Second;

/// Most seconds of a timeline: a day.
const MOST: usize = 86_400;

/// Returns the seconds from the beginning of a run to `ended`. A chunk without a count has `tokens_per_chunk`.
#[must_use]
pub fn draw_timeline(records: &[Record], ended: Moment, tokens_per_chunk: f64) -> Vec<Second> {
    let count = second_of(ended).saturating_add(1).min(MOST);
    let mut seconds: Vec<Second> = (0..count)
        .map(|index| Second {
            at_s: f64::from(u32::try_from(index).unwrap_or(u32::MAX)),
            ..Second::default()
        })
        .collect();
    for record in records {
        add_presence(&mut seconds, record);
        for chunk in &record.chunks {
            if let Some(second) = seconds.get_mut(second_of(record.arrival(chunk))) {
                second.tokens += tokens_of(*chunk, tokens_per_chunk);
            }
        }
        if let Some(second) = seconds.get_mut(second_of(record.ended)) {
            match record.end {
                End::Complete(_) => second.ended += 1,
                End::Failed(_) => second.failed += 1,
                End::Cut => {}
            }
        }
    }
    seconds
}

/// Adds the share of each second in which the request was in flight.
fn add_presence(seconds: &mut [Second], record: &Record) {
    let (from, to) = (record.sent.seconds(), record.ended.seconds());
    let range = second_of(record.sent)..=second_of(record.ended);
    for (index, second) in seconds.iter_mut().enumerate().skip(*range.start()) {
        if index > *range.end() {
            break;
        }
        let overlap = to.min(second.at_s + 1.0) - from.max(second.at_s);
        second.in_flight += overlap.max(0.0);
    }
}

fn second_of(moment: Moment) -> usize {
    usize::try_from(moment.0 / 1_000_000_000).unwrap_or(usize::MAX)
}
