//! The client itself, and the host under it.

use std::time::Duration;

use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::figures::to_float;
use crate::measure::record::{End, Phase};
use crate::report::{Figures, Trust, Verdict};

/// Lag at which a client of this kind is idle, and one at which it is the slower side.
const FAST: Duration = Duration::from_millis(2);
const SLOW: Duration = Duration::from_millis(50);
/// Share of the time that its thread may work.
const BUSY: f64 = 0.9;
/// Share of reads without a stamp above which times are those of the reading.
const UNSTAMPED: f64 = 0.01;
/// Rate that the client must be able to take, beside the one that it took.
const HEADROOM: f64 = 2.0;
/// Share of the time in which some task waited for a processor.
const PRESSURE: f64 = 0.5;
/// Share of requests that may have been sent again on a new connection.
const RECONNECTS: f64 = 0.01;

/// Judges the room for connections on this host: requests without one never left it. `None` if all had one.
pub(super) fn judge_room(evidence: &Evidence) -> Option<Verdict> {
    let mut without = evidence
        .records
        .iter()
        .filter_map(|record| Some((record, record.shortage()?)));
    let (first, shortage) = without.next()?;
    let count = 1 + without.count();
    let cause = match &first.end {
        End::Failed(failure) => failure.text.as_str(),
        _ => "",
    };
    let text = format!(
        "{count} of {} requests were not sent, because this host has no room for their connections: {cause}",
        evidence.records.len()
    );
    Some(with_hint(
        verdict("client", Trust::Untrusted, text),
        &format!("a lower load needs fewer connections; {}", shortage.remedy(None)),
    ))
}

/// Judges the client's own delays. Arrivals have the kernel's stamps, so a delay holds only the next request back, and puts
/// chunks that arrived apart under the stamp of the last one.
pub(super) fn judge_lag(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    if let Some(verdict) = judge_room(evidence) {
        return Some(verdict);
    }
    let client = &evidence.client;
    let lag = client.lag.quantile(0.99);
    let reads = client.stamped + client.unstamped;
    let is_unstamped = to_float(client.unstamped) > UNSTAMPED * to_float(reads.max(1));
    let shown = lag.map_or_else(
        || "unknown".to_owned(),
        |lag| format!("{:.2} ms", lag.as_secs_f64() * 1000.0),
    );
    let text = format!(
        "lag p99 {shown}, {} of a processor{}",
        percent(client.busy_share),
        if is_unstamped {
            ", times without the kernel's stamps"
        } else {
            ""
        }
    );
    let hint = "run it on a host with idle processors, or with a lower load";
    let between = figures
        .chunk_gap
        .mean_ms
        .map_or(SLOW, |gap| Duration::from_secs_f64(gap / 1000.0));
    let is_slow = lag.is_some_and(|lag| lag > SLOW.min(between).max(FAST));
    if client.busy_share > BUSY || is_slow && is_unstamped {
        return Some(with_hint(verdict("client", Trust::Untrusted, text), hint));
    }
    if is_slow {
        let text = format!("{text}: chunks were read together");
        return Some(with_hint(verdict("client", Trust::Doubtful, text), hint));
    }
    if to_float(u64::from(client.reconnects)) > RECONNECTS * to_float(evidence.records.len() as u64) {
        let text = format!(
            "{} requests were sent again, because the server had closed their connection",
            client.reconnects
        );
        return Some(verdict("client", Trust::Doubtful, text));
    }
    if is_unstamped {
        return Some(verdict("client", Trust::Unknown, text));
    }
    Some(verdict("client", Trust::Trusted, text))
}

/// Judges the most that the client can take on this host.
pub(super) fn judge_ceiling(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    let hint = "run dsr1 bench on another host, with --url";
    if let Some(ceiling) = evidence.ceiling_tokens_per_s {
        let headroom = ceiling / figures.output_throughput.max(f64::MIN_POSITIVE);
        if headroom < HEADROOM {
            let text = format!(
                "the client takes {ceiling:.0} tokens/s from its own stub, {headroom:.1} times what the server gave: \
                 the client may be the limit"
            );
            return Some(with_hint(verdict("ceiling", Trust::Untrusted, text), hint));
        }
        let text =
            format!("{ceiling:.0} tokens/s from its own stub, {headroom:.0} times what the server gave");
        return Some(verdict("ceiling", Trust::Trusted, text));
    }
    None
}

/// Judges the pressure on the processors of this host: the kernel's stamps keep the times of arrival right, but not a server here
/// that was held up.
pub(super) fn judge_host(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let pressure = evidence.cpu_pressure?;
    let text = format!(
        "some task waited for a processor in {} of the time",
        percent(pressure)
    );
    if pressure <= PRESSURE {
        return Some(verdict("host", Trust::Trusted, text));
    }
    Some(with_hint(
        verdict("host", Trust::Doubtful, text),
        "end other work here; for a server on another host the client can run elsewhere, with --url",
    ))
}

/// Judges the time of day.
pub(super) fn judge_clock(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let steps = evidence.client.clock_steps;
    (steps > 0).then(|| {
        let text =
            format!("the time of day jumped {steps} times; moments are by the clock that does not jump");
        with_hint(
            verdict("clock", Trust::Doubtful, text),
            "the kernel's stamps of those moments were not used",
        )
    })
}

/// Share of the answers that arrive as a whole above which their times are those of what gathers them.
const MOSTLY: f64 = 0.5;
/// Chunks of an answer from which on it is a stream.
const STREAM: usize = 8;
/// Time in which no engine generates as many tokens, in microseconds.
const AT_ONCE_US: u32 = 20;

/// Returns the share of the answers with a stream of chunks that arrived at once.
fn share_at_once(evidence: &Evidence) -> f64 {
    let measured = evidence
        .records
        .iter()
        .filter(|record| record.phase == Phase::Measured && record.is_complete());
    let streams = measured.filter(|record| record.chunks.len() >= STREAM);
    let (mut all, mut at_once) = (0_u64, 0_u64);
    for record in streams {
        let first = record.chunks.first().map_or(0, |chunk| chunk.after_us);
        let last = record.chunks.last().map_or(0, |chunk| chunk.after_us);
        all += 1;
        at_once += u64::from(last.saturating_sub(first) < AT_ONCE_US);
    }
    to_float(at_once) / to_float(all.max(1))
}

/// Judges the granularity of the stream.
pub(super) fn judge_chunks(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    if share_at_once(evidence) > MOSTLY {
        let text = "most answers arrive as a whole: something between the server and this client gathers them, and there is no TTFT, TPOT or ITL";
        return Some(with_hint(
            verdict("chunks", Trust::Untrusted, text),
            "let the proxy pass each chunk on (nginx: proxy_buffering off), or measure the server itself",
        ));
    }
    let size = figures.tokens_per_chunk;
    if figures.counts_each_chunk || size <= 1.05 {
        let text = format!("{size:.1} tokens in a chunk, counted by the server");
        return figures
            .counts_each_chunk
            .then(|| verdict("chunks", Trust::Trusted, text));
    }
    let text = format!(
        "{size:.1} tokens in a chunk, and the server does not count them: the time between chunks is no ITL"
    );
    Some(with_hint(
        verdict("chunks", Trust::Doubtful, text),
        "read TPOT, which holds; --api generate has counts in every version of SGLang",
    ))
}
