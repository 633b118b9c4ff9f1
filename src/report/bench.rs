//! Results of measurements, in the terms and units of `sglang.bench_serving`.

use serde::{Deserialize, Serialize};

/// One benchmark run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// Backend of the client, such as `sglang-oai`.
    pub backend: String,
    /// Requests per second that were offered; `None` if all were sent at once.
    pub request_rate: Option<f64>,
    /// Limit of requests in flight; `None` without a limit.
    pub max_concurrency: Option<u64>,
    /// Requests that were planned.
    pub requested: u64,
    /// Requests that succeeded.
    pub completed: u64,
    /// Seconds from the first request to the last response.
    pub duration_s: f64,
    /// Total prompt tokens.
    pub total_input_tokens: u64,
    /// Total generated tokens, as the server counts them.
    pub total_output_tokens: u64,
    /// Total generated tokens, counted again by the client's tokenizer.
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
    /// Path of the file with this result as JSON (`dsr1.bench/1`).
    pub saved_to: Option<String>,
}

/// A distribution of times, in milliseconds. `None` where the client's version does not state a value.
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
    /// Maximum.
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
    /// Total seconds.
    pub latency_s: f64,
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Number of questions.
    pub questions: u32,
    /// SHA-256 of the data file.
    pub data_sha256: String,
    /// Path of the saved result.
    pub saved_to: Option<String>,
}
