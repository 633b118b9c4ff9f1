//! The record of what a server did: for each request its plan and its first and last write, for all writes the lateness.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::asked::Api;
use super::clock::{Clock, ms};
use super::end::End;
use super::histogram::{Histogram, exact};
use super::plan::Plan;
use super::radix::PromptEnd;

/// The lateness of a server at p99 above which its own times are not known well enough: 1 ms.
pub const KNOWN_NS: u64 = 1_000_000;

/// A request. Times are nanoseconds of the server's clock.
#[derive(Debug, Clone)]
pub struct Record {
    pub number: u64,
    pub api: Api,
    pub streams: bool,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    /// The tokens that the request asked for.
    pub asked: Option<u32>,
    pub reasoning_tokens: u32,
    pub faults: Vec<&'static str>,
    pub plan: Plan,
    /// The tokens that were written.
    pub tokens: u32,
    pub chunks: u32,
    /// The time after the write of the first and of the last token.
    pub first_write: Option<u64>,
    pub last_write: Option<u64>,
    pub worst_lateness: u64,
    /// The writes that the socket did not take at once, because the client did not read.
    pub blocked: u32,
    pub end: End,
    /// The end of the prompt in the prefix cache.
    pub prompt_end: PromptEnd,
    /// The time of the end.
    pub ended: Option<u64>,
}

impl Record {
    /// Returns the planned time per token after the first.
    pub fn planned_tpot(&self) -> Option<u64> {
        let gaps = u64::from(self.tokens.checked_sub(1)?);
        (gaps > 0).then(|| (self.plan.last() - self.plan.first_chunk()) / gaps)
    }

    fn written_tpot(&self) -> Option<u64> {
        let gaps = u64::from(self.tokens.checked_sub(1)?);
        let (first, last) = (self.first_write?, self.last_write?);
        (gaps > 0).then(|| (last - first) / gaps)
    }

    fn json(&self) -> Value {
        json!({
            "number": self.number,
            "path": self.api.path(),
            "stream": self.streams,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "asked": self.asked,
            "reasoning_tokens": self.reasoning_tokens,
            "faults": self.faults,
            "end": self.end.word(),
            "arrival_ns": self.plan.arrival,
            "start_ns": self.plan.start,
            "first_planned_ns": self.plan.first,
            "last_planned_ns": self.plan.last(),
            "tokens_planned": self.plan.tokens,
            "tokens": self.tokens,
            "chunks": self.chunks,
            "first_write_ns": self.first_write,
            "last_write_ns": self.last_write,
            "worst_lateness_ns": self.worst_lateness,
            "blocked": self.blocked,
            "ended_ns": self.ended,
        })
    }
}

/// The requests that a server has had since the start of a run.
#[derive(Debug, Clone)]
pub struct Served {
    pub clock: Clock,
    pub requests: Vec<Record>,
    pub peak_in_flight: usize,
    pub connections: u64,
    /// Real less planned time of each write of tokens that the socket took at once.
    pub lateness: Histogram,
    /// An upper bound of the time between the arrival of a request's last byte and its stamp.
    pub arrival_lag: Histogram,
    /// The real time per token between two writes, once for each token.
    pub written_itl: Histogram,
    /// The server's thread goes before all that is not real-time.
    pub is_realtime: bool,
    /// The CPU time of the server's thread, in nanoseconds.
    pub cpu_ns: u64,
    pub(super) in_flight: usize,
}

impl Served {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            requests: Vec::new(),
            peak_in_flight: 0,
            connections: 0,
            lateness: Histogram::default(),
            arrival_lag: Histogram::default(),
            written_itl: Histogram::default(),
            is_realtime: false,
            cpu_ns: 0,
            in_flight: 0,
        }
    }

    /// Returns the requests whose answer had all tokens and a regular end.
    pub fn counted(&self) -> impl Iterator<Item = &Record> {
        self.requests.iter().filter(|record| record.end.is_counted())
    }

    fn streams(&self) -> impl Iterator<Item = &Record> {
        self.counted().filter(|record| record.streams)
    }

    /// Returns the number of requests by their end.
    pub fn ends(&self) -> BTreeMap<String, usize> {
        let mut ends = BTreeMap::new();
        for record in &self.requests {
            *ends.entry(record.end.word()).or_default() += 1;
        }
        ends
    }

    /// Returns the tokens that were written, whatever the end of their request.
    pub fn tokens(&self) -> u64 {
        self.requests.iter().map(|record| u64::from(record.tokens)).sum()
    }

    /// Returns why the times of this run are not known, if they are not.
    pub fn unknown(&self) -> Option<String> {
        let over = |what: &str, times: &Histogram| {
            let p99 = times.quantile(0.99);
            (p99 > KNOWN_NS).then(|| format!("{what} p99 is {:.3} ms, above 1 ms", ms(p99)))
        };
        over("the server's own lateness", &self.lateness)
            .or_else(|| over("the lag of the arrivals", &self.arrival_lag))
    }

    fn planned_itl(&self) -> (Histogram, Histogram) {
        let (mut itl, mut gaps) = (Histogram::default(), Histogram::default());
        for record in self.streams() {
            let chunks = record.plan.chunk_times();
            for pair in chunks.windows(2) {
                let (gap, tokens) = (pair[1].0 - pair[0].0, u64::from(pair[1].1));
                itl.add(gap / tokens.max(1), tokens);
                gaps.add(gap, 1);
            }
        }
        (itl, gaps)
    }

    fn rate(&self, end: impl Fn(&Record) -> Option<u64>) -> Option<f64> {
        let first = self.counted().map(|record| record.plan.arrival).min()?;
        let last = self.counted().filter_map(end).max()?;
        let tokens: u64 = self.counted().map(|record| u64::from(record.tokens)).sum();
        Some(tokens as f64 / (last.saturating_sub(first).max(1) as f64 / 1e9))
    }

    /// Returns the summary: the planned times, which are the truth, beside the real times of the writes.
    pub fn summary(&self) -> Value {
        let (itl, gaps) = self.planned_itl();
        let unknown = self.unknown();
        json!({
            "known": unknown.is_none(),
            "unknown_because": unknown,
            "requests": self.requests.len(),
            "ends": self.ends(),
            "counted": self.counted().count(),
            "connections": self.connections,
            "tokens": self.tokens(),
            "prompt_tokens": self.requests.iter().map(|record| record.prompt_tokens).sum::<u64>(),
            "cached_tokens": self.requests.iter().map(|record| record.cached_tokens).sum::<u64>(),
            "peak_in_flight": self.peak_in_flight,
            "planned": {
                "ttft": exact(self.streams().map(|record| record.plan.first_chunk() - record.plan.arrival).collect()),
                "tpot": exact(self.streams().filter_map(Record::planned_tpot).collect()),
                "itl": itl.json(),
                "chunk_gap": gaps.json(),
                "latency": exact(self.counted().map(|record| record.plan.last() - record.plan.arrival).collect()),
                "tokens_per_s": self.rate(|record| Some(record.plan.last())),
            },
            "written": {
                "ttft": exact(self.streams().filter_map(|record| Some(record.first_write? - record.plan.arrival)).collect()),
                "tpot": exact(self.streams().filter_map(Record::written_tpot).collect()),
                "itl": self.written_itl.json(),
                "latency": exact(self.counted().filter_map(|record| Some(record.last_write? - record.plan.arrival)).collect()),
                "tokens_per_s": self.rate(|record| record.last_write),
            },
            "lateness": self.lateness.json(),
            "arrival_lag": self.arrival_lag.json(),
            "blocked_writes": self.requests.iter().map(|record| u64::from(record.blocked)).sum::<u64>(),
            "realtime": self.is_realtime,
            "cpu_s": self.cpu_ns as f64 / 1e9,
        })
    }

    /// Returns the summary and each request.
    pub fn json(&self) -> Value {
        json!({
            "monotonic_origin_ns": self.clock.monotonic_ns,
            "unix_origin_ns": self.clock.unix_ns,
            "summary": self.summary(),
            "requests": self.requests.iter().map(Record::json).collect::<Vec<_>>(),
        })
    }
}
