//! The metrics that the dashboard and the alerts use, as SGLang exports them.
//!
//! Read from the sources of 14 versions between 0.4.9.post6 and 0.5.23: `srt/metrics/collector.py`, from 0.5.13 on
//! `srt/observability/metrics_collector.py` and `http_request_metrics.py` there. `tests/heavy/monitoring.rs` compares this table
//! with them. A first version is the first of the 14 that has the metric, a last version the last of them.

use crate::profile::Version;

/// The kind of a metric, as Prometheus knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that rises and falls.
    Gauge,
    /// A sum that only rises, until the server starts again.
    Counter,
    /// Counts by bucket: the series are `NAME_bucket`, `NAME_sum` and `NAME_count`.
    Histogram,
}

/// The time from which a server exports a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appears {
    /// From its start.
    Always,
    /// From the first request that ended.
    AfterRequest,
    /// From an event that a healthy server may never have: the event, with its article.
    After(&'static str),
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name in the answer of `/metrics`. `prometheus_client` adds `_total` to the name of a counter that lacks it.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The unit: `requests`, `tokens`, `seconds`, `gigabytes`, `ratio`.
    pub unit: &'static str,
    /// Labels that queries use, beside those of the rank (`tp_rank`, `pp_rank`, `dp_rank`).
    pub labels: &'static [&'static str],
    /// The first version that was read and has it.
    pub from: Version,
    /// The last version that was read and has it; `None` if the newest has it.
    pub until: Option<Version>,
    /// The time from which it is exported.
    pub appears: Appears,
    /// The meaning, in a sentence.
    pub meaning: &'static str,
}

impl Metric {
    /// Returns true if a version exports the metric.
    #[must_use]
    pub fn is_in(&self, version: Version) -> bool {
        self.from <= version && self.until.is_none_or(|last| version <= last)
    }

    /// Returns the name of a series that the metric has in the answer of `/metrics`.
    #[must_use]
    pub fn series(&self) -> String {
        match self.kind {
            Kind::Histogram => format!("{}_bucket", self.name),
            Kind::Gauge | Kind::Counter => self.name.to_owned(),
        }
    }
}

/// Returns the metric of a name, if the version has it.
#[must_use]
pub fn find(name: &str, version: Version) -> Option<&'static Metric> {
    METRICS
        .iter()
        .find(|metric| metric.name == name && metric.is_in(version))
}

/// The oldest version that was read.
const OLDEST: Version = Version::new(0, 4, 9).post(6);

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    appears: Appears,
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        unit,
        labels: &[],
        from: OLDEST,
        until: None,
        appears,
        meaning,
    }
}

impl Metric {
    const fn from(self, from: Version) -> Self {
        Self { from, ..self }
    }

    const fn until(self, last: Version) -> Self {
        Self {
            until: Some(last),
            ..self
        }
    }

    const fn labels(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }
}

use Appears::{After, AfterRequest, Always};
use Kind::{Counter, Gauge, Histogram};

/// All metrics.
pub const METRICS: &[Metric] = &[
    metric(
        "sglang:num_running_reqs",
        Gauge,
        "requests",
        Always,
        "Requests in the batch that runs.",
    ),
    metric(
        "sglang:num_queue_reqs",
        Gauge,
        "requests",
        Always,
        "Requests that wait for a place in the batch.",
    ),
    metric(
        "sglang:token_usage",
        Gauge,
        "ratio",
        Always,
        "The share of the KV pool that running requests hold, from 0 to 1.",
    ),
    metric(
        "sglang:gen_throughput",
        Gauge,
        "tokens per second",
        Always,
        "Tokens per second that were generated since the last line of the log.",
    ),
    metric(
        "sglang:spec_accept_length",
        Gauge,
        "tokens",
        Always,
        "Tokens for each step of speculative decoding, the target model's own token included; 0 without it.",
    ),
    metric(
        "sglang:avg_request_queue_latency",
        Gauge,
        "seconds",
        Always,
        "The mean time in the queue of the requests that last entered the batch.",
    )
    .until(Version::new(0, 5, 2)),
    metric(
        "sglang:queue_time_seconds",
        Histogram,
        "seconds",
        AfterRequest,
        "The time of a request in the queue.",
    )
    .from(Version::new(0, 5, 3)),
    metric(
        "sglang:time_to_first_token_seconds",
        Histogram,
        "seconds",
        AfterRequest,
        "The time from the arrival of a request to its first token.",
    ),
    metric(
        "sglang:inter_token_latency_seconds",
        Histogram,
        "seconds",
        AfterRequest,
        "The time between two tokens of a request; several tokens that arrive together share it.",
    ),
    metric(
        "sglang:e2e_request_latency_seconds",
        Histogram,
        "seconds",
        AfterRequest,
        "The time from the arrival of a request to its end.",
    ),
    metric(
        "sglang:num_requests_total",
        Counter,
        "requests",
        AfterRequest,
        "Requests that ended.",
    ),
    metric(
        "sglang:prompt_tokens_total",
        Counter,
        "tokens",
        AfterRequest,
        "Tokens of the prompts of requests that ended.",
    ),
    metric(
        "sglang:cached_tokens_total",
        Counter,
        "tokens",
        After("the first prompt that begins as an earlier one did (never with --disable-radix-cache)"),
        "Tokens of prompts that the prefix cache had.",
    ),
    metric(
        "sglang:realtime_tokens_total",
        Counter,
        "tokens",
        AfterRequest,
        "Tokens as they are computed: `decode`, `prefill_compute` and `prefill_cache` by the label `mode`.",
    )
    .labels(&["mode"])
    .from(Version::new(0, 5, 9)),
    metric(
        "sglang:num_aborted_requests_total",
        Counter,
        "requests",
        After("the first request that is aborted"),
        "Requests that a client or the server aborted.",
    ),
    metric(
        "sglang:total_retracted_reqs",
        Gauge,
        "requests",
        Always,
        "Requests that were taken out of the batch since the start because the KV pool was full.",
    )
    .until(Version::new(0, 5, 2)),
    metric(
        "sglang:num_retracted_requests_total",
        Counter,
        "requests",
        After("the first request that is retracted"),
        "Requests that were taken out of the batch because the KV pool was full.",
    )
    .from(Version::new(0, 5, 9)),
    metric(
        "sglang:http_requests_active",
        Gauge,
        "requests",
        AfterRequest,
        "HTTP requests without an answer yet, by path and method.",
    )
    .labels(&["endpoint", "method"])
    .from(Version::new(0, 5, 9)),
    metric(
        "sglang:http_responses_total",
        Counter,
        "responses",
        AfterRequest,
        "HTTP answers, by path, method and status.",
    )
    .labels(&["endpoint", "status_code"])
    .from(Version::new(0, 5, 9)),
    metric(
        "sglang:scheduler_idle_seconds_total",
        Counter,
        "seconds",
        Always,
        "Time in which the scheduler had no request, neither in the batch nor in the queue.",
    )
    .from(Version::new(0, 5, 20)),
    metric(
        "sglang:engine_startup_time",
        Gauge,
        "seconds",
        Always,
        "The time from the start of the engine to its readiness.",
    )
    .from(Version::new(0, 5, 2))
    .until(Version::new(0, 5, 13)),
    metric(
        "sglang:engine_load_weights_time",
        Gauge,
        "seconds",
        Always,
        "The time in which the weights were loaded.",
    )
    .from(Version::new(0, 5, 2))
    .until(Version::new(0, 5, 13)),
    metric(
        "sglang:startup_time_seconds",
        Gauge,
        "seconds",
        Always,
        "The time of each phase of the start, by the label `phase`.",
    )
    .labels(&["phase"])
    .from(Version::new(0, 5, 19)),
    metric(
        "sglang:weight_memory_usage_gb",
        Gauge,
        "gigabytes",
        Always,
        "Memory of the weights on a GPU.",
    )
    .from(Version::new(0, 5, 19)),
    metric(
        "sglang:kv_cache_memory_usage_gb",
        Gauge,
        "gigabytes",
        Always,
        "Memory of the KV pool on a GPU.",
    )
    .from(Version::new(0, 5, 19)),
];
