//! Combinations that fail after the engine has resolved its arguments: when it reads the weights, in a kernel, or at the
//! first request; and settings that do not fit the profile. What the engine refuses before it loads is in
//! `sglang::resolve`.
//!
//! Sources: `server_args.py` of 0.4.10.post1, .post2 and 0.5.19; `eplb/expert_location.py`.

use crate::profile::{Accelerator, Architecture, Precision, Profile, Stack, Version};
use crate::sglang::check::{Check, Level};
use crate::sglang::deepseek_r1::{CONTEXT, EXPERTS, HEADS, is_deepseek_v3_architecture, is_dense};
use crate::sglang::settings::EffectiveSettings;

/// First version that takes the format of DeepSeek's weights from the checkpoint on Blackwell (`server_args.py`, 0.5.5).
const FORMAT_OF_CHECKPOINT: Version = Version::new(0, 5, 5);

/// Applies all rules to one set of settings.
pub(super) fn check(settings: &EffectiveSettings, profile: &Profile, stack: &Stack) -> Vec<Check> {
    let mut found = Vec::new();
    accelerator(settings, profile, stack, &mut found);
    ranges(settings, &mut found);
    parallel(settings, profile, &mut found);
    split(settings, profile, &mut found);
    if is_dense(&profile.model.repo) {
        experts_of_none(settings, profile, &mut found);
    } else {
        experts(settings, stack.pins.sglang, &mut found);
    }
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
    if settings.page_size == Some(0) {
        found.push(
            error(
                "range.page",
                "engine.page_size",
                "a page of 0 tokens holds nothing".to_owned(),
            )
            .fix("use at least 1, or leave it out"),
        );
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
fn split(settings: &EffectiveSettings, profile: &Profile, found: &mut Vec<Check>) {
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
                "engine.pipeline_parallel",
                format!(
                    "tensor parallel {tp} and {} stages of a pipeline are {gpus} GPUs, the profile has {}",
                    settings.pipeline, profile.gpus
                ),
            )
            .fix("leave --pp-size out: dsr1 serves on one node"),
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
        // Before SGLang took the format from the checkpoint, FlashInfer's kernels asked for a name.
        (Precision::Fp8, Some("fp8"))
            if settings
                .moe_runner
                .as_deref()
                .is_some_and(|runner| runner.starts_with("flashinfer"))
                && settings
                    .version
                    .is_some_and(|version| version < FORMAT_OF_CHECKPOINT) => {}
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
                // `sglang::resolve` refuses trtllm_mla and cutedsl_mla.
                Architecture::Hopper => matches!(*backend, "cutlass_mla" | "fa4"),
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
            "engine.context_length",
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
