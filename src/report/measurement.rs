//! The result of a measurement by dsr1's own client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One run of a load. Its JSON form has the schema `dsr1.measurement/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The time of day at which the run began: UTC, in the format of RFC 3339.
    pub began: String,
    /// The server.
    pub server: MeasuredServer,
    /// The load that was asked for.
    pub load: MeasuredLoad,
    /// The client.
    pub client: MeasuringClient,
    /// The fates of all requests.
    pub requests: RequestCounts,
    /// Seconds from the beginning of the run to its end.
    pub run_s: f64,
    /// Seconds of the run before the window.
    pub warm_up_s: Option<f64>,
    /// Seconds in which the load was at its height and later waves ran. All rates are of this window.
    pub window_s: Option<f64>,
    /// The figures; `None` if there was no window.
    pub figures: Option<Figures>,
    /// The same requests in the terms of other tools, by their name.
    pub definitions: BTreeMap<String, OtherFigures>,
    /// The GPUs of the server, if they are of this host.
    pub gpus: Option<MeasuredGpus>,
    /// Reasons to believe the figures, or not.
    pub verdicts: Vec<Verdict>,
    /// The worst of the verdicts.
    pub trust: Trust,
    /// Each second of the run.
    pub timeline: Vec<Second>,
    /// False if the user broke the run off: the figures are those of a part, and a verdict says so.
    #[serde(default = "Measurement::usually_complete")]
    pub complete: bool,
    /// Path of the file with this result as JSON.
    pub saved_to: Option<String>,
}

impl Measurement {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.measurement/1";

    /// Returns true: results that say nothing of it are complete.
    const fn usually_complete() -> bool {
        true
    }
}

/// The server that was measured, with what is needed to measure it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MeasuredServer {
    /// Name on this host; `None` for a URL.
    pub name: Option<String>,
    /// Base URL.
    pub base_url: String,
    /// The model's name in requests.
    pub model: String,
    /// Profile that it was started from.
    pub profile: Option<String>,
    /// Stack that it runs on.
    pub stack: Option<String>,
    /// Version of `SGLang`, as the server says it.
    pub sglang: Option<String>,
    /// Its arguments, as the server says them, without keys.
    pub arguments: BTreeMap<String, String>,
    /// Facts about the host and the start: `os`, `kernel`, `cpus`, `memory`, `driver`, `gpus`, `image`, `base_image`, `weights`
    /// (the commit), `start` (the digest of its plan), `environment`. A server that is known by its URL has those of the
    /// client's host only, each with `client_` before it.
    pub host: BTreeMap<String, String>,
}

impl MeasuredServer {
    /// Returns the number of GPUs that the arguments of the server come to; `None` if they do not tell.
    ///
    /// `python/sglang/srt/managers/data_parallel_controller.py` of 0.5.23 gives each data-parallel rank GPUs of its own, except
    /// with attention by data parallelism, whose ranks share them.
    #[must_use]
    pub fn gpus(&self) -> Option<u32> {
        let argument = |name: &str| self.arguments.get(name).map(String::as_str);
        let size = |name: &str| argument(name).map_or(Some(1), |text| text.parse::<u32>().ok());
        // A part of a server that is split into prefill and decode is not the whole.
        let is_part = argument("disaggregation_mode").is_some_and(|mode| !matches!(mode, "null" | "None"));
        if is_part || argument("device").is_some_and(|device| device == "cpu") {
            return None;
        }
        argument("tp_size")?;
        let ranks = match (size("dp_size")?, argument("enable_dp_attention")) {
            (0 | 1, _) | (_, Some("true")) => 1,
            (ranks, Some("false")) => ranks,
            _ => return None,
        };
        let gpus = size("tp_size")?
            .checked_mul(size("pp_size")?)?
            .checked_mul(ranks)?;
        (gpus > 0).then_some(gpus)
    }
}

/// The load that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredLoad {
    /// API: `generate`, `completions`, `chat`.
    pub api: String,
    /// `concurrency`, `constant`, `poisson` or `trace`.
    pub kind: String,
    /// Requests in flight; `None` without a limit.
    pub max_concurrency: Option<u32>,
    /// Requests a second that were offered; `None` for a closed loop.
    pub request_rate: Option<f64>,
    /// Longest prompt in tokens.
    pub input_len: u32,
    /// Longest answer in tokens.
    pub output_len: u32,
    /// Share of the lengths from which they are drawn; 1 for fixed ones.
    pub range_ratio: f64,
    /// Tokens that all prompts share at their start.
    pub shared_prefix: u32,
    /// Turns of a conversation, at most; 1 for requests that have nothing to do with each other, and in a result of an earlier dsr1.
    #[serde(default = "single_turn")]
    pub turns: u32,
    /// Seconds from the end of an answer to the next request of its conversation.
    #[serde(default)]
    pub think_s: f64,
    /// Measured requests that were asked for, at least.
    pub requests: u32,
    /// Seconds of measuring that were asked for, at least.
    pub least_s: f64,
    /// Seconds of measuring that were allowed, at most; `None` without a limit.
    #[serde(default)]
    pub most_s: Option<f64>,
    /// Size of the vocabulary from which random tokens are drawn; `None` in a result of an earlier dsr1.
    #[serde(default)]
    pub vocabulary: Option<u32>,
    /// Form of the prompts: `ids` or `text`, or `data` for that of a data file; `None` in a result of an earlier dsr1, which sent ids.
    #[serde(default)]
    pub prompts: Option<String>,
    /// The tokenizer that the user named for texts; `None` for that of the server's model.
    #[serde(default)]
    pub tokenizer: Option<String>,
    /// Source of the prompts: `random`, `jsonl`, `array`, `mooncake`, `azure`, `burstgpt`.
    pub data: String,
    /// The file that the prompts are of; `None` for random ones.
    #[serde(default)]
    pub file: Option<MeasuredFile>,
    /// Seconds over which the load rose to its height; 0 in a result of an earlier dsr1.
    #[serde(default)]
    pub ramp_s: f64,
    /// Times faster than its trace; `None` without a trace.
    #[serde(default)]
    pub speed: Option<f64>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// True if the load was handed over from a warm-up.
    pub warm_up: bool,
    /// True if the server was told to ignore the model's mark of an end.
    pub ignores_end: bool,
    /// Sampling temperature.
    pub temperature: f64,
}

const fn single_turn() -> u32 {
    1
}

/// The file that the prompts of a load are of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MeasuredFile {
    /// Its path, as the user named it.
    pub path: String,
    /// Its hash, in hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its lines without a header, or its elements. Of more than 16,777,216 the later ones are not used.
    pub records: u64,
    /// True if it was used again when all of it was used.
    pub repeats: bool,
    /// Records that were made to requests; some are made ahead and never sent.
    pub used: u64,
    /// Records that cannot be read, as far as they were looked at.
    pub broken: u64,
    /// Records that are longer than the context of the server.
    pub too_long: u64,
    /// The first broken ones: their place, and the reason.
    pub examples: Vec<String>,
    /// True if all of it was read.
    pub has_ended: bool,
    /// Reason for which requests are not compared with the context of the server, or not counted; `None` if all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<String>,
}

/// The client, and what it did while it measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MeasuringClient {
    /// `dsr1`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Median time from the arrival of data in the kernel to its reading.
    pub lag_p50_ms: Option<f64>,
    /// 99th percentile of that.
    pub lag_p99_ms: Option<f64>,
    /// Processor time of its thread, as a share of the time, 0 to 1.
    pub busy_share: f64,
    /// Share of the data whose arrival the kernel stamped, 0 to 1; the rest has the time of its reading.
    pub stamped_share: f64,
    /// Times that the time of day jumped.
    pub clock_steps: u32,
    /// Requests that were sent again because the server had closed an idle connection.
    pub reconnects: u32,
    /// Seconds in which the client waited for the body of the next request.
    pub waited_for_bodies_s: f64,
    /// Median of the time from the moment that the schedule had to the sending; `None` for a closed loop.
    pub dispatch_p50_ms: Option<f64>,
    /// 99th percentile of that.
    pub dispatch_p99_ms: Option<f64>,
    /// Output tokens a second that the client receives from its own stub at the same shape; `None` if that was not tried.
    pub ceiling_tokens_per_s: Option<f64>,
    /// Share of the time in which some task of the host waited for a processor (`/proc/pressure/cpu`).
    pub cpu_pressure: Option<f64>,
}

/// The fates of all requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Sent in all.
    pub sent: u64,
    /// Of the warm-up.
    pub warm_up: u64,
    /// Measured.
    pub measured: u64,
    /// Measured and complete: those in the figures.
    pub completed: u64,
    /// Measured ones that failed, by the kind of failure.
    pub failed: BTreeMap<String, u64>,
    /// The same of the warm-up and of the tail.
    pub failed_elsewhere: BTreeMap<String, u64>,
    /// An example of each kind of failure in the server's words.
    pub examples: BTreeMap<String, String>,
    /// Reasons of the end of complete ones.
    pub finish: BTreeMap<String, u64>,
}

/// Figures of the measured requests, and rates of the window, by dsr1's definitions (docs/measuring.md).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that ended in the window, a second.
    pub request_throughput: f64,
    /// Prompt tokens of the answers that began in the window, a second.
    pub input_throughput: f64,
    /// Tokens that arrived in the window, a second.
    pub output_throughput: f64,
    /// The sum of both.
    pub total_throughput: f64,
    /// Mean requests in flight.
    pub concurrency: f64,
    /// Prompt tokens of measured requests, as the server counts them.
    pub input_tokens: u64,
    /// Generated tokens of measured requests, as the server counts them.
    pub output_tokens: u64,
    /// Prompt tokens that came from the prefix cache; `None` if the server does not say so.
    pub cached_tokens: Option<u64>,
    /// Mean prompt tokens of a request.
    pub mean_input_len: f64,
    /// Mean generated tokens of a request.
    pub mean_output_len: f64,
    /// True if the server counts the tokens of each chunk.
    pub counts_each_chunk: bool,
    /// Mean tokens of a chunk.
    pub tokens_per_chunk: f64,
    /// From the sending to the first token, of either channel.
    pub ttft: Times,
    /// From the sending to the first token of the answer, where there was reasoning before it.
    pub answer_ttft: Option<Times>,
    /// Per request: from the first chunk to the last one, over the tokens after the first chunk.
    pub tpot: Times,
    /// Between two tokens: gaps between chunks, shared among the tokens of a chunk. `None` if the server does not count them.
    pub itl: Option<Times>,
    /// Between two chunks.
    pub chunk_gap: Times,
    /// From the sending to the last token.
    pub e2e: Times,
    /// Reasoning, where the server tells it apart.
    pub reasoning: Option<Reasoning>,
    /// The noise within the run, which is less than that between two runs; `None` in a result of an earlier dsr1.
    #[serde(default)]
    pub noise: Option<Noise>,
    /// Whole distributions, for plots. Results of earlier versions have none.
    #[serde(default)]
    pub distributions: Distributions,
    /// First and later turns, apart; `None` for a load without conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<Conversations>,
}

/// The measured requests of a load with conversations, by their turns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Conversations {
    /// Conversations with a measured request.
    pub count: u64,
    /// Conversations of the whole run that a failed request ended.
    pub failed: u64,
    /// First turns: their prompts are new.
    pub first: TurnFigures,
    /// All later turns: their prompts begin with what the server has seen.
    pub later: TurnFigures,
    /// Each turn from the second one on, up to the 100th.
    pub each: Vec<TurnFigures>,
}

/// The figures of some turns.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TurnFigures {
    /// The first of these turns, from 1.
    pub from: u32,
    /// The last of them that was measured; 0 if none was.
    pub to: u32,
    /// Complete requests.
    pub requests: u64,
    /// Mean prompt tokens of a request, as the server counts them.
    pub mean_input_len: f64,
    /// Share of the prompt tokens that came from the prefix cache, 0 to 1; `None` if the server does not say so.
    pub cached_share: Option<f64>,
    /// From the sending to the first token.
    pub ttft: Times,
    /// Time per output token after the first chunk.
    pub tpot: Times,
    /// From the sending to the last token.
    pub e2e: Times,
}

/// The noise within a run: half the width of the 95 % interval of a figure, as a share of the figure, by the means of
/// consecutive batches. `None` where there are too few samples.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Noise {
    /// Of the requests a second.
    pub request_throughput: Option<f64>,
    /// Of the generated tokens a second.
    pub output_throughput: Option<f64>,
    /// Of all tokens a second.
    pub total_throughput: Option<f64>,
    /// Of the mean TTFT.
    pub ttft: Option<f64>,
    /// Of the mean TPOT.
    pub tpot: Option<f64>,
    /// Of the mean end-to-end latency.
    pub e2e: Option<f64>,
}

/// Whole distributions in milliseconds, for plots: at most 101 values from the least to the most, at even distances in the order
/// of the samples. With 101 of them, each is a percentile, whatever their number claims.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Distributions {
    /// Of [`Figures::ttft`].
    pub ttft_ms: Vec<f64>,
    /// Of [`Figures::tpot`].
    pub tpot_ms: Vec<f64>,
}

/// Reasoning and answers, apart.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Reasoning {
    /// Requests with reasoning.
    pub requests: u64,
    /// Mean tokens of the reasoning of a request.
    pub mean_tokens: f64,
    /// Mean tokens of the answer behind it.
    pub mean_answer_tokens: f64,
    /// Tokens of reasoning a second of one request, in the mean.
    pub tokens_per_s: Option<f64>,
    /// Tokens of the answer a second of one request, in the mean.
    pub answer_tokens_per_s: Option<f64>,
}

/// A distribution of times, in milliseconds. A percentile is `None` where too few samples claim it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Times {
    /// Number of samples.
    pub count: u64,
    /// Mean.
    pub mean_ms: Option<f64>,
    /// Median.
    pub p50_ms: Option<f64>,
    /// 75th percentile.
    pub p75_ms: Option<f64>,
    /// 90th percentile.
    pub p90_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// 99.9th percentile.
    pub p99_9_ms: Option<f64>,
    /// Least.
    pub min_ms: Option<f64>,
    /// Most.
    pub max_ms: Option<f64>,
}

/// The same requests in the terms of another tool. A figure that it does not have is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OtherFigures {
    /// Its time to the first token.
    pub ttft: Times,
    /// Its time per output token.
    pub tpot: Times,
    /// Its inter-token latency.
    pub itl: Times,
    /// Its end-to-end latency.
    pub e2e: Times,
    /// Its count of generated tokens.
    pub output_tokens: Option<u64>,
    /// Its rate of generated tokens.
    pub output_throughput: Option<f64>,
    /// Differences to the tool that remain.
    pub remarks: Vec<String>,
}

/// A reason to believe the figures, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its subject, such as `client` or `warm-up`.
    pub about: String,
    /// Its weight.
    pub trust: Trust,
    /// One line.
    pub text: String,
    /// Advice; empty without any.
    pub hint: String,
}

/// The trust that figures deserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Nothing speaks against them.
    Trusted,
    /// Something could not be looked at. It does not make the whole worse.
    Unknown,
    /// Something speaks against some of them.
    Doubtful,
    /// They must not be used.
    Untrusted,
}

impl Trust {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Trusted => "ok",
            Self::Unknown => "?",
            Self::Doubtful => "doubt",
            Self::Untrusted => "BAD",
        }
    }
}

/// The GPUs that worked while a server was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MeasuredGpus {
    /// Their indices in nvidia-smi.
    pub indices: Vec<u32>,
    /// Number of looks at them in the window.
    pub samples: u64,
    /// Median clock of their multiprocessors.
    pub sm_clock_median_mhz: Option<f64>,
    /// Highest clock that they have.
    pub sm_clock_max_mhz: Option<f64>,
    /// Share of the looks with a clock that heat or the hardware lowered.
    pub throttled_share: Option<f64>,
    /// Share of the looks at the limit of power.
    pub power_capped_share: Option<f64>,
    /// Mean power of all of them together.
    pub mean_w: Option<f64>,
    /// The same before the run: of the idle server.
    pub idle_w: Option<f64>,
    /// Energy of an output token, all of the power counted.
    pub joules_per_output_token: Option<f64>,
    /// The same without the power of the idle server.
    pub joules_per_output_token_above_idle: Option<f64>,
    /// Highest temperature.
    pub hottest_c: Option<f64>,
}

/// One second of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the run began.
    pub at_s: f64,
    /// Mean requests in flight.
    pub in_flight: f64,
    /// Tokens that arrived.
    pub tokens: f64,
    /// Requests that ended.
    pub ended: u32,
    /// Requests that failed.
    pub failed: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_gpus_is_that_of_the_arguments() {
        let gpus = |arguments: &[(&str, &str)]| {
            let pairs = arguments
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let server = MeasuredServer {
                arguments: pairs.collect(),
                ..MeasuredServer::default()
            };
            server.gpus()
        };
        assert_eq!(gpus(&[]), None);
        assert_eq!(gpus(&[("tp_size", "8"), ("dp_size", "1")]), Some(8));
        assert_eq!(gpus(&[("tp_size", "8"), ("pp_size", "2")]), Some(16));
        let eight = [("tp_size", "8"), ("dp_size", "8")];
        assert_eq!(gpus(&eight), None);
        assert_eq!(
            gpus(&[&eight[..], &[("enable_dp_attention", "true")]].concat()),
            Some(8)
        );
        assert_eq!(
            gpus(&[&eight[..], &[("enable_dp_attention", "false")]].concat()),
            Some(64)
        );
        assert_eq!(gpus(&[("tp_size", "1"), ("device", "cpu")]), None);
        assert_eq!(gpus(&[("tp_size", "8"), ("disaggregation_mode", "decode")]), None);
        assert_eq!(gpus(&[("tp_size", "4294967295"), ("pp_size", "2")]), None);
        assert_eq!(gpus(&[("tp_size", "many")]), None);
    }
}
