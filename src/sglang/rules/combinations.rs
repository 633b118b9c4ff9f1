//! Combinations that fail after the engine has resolved its arguments: when it reads the weights, in a kernel, or at the
//! first request; and settings that do not fit the profile. What the engine refuses before it loads is in
//! `sglang::resolve`.
//!
//! Sources: `server_args.py` of 0.4.10.post1, .post2 and 0.5.19; `eplb/expert_location.py`.

use crate::facts::ModelFacts;
use crate::profile::{Accelerator, Architecture, Precision, Profile, Role, Stack, Topology, Version};
use crate::sglang::check::{Check, Level};
use crate::sglang::deepseek_r1::{
    CONTEXT, DENSE_WIDTH, EXPERT_WIDTH, EXPERTS, FP8_BLOCK, HEADS, heads_of_distilled,
    is_deepseek_v3_architecture, is_dense,
};
use crate::sglang::memory::bundled;
use crate::sglang::resolve::{AT_LEAST_ONE_EACH, Checkpoint, RUNNING, spreads_over_all, wrong_format};
use crate::sglang::settings::EffectiveSettings;

/// First version that takes the format of DeepSeek's weights from the checkpoint on Blackwell (`server_args.py`, 0.5.5).
const FORMAT_OF_CHECKPOINT: Version = Version::new(0, 5, 5);

/// First version that computes NVFP4 weights on Hopper (`modelopt_quant.py`, 0.5.14).
const NVFP4_ON_HOPPER: Version = Version::new(0, 5, 14);
/// Attention backends of other makers' devices.
const ELSEWHERE: [&str; 5] = ["aiter", "ascend", "intel_amx", "intel_xpu", "wave"];

/// Applies all rules to one set of settings.
pub(super) fn check(
    settings: &EffectiveSettings,
    profile: &Profile,
    stack: &Stack,
    checkpoint: &Checkpoint,
) -> Vec<Check> {
    let mut found = Vec::new();
    accelerator(settings, profile, stack, &mut found);
    ranges(settings, &mut found);
    parallel(settings, profile, &mut found);
    split(settings, profile, checkpoint, &mut found);
    if is_dense(&profile.model.repo) {
        experts_of_none(settings, profile, &mut found);
        found.extend(compressed_only(settings));
    } else {
        experts(settings, stack.pins.sglang, &mut found);
    }
    weights(settings, checkpoint, stack.pins.sglang, &mut found);
    precision(profile, &mut found);
    architecture(settings, profile, stack, &mut found);
    scheduling(settings, &mut found);
    benchmark_only(settings, profile, &mut found);
    found
}

fn error(id: &str, subject: &str, text: String) -> Check {
    Check::new(id, Level::Error, subject, text)
}

fn warn(id: &str, subject: &str, text: String) -> Check {
    Check::new(id, Level::Warn, subject, text)
}

fn note(id: &str, subject: &str, text: String) -> Check {
    Check::new(id, Level::Note, subject, text)
}

/// Refuses numbers that the parser accepts and no server starts with. Only raw arguments can hold them.
fn ranges(settings: &EffectiveSettings, found: &mut Vec<Check>) {
    if let Some(fraction) = settings
        .mem_fraction
        .filter(|fraction| !(*fraction > 0.0 && *fraction < 1.0))
    {
        found.push(error(
            "range.fraction",
            "engine.mem_fraction",
            format!("{fraction} is not a share of memory between 0 and 1"),
        ));
    }
    for (setting, number) in [
        ("engine.attention_data_parallel", settings.attention_data_parallel),
        ("engine.expert_parallel", settings.expert_parallel),
    ] {
        if number == 0 {
            found.push(error(
                "range.ranks",
                setting,
                "0 is not a number of ranks: at least 1 is needed".to_owned(),
            ));
        }
    }
    for (option, number) in &settings.too_small {
        let (id, subject) = match *option {
            "--page-size" => ("range.page", "engine.page_size"),
            "--max-running-requests" => ("range.requests", "engine.max_running_requests"),
            "--max-total-tokens" => ("range.tokens", "engine.max_total_tokens"),
            "--context-length" => ("range.context", "engine.context_length"),
            "--tensor-parallel-size" => ("range.ranks", "engine.tensor_parallel"),
            "--pipeline-parallel-size" => ("range.ranks", "engine.pipeline_parallel"),
            other => ("range.ranks", other),
        };
        found.push(
            error(
                id,
                subject,
                format!("{option} {number} is too small: no server runs with it"),
            )
            .fix("use at least 1, or leave it out"),
        );
    }
}

/// Returns the refusal of attention heads that the ranks do not divide: `divide(num_heads, tp_size)` in `linear.py` asserts it.
fn uneven_heads(heads: u32, ranks: u32) -> Option<Check> {
    if ranks == 0 || heads == 0 || heads.is_multiple_of(ranks) {
        return None;
    }
    let power = 1_u32 << heads.trailing_zeros();
    let check = error(
        "parallel.heads",
        "engine.tensor_parallel",
        format!("{heads} attention heads cannot be spread evenly over {ranks} ranks"),
    );
    Some(check.fix(format!("use a power of two, at most {power}")))
}

/// Returns the findings about a model that its files describe.
pub(super) fn of_model(
    settings: &EffectiveSettings,
    model: &ModelFacts,
    checkpoint: &Checkpoint,
    version: Version,
) -> Vec<Check> {
    let mut found = Vec::new();
    weights(settings, checkpoint, version, &mut found);
    let ranks = settings.tensor_parallel / settings.attention_data_parallel.max(1);
    let heads = model.heads.and_then(|heads| u32::try_from(heads).ok());
    found.extend(heads.and_then(|heads| uneven_heads(heads, ranks)));
    if model.kv_lora_rank.is_none() {
        found.extend(compressed_only(settings));
    }
    found
}

/// Attention backends that read only a compressed KV cache (`attention_registry.py`, `flashmla_backend.py`, 0.5.23).
const COMPRESSED: [&str; 5] = [
    "cutedsl_mla",
    "cutlass_mla",
    "flashmla",
    "tokenspeed_mla",
    "trtllm_mla",
];

/// Returns the refusal of an attention backend that a model without a compressed KV cache cannot use.
fn compressed_only(settings: &EffectiveSettings) -> Option<Check> {
    let backend = attention_backends(settings).find(|backend| COMPRESSED.contains(backend))?;
    let check = error(
        "attention.model",
        "engine.attention_backend",
        format!("{backend} computes only DeepSeek's compressed attention, which this model does not have"),
    );
    Some(check.fix("leave attention_backend out: SGLang chooses one"))
}

/// Returns the finding about NVFP4 weights on Hopper, at `subject`.
pub(super) fn nvfp4_on_hopper(subject: &str, version: Version) -> Check {
    if version < NVFP4_ON_HOPPER {
        error(
            "architecture.nvfp4",
            subject,
            format!("NVFP4 weights need Blackwell in SGLang {version}"),
        )
        .fix("use FP8 on Hopper")
    } else {
        warn(
            "architecture.nvfp4",
            subject,
            "Hopper has no FP4 arithmetic: SGLang computes NVFP4 weights by Marlin's kernels in BF16"
                .to_owned(),
        )
        .fix("use FP8 on Hopper, if it fits")
    }
}

/// Returns the reason why the dense layers, the shared expert or the routed experts cannot be split: `divide` in `linear.py`
/// and the blocks of `fp8.py` assert it when the model is built (0.4.10.post2 to 0.5.23).
fn uneven(settings: &EffectiveSettings, is_fp8: bool) -> Option<String> {
    let tp = settings.tensor_parallel.max(1);
    let dense = settings.dense_tensor_parallel.unwrap_or(tp).max(1);
    // Behind an all-to-all each GPU has whole experts, and a whole shared one.
    let is_whole = settings.a2a.as_deref().is_some_and(|name| name != "none");
    let shared = if is_whole { 1 } else { tp };
    let routed = if is_whole {
        1
    } else {
        tp / settings.expert_parallel.clamp(1, tp)
    };
    for (what, width, ranks) in [
        ("the dense layers", DENSE_WIDTH, dense),
        ("the shared expert", EXPERT_WIDTH, shared),
        ("each routed expert", EXPERT_WIDTH, routed.max(1)),
    ] {
        if !width.is_multiple_of(ranks) {
            return Some(format!(
                "{what}, {width} wide, cannot be split evenly over {ranks} GPUs"
            ));
        }
        if is_fp8 && !(width / ranks).is_multiple_of(FP8_BLOCK) {
            return Some(format!(
                "{what}, {width} wide, over {ranks} GPUs gives {} each: FP8 weights have a scale for {FP8_BLOCK}",
                width / ranks
            ));
        }
    }
    None
}

/// Checks how the model is split: heads over the ranks of attention, layers over a pipeline.
fn split(settings: &EffectiveSettings, profile: &Profile, checkpoint: &Checkpoint, found: &mut Vec<Check>) {
    let (tp, dp) = (settings.tensor_parallel, settings.attention_data_parallel);
    let ranks = tp / dp.max(1);
    let repo = &profile.model.repo;
    let is_deepseek_v3 = is_deepseek_v3_architecture(repo);
    let heads = if is_deepseek_v3 {
        Some(HEADS)
    } else {
        heads_of_distilled(repo)
    };
    if let Some(check) = heads.and_then(|heads| uneven_heads(heads, ranks)) {
        found.push(check);
    } else if is_deepseek_v3 {
        let is_fp8 = checkpoint.quantization.as_deref() == Some("fp8");
        if let Some(text) = uneven(settings, is_fp8) {
            found.push(
                error("parallel.width", "engine.tensor_parallel", text).fix(if is_fp8 {
                    "use a power of two, at most 16"
                } else {
                    "use a power of two"
                }),
            );
        }
    }
    let gpus = u64::from(tp) * u64::from(settings.pipeline);
    if settings.pipeline > 1 && gpus > u64::from(profile.gpus) {
        found.push(
            error(
                "parallel.pipeline",
                "engine.pipeline_parallel",
                format!(
                    "tensor parallel {tp} and {} stages of a pipeline are {gpus} GPUs, the profile has {}",
                    settings.pipeline, profile.gpus
                ),
            )
            .fix("leave --pp-size out, or make `gpus` the product of both"),
        );
    } else if settings.pipeline > 1 && gpus < u64::from(profile.gpus) {
        found.push(
            error(
                "parallel.gpus",
                "engine.pipeline_parallel",
                format!(
                    "tensor parallel {tp} and {} stages of a pipeline use {gpus} GPUs, the profile says {}",
                    settings.pipeline, profile.gpus
                ),
            )
            .fix("make `gpus` the product of both"),
        );
    }
}

/// Refuses a profile for GPUs on a stack for CPUs, and the reverse.
fn accelerator(settings: &EffectiveSettings, profile: &Profile, stack: &Stack, found: &mut Vec<Check>) {
    let cpu = settings.device.as_deref() == Some("cpu");
    let wrong = match stack.accelerator {
        Accelerator::Cpu => profile.gpus > 0 || !cpu,
        Accelerator::Cuda => profile.gpus == 0 || cpu,
    };
    if wrong {
        let of = |gpus: bool| if gpus { "GPUs" } else { "a CPU" };
        found.push(
            error(
                "architecture.accelerator",
                "gpus",
                format!(
                    "the profile is for {}, stack `{}` for {}",
                    of(profile.gpus > 0 && !cpu),
                    stack.name,
                    of(stack.accelerator == Accelerator::Cuda)
                ),
            )
            .fix("dsr1 stacks list shows the stacks"),
        );
    }
}

fn parallel(settings: &EffectiveSettings, profile: &Profile, found: &mut Vec<Check>) {
    let EffectiveSettings {
        tensor_parallel: tp,
        attention_data_parallel: dp,
        replicas,
        ..
    } = *settings;
    let gpus = u64::from(tp) * u64::from(replicas);
    if replicas > 1 && dp > 1 {
        // `sglang::resolve` refuses both at once.
    } else if replicas > 1 && gpus > u64::from(profile.gpus) {
        found.push(
            error(
                "parallel.copies",
                "--data-parallel-size",
                format!(
                    "{replicas} copies of the model on {tp} GPUs each are {gpus} GPUs, the profile has {}",
                    profile.gpus
                ),
            )
            .fix("attention replicas on the same GPUs are `attention_data_parallel`"),
        );
    } else if profile.gpus > 0 && settings.pipeline == 1 && gpus != u64::from(profile.gpus) {
        found.push(
            error(
                "parallel.gpus",
                "engine.tensor_parallel",
                format!(
                    "tensor parallel {tp} uses {gpus} GPUs, the profile says {}",
                    profile.gpus
                ),
            )
            .fix("make `gpus` and `tensor_parallel` agree"),
        );
    }
}

/// Warns of settings for experts where the model has none.
fn experts_of_none(settings: &EffectiveSettings, profile: &Profile, found: &mut Vec<Check>) {
    if settings.expert_parallel > 1 || settings.redundant_experts > 0 || settings.moe_runner.is_some() {
        found.push(
            warn(
                "experts.dense",
                "engine.expert_parallel",
                format!(
                    "{} is a dense model: it has no experts to spread",
                    profile.model.repo
                ),
            )
            .fix("leave the settings for experts out"),
        );
    }
}

fn experts(settings: &EffectiveSettings, version: Version, found: &mut Vec<Check>) {
    let EffectiveSettings {
        tensor_parallel: tp,
        expert_parallel: named,
        redundant_experts: redundant,
        ..
    } = *settings;
    let runner = settings.moe_runner.as_deref();
    // Behind an all-to-all the experts are spread over all ranks, whatever is named.
    let ep = if settings.a2a.as_deref().is_some_and(spreads_over_all) {
        tp
    } else {
        named
    };
    if ep > 1 && tp % ep != 0 {
        found.push(
            error(
                "experts.parallel",
                "engine.expert_parallel",
                format!("expert parallel {ep} does not divide tensor parallel {tp}"),
            )
            .fix(format!("use 1 or {tp}")),
        );
    } else if !(EXPERTS + u64::from(redundant)).is_multiple_of(u64::from(ep.max(1))) {
        // expert_location.py asserts it after the weights are read.
        let text = format!("{EXPERTS} experts and {redundant} copies cannot be spread evenly over {ep} GPUs");
        let check = error("experts.redundant", "engine.redundant_experts", text);
        let fitting = [0, 16, 32, 64, 128]
            .into_iter()
            .find(|copies| (EXPERTS + copies).is_multiple_of(u64::from(ep.max(1))));
        found.push(match fitting {
            Some(copies) => check.fix(format!("redundant_experts: {copies}")),
            None => check,
        });
    }
    // `assert self.num_fused_shared_experts == 0` in fused_moe_triton/layer.py and ep_moe/layer.py; expert parallel turns the
    // fusion off, and from 0.5.1 on the runner does.
    let asserts = version < Version::new(0, 5, 1);
    if asserts && runner == Some("flashinfer_trtllm") && ep == 1 && settings.shared_experts_fusion {
        found.push(
            error(
                "experts.shared",
                "engine.shared_experts_fusion",
                format!("flashinfer_trtllm without expert parallel needs a separate shared expert in SGLang {version}"),
            )
            .fix("shared_experts_fusion: false"),
        );
    }
}

/// Refuses a precision that is not that of a repository whose format is published.
fn precision(profile: &Profile, found: &mut Vec<Check>) {
    let Some(model) = bundled(&profile.model.repo) else {
        return;
    };
    let has = if model.is_modelopt {
        Precision::Fp4
    } else {
        Precision::Fp8
    };
    if profile.precision != has {
        let (named, has) = (profile.precision.name(), has.name());
        found.push(
            error(
                "weights.precision",
                "precision",
                format!(
                    "{} has {has} weights, and the profile is for {named}",
                    profile.model.repo
                ),
            )
            .fix(format!("use a profile for {has}, or the weights in {named}")),
        );
    }
}

/// Checks a named format against the checkpoint's.
fn weights(settings: &EffectiveSettings, checkpoint: &Checkpoint, version: Version, found: &mut Vec<Check>) {
    let Some(named) = settings.quantization.as_deref() else {
        return;
    };
    let is_fp8 = checkpoint.quantization.as_deref() == Some("fp8");
    if !checkpoint.is_read_as(named, version) {
        found.push(wrong_format(checkpoint, named, version));
    } else if is_fp8 && matches!(named, "modelopt_fp4" | "nvfp4_online") {
        found.push(
            warn(
                "weights.requantized",
                "engine.quantization",
                format!("{named}: SGLang {version} makes NVFP4 of the FP8 experts when it loads them, which can change answers"),
            )
            .fix("leave quantization out, or pull NVIDIA's FP4 weights"),
        );
    } else if is_fp8 && named == "fp8" {
        // Before SGLang took the format from the checkpoint, FlashInfer's kernels asked for a name.
        let is_asked = version < FORMAT_OF_CHECKPOINT
            && settings
                .moe_runner
                .as_deref()
                .is_some_and(|runner| runner.starts_with("flashinfer"));
        if !is_asked {
            found.push(
                warn(
                    "weights.quantization",
                    "engine.quantization",
                    "DeepSeek's checkpoint states its FP8 format itself; upstream advises against naming it"
                        .to_owned(),
                )
                .fix("leave quantization out"),
            );
        }
    }
}

fn architecture(settings: &EffectiveSettings, profile: &Profile, stack: &Stack, found: &mut Vec<Check>) {
    if stack.architectures.is_empty() {
        return;
    }
    for wanted in profile
        .architectures
        .iter()
        .filter(|wanted| !stack.architectures.contains(wanted))
    {
        found.push(error(
            "architecture.stack",
            "architectures",
            format!(
                "the image of stack `{}` has no kernels for {}",
                stack.name,
                wanted.name()
            ),
        ));
    }
    if profile.precision == Precision::Fp4 && profile.architectures.contains(&Architecture::Hopper) {
        found.push(nvfp4_on_hopper("architectures", stack.pins.sglang));
    }
    for architecture in &profile.architectures {
        let backend = settings
            .attention_backend
            .as_deref()
            .filter(|backend| match architecture {
                // `sglang::resolve` refuses trtllm_mla and cutedsl_mla.
                Architecture::Hopper => matches!(*backend, "cutlass_mla" | "fa4"),
                Architecture::Blackwell => matches!(*backend, "fa3" | "flashmla"),
            })
            .or_else(|| elsewhere(settings));
        if let Some(backend) = backend {
            found.push(
                error(
                    "architecture.attention",
                    "engine.attention_backend",
                    format!("{backend} does not run on {}", architecture.name()),
                )
                .fix(match architecture {
                    Architecture::Hopper => "use flashinfer, fa3 or flashmla",
                    Architecture::Blackwell => "use trtllm_mla",
                }),
            );
        }
        let runner = settings.moe_runner.as_deref();
        if *architecture == Architecture::Hopper
            && matches!(
                runner,
                Some("flashinfer_trtllm" | "cutlass" | "flashinfer_cutedsl")
            )
        {
            found.push(
                error(
                    "architecture.moe",
                    "engine.moe_runner",
                    format!("{} does not run on Hopper", runner.unwrap_or_default()),
                )
                .fix("leave moe_runner out, or use deep_gemm or triton"),
            );
        }
        let newest = Version::new(0, 5, 20);
        if *architecture == Architecture::Blackwell
            && settings.fp8_gemm.as_deref() == Some("cutlass")
            && stack.pins.sglang >= newest
        {
            found.push(
                error(
                    "architecture.fp8_gemm",
                    "engine.fp8_gemm",
                    format!(
                        "SGLang {} refuses cutlass for dense FP8 on Blackwell",
                        stack.pins.sglang
                    ),
                )
                .fix("use flashinfer_trtllm"),
            );
        }
    }
}

/// Returns the attention backends that are named: for both phases, for prefill, for decode.
fn attention_backends(settings: &EffectiveSettings) -> impl Iterator<Item = &str> {
    [
        &settings.attention_backend,
        &settings.prefill_attention_backend,
        &settings.decode_attention_backend,
    ]
    .into_iter()
    .filter_map(|backend| backend.as_deref())
}

/// Returns an attention backend that is for other makers' devices.
fn elsewhere(settings: &EffectiveSettings) -> Option<&str> {
    attention_backends(settings).find(|backend| ELSEWHERE.contains(backend))
}

fn scheduling(settings: &EffectiveSettings, found: &mut Vec<Check>) {
    if settings.skip_warmup && settings.version == Some(Version::new(0, 4, 10).post(2)) {
        found.push(error(
            "server.warmup",
            "--skip-server-warmup",
            "SGLang 0.4.10.post2 never reports ready without its warm-up".to_owned(),
        ));
    }
    let dp = settings.attention_data_parallel;
    let version = settings.version.unwrap_or(AT_LEAST_ONE_EACH);
    if let Some(requests) = settings
        .max_running_requests
        .filter(|requests| (1..dp).contains(requests) && version < AT_LEAST_ONE_EACH)
    {
        found.push(
            error(
                "schedule.requests",
                "engine.max_running_requests",
                format!("{requests} running requests over {dp} attention replicas: SGLang {version} runs none on each"),
            )
            .fix(format!("use at least {dp}")),
        );
    }
    if settings
        .served_model_name
        .as_ref()
        .is_some_and(|name| name.contains(':'))
    {
        found.push(error(
            "server.model_name",
            "--served-model-name",
            "SGLang reads a colon in the served model name as the separator of an adapter".to_owned(),
        ));
    }
}

/// Finds settings that make a benchmark look better than the server will be for users.
fn benchmark_only(settings: &EffectiveSettings, profile: &Profile, found: &mut Vec<Check>) {
    // An engine for decode keeps no prefixes anyway.
    if !settings.radix_cache && !settings.distributed.has_role(Role::Decode) {
        found.push(note(
            "benchmark.radix_cache",
            "engine.radix_cache",
            "prefixes are not cached: right for a benchmark of distinct prompts, slower for a common system prompt".to_owned(),
        ));
    }
    if let Some(length) = settings.context_length.filter(|length| *length < CONTEXT) {
        found.push(warn(
            "benchmark.context",
            "engine.context_length",
            format!("requests over {length} tokens are refused; the model takes {CONTEXT}"),
        ));
    }
    if settings.offloaded_gib > 0.0 {
        found.push(warn(
            "memory.offloaded",
            "--cpu-offload-gb",
            format!(
                "{} GiB of each GPU's weights stay in the host's memory: every step copies them, and is slow",
                settings.offloaded_gib
            ),
        ));
    }
    if settings.stream_interval > 1 {
        let chunk = settings.stream_interval;
        found.push(note(
            "benchmark.stream_interval",
            "engine.stream_interval",
            format!(
                "answers stream in chunks of {chunk} tokens: clients measure inter-token latency per chunk"
            ),
        ));
    }
    let concurrency = profile.bench.max_concurrency.get();
    let by_drafting = settings.draft_algorithm.is_some().then_some(RUNNING);
    // Each of several engines has a part of the requests, and prefill has none for long.
    let roles = profile.topology.as_ref().map(Topology::roles).unwrap_or_default();
    let engines = roles.first().map_or(1, |(_, role)| role.count());
    let most = settings.max_running_requests.or(by_drafting);
    let most = most.filter(|_| !settings.distributed.has_role(Role::Prefill));
    let most = most.map(|most| most.saturating_mul(engines));
    if let Some(most) = most.filter(|most| *most < concurrency) {
        found.push(warn(
            "benchmark.queue",
            "bench.max_concurrency",
            format!("the benchmark keeps {concurrency} requests in flight and the server runs {most}: the others wait"),
        ));
    }
}
