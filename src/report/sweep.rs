//! Several loads that were measured one after the other.

use serde::{Deserialize, Serialize};

use crate::report::Trust;

/// Several loads that were measured in one sitting, or in parts of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sweep {
    /// Name of the server, or its URL.
    pub server: String,
    /// Profile of the server, if it is known.
    pub profile: Option<String>,
    /// Stack of the server, if it is known.
    pub stack: Option<String>,
    /// Digest of the server, the load and the points: a sweep that was broken off goes on if it is the same.
    pub key: String,
    /// True if all points were measured, or the search has ended.
    pub complete: bool,
    /// The servers that the sweep started one after the other; empty for a sweep of a server that ran already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub combinations: Vec<SweptCombination>,
    /// The measurements, in their order.
    pub points: Vec<SweptPoint>,
    /// Each load once, with the mean of its repeats.
    pub loads: Vec<SweptLoad>,
    /// Limits of a search; `None` of given points.
    pub limits: Option<SweptLimits>,
    /// The result of a search; `None` of given points, and while it has not ended.
    pub found: Option<FoundLoad>,
    /// The file that has it.
    pub saved_to: Option<String>,
}

impl Sweep {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.sweep/1";
}

/// A profile on a stack, whose server a sweep started, measured and stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SweptCombination {
    /// Its name, as in `fp8-low-latency on current`.
    pub name: String,
    /// The profile.
    pub profile: String,
    /// The stack.
    pub stack: String,
    /// Name of the server.
    pub server: String,
    /// The reason why its points are not all there; `None` if they are.
    pub failure: Option<SweptFailure>,
    /// The file of its own sweep; `None` of one that failed.
    pub file: Option<String>,
}

/// The reason why a combination was not measured, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SweptFailure {
    /// The failure.
    pub message: String,
    /// Its causes, the outermost first; of a server that ended, those that its log shows.
    pub causes: Vec<String>,
    /// Commands to type.
    pub hints: Vec<String>,
}

/// A load of a sweep.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SweptPoint {
    /// The combination; `None` in a sweep of one server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combination: Option<String>,
    /// True if no other point of the sweep is at least as good in both throughput and speed and better in one; false in a sweep of one
    /// server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_on_front: bool,
    /// `concurrency`, `constant` or `poisson`.
    pub kind: String,
    /// Requests in flight; `None` without a limit.
    pub max_concurrency: Option<u32>,
    /// Requests a second; `None` of a closed loop.
    pub request_rate: Option<f64>,
    /// `measured` without limits, else `meets`, `misses` or `undecided`.
    pub outcome: String,
    /// The reason of the outcome; `None` if it needs none.
    pub reason: Option<String>,
    /// True if requests piled up, because the server did not keep up with the rate.
    #[serde(default)]
    pub is_saturated: bool,
    /// The trust in the measurement; `None` in no result of this version.
    pub trust: Option<Trust>,
    /// Its figures; `None` if nothing was measured.
    pub figures: Option<SweptFigures>,
    /// The file of the whole result.
    pub file: String,
}

/// The figures of a load of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SweptFigures {
    /// Requests a second.
    pub request_throughput: f64,
    /// Generated tokens a second.
    pub output_throughput: f64,
    /// Prompt and generated tokens a second.
    pub total_throughput: f64,
    /// The same over the server's GPUs; `None` if their number is not known.
    pub total_throughput_per_gpu: Option<f64>,
    /// Mean requests in flight.
    pub concurrency: f64,
    /// Median of the time to the first token.
    pub ttft_p50_ms: Option<f64>,
    /// Its percentile of the limits; the 90th without limits.
    pub ttft_high_ms: Option<f64>,
    /// Median of the time per output token.
    pub tpot_p50_ms: Option<f64>,
    /// Its percentile of the limits; the 90th without limits.
    pub tpot_high_ms: Option<f64>,
}

/// A load with the mean of its repeats.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SweptLoad {
    /// The combination; `None` in a sweep of one server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combination: Option<String>,
    /// `concurrency`, `constant` or `poisson`.
    pub kind: String,
    /// Requests in flight; `None` without a limit.
    pub max_concurrency: Option<u32>,
    /// Requests a second; `None` of a closed loop.
    pub request_rate: Option<f64>,
    /// Measurements of it that may be used.
    pub count: u32,
    /// Generated tokens a second.
    pub output_throughput: Mean,
    /// Median of the time to the first token.
    pub ttft_p50_ms: Mean,
    /// Median of the time per output token.
    pub tpot_p50_ms: Mean,
}

/// A mean, and the half width of its 95 % interval by Student's t; `None` of fewer than two measurements.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Mean {
    /// The mean; `None` without a measurement.
    pub mean: Option<f64>,
    /// The half width.
    pub half_width: Option<f64>,
}

/// The limits of a search, in milliseconds. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SweptLimits {
    /// Of the time to the first token.
    pub ttft_ms: Option<f64>,
    /// Of the time per output token of a request.
    pub tpot_ms: Option<f64>,
    /// Of the time to the last token.
    pub e2e_ms: Option<f64>,
    /// The percentile of requests that keeps them: `p50`, `p90`, `p95` or `p99`.
    pub percentile: String,
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FoundLoad {
    /// Its unit: `requests in flight` or `requests/s`.
    pub unit: String,
    /// The largest load that keeps the limits; `None` if the least one misses them.
    pub meets: Option<f64>,
    /// The least load that misses them; `None` if the largest one keeps them.
    pub misses: Option<f64>,
}
