//! Findings about a server's flags before its start, each with a stable id, a reason, a version and a remedy.
//!
//! Not in this module tree: findings about the host (`doctor`) and about GPU memory (`sglang::memory`).

mod advisories;
mod combinations;
mod files;
mod naming;
mod options;
mod owned;
mod roles;
mod variables;

pub use advisories::of_port;
pub use files::of_files;
pub use naming::COMMAND_LINE;
pub(super) use options::successor;
pub use owned::check as check_owned;
pub use variables::{Variable, is_variable_name, variable};
pub(super) use variables::{is_read, renamed_prefix};

use crate::error::{Error, Kind, Result};
use crate::profile::{Accelerator, Origins, Profile, Stack, Version};
use crate::sglang::check::{Check, Level};
use crate::sglang::deepseek_r1::is_known_by_name;
use crate::sglang::dialect::EngineFlags;
use crate::sglang::flags::{Parsed, Parser, history};
use crate::sglang::memory::bundled;
use crate::sglang::resolve::{Checkpoint, Machine, resolve};
use crate::sglang::settings::EffectiveSettings;

/// Returns the findings about a profile's flags on a stack, the worst first.
///
/// `parsed` is `flags` as the version's parser reads them, and `settings` are the settings that result from them.
pub(super) fn check(
    flags: &EngineFlags,
    parsed: &Parsed<'_>,
    settings: &EffectiveSettings,
    profile: &Profile,
    stack: &Stack,
    origins: &Origins,
) -> Vec<Check> {
    let version = stack.pins.sglang;
    let args: Vec<String> = flags.argv().map(str::to_owned).collect();
    let table = history(Parser::Server).table(version);
    let mut found = options::check(parsed, Parser::Server, version);
    found.extend(owned::hidden(&args));
    if table.version != version {
        found.push(
            Check::new(
                "flag.table",
                Level::Warn,
                "--help",
                format!(
                    "options of SGLang {version} are not known; those of {} are used",
                    table.version
                ),
            )
            .fix("dsr1 flags sync reads them from the stack's image"),
        );
    }
    found.extend(variables::check(flags, version));
    found.extend(client(profile, version));
    found.extend(advisories::check(parsed, stack));
    let checkpoint = Checkpoint::new(profile, bundled(&profile.model.repo).as_ref());
    let mut of_settings = combinations::check(settings, profile, stack, &checkpoint);
    add_resolved(settings, profile, stack, &checkpoint, &mut of_settings);
    of_settings.extend(roles::check(settings, profile, stack, &checkpoint));
    for check in &mut of_settings {
        naming::say_settings(check, flags, parsed);
    }
    found.extend(of_settings);
    for check in &mut found {
        check.place = place_of(check, flags, parsed, origins);
    }
    found.sort_by_key(|check| std::cmp::Reverse(check.level));
    found
}

/// Adds what the engine refuses, replaces or ignores when it resolves its arguments on the GPUs that the profile is for, each
/// once; nothing on a CPU.
fn add_resolved(
    settings: &EffectiveSettings,
    profile: &Profile,
    stack: &Stack,
    checkpoint: &Checkpoint,
    found: &mut Vec<Check>,
) {
    if stack.accelerator == Accelerator::Cpu || !is_known_by_name(&profile.model.repo) {
        return;
    }
    for architecture in &profile.architectures {
        for check in resolve(settings, Machine::tuned_for(profile, *architecture), checkpoint).checks {
            if !found.contains(&check) {
                found.push(check);
            }
        }
    }
}

/// Returns the file and line of the argument, the variable or the setting that a check is about.
fn place_of(check: &Check, flags: &EngineFlags, parsed: &Parsed<'_>, origins: &Origins) -> Option<String> {
    // The rules are about settings, and a raw argument may override the profile's value.
    let setting = check.subject.strip_prefix("engine.");
    let decided = setting.and_then(|setting| naming::deciding(flags, parsed, setting));
    let origin = decided
        .or_else(|| naming::typed(flags, &check.subject))
        .map(|flag| flag.knob.as_str())
        .or_else(|| {
            flags
                .env
                .get(&check.subject)
                .map(|variable| variable.knob.as_str())
        })
        .unwrap_or(&check.subject);
    if origin == COMMAND_LINE {
        return Some(origin.to_owned());
    }
    origins.place_of(origin).map(|place| place.to_string())
}

/// Returns the findings about the profile's benchmark: values that the stack's client does not accept.
fn client(profile: &Profile, version: Version) -> Vec<Check> {
    let bench = &profile.bench;
    let words = [
        ("bench.backend", format!("--backend={}", bench.backend)),
        ("bench.dataset", format!("--dataset-name={}", bench.dataset)),
    ];
    let table = history(Parser::Bench).table(version);
    let mut found = Vec::new();
    for (setting, word) in words {
        let args = [word];
        for mut check in options::check(&table.parse(&args), Parser::Bench, version) {
            setting.clone_into(&mut check.subject);
            found.push(check);
        }
    }
    found
}

/// Refuses a profile with findings that are errors: the first is the message, the others are its log.
///
/// # Errors
/// [`Kind::Usage`] if there is one.
pub fn refuse(checks: &[Check], profile: &str, stack: &Stack) -> Result<()> {
    let mut errors = checks.iter().filter(|check| check.level == Level::Error);
    let Some(first) = errors.next() else {
        return Ok(());
    };
    let place = first
        .place
        .as_ref()
        .map_or_else(String::new, |place| format!("{place}: "));
    let mut error = Error::new(
        Kind::Usage,
        format!("{place}profile `{profile}` does not fit stack `{}`", stack.name),
    )
    .cause(format!("{} ({})", first.text, first.id));
    let others: Vec<String> = errors
        .map(|check| format!("also: {} ({})", check.text, check.id))
        .collect();
    if !others.is_empty() {
        error = error.log(others);
    }
    Err(match &first.fix {
        Some(fix) => error.hint(fix.clone()),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;
    use crate::sglang::Launch;

    /// The findings about `base` on a stack, with these lines over its `engine`.
    pub(super) fn checks(base: &str, stack: &str, engine: &str) -> Vec<Check> {
        let lines: String = engine
            .lines()
            .fold(String::new(), |all, line| all + "  " + line + "\n");
        let text = format!("name: own\nextends: {base}\nengine:\n{lines}");
        let catalog = Catalog::load(Some(("own.yaml", &text))).unwrap();
        let found = catalog.resolve("own", Some(stack)).unwrap();
        Launch::new(&found.profile, &found.stack, &found.origins, &[]).checks
    }

    /// The ids of these findings, with their levels.
    fn ids(base: &str, stack: &str, engine: &str) -> Vec<(String, Level)> {
        let checks = checks(base, stack, engine).into_iter();
        checks.map(|check| (check.id, check.level)).collect()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_check_can_fail() {
        let tep8 = "fp8-low-latency";
        let cases = [
            // (id, level, base, stack, lines)
            (
                "flag.unknown",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--no-such]",
            ),
            (
                "flag.removed",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--cuda-graph-max-bs, \"8\"]",
            ),
            (
                "flag.removed",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--enable-ep-moe]",
            ),
            ("flag.too_new", Level::Error, tep8, "guide", "fp8_gemm: auto"),
            (
                "flag.ambiguous",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--enable]",
            ),
            (
                "flag.abbreviated",
                Level::Warn,
                tep8,
                "current",
                "extra_args: [--watchdog-t, \"8\"]",
            ),
            (
                "flag.deprecated",
                Level::Note,
                tep8,
                "current",
                "extra_args: [--disable-cuda-graph]",
            ),
            (
                "flag.choice",
                Level::Error,
                tep8,
                "current",
                "attention_backend: cutlass_mla",
            ),
            (
                "flag.choice",
                Level::Error,
                tep8,
                "guide",
                "quantization: modelopt_fp8",
            ),
            (
                "flag.value",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--page-size, many]",
            ),
            (
                "flag.value",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--page-size]",
            ),
            (
                "flag.value",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--enable-metrics=1]",
            ),
            (
                "flag.stray",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--enable-metrics, eight]",
            ),
            (
                "flag.hidden",
                Level::Error,
                tep8,
                "current",
                "extra_args: [\"--log-level=a\\nb\"]",
            ),
            (
                "env.forbidden",
                Level::Error,
                tep8,
                "current",
                "env: {PYTHONPATH: /tmp}",
            ),
            (
                "env.forbidden",
                Level::Error,
                tep8,
                "current",
                "env: {CUDA_VISIBLE_DEVICES: \"0\"}",
            ),
            (
                "env.ignored",
                Level::Error,
                tep8,
                "current",
                "env: {SGLANG_CUTLASS_MOE: \"1\"}",
            ),
            (
                "env.ignored",
                Level::Error,
                tep8,
                "guide",
                "env: {SGLANG_ENABLE_JIT_DEEPGEMM: \"0\"}",
            ),
            (
                "env.deprecated",
                Level::Note,
                tep8,
                "current",
                "env: {SGL_ENABLE_JIT_DEEPGEMM: \"0\"}",
            ),
            (
                "env.unknown",
                Level::Note,
                tep8,
                "current",
                "env: {SGLANG_NO_SUCH: \"0\"}",
            ),
            (
                "parallel.both",
                Level::Error,
                tep8,
                "current",
                "attention_data_parallel: 8\nextra_args: [--dp-size, \"2\"]",
            ),
            (
                "parallel.copies",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--data-parallel-size, \"8\"]",
            ),
            (
                "parallel.gpus",
                Level::Error,
                tep8,
                "current",
                "tensor_parallel: 4",
            ),
            (
                "parallel.attention",
                Level::Error,
                tep8,
                "current",
                "attention_data_parallel: 3",
            ),
            (
                "parallel.lm_head",
                Level::Warn,
                tep8,
                "current",
                "lm_head_data_parallel: true",
            ),
            (
                "experts.parallel",
                Level::Error,
                tep8,
                "current",
                "expert_parallel: 3",
            ),
            (
                "experts.redundant",
                Level::Error,
                tep8,
                "current",
                "redundant_experts: 3",
            ),
            (
                "experts.whole",
                Level::Error,
                "fp4-high-throughput",
                "current",
                "expert_parallel: 4",
            ),
            (
                "experts.cutlass",
                Level::Error,
                tep8,
                "current",
                "moe_runner: cutlass",
            ),
            (
                "experts.quantization",
                Level::Error,
                "fp8-low-latency",
                "guide",
                "moe_runner: flashinfer_cutlass",
            ),
            (
                "attention.page_size",
                Level::Warn,
                tep8,
                "current",
                "attention_backend: trtllm_mla\nextra_args: [--page-size, \"16\"]",
            ),
            (
                "attention.speculative",
                Level::Error,
                tep8,
                "guide",
                "attention_backend: trtllm_mla\nspeculative: {steps: 3, top_k: 1, draft_tokens: 4}",
            ),
            (
                "attention.chunk",
                Level::Error,
                tep8,
                "current",
                "chunked_prefill_size: 100\nextra_args: [--page-size, \"64\"]",
            ),
            (
                "weights.quantization",
                Level::Error,
                tep8,
                "guide",
                "quantization: modelopt_fp4",
            ),
            (
                "weights.quantization",
                Level::Error,
                "fp4-basic",
                "current",
                "quantization: fp8",
            ),
            (
                "weights.quantization",
                Level::Warn,
                tep8,
                "current",
                "quantization: fp8",
            ),
            (
                "architecture.attention",
                Level::Error,
                "h200-fp8-low-latency",
                "current",
                "attention_backend: trtllm_mla",
            ),
            (
                "architecture.attention",
                Level::Error,
                tep8,
                "current",
                "attention_backend: flashmla",
            ),
            (
                "architecture.moe",
                Level::Error,
                "h200-fp8-low-latency",
                "current",
                "moe_runner: flashinfer_trtllm",
            ),
            (
                "architecture.fp8_gemm",
                Level::Error,
                tep8,
                "current",
                "fp8_gemm: cutlass",
            ),
            (
                "architecture.stack",
                Level::Error,
                "h200-fp8-low-latency",
                "guide",
                "stream_interval: 1",
            ),
            (
                "schedule.chunk",
                Level::Note,
                "fp8-high-throughput",
                "guide",
                "mem_fraction: 0.8",
            ),
            (
                "schedule.requests",
                Level::Note,
                "fp8-high-throughput",
                "guide",
                "mem_fraction: 0.8",
            ),
            (
                "schedule.conservativeness",
                Level::Note,
                "fp8-high-throughput",
                "guide",
                "mem_fraction: 0.8",
            ),
            (
                "server.warmup",
                Level::Error,
                tep8,
                "guide",
                "extra_args: [--skip-server-warmup]",
            ),
            (
                "server.model_name",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--served-model-name, \"a:b\"]",
            ),
            (
                "benchmark.radix_cache",
                Level::Note,
                tep8,
                "current",
                "radix_cache: false",
            ),
            (
                "benchmark.context",
                Level::Warn,
                tep8,
                "current",
                "extra_args: [--context-length, \"2200\"]",
            ),
            (
                "benchmark.stream_interval",
                Level::Note,
                tep8,
                "current",
                "stream_interval: 10",
            ),
            (
                "architecture.accelerator",
                Level::Error,
                tep8,
                "cpu",
                "stream_interval: 1",
            ),
            (
                "architecture.accelerator",
                Level::Error,
                "rehearsal",
                "current",
                "stream_interval: 1",
            ),
            (
                "experts.shared",
                Level::Error,
                tep8,
                "guide",
                "expert_parallel: null",
            ),
            (
                "range.fraction",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--mem-fraction-static=1e308]",
            ),
            (
                "range.ranks",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--attn-dp-size=0]",
            ),
            (
                "experts.redundant",
                Level::Error,
                tep8,
                "current",
                "extra_args: [--ep-num-redundant-experts=4294967295]",
            ),
            (
                "benchmark.queue",
                Level::Warn,
                "fp8-high-throughput",
                "guide",
                "max_running_requests: 8",
            ),
            (
                "benchmark.queue",
                Level::Warn,
                "fp8-high-throughput",
                "current",
                "max_running_requests: null\nspeculative: {steps: 3, top_k: 1, draft_tokens: 4}",
            ),
        ];
        for (id, level, base, stack, engine) in cases {
            let found = ids(base, stack, engine);
            assert!(
                found.contains(&(id.to_owned(), level)),
                "{id} on {stack} with {engine}: {found:?}"
            );
        }
    }

    /// The verdict on raw arguments over the defaults of a profile: the id of its worst finding and its level.
    fn verdict(base: &str, stack: &str, line: &str) -> Vec<(String, Level)> {
        let catalog = Catalog::load(None).unwrap();
        let found = catalog.resolve(base, Some(stack)).unwrap();
        let extra: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let checks = Launch::new(&found.profile, &found.stack, &found.origins, &extra).checks;
        checks.into_iter().map(|check| (check.id, check.level)).collect()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_reports_combine_is_judged_as_the_engine_does() {
        let (hopper, blackwell) = ("h200-fp8-high-throughput", "fp8-high-throughput");
        let cases = [
            // (id, level, base, stack, arguments)
            (
                "parallel.both",
                Level::Error,
                hopper,
                "current",
                "--attn-dp-size 8 --dp-size 8 --enable-dp-attention",
            ),
            (
                "weights.quantization",
                Level::Error,
                hopper,
                "current",
                "--quantization awq",
            ),
            (
                "weights.quantization",
                Level::Error,
                hopper,
                "cuda12",
                "--quantization w4afp8",
            ),
            (
                "weights.quantization",
                Level::Error,
                hopper,
                "cuda12",
                "--quantization gptq",
            ),
            (
                "weights.quantization",
                Level::Error,
                "fp4-basic",
                "current",
                "--quantization awq",
            ),
            (
                "weights.requantized",
                Level::Warn,
                blackwell,
                "current",
                "--quantization modelopt_fp4",
            ),
            (
                "architecture.nvfp4",
                Level::Error,
                hopper,
                "current",
                "--quantization nvfp4_online",
            ),
            (
                "experts.eplb",
                Level::Error,
                hopper,
                "current",
                "--attn-dp-size 1 --enable-eplb",
            ),
            (
                "experts.dispatch",
                Level::Error,
                hopper,
                "current",
                "--ep-size 8 --ep-dispatch-algorithm static",
            ),
            (
                "experts.all_to_all",
                Level::Error,
                hopper,
                "current",
                "--moe-a2a-backend flashinfer --attn-dp-size 4",
            ),
            (
                "parallel.both",
                Level::Error,
                hopper,
                "current",
                "--attn-dp-size 8 --dp-size 2",
            ),
            (
                "schedule.requests",
                Level::Error,
                hopper,
                "cuda12",
                "--dp-size 8 --enable-dp-attention --max-running-requests 4",
            ),
            (
                "schedule.requests",
                Level::Warn,
                hopper,
                "current",
                "--attn-dp-size 8 --max-running-requests 4",
            ),
            (
                "cache.hierarchical",
                Level::Error,
                hopper,
                "current",
                "--enable-hierarchical-cache --disable-radix-cache",
            ),
            (
                "graphs.padding",
                Level::Error,
                hopper,
                "current",
                "--enable-torch-compile --disable-cuda-graph-padding",
            ),
            (
                "speculative.algorithm",
                Level::Error,
                hopper,
                "current",
                "--speculative-algorithm MTP",
            ),
            (
                "speculative.mixed_chunk",
                Level::Note,
                hopper,
                "current",
                "--speculative-algorithm EAGLE --enable-mixed-chunk",
            ),
            (
                "flag.idle",
                Level::Warn,
                hopper,
                "current",
                "--torch-compile-max-bs 8",
            ),
            (
                "flag.idle",
                Level::Warn,
                hopper,
                "current",
                "--speculative-draft-model-path lmsys/DeepSeek-R1-NextN",
            ),
            (
                "architecture.attention",
                Level::Error,
                hopper,
                "current",
                "--attention-backend aiter",
            ),
            (
                "architecture.attention",
                Level::Error,
                blackwell,
                "current",
                "--decode-attention-backend ascend",
            ),
            (
                "architecture.attention",
                Level::Error,
                hopper,
                "current",
                "--attention-backend tokenspeed_mla",
            ),
            (
                "attention.deterministic",
                Level::Error,
                blackwell,
                "current",
                "--attention-backend trtllm_mla --enable-deterministic-inference",
            ),
            (
                "architecture.kv_cache",
                Level::Error,
                hopper,
                "current",
                "--kv-cache-dtype nvfp4",
            ),
            (
                "architecture.kv_cache",
                Level::Error,
                hopper,
                "current",
                "--kv-cache-dtype mxfp8",
            ),
            (
                "attention.kv_cache",
                Level::Error,
                blackwell,
                "current",
                "--attention-backend trtllm_mla --kv-cache-dtype nvfp4",
            ),
            (
                "range.requests",
                Level::Error,
                hopper,
                "current",
                "--max-running-requests -1",
            ),
            (
                "range.tokens",
                Level::Error,
                hopper,
                "current",
                "--max-total-tokens 0",
            ),
            (
                "range.tokens",
                Level::Error,
                hopper,
                "current",
                "--max-total-tokens -5",
            ),
            (
                "range.context",
                Level::Error,
                hopper,
                "current",
                "--context-length -1",
            ),
            (
                "range.context",
                Level::Error,
                hopper,
                "current",
                "--context-length 0",
            ),
            ("range.ranks", Level::Error, hopper, "current", "--pp-size 0"),
            (
                "memory.offloaded",
                Level::Warn,
                hopper,
                "current",
                "--cpu-offload-gb 20",
            ),
        ];
        for (id, level, base, stack, line) in cases {
            let found = verdict(base, stack, line);
            assert!(
                found.contains(&(id.to_owned(), level)),
                "{id} on {stack} with {line}: {found:?}"
            );
        }
    }

    #[test]
    fn a_model_is_split_where_its_widths_and_blocks_allow_it() {
        // Ranks, replicas, further arguments, and the id of the refusal.
        let cases = [
            (8, 1, "", None),
            (16, 1, "", None),
            (16, 16, "--moe-dense-tp-size 1 --moe-a2a-backend deepep", None),
            (32, 1, "", Some("parallel.width")),
            (32, 32, "--moe-dense-tp-size 1 --moe-a2a-backend deepep", None),
            (6, 6, "", Some("parallel.width")),
            (12, 12, "", Some("parallel.width")),
            (24, 3, "", Some("parallel.width")),
            (6, 1, "", Some("parallel.heads")),
            (256, 1, "", Some("parallel.heads")),
        ];
        for (tp, dp, further, id) in cases {
            let line = format!("--tp-size {tp} --attn-dp-size {dp} {further}");
            let found = verdict("h200-fp8-high-throughput", "current", &line);
            let refused = found.iter().find(|(id, level)| {
                *level == Level::Error && matches!(id.as_str(), "parallel.width" | "parallel.heads")
            });
            assert_eq!(refused.map(|(id, _)| id.as_str()), id, "{line}: {found:?}");
        }
    }

    #[test]
    fn the_name_of_a_repository_tells_what_it_excludes() {
        let check = |repo: &str, precision: &str, gpus: u32| {
            let text = format!(
                "name: own\nextends: h200-fp8-high-throughput\nprecision: {precision}\ngpus: {gpus}\n\
                 model: {{repo: {repo}, revision: main, size_bytes: 1000, license: MIT}}\n\
                 engine: {{tensor_parallel: {gpus}, attention_data_parallel: null, expert_parallel: null}}\n"
            );
            let catalog = Catalog::load(Some(("own.yaml", &text))).unwrap();
            let found = catalog.resolve("own", Some("current")).unwrap();
            let checks = Launch::new(&found.profile, &found.stack, &found.origins, &[]).checks;
            let errors = checks.into_iter().filter(|check| check.level == Level::Error);
            errors.map(|check| check.id).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(check("deepseek-ai/DeepSeek-R1", "fp8", 8), none);
        assert_eq!(check("nvidia/DeepSeek-R1-FP4", "fp8", 8), ["weights.precision"]);
        assert_eq!(check("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "bf16", 8), none);
        assert_eq!(check("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "bf16", 4), none);
        assert_eq!(
            check("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "bf16", 8),
            ["parallel.heads"]
        );
        assert_eq!(
            check("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "bf16", 8),
            none
        );
    }

    #[test]
    fn nvfp4_is_for_blackwell() {
        let text = "name: own\nextends: fp4-basic\narchitectures: [hopper]\n";
        let catalog = Catalog::load(Some(("own.yaml", text))).unwrap();
        let found = catalog.resolve("own", Some("guide")).unwrap();
        let checks = Launch::new(&found.profile, &found.stack, &found.origins, &[]).checks;
        let nvfp4 = |checks: &[Check]| {
            let found = checks.iter().find(|check| check.id == "architecture.nvfp4");
            found.map(|check| (check.level, check.place.clone(), check.fix.clone()))
        };
        let place = Some("own.yaml:3".to_owned());
        let fix = Some("use FP8 on Hopper".to_owned());
        assert_eq!(nvfp4(&checks), Some((Level::Error, place.clone(), fix)));
        // From 0.5.14 on it runs, by other kernels.
        let found = catalog.resolve("own", Some("current")).unwrap();
        let checks = Launch::new(&found.profile, &found.stack, &found.origins, &[]).checks;
        let fix = Some("use FP8 on Hopper, if it fits".to_owned());
        assert_eq!(nvfp4(&checks), Some((Level::Warn, place, fix)));
    }
}
