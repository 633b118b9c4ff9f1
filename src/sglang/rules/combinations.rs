//! Rules that no parser checks: combinations that a version refuses after its start, reinterprets, or cannot run.
//!
//! Sources: `server_args.py` of 0.4.10.post1, .post2 and 0.5.19; `arg_groups/*_hook.py` and `overrides.py` of 0.5.23;
//! `eplb/expert_location.py`.

use crate::profile::{Accelerator, Architecture, Precision, Profile, Stack, Version};
use crate::sglang::check::{Check, Level};
use crate::sglang::deepseek_r1::{CONTEXT, EXPERTS, HEADS, is_deepseek_v3_architecture};
use crate::sglang::settings::EffectiveSettings;

/// Factor by which attention data parallel multiplies the scheduler's caution (`server_args.py`, 0.4.10 to 0.5.23).
const CONSERVATIVENESS_FACTOR: f64 = 0.3;

/// Applies all rules to one set of settings.
pub(super) fn check(settings: &EffectiveSettings, profile: &Profile, stack: &Stack) -> Vec<Check> {
    let mut found = Vec::new();
    accelerator(settings, profile, stack, &mut found);
    ranges(settings, &mut found);
    parallel(settings, profile, &mut found);
    split(settings, profile, stack.pins.sglang, &mut found);
    drafting(settings, &mut found);
    experts(settings, stack.pins.sglang, &mut found);
    attention(settings, stack.pins.sglang, &mut found);
    weights(settings, profile, &mut found);
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
            format!("{fraction:e} is not a share of memory between 0 and 1"),
        ));
    }
    for (setting, number) in [
        ("engine.tensor_parallel", settings.tensor_parallel),
        ("engine.attention_data_parallel", settings.attention_data_parallel),
        ("engine.expert_parallel", settings.expert_parallel),
        ("--data-parallel-size", settings.replicas),
    ] {
        if number == 0 {
            found.push(error(
                "range.ranks",
                setting,
                "0 is not a number of ranks: at least 1 is needed".to_owned(),
            ));
        }
    }
    if settings.max_running_requests == Some(0) {
        found.push(
            error(
                "range.requests",
                "engine.max_running_requests",
                "with 0 running requests no request can run".to_owned(),
            )
            .fix("use at least 1, or leave it out"),
        );
    }
}

/// Checks how the model is split: heads over the ranks of attention, layers over a pipeline.
fn split(settings: &EffectiveSettings, profile: &Profile, version: Version, found: &mut Vec<Check>) {
    let (tp, dp) = (settings.tensor_parallel, settings.attention_data_parallel);
    let ranks = tp / dp.max(1);
    if is_deepseek_v3_architecture(&profile.model.repo) && ranks > 0 && !HEADS.is_multiple_of(ranks) {
        // linear.py: `divide(num_heads, tp_size)` asserts it.
        found.push(
            error(
                "parallel.heads",
                "engine.tensor_parallel",
                format!("{HEADS} attention heads cannot be spread evenly over {ranks} ranks"),
            )
            .fix("use a power of two"),
        );
    }
    let gpus = u64::from(tp) * u64::from(settings.pipeline);
    if settings.pipeline > 1 && gpus > u64::from(profile.gpus) {
        found.push(
            error(
                "parallel.pipeline",
                "--pipeline-parallel-size",
                format!(
                    "tensor parallel {tp} and {} stages of a pipeline are {gpus} GPUs, the profile has {}",
                    settings.pipeline, profile.gpus
                ),
            )
            .fix("leave --pp-size out: dsr1 serves on one node"),
        );
    }
    if settings.attention_switch_alone {
        let asserts = version < Version::new(0, 5, 22);
        let text = "--enable-dp-attention without a number of attention replicas";
        found.push(if asserts {
            // server_args.py: `assert self.dp_size > 1, "Please set a dp-size > 1..."` (0.4.10 to 0.5.21).
            error(
                "parallel.attention_switch",
                "--enable-dp-attention",
                format!("{text} ends SGLang {version} at its start"),
            )
            .fix("set attention_data_parallel")
        } else {
            warn(
                "parallel.attention_switch",
                "--enable-dp-attention",
                format!("{text} has no effect in SGLang {version}"),
            )
            .fix("set attention_data_parallel")
        });
    }
    if let Some(dense) = settings.dense_tensor_parallel.filter(|dense| *dense != 1) {
        // server_args.py: `assert self.moe_dense_tp_size in {1, None}`.
        found.push(
            error(
                "parallel.dense",
                "--moe-dense-tp-size",
                format!("SGLang {version} splits the dense layers over 1 GPU or over all, not over {dense}"),
            )
            .fix("use 1, or leave it out"),
        );
    }
}

/// Checks the numbers of multi-token prediction against each other.
fn drafting(settings: &EffectiveSettings, found: &mut Vec<Check>) {
    if let Some(option) = settings.draft_option_alone {
        found.push(
            warn(
                "speculative.no_algorithm",
                option,
                format!("{option} has no effect without --speculative-algorithm"),
            )
            .fix("use the setting `speculative`, which names it too"),
        );
    }
    let (Some(tokens), Some(steps), Some(top_k)) =
        (settings.draft_tokens, settings.draft_steps, settings.draft_top_k)
    else {
        return;
    };
    if top_k == 1 && tokens != steps + 1 {
        found.push(
            note(
                "speculative.draft_tokens",
                "engine.speculative",
                format!(
                    "with top_k 1, SGLang makes draft_tokens {} of the {tokens} that are named: one more than the steps",
                    steps + 1
                ),
            )
            .fix(format!("draft_tokens: {}", steps + 1)),
        );
    }
    let backend = settings.attention_backend.as_deref();
    if top_k > 1 && matches!(backend, Some("trtllm_mla" | "cutlass_mla" | "flashmla")) {
        found.push(
            error(
                "speculative.top_k",
                "engine.speculative",
                format!(
                    "{} drafts with top_k 1 only, not {top_k}",
                    backend.unwrap_or_default()
                ),
            )
            .fix("top_k: 1"),
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
        found.push(error(
            "parallel.both",
            "--data-parallel-size",
            "attention replicas and copies of the model exclude each other".to_owned(),
        ));
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
    if dp > 1 && tp % dp != 0 {
        found.push(
            error(
                "parallel.attention",
                "engine.attention_data_parallel",
                format!("{dp} attention replicas do not divide tensor parallel {tp}"),
            )
            .fix(format!("use a divisor of {tp}")),
        );
    }
    if settings.lm_head_data_parallel && dp == 1 {
        found.push(error(
            "parallel.lm_head",
            "engine.lm_head_data_parallel",
            "the output layer can only be replicated with attention replicas".to_owned(),
        ));
    }
}

fn experts(settings: &EffectiveSettings, version: Version, found: &mut Vec<Check>) {
    let EffectiveSettings {
        tensor_parallel: tp,
        expert_parallel: ep,
        redundant_experts: redundant,
        ..
    } = *settings;
    let runner = settings.moe_runner.as_deref();
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
        found.push(error(
            "experts.redundant",
            "engine.redundant_experts",
            format!("{EXPERTS} experts and {redundant} copies cannot be spread evenly over {ep} GPUs"),
        ));
    }
    let whole = matches!(runner, Some("flashinfer_cutlass" | "flashinfer_cutedsl"));
    if whole && ep != 1 && ep != tp {
        found.push(
            error(
                "experts.whole",
                "engine.expert_parallel",
                format!(
                    "{} needs expert parallel 1 or {tp}, not {ep}",
                    runner.unwrap_or_default()
                ),
            )
            .fix(format!("use 1 or {tp}")),
        );
    }
    if runner == Some("cutlass") && ep != 1 {
        found.push(
            error(
                "experts.cutlass",
                "engine.expert_parallel",
                format!("the cutlass kernels of FP8 experts need expert parallel 1, not {ep}"),
            )
            .fix("leave expert_parallel out, or use moe_runner: flashinfer_trtllm"),
        );
    }
    let quantization = settings.quantization.as_deref();
    if runner == Some("flashinfer_cutlass") {
        let old = version < Version::new(0, 5, 1);
        let fits = match quantization {
            Some("modelopt_fp4") => true,
            Some("modelopt_fp8" | "modelopt_mixed") | None => !old,
            Some(_) => false,
        };
        if !fits {
            found.push(
                error(
                    "experts.quantization",
                    "engine.moe_runner",
                    format!(
                        "flashinfer_cutlass does not compute {} experts in SGLang {version}",
                        quantization.unwrap_or("unquantized")
                    ),
                )
                .fix("use it only with quantization: modelopt_fp4"),
            );
        }
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

fn attention(settings: &EffectiveSettings, version: Version, found: &mut Vec<Check>) {
    let backend = settings.attention_backend.as_deref();
    let wrong_page = match (backend, settings.page_size) {
        (Some("cutlass_mla"), Some(page)) => (page != 128).then_some("128"),
        (Some("trtllm_mla"), Some(page)) => (page != 32 && page != 64).then_some("32 or 64"),
        _ => None,
    };
    if let Some(right) = wrong_page {
        found.push(
            warn(
                "attention.page_size",
                "--page-size",
                format!(
                    "{} replaces the page size with its own",
                    backend.unwrap_or_default()
                ),
            )
            .fix(format!("leave --page-size out, or use {right}")),
        );
    }
    if backend == Some("trtllm_mla") && settings.draft_tokens.is_some() && version < Version::new(0, 5, 1) {
        found.push(error(
            "attention.speculative",
            "engine.speculative",
            format!("trtllm_mla does not draft tokens in SGLang {version}"),
        ));
    }
    let page = settings.page_size.map(i64::from);
    if let (Some(page), Some(chunk)) = (page, settings.chunked_prefill_size)
        && page > 0
        && chunk > 0
        && chunk % page != 0
    {
        found.push(error(
            "attention.chunk",
            "engine.chunked_prefill_size",
            format!("chunked prefill {chunk} is not a multiple of the page size {page}"),
        ));
    }
}

fn weights(settings: &EffectiveSettings, profile: &Profile, found: &mut Vec<Check>) {
    let quantization = settings.quantization.as_deref();
    let subject = "engine.quantization";
    match (profile.precision, quantization) {
        (Precision::Fp4, Some(other)) if !other.starts_with("modelopt") => found.push(
            error(
                "weights.quantization",
                subject,
                format!("NVFP4 weights cannot be read as {other}"),
            )
            .fix("quantization: modelopt_fp4"),
        ),
        (Precision::Fp8, Some("modelopt_fp4")) => found.push(
            error(
                "weights.quantization",
                subject,
                "FP8 weights cannot be read as modelopt_fp4".to_owned(),
            )
            .fix("leave quantization out, or use an fp4 profile"),
        ),
        (Precision::Fp8, Some("fp8")) => found.push(
            warn(
                "weights.quantization",
                subject,
                "DeepSeek's checkpoint states its FP8 format itself; upstream advises against naming it"
                    .to_owned(),
            )
            .fix("leave quantization out"),
        ),
        _ => {}
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
        found.push(
            error(
                "architecture.nvfp4",
                "architectures",
                "NVFP4 weights need Blackwell".to_owned(),
            )
            .fix("use FP8 on Hopper"),
        );
    }
    for architecture in &profile.architectures {
        let backend = settings
            .attention_backend
            .as_deref()
            .filter(|backend| match architecture {
                Architecture::Hopper => {
                    matches!(*backend, "cutlass_mla" | "trtllm_mla" | "cutedsl_mla" | "fa4")
                }
                Architecture::Blackwell => matches!(*backend, "fa3" | "flashmla"),
            });
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

fn scheduling(settings: &EffectiveSettings, found: &mut Vec<Check>) {
    let dp = settings.attention_data_parallel;
    if dp > 1 {
        if let Some(chunk) = settings.chunked_prefill_size.filter(|chunk| *chunk > 0) {
            found.push(note(
                "schedule.chunk",
                "engine.chunked_prefill_size",
                format!(
                    "chunked prefill {chunk} is divided by the {dp} attention replicas: {} each",
                    chunk / i64::from(dp)
                ),
            ));
        }
        if let Some(requests) = settings.max_running_requests {
            found.push(note(
                "schedule.requests",
                "engine.max_running_requests",
                format!(
                    "{requests} running requests are divided by the {dp} attention replicas: {} each",
                    requests / dp
                ),
            ));
        }
        let asked = settings.schedule_conservativeness.unwrap_or(1.0);
        found.push(note(
            "schedule.conservativeness",
            "engine.schedule_conservativeness",
            format!(
                "with attention replicas SGLang multiplies schedule conservativeness {asked} by {CONSERVATIVENESS_FACTOR}: {:.2}",
                asked * CONSERVATIVENESS_FACTOR
            ),
        ));
    }
    if settings.skip_warmup && settings.version == Some(Version::new(0, 4, 10).post(2)) {
        found.push(error(
            "server.warmup",
            "--skip-server-warmup",
            "SGLang 0.4.10.post2 never reports ready without its warm-up".to_owned(),
        ));
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
    if !settings.radix_cache {
        found.push(note(
            "benchmark.radix_cache",
            "engine.radix_cache",
            "prefixes are not cached: right for a benchmark of distinct prompts, slower for a common system prompt".to_owned(),
        ));
    }
    if let Some(length) = settings.context_length.filter(|length| *length < CONTEXT) {
        found.push(warn(
            "benchmark.context",
            "--context-length",
            format!("requests over {length} tokens are refused; the model takes {CONTEXT}"),
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
    if let Some(most) = settings.max_running_requests.filter(|most| *most < concurrency) {
        found.push(warn(
            "benchmark.queue",
            "bench.max_concurrency",
            format!("the benchmark keeps {concurrency} requests in flight and the server runs {most}: the others wait"),
        ));
    }
}
