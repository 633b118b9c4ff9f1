//! The keys of a profile file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::gpu::Architecture;
use crate::profile::knob::{
    AttentionBackend, Chunk, Count, DeepepMode, Fp8Gemm, Fraction, KvCache, MoeAllToAll, MoeRunner, Positive,
    spelled,
};

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
    /// The weights.
    pub model: Model,
    /// The engine's settings.
    pub engine: EngineSettings,
    /// The benchmark that belongs to it.
    pub bench: Bench,
    /// The checks that this model's answers can pass.
    pub verify: Verify,
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

/// The engine's settings. `None` leaves the engine's default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// Ranks over which each layer is split.
    pub tensor_parallel: Option<Count>,
    /// Ranks over which attention is replicated instead of split (DP attention); divides `tensor_parallel`.
    pub attention_data_parallel: Option<Count>,
    /// Stages into which the layers are divided; each has `tensor_parallel` GPUs.
    pub pipeline_parallel: Option<Count>,
    /// Ranks over which the experts are spread; 1 or `tensor_parallel` for most kernels.
    pub expert_parallel: Option<Count>,
    /// Copies of hot experts beyond the 256 of the model; the sum must divide by `expert_parallel`.
    pub redundant_experts: Option<Count>,
    /// Exchange of tokens between experts on different GPUs.
    pub moe_a2a: Option<MoeAllToAll>,
    /// Kernels of `DeepEP`; only with a `moe_a2a` of that family.
    pub deepep_mode: Option<DeepepMode>,
    /// Ranks over which the dense layers are split beside attention replicas.
    pub moe_dense_tensor_parallel: Option<Count>,
    /// Busy experts get their copies while the server runs (the expert-parallel load balancer).
    pub eplb: Option<bool>,
    /// Two halves of a batch overlap computation and communication.
    pub two_batch_overlap: Option<bool>,
    /// Kernel family of the mixture-of-experts layers.
    pub moe_runner: Option<MoeRunner>,
    /// Kernel family of attention.
    pub attention_backend: Option<AttentionBackend>,
    /// Kernel family of dense FP8 matrix products.
    pub fp8_gemm: Option<Fp8Gemm>,
    /// Number format of the KV cache.
    pub kv_cache: Option<KvCache>,
    /// Checkpoint quantization as SGLang spells it; FP8 checkpoints need none.
    pub quantization: Option<String>,
    /// DeepGEMM may JIT-compile dense FP8 GEMMs.
    pub deep_gemm: Option<bool>,
    /// Fraction of GPU memory for weights plus KV cache.
    pub mem_fraction: Option<Fraction>,
    /// Limit of requests that run at once, over all attention replicas.
    pub max_running_requests: Option<Count>,
    /// Tokens in one prefill chunk, over all attention replicas; -1 for whole prompts.
    pub chunked_prefill_size: Option<Chunk>,
    /// Tokens in one prefill batch.
    pub max_prefill_tokens: Option<Count>,
    /// Size of the KV pool in tokens, instead of the memory that `mem_fraction` leaves.
    pub max_total_tokens: Option<Count>,
    /// Tokens in one page of the KV pool.
    pub page_size: Option<Count>,
    /// Longest request, prompt and answer together, in tokens.
    pub context_length: Option<Count>,
    /// Largest decode batch that is captured as a CUDA graph; larger batches run without one.
    pub graph_batch: Option<Count>,
    /// Prefixes are cached between requests.
    pub radix_cache: Option<bool>,
    /// The scheduler overlaps with the model.
    pub overlap_schedule: Option<bool>,
    /// The output layer is replicated like attention; only with `attention_data_parallel`.
    pub lm_head_data_parallel: Option<bool>,
    /// Requests are announced only within the group of an attention replica.
    pub local_control_broadcast: Option<bool>,
    /// Prefill waits until the attention replicas can do it together.
    pub prefill_delayer: Option<bool>,
    /// Caution with which requests are admitted. SGLang's default is 1; attention data parallel multiplies it by 0.3.
    pub schedule_conservativeness: Option<Positive>,
    /// Scheduler rounds between two reads of the request queue.
    pub scheduler_recv_interval: Option<Count>,
    /// Tokens between two chunks of a streamed answer; above 1, inter-token latency is per chunk.
    pub stream_interval: Option<Count>,
    /// Tensor-parallel buffers are in NCCL's symmetric memory.
    pub symmetric_memory: Option<bool>,
    /// `FlashInfer` fuses all-reduce with the norm that follows.
    pub allreduce_fusion: Option<bool>,
    /// The shared expert is computed as one of the routed experts.
    pub shared_experts_fusion: Option<bool>,
    /// Multi-token prediction with the model's own draft layer (EAGLE).
    pub speculative: Option<Speculative>,
    /// Python files of the model repository may run.
    pub trust_remote_code: Option<bool>,
    /// `--tokenizer-path` is passed beside the model, as the guide does.
    pub tokenizer_path: Option<bool>,
    /// Name of the model in the API, instead of the repository's.
    pub served_name: Option<String>,
    /// Parser that splits the reasoning from the answer. For DeepSeek-R1 it is `deepseek-r1` unless it is set; `none`
    /// leaves `<think>` in the content.
    pub reasoning_parser: Option<String>,
    /// Parser of tool calls. DeepSeek-R1's own chat template does not offer tools to the model.
    pub tool_call_parser: Option<String>,
    /// Metrics for Prometheus at `/metrics`; on unless this is `false`.
    pub metrics: Option<bool>,
    /// Device, if it is not CUDA.
    pub device: Option<Device>,
    /// Further environment variables of the engine; their names are checked.
    pub env: BTreeMap<String, String>,
    /// Further engine arguments in the spelling of the stack's version; flag and value are two words.
    pub extra_args: Vec<String>,
}

/// Multi-token prediction: the draft layer proposes tokens, and the model checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speculative {
    /// Number of draft steps in a row.
    pub steps: Count,
    /// Candidates kept in each step.
    pub top_k: Count,
    /// Tokens checked at once.
    pub draft_tokens: Count,
}

/// A device other than CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
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
