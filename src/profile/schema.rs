//! The keys of a profile file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::engine_settings::EngineSettings;
use crate::profile::gpu::Architecture;
use crate::profile::knob::{Count, spelled};
use crate::profile::topology::Topology;

/// A named way to serve one model: knobs that become flags of the stack's SGLang version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name on the command line; lower case, digits and dashes.
    pub name: String,
    /// The profile whose settings apply where this file has none. Already applied in a resolved profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// One line for lists.
    pub title: String,
    /// The source of the settings.
    pub source: String,
    /// The goal that it is tuned for.
    pub goal: Goal,
    /// Number format of the weights.
    pub precision: Precision,
    /// The name of the stack that it is written for; `--stack` chooses another.
    pub stack: String,
    /// Settings for other stacks, by stack: they override those of `engine`.
    #[serde(default)]
    pub on: BTreeMap<String, EngineSettings>,
    /// Number of GPUs that it needs; 0 for the CPU stack.
    pub gpus: u32,
    /// GPU architectures that it is tuned for; none for the CPU stack.
    #[serde(default)]
    pub architectures: Vec<Architecture>,
    /// The GPU that it is tuned for, as nvidia-smi names it, if it is not H200 or B200. The memory plan takes it where the GPUs are
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The weights.
    pub model: Model,
    /// The engine's settings.
    pub engine: EngineSettings,
    /// The benchmark that belongs to it.
    pub bench: Bench,
    /// The checks that this model's answers can pass.
    pub verify: Verify,
    /// The engines of a server that runs on several nodes; without it there is one engine on one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
}

/// Number format of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// NVFP4: 4-bit floats with block scales; Blackwell only.
    Fp4,
    /// FP8 with 128x128 block scales, the format `DeepSeek` publishes.
    Fp8,
    /// bfloat16.
    Bf16,
}

impl Precision {
    /// The spelling used in profiles and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp4 => "fp4",
            Self::Fp8 => "fp8",
            Self::Bf16 => "bf16",
        }
    }
}

spelled! {
    /// The load that a profile is tuned for.
    Goal {
        /// The engine's defaults.
        Basic = "basic",
        /// Most tokens per second over many requests.
        HighThroughput = "high-throughput",
        /// Least time per token for one or few requests.
        LowLatency = "low-latency",
        /// The whole chain on a machine without a GPU.
        Rehearsal = "rehearsal",
    }
}

/// The weights a profile serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Hub repository, `owner/name`.
    pub repo: String,
    /// Branch, tag or (best) 40-hex commit.
    pub revision: String,
    /// Rough size of the repository in bytes, for disk checks before the listing is known.
    pub size_bytes: u64,
    /// Licence, named before the first byte is fetched.
    pub license: String,
    /// Files of the repository that hold code and may be downloaded: those that its `config.json` names in `auto_map`.
    /// All other code files are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code_files: Vec<String>,
    /// Folder of this host that holds the weights, an absolute path. It is served as it is: nothing is pulled, and no hash
    /// is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The benchmark of a profile, in `sglang.bench_serving`'s terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// `sglang` (native `/generate`) or `sglang-oai` (`/v1/completions`).
    pub backend: String,
    /// `random` (`ShareGPT` text, fetched from the internet) or `random-ids` (no corpus).
    pub dataset: String,
    /// Prompt length in tokens.
    pub input_len: Count,
    /// Output length in tokens.
    pub output_len: Count,
    /// 1 for fixed lengths; r draws uniformly from `[r * len, len]`.
    pub range_ratio: f64,
    /// Limit of requests in flight.
    pub max_concurrency: Count,
    /// Total number of requests.
    pub num_prompts: Count,
    /// Requests sent before the clock starts.
    pub warmup_requests: Option<Count>,
}

/// The checks that a model's answers can pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Status, usage counts, streaming and determinism only. A random model passes them.
    Wiring,
    /// The wiring checks, and questions that a trained model answers right.
    Answers,
}
