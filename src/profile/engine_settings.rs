//! The key `engine` of a profile: the knobs of an engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::knob::{
    AttentionBackend, Chunk, Count, DeepepMode, ExpertDispatch, Fp4Gemm, Fp8Gemm, Fraction, KvCache,
    MoeAllToAll, MoeRunner, Positive,
};

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
    /// Choice of a copy of an expert, where experts have several.
    pub expert_dispatch: Option<ExpertDispatch>,
    /// Two halves of a batch overlap computation and communication.
    pub two_batch_overlap: Option<bool>,
    /// The shared expert and the down-projection of one batch overlap communication.
    pub single_batch_overlap: Option<bool>,
    /// Kernel family of the mixture-of-experts layers.
    pub moe_runner: Option<MoeRunner>,
    /// Kernel family of attention.
    pub attention_backend: Option<AttentionBackend>,
    /// Kernel family of dense FP8 matrix products.
    pub fp8_gemm: Option<Fp8Gemm>,
    /// Kernel family of dense NVFP4 matrix products.
    pub fp4_gemm: Option<Fp4Gemm>,
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

impl EngineSettings {
    /// Returns the ranks of an engine: tensor parallel times the stages of a pipeline.
    #[must_use]
    pub fn ranks(&self) -> u32 {
        let count = |knob: Option<Count>| knob.map_or(1, Count::get);
        count(self.tensor_parallel).saturating_mul(count(self.pipeline_parallel))
    }

    /// Returns these settings with those of `over` in their place. Variables are joined; a list replaces a list.
    #[must_use]
    pub(super) fn overlaid(&self, over: &Self) -> Self {
        let value = |settings: &Self| serde_json::to_value(settings).unwrap_or_default();
        let (mut merged, over) = (value(self), value(over));
        if let (Some(merged), serde_json::Value::Object(over)) = (merged.as_object_mut(), over) {
            for (key, value) in over {
                match (merged.get_mut(&key), value) {
                    (_, serde_json::Value::Null) => {}
                    (_, serde_json::Value::Array(list)) if list.is_empty() => {}
                    (Some(serde_json::Value::Object(below)), serde_json::Value::Object(above)) => {
                        // `speculative` is whole in both; `env` is joined.
                        below.extend(above);
                    }
                    (_, value) => {
                        merged.insert(key, value);
                    }
                }
            }
        }
        serde_json::from_value(merged).unwrap_or_else(|_| self.clone())
    }
}
