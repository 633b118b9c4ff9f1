//! Results of measurements, in the terms and units of `sglang.bench_serving`.
//!
//! Not in this module: the run (`plan::eval`, `effects::measure`), how it is shown (`ui`).

use serde::{Deserialize, Serialize};

/// One benchmark run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// Client backend, such as `sglang-oai`.
    pub backend: String,
    /// Requests per second offered; `None` for all at once.
    pub request_rate: Option<f64>,
    /// Most requests in flight; `None` when not set.
    pub max_concurrency: Option<u64>,
    /// Requests asked for.
    pub requested: u64,
    /// Requests that succeeded.
    pub completed: u64,
    /// Seconds from the first request to the last answer.
    pub duration_s: f64,
    /// Prompt tokens in all.
    pub total_input_tokens: u64,
    /// Generated tokens in all, as the server counts.
    pub total_output_tokens: u64,
    /// Generated tokens in all, counted again by the client's tokenizer.
    pub total_output_tokens_retokenized: u64,
    /// Requests per second.
    pub request_throughput: f64,
    /// Prompt tokens per second.
    pub input_throughput: f64,
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Prompt and generated tokens per second.
    pub total_throughput: f64,
    /// Mean requests in flight.
    pub concurrency: f64,
    /// Time from sending a request to its last token.
    pub e2e: Latency,
    /// Time from sending a request to its first token.
    pub ttft: Latency,
    /// Mean time per token after the first, per request.
    pub tpot: Latency,
    /// Time between two chunks of a stream.
    pub itl: Latency,
    /// The client's own JSONL line with keys removed, where it was kept.
    pub saved_to: Option<String>,
}

/// A distribution of times, in milliseconds. `None` where the client's version does not say.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Mean.
    pub mean_ms: Option<f64>,
    /// Median.
    pub median_ms: Option<f64>,
    /// 90th percentile.
    pub p90_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Largest.
    pub max_ms: Option<f64>,
}

/// One GSM8K run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gsm8k {
    /// Share of questions answered right, 0 to 1.
    pub accuracy: f64,
    /// Lower end of the 95 % Wilson interval of `accuracy`.
    pub accuracy_low: f64,
    /// Upper end of the 95 % Wilson interval of `accuracy`.
    pub accuracy_high: f64,
    /// Share of answers without a number, 0 to 1.
    pub invalid: f64,
    /// Seconds in all.
    pub latency_s: f64,
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Questions asked.
    pub questions: u32,
    /// SHA-256 of the data file.
    pub data_sha256: String,
    /// Where the result was kept.
    pub saved_to: Option<String>,
}
