//! The figures of a run by dsr1's definitions.

use crate::measure::record::{Chunk, Moment, Phase, Record};
use crate::measure::request::{ReasoningTimes, RequestTimes};
use crate::measure::statistics::mean;
use crate::measure::times::{distribution_of, times_of, weighted_times_of};
use crate::report::{Distributions, Figures, Reasoning};

/// Returns the figures of the measured requests, and the rates of a window over all requests. `noise` and `conversations` are found
/// apart.
#[must_use]
pub fn compute_figures(records: &[Record], window: (Moment, Moment)) -> Figures {
    let measured: Vec<RequestTimes<'_>> = records
        .iter()
        .filter(|record| record.phase == Phase::Measured)
        .filter_map(RequestTimes::of)
        .collect();
    let of = |value: &dyn Fn(&RequestTimes<'_>) -> Option<f64>| -> Vec<f64> {
        measured.iter().filter_map(value).collect()
    };
    let counted = records
        .iter()
        .filter(|record| record.phase == Phase::Measured && record.is_complete());
    let usages: Vec<_> = counted.clone().filter_map(|record| record.usage).collect();
    let counts_each_chunk = counted.clone().all(Record::has_growth) && !measured.is_empty();
    let chunks: u64 = counted.map(|record| record.chunks.len() as u64).sum();
    let input_tokens: u64 = usages.iter().map(|usage| usage.prompt).sum();
    let output_tokens: u64 = usages.iter().map(|usage| usage.completion).sum();
    let tokens_per_chunk = share(output_tokens, chunks);
    let rates = Rates::of(records, window, tokens_per_chunk);
    let reasoning: Vec<ReasoningTimes> = measured.iter().filter_map(RequestTimes::reasoning).collect();
    let has_reasoning = measured.iter().any(RequestTimes::has_reasoning);
    let ttfts = of(&|request| Some(request.ttft()));
    let tpots = of(&|request| request.tpot());
    let gaps = || measured.iter().flat_map(RequestTimes::gaps);
    Figures {
        request_throughput: rates.requests,
        input_throughput: rates.input,
        output_throughput: rates.output,
        total_throughput: rates.input + rates.output,
        concurrency: rates.in_flight,
        input_tokens,
        output_tokens,
        cached_tokens: usages.iter().map(|usage| usage.cached).sum(),
        mean_input_len: share(input_tokens, usages.len() as u64),
        mean_output_len: share(output_tokens, usages.len() as u64),
        counts_each_chunk,
        tokens_per_chunk,
        ttft: times_of(ttfts.clone()),
        answer_ttft: has_reasoning.then(|| times_of(of(&|request| request.answer_ttft()))),
        tpot: times_of(tpots.clone()),
        itl: counts_each_chunk.then(|| {
            let shared = |(gap, tokens): (f64, u16)| (gap / f64::from(tokens), u32::from(tokens));
            weighted_times_of(gaps().filter(|(_, tokens)| *tokens > 0).map(shared).collect())
        }),
        chunk_gap: times_of(gaps().map(|(gap, _)| gap).collect()),
        e2e: times_of(of(&|request| Some(request.e2e()))),
        reasoning: summarize_reasoning(&reasoning),
        noise: None,
        distributions: Distributions {
            ttft_ms: distribution_of(ttfts),
            tpot_ms: distribution_of(tpots),
        },
        conversations: None,
    }
}

fn summarize_reasoning(all: &[ReasoningTimes]) -> Option<Reasoning> {
    if all.is_empty() {
        return None;
    }
    let rate = |tokens: u64, seconds: f64| (seconds > 0.0).then(|| to_float(tokens) / seconds);
    let rates =
        |of: &dyn Fn(&ReasoningTimes) -> Option<f64>| mean(&all.iter().filter_map(of).collect::<Vec<f64>>());
    Some(Reasoning {
        requests: all.len() as u64,
        mean_tokens: share(all.iter().map(|one| one.tokens).sum(), all.len() as u64),
        mean_answer_tokens: share(all.iter().map(|one| one.answer_tokens).sum(), all.len() as u64),
        tokens_per_s: rates(&|one| rate(one.tokens, one.seconds)),
        answer_tokens_per_s: rates(&|one| rate(one.answer_tokens, one.answer_seconds)),
    })
}

/// Rates of a window.
struct Rates {
    requests: f64,
    input: f64,
    output: f64,
    in_flight: f64,
}

impl Rates {
    /// Counts what arrived in the window, whichever phase a request is of: warm-up and tail share the server with the measured
    /// ones. A chunk without a count has the mean one.
    fn of(records: &[Record], (from, to): (Moment, Moment), tokens_per_chunk: f64) -> Self {
        let seconds = to.since(from).as_secs_f64().max(f64::MIN_POSITIVE);
        let is_inside = |moment: Moment| from <= moment && moment <= to;
        let (mut requests, mut input, mut output, mut in_flight) = (0.0, 0.0, 0.0, 0.0);
        for record in records {
            if record.is_complete() && is_inside(record.ended) {
                requests += 1.0;
            }
            let prompt = record.usage.map_or(0, |usage| usage.prompt);
            if record
                .chunks
                .first()
                .is_some_and(|first| is_inside(record.arrival(first)))
            {
                let prompt = if prompt == 0 {
                    u64::from(record.prompt_tokens)
                } else {
                    prompt
                };
                input += to_float(prompt);
            }
            let arrived = record
                .chunks
                .iter()
                .filter(|chunk| is_inside(record.arrival(chunk)));
            output += arrived
                .map(|chunk| tokens_of(*chunk, tokens_per_chunk))
                .sum::<f64>();
            in_flight += record.ended.min(to).since(record.sent.max(from)).as_secs_f64();
        }
        Self {
            requests: requests / seconds,
            input: input / seconds,
            output: output / seconds,
            in_flight: in_flight / seconds,
        }
    }
}

/// Returns the tokens of a chunk; the mean of all chunks if the server does not count them.
pub(super) fn tokens_of(chunk: Chunk, tokens_per_chunk: f64) -> f64 {
    if chunk.tokens > 0 {
        f64::from(chunk.tokens)
    } else {
        tokens_per_chunk
    }
}

pub(super) fn share(sum: u64, count: u64) -> f64 {
    if count == 0 {
        0.0
    } else {
        to_float(sum) / to_float(count)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens are below 2^53")]
pub(super) fn to_float(count: u64) -> f64 {
    count as f64
}
