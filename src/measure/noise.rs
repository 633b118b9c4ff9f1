//! The noise within a run. Two runs differ by more: other processes, clocks and placements change between them.

use crate::measure::figures::tokens_of;
use crate::measure::record::{Moment, Phase, Record};
use crate::measure::request::RequestTimes;
use crate::measure::statistics::batch_interval;
use crate::report::Noise;

/// Slices of the window in which rates are taken. `batch_interval` makes ten batches of them.
const SLICES: usize = 100;

/// Returns the noise of the rates of a window, and of the times of the measured requests in the order of their issue.
pub(super) fn find_noise(records: &[Record], window: (Moment, Moment), tokens_per_chunk: f64) -> Noise {
    let measured: Vec<RequestTimes<'_>> = records
        .iter()
        .filter(|record| record.phase == Phase::Measured)
        .filter_map(RequestTimes::of)
        .collect();
    let slices = Slices::of(records, window, tokens_per_chunk);
    let total: Vec<f64> = slices
        .input
        .iter()
        .zip(&slices.output)
        .map(|(input, output)| input + output)
        .collect();
    let of = |value: &dyn Fn(&RequestTimes<'_>) -> Option<f64>| {
        share_of(&measured.iter().filter_map(value).collect::<Vec<f64>>())
    };
    Noise {
        request_throughput: share_of(&slices.ended),
        output_throughput: share_of(&slices.output),
        total_throughput: share_of(&total),
        ttft: of(&|request| Some(request.ttft())),
        tpot: of(&|request| request.tpot()),
        e2e: of(&|request| Some(request.e2e())),
    }
}

/// Returns half the width of the interval of a series, as a share of its mean.
fn share_of(values: &[f64]) -> Option<f64> {
    let interval = batch_interval(values)?;
    (interval.estimate > 0.0).then(|| interval.half_width / interval.estimate)
}

/// Counts in each slice of a window.
struct Slices {
    ended: Vec<f64>,
    input: Vec<f64>,
    output: Vec<f64>,
}

impl Slices {
    fn of(records: &[Record], (from, to): (Moment, Moment), tokens_per_chunk: f64) -> Self {
        let length = to.since(from).as_nanos().max(1);
        let slice_of = |moment: Moment| {
            let is_inside = from <= moment && moment < to;
            let index = moment.since(from).as_nanos() * SLICES as u128 / length;
            usize::try_from(index).ok().filter(|_| is_inside)
        };
        let mut slices = Self {
            ended: vec![0.0; SLICES],
            input: vec![0.0; SLICES],
            output: vec![0.0; SLICES],
        };
        let add = |to: &mut Vec<f64>, at: Moment, count: f64| {
            if let Some(slice) = slice_of(at).and_then(|index| to.get_mut(index)) {
                *slice += count;
            }
        };
        for record in records {
            if record.is_complete() {
                add(&mut slices.ended, record.ended, 1.0);
            }
            if let Some(first) = record.chunks.first() {
                let prompt = f64::from(record.prompt_tokens);
                add(&mut slices.input, record.arrival(first), prompt);
            }
            for chunk in &record.chunks {
                let tokens = tokens_of(*chunk, tokens_per_chunk);
                add(&mut slices.output, record.arrival(chunk), tokens);
            }
        }
        slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_needs_values_and_a_mean() {
        assert_eq!(share_of(&[1.0; 19]), None);
        assert_eq!(share_of(&[0.0; 30]), None);
        assert_eq!(share_of(&[5.0; 30]), Some(0.0));
        let rough: Vec<f64> = (0..100).map(|index| f64::from(index * 7 % 10) + 10.0).collect();
        let share = share_of(&rough).unwrap();
        assert!((0.0..0.1).contains(&share), "{share}");
    }
}
