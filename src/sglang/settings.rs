//! The settings that result from a command line and an environment in one version: the rules are about them.
//!
//! SGLang's defaults that depend on the GPU are in `sglang::memory`.

use std::collections::BTreeMap;

use crate::profile::Version;
use crate::sglang::distributed::{Distributed, is_on};
use crate::sglang::flags::Parsed;
use crate::sglang::graphs::GraphOptions;

/// The settings, whichever spelling they had.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the engine")]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EffectiveSettings {
    /// The version that they are read for.
    pub version: Option<Version>,
    /// GPUs that share every layer.
    pub tensor_parallel: u32,
    /// Attention replicas on the same GPUs; 1 without replication.
    pub attention_data_parallel: u32,
    /// Copies of the whole model.
    pub replicas: u32,
    /// Stages of the pipeline.
    pub pipeline: u32,
    /// GPUs over which the dense layers are split beside attention replicas, if named.
    pub dense_tensor_parallel: Option<u32>,
    /// True if `--enable-dp-attention` is given.
    pub attention_switch: bool,
    /// True for `--enable-dp-attention` without a number of replicas.
    pub attention_switch_alone: bool,
    /// GPUs over which the experts are spread; 1 if each expert is split.
    pub expert_parallel: u32,
    /// Further copies of experts.
    pub redundant_experts: u32,
    /// Kernels of the experts, if named.
    pub moe_runner: Option<String>,
    /// Experts are moved between GPUs while the server runs.
    pub eplb: bool,
    /// Choice of an expert's copy, if named: `static`, ...
    pub expert_dispatch: Option<String>,
    /// Communication between experts, if named: `deepep`, ...
    pub a2a: Option<String>,
    /// Mode of `DeepEP`, if named.
    pub deepep_mode: Option<String>,
    /// Two batches overlap computation and communication.
    pub two_batch_overlap: bool,
    /// Kernels of attention, if named.
    pub attention_backend: Option<String>,
    /// Kernels of attention in prefill, if named apart.
    pub prefill_attention_backend: Option<String>,
    /// Kernels of attention in decode, if named apart.
    pub decode_attention_backend: Option<String>,
    /// Kernels of dense FP8 products, if named.
    pub fp8_gemm: Option<String>,
    /// Format of the weights, if named.
    pub quantization: Option<String>,
    /// Format of the KV cache, if named.
    pub kv_cache: Option<String>,
    /// Share of GPU memory for weights and KV pool, if named.
    pub mem_fraction: Option<f64>,
    /// Tokens of one prefill chunk over all replicas, if named; -1 for no chunking.
    pub chunked_prefill_size: Option<i64>,
    /// Tokens of one prefill batch, if named.
    pub max_prefill_tokens: Option<u32>,
    /// Requests at once over all replicas, if named.
    pub max_running_requests: Option<u32>,
    /// Size of the KV pool in tokens, if named.
    pub max_total_tokens: Option<u32>,
    /// Largest decode batch with a CUDA graph, if named.
    pub graph_batch: Option<u32>,
    /// Most tokens of a prefill with a CUDA graph, if named.
    pub prefill_graph_tokens: Option<u32>,
    /// The decode batches with a CUDA graph, if named one by one.
    pub graph_batches: Vec<u32>,
    /// CUDA graphs for decode are not switched off.
    pub decode_graphs: bool,
    /// CUDA graphs for prefill are not switched off.
    pub prefill_graphs: bool,
    /// CUDA graphs for prefill are not switched off by their own option of versions before 0.5.14.
    pub piecewise_graphs: bool,
    /// CUDA graphs for prefill are asked for by name, so SGLang does not switch them off by itself.
    pub prefill_graphs_named: bool,
    /// Tokens per page, if named.
    pub page_size: Option<u32>,
    /// Algorithm of multi-token prediction, if named.
    pub draft_algorithm: Option<String>,
    /// `SGLANG_ENABLE_SPEC_V2`, if it is set: whether the scheduler works beside multi-token prediction.
    pub draft_overlap: Option<bool>,
    /// Tokens drafted per step, with multi-token prediction.
    pub draft_tokens: Option<u32>,
    /// Tokens drafted per step, if named.
    pub draft_tokens_named: Option<u32>,
    /// Draft steps in a row, with multi-token prediction, if named.
    pub draft_steps: Option<u32>,
    /// Candidates kept in each draft step, with multi-token prediction, if named.
    pub draft_top_k: Option<u32>,
    /// Caution of the scheduler, if named.
    pub schedule_conservativeness: Option<f64>,
    /// Tokens per streamed chunk.
    pub stream_interval: u32,
    /// Longest request in tokens, if named.
    pub context_length: Option<u64>,
    /// The scheduler works while the GPU does.
    pub overlap_schedule: bool,
    /// Prefill and decode may share a batch.
    pub mixed_chunk: bool,
    /// A context beyond the model's own is allowed.
    pub longer_context: bool,
    /// Prefixes are cached between requests.
    pub radix_cache: bool,
    /// Prefixes that leave the GPU are kept in the host's memory.
    pub hierarchical_cache: bool,
    /// GB of the host's memory that they take for each rank, if named.
    pub hierarchical_cache_gb: Option<u32>,
    /// The same as a multiple of the KV pool of a GPU.
    pub hierarchical_cache_ratio: f64,
    /// Decode is compiled by torch.
    pub torch_compile: bool,
    /// Batches between two captured sizes are padded to the larger one.
    pub graph_padding: bool,
    /// Buffers of collective communication are in symmetric memory.
    pub symmetric_memory: bool,
    /// Answers do not depend on the batch.
    pub deterministic: bool,
    /// GiB of weights on each GPU that stay in the host's memory.
    pub offloaded_gib: f64,
    /// Options below their least useful value, with that value: the parser takes them.
    pub too_small: Vec<(&'static str, i64)>,
    /// Options that have no effect without another one, with that one.
    pub idle: Vec<(&'static str, &'static str)>,
    /// The output layer is replicated.
    pub lm_head_data_parallel: bool,
    /// The shared expert is computed as one of the routed experts.
    pub shared_experts_fusion: bool,
    /// The server skips its own first request.
    pub skip_warmup: bool,
    /// Device, if named.
    pub device: Option<String>,
    /// Name of the model, if named.
    pub served_model_name: Option<String>,
    /// The settings of an engine that spans nodes or has one role.
    pub distributed: Distributed,
}

/// First version in which `--enable-ep-moe` sets the expert-parallel size (`server_args.py` of 0.4.10.post2).
const EP_MOE_SETS_SIZE: Version = Version::new(0, 4, 10).post(2);
/// First version that ignores `SGLANG_CUTLASS_MOE` (`environ.py` of 0.5.18).
const CUTLASS_MOE_GONE: Version = Version::new(0, 5, 18);

/// Size of the hierarchical cache as a multiple of the KV pool, unless it is named (`server_args.py`).
const HIERARCHICAL_CACHE_RATIO: f64 = 2.0;

impl EffectiveSettings {
    /// Reads a command line and an environment as `version` does.
    #[must_use]
    #[expect(
        clippy::too_many_lines,
        reason = "one line for each setting, and no setting is left out"
    )]
    pub fn new(parsed: &Parsed<'_>, env: &BTreeMap<String, String>, version: Version) -> Self {
        let text = |name: &str| parsed.value(name).map(str::to_owned);
        let number = |name: &str| {
            parsed
                .value(name)
                .and_then(|value| value.trim().parse::<u32>().ok())
        };
        let real = |name: &str| {
            parsed
                .value(name)
                .and_then(|value| value.trim().parse::<f64>().ok())
        };
        let tensor_parallel = number("--tensor-parallel-size").unwrap_or(1);
        let copies = number("--data-parallel-size").unwrap_or(1);
        let old_dp = parsed.has_option("--enable-dp-attention");
        // An explicit 1 is the default, which the older spelling overrides.
        let named_attention = number("--attn-dp-size").filter(|ranks| *ranks != 1);
        let attention = named_attention.unwrap_or(if old_dp { copies } else { 1 });
        let cutlass_moe = parsed.has_option("--enable-flashinfer-cutlass-moe");
        let expert_classes = parsed.has_option("--enable-ep-moe");
        let sets_size = expert_classes && (version >= EP_MOE_SETS_SIZE || cutlass_moe);
        let deepep = parsed.has_option("--enable-deepep-moe");
        let expert_parallel = if sets_size || deepep {
            tensor_parallel
        } else {
            number("--ep-size").unwrap_or(1)
        };
        let variable =
            env.get("SGLANG_CUTLASS_MOE").is_some_and(|value| is_on(value)) && version < CUTLASS_MOE_GONE;
        let moe_runner = text("--moe-runner-backend")
            .or_else(|| cutlass_moe.then(|| "flashinfer_cutlass".to_owned()))
            .or_else(|| {
                parsed
                    .has_option("--enable-flashinfer-trtllm-moe")
                    .then(|| "flashinfer_trtllm".to_owned())
            })
            .or_else(|| variable.then(|| "cutlass".to_owned()));
        let distributed = Distributed::new(parsed, env);
        let graphs =
            GraphOptions::new(parsed).of_role(distributed.role, distributed.decode_graphs_named, version);
        let drafts = parsed.has_option("--speculative-algorithm");
        Self {
            version: Some(version),
            tensor_parallel,
            attention_data_parallel: attention,
            replicas: if old_dp && named_attention.is_none() {
                1
            } else {
                copies
            },
            pipeline: number("--pipeline-parallel-size").unwrap_or(1),
            dense_tensor_parallel: number("--moe-dense-tp-size"),
            attention_switch: old_dp,
            attention_switch_alone: old_dp && copies <= 1 && attention <= 1,
            expert_parallel,
            redundant_experts: number("--ep-num-redundant-experts").unwrap_or(0),
            moe_runner,
            eplb: parsed.has_option("--enable-eplb"),
            expert_dispatch: text("--ep-dispatch-algorithm"),
            a2a: text("--moe-a2a-backend").or_else(|| deepep.then(|| "deepep".to_owned())),
            deepep_mode: text("--deepep-mode"),
            two_batch_overlap: parsed.has_option("--enable-two-batch-overlap"),
            attention_backend: text("--attention-backend"),
            prefill_attention_backend: text("--prefill-attention-backend"),
            decode_attention_backend: text("--decode-attention-backend"),
            fp8_gemm: text("--fp8-gemm-backend"),
            quantization: text("--quantization"),
            kv_cache: text("--kv-cache-dtype"),
            mem_fraction: real("--mem-fraction-static"),
            chunked_prefill_size: parsed
                .value("--chunked-prefill-size")
                .and_then(|value| value.parse().ok()),
            max_prefill_tokens: number("--max-prefill-tokens"),
            max_running_requests: number("--max-running-requests"),
            max_total_tokens: number("--max-total-tokens"),
            graph_batch: graphs.batch,
            prefill_graph_tokens: graphs.prefill_tokens,
            graph_batches: graphs.batches,
            decode_graphs: graphs.decode,
            prefill_graphs: graphs.prefill,
            piecewise_graphs: graphs.piecewise,
            prefill_graphs_named: graphs.prefill_named,
            page_size: number("--page-size"),
            draft_algorithm: text("--speculative-algorithm"),
            draft_overlap: env.get("SGLANG_ENABLE_SPEC_V2").map(|value| is_on(value)),
            draft_tokens: drafts.then(|| number("--speculative-num-draft-tokens").unwrap_or(1)),
            draft_tokens_named: number("--speculative-num-draft-tokens").filter(|_| drafts),
            draft_steps: number("--speculative-num-steps").filter(|_| drafts),
            draft_top_k: number("--speculative-eagle-topk").filter(|_| drafts),
            schedule_conservativeness: real("--schedule-conservativeness"),
            stream_interval: number("--stream-interval").unwrap_or(1),
            context_length: parsed
                .value("--context-length")
                .and_then(|value| human_number(value.trim())),
            overlap_schedule: !parsed.has_option("--disable-overlap-schedule"),
            mixed_chunk: parsed.has_option("--enable-mixed-chunk"),
            longer_context: env
                .get("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN")
                .is_some_and(|value| is_on(value)),
            radix_cache: !parsed.has_option("--disable-radix-cache"),
            hierarchical_cache: parsed.has_option("--enable-hierarchical-cache"),
            hierarchical_cache_gb: number("--hicache-size"),
            hierarchical_cache_ratio: real("--hicache-ratio").unwrap_or(HIERARCHICAL_CACHE_RATIO),
            torch_compile: parsed.has_option("--enable-torch-compile"),
            graph_padding: !parsed.has_option("--disable-cuda-graph-padding"),
            symmetric_memory: parsed.has_option("--enable-symm-mem"),
            deterministic: parsed.has_option("--enable-deterministic-inference"),
            offloaded_gib: real("--cpu-offload-gb").unwrap_or(0.0),
            too_small: too_small(parsed),
            idle: idle(parsed),
            lm_head_data_parallel: parsed.has_option("--enable-dp-lm-head"),
            shared_experts_fusion: !parsed.has_option("--disable-shared-experts-fusion"),
            skip_warmup: parsed.has_option("--skip-server-warmup"),
            device: text("--device"),
            served_model_name: text("--served-model-name"),
            distributed,
        }
    }
}

/// Sizes that are refused or useless below 1, by their canonical names.
const AT_LEAST_ONE: [&str; 7] = [
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--data-parallel-size",
    "--max-running-requests",
    "--max-total-tokens",
    "--context-length",
    "--page-size",
];

/// Returns the sizes below 1, which the parser takes.
fn too_small(parsed: &Parsed<'_>) -> Vec<(&'static str, i64)> {
    let number = |name| parsed.value(name)?.trim().parse::<i64>().ok();
    AT_LEAST_ONE
        .into_iter()
        .filter_map(|name| Some((name, number(name)?)))
        .filter(|(_, number)| *number < 1)
        .collect()
}

/// Options that nothing reads without another one: the option, and the other one.
const NEEDS: [(&str, &str); 5] = [
    ("--speculative-num-steps", "--speculative-algorithm"),
    ("--speculative-eagle-topk", "--speculative-algorithm"),
    ("--speculative-num-draft-tokens", "--speculative-algorithm"),
    ("--speculative-draft-model-path", "--speculative-algorithm"),
    ("--torch-compile-max-bs", "--enable-torch-compile"),
];

/// Returns the options that have no effect: one for each option that is missing.
fn idle(parsed: &Parsed<'_>) -> Vec<(&'static str, &'static str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for (name, needed) in NEEDS {
        let is_said = found.iter().any(|(_, other)| *other == needed);
        if parsed.has_option(name) && !parsed.has_option(needed) && !is_said {
            found.push((name, needed));
        }
    }
    found
}

/// Reads a whole number that may end in a unit: `32k` is 32,000 and `32Ki` 32,768 (`human_readable_int` in
/// `sglang/srt/utils/common.py`).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a context is far below 2^53, and a negative one is cut at 0"
)]
fn human_number(text: &str) -> Option<u64> {
    for (decimal, binary, power) in [("k", "Ki", 1), ("M", "Mi", 2), ("G", "Gi", 3), ("T", "Ti", 4)] {
        if let Some(number) = text.strip_suffix(binary) {
            return number.parse::<u64>().ok()?.checked_mul(1024_u64.pow(power));
        }
        if let Some(number) = text.strip_suffix(decimal) {
            let number: f64 = number.parse().ok()?;
            return Some((number * f64::powi(1000.0, power.cast_signed())) as u64);
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sglang::flags::{Parser, history};

    fn effective(version: &str, line: &str, env: &[(&str, &str)]) -> EffectiveSettings {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let version = version.parse().unwrap();
        let table = history(Parser::Server).table(version);
        let env = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        EffectiveSettings::new(&table.parse(&args), &env, version)
    }

    #[test]
    fn the_guides_tep8_is_expert_parallel_only_from_post2_on() {
        let line = "--tp 8 --enable-ep-moe --enable-flashinfer-trtllm-moe";
        assert_eq!(effective("0.4.10.post1", line, &[]).expert_parallel, 1);
        assert_eq!(effective("0.4.10.post2", line, &[]).expert_parallel, 8);
    }

    #[test]
    fn both_spellings_of_attention_replicas_mean_the_same() {
        let old = effective("0.5.19", "--tp-size 8 --dp-size 8 --enable-dp-attention", &[]);
        let new = effective("0.5.23", "--tp-size 8 --attn-dp-size 8", &[]);
        assert_eq!((old.attention_data_parallel, old.replicas), (8, 1));
        assert_eq!((new.attention_data_parallel, new.replicas), (8, 1));
        let copies = effective("0.5.23", "--tp-size 8 --dp-size 8", &[]);
        assert_eq!((copies.attention_data_parallel, copies.replicas), (1, 8));
    }

    #[test]
    fn a_context_may_have_a_unit() {
        let context = |value: &str| {
            let line = format!("--tp-size 8 --context-length {value}");
            effective("0.5.23", &line, &[]).context_length
        };
        for (value, tokens) in [
            ("32768", 32_768),
            ("32k", 32_000),
            ("32Ki", 32_768),
            ("1.5M", 1_500_000),
        ] {
            assert_eq!(context(value), Some(tokens), "{value}");
        }
        assert_eq!(context("many"), None);
    }

    #[test]
    fn the_variable_counts_only_where_it_is_read() {
        let env = [("SGLANG_CUTLASS_MOE", "1")];
        assert_eq!(
            effective("0.5.17", "", &env).moe_runner.as_deref(),
            Some("cutlass")
        );
        assert_eq!(effective("0.5.18", "", &env).moe_runner, None);
    }
}
