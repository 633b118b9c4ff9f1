//! What a profile file may say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::catalog::Precision;

/// A named way to serve one model: neutral knobs, rendered through the stack's engine version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name on the command line; lower case, digits and dashes.
    pub name: String,
    /// One line for lists.
    pub title: String,
    /// Where the settings come from.
    pub source: String,
    /// What it is tuned for.
    pub goal: Goal,
    /// Number format of the weights.
    pub precision: Precision,
    /// Name of the stack it is written for.
    pub stack: String,
    /// GPUs it needs; 0 for the CPU stack.
    pub gpus: u32,
    /// The weights.
    pub model: Model,
    /// The engine's settings.
    pub engine: Engine,
    /// The benchmark that belongs to it.
    pub bench: Bench,
    /// What `verify` may expect of this model's answers.
    pub verify: Verify,
}

/// What a profile is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// The engine's defaults.
    Basic,
    /// Most tokens per second over many requests.
    HighThroughput,
    /// Least time per token for one or few requests.
    LowLatency,
    /// The whole chain on a machine without a GPU.
    Rehearsal,
}

impl Goal {
    /// The spelling used in profiles and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::HighThroughput => "high-throughput",
            Self::LowLatency => "low-latency",
            Self::Rehearsal => "rehearsal",
        }
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
}

/// The engine's settings. `None` leaves the engine's default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Ranks over which each layer is split.
    pub tensor_parallel: Option<u32>,
    /// Ranks over which attention is replicated instead of split (DP attention); divides `tensor_parallel`.
    pub attention_data_parallel: Option<u32>,
    /// Ranks over which the experts are spread; 1 or `tensor_parallel`.
    pub expert_parallel: Option<u32>,
    /// Kernel family of the mixture-of-experts layers.
    pub moe_runner: Option<MoeRunner>,
    /// Kernel family of attention.
    pub attention_backend: Option<AttentionBackend>,
    /// Checkpoint quantization as SGLang spells it; FP8 checkpoints need none.
    pub quantization: Option<String>,
    /// Whether DeepGEMM may JIT-compile dense FP8 GEMMs.
    pub deep_gemm: Option<bool>,
    /// Fraction of GPU memory for weights plus KV cache, 0 to 1.
    pub mem_fraction: Option<f64>,
    /// Most requests running at once, over all attention replicas.
    pub max_running_requests: Option<u32>,
    /// Tokens in one prefill chunk, over all attention replicas.
    pub chunked_prefill_size: Option<u32>,
    /// Tokens in one prefill batch.
    pub max_prefill_tokens: Option<u32>,
    /// Tokens the KV pool holds at most; the default is what fits.
    pub max_total_tokens: Option<u32>,
    /// Whether prefixes are cached between requests.
    pub radix_cache: Option<bool>,
    /// Whether the scheduler overlaps with the model.
    pub overlap_schedule: Option<bool>,
    /// Whether Python files of the model repository may run.
    pub trust_remote_code: bool,
    /// Whether the guide names `--tokenizer-path` beside the model.
    pub tokenizer_path: bool,
    /// Device, when it is not CUDA.
    pub device: Option<String>,
    /// Further environment of the engine.
    pub env: BTreeMap<String, String>,
}

/// Kernel family of the mixture-of-experts layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoeRunner {
    /// SGLang's CUTLASS block-FP8 kernels.
    Cutlass,
    /// FlashInfer's CUTLASS kernels (NVFP4).
    FlashinferCutlass,
    /// FlashInfer's TensorRT-LLM generated kernels.
    FlashinferTrtllm,
}

/// Kernel family of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionBackend {
    /// CUTLASS MLA, for Blackwell; removed in SGLang 0.5.20.
    CutlassMla,
    /// TensorRT-LLM generated MLA, for Blackwell.
    TrtllmMla,
    /// PyTorch's own attention, for CPUs.
    TorchNative,
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
    pub input_len: u32,
    /// Output length in tokens.
    pub output_len: u32,
    /// 1 for fixed lengths; r draws uniformly from `[r * len, len]`.
    pub range_ratio: f64,
    /// Most requests in flight.
    pub max_concurrency: u32,
    /// Requests in all.
    pub num_prompts: u32,
    /// Requests sent before the clock starts.
    pub warmup_requests: Option<u32>,
}

/// What the verification may expect of a model's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// The wiring only: status, usage counts, streaming, determinism. A random model can pass.
    Wiring,
    /// The wiring, and answers a trained model gets right.
    Answers,
}
