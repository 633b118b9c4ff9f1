//! The plan of a GPU's memory before the start: weights, KV pool, and the window for `mem_fraction_static`.
//!
//! | quantity, per GPU | formula | source |
//! |---|---|---|
//! | usable memory `T` | nvidia-smi's total less `reserve::before_load` | `model_runner.py`: the free memory after `init_torch_distributed` |
//! | weights `W` | `weights::per_gpu`, by class of tensor | `models/deepseek_v2.py`: the ranks over which each tensor is split |
//! | KV bytes per token | MLA: (`kv_lora_rank` + `qk_rope_head_dim`) x layers x bytes; else 2 x heads x dim x layers x bytes | `profile_max_num_token`, 0.4.10.post2 |
//! | tokens in the pool | (`mem_fraction_static` x `T` - `W`) / KV bytes per token, rounded down to pages | `profile_max_num_token`; `kv_cache_configurator.py`, 0.5.23 |
//! | lowest fraction | (`W` + one request of the benchmark) / `T` | "minimum viable" of `kv_cache_configurator.py` is `W` / `T` |
//! | likely highest fraction | 1 - need / `T`, `reserve::need` | measured parts, and activations bounded by settings that are known to run: an estimate |
//! | safe highest fraction | 1 - most / `T`, `reserve::most` | the worst case that was measured; elsewhere a margin of a quarter, and SGLang's own floor |
//! | fraction if none is named | the engine's default | `sglang::resolve` |
//!
//! The tests of this module check it against public figures and state the errors: 1.2 % of the tokens in the guide's log,
//! 0.6 % of the memory that is free after loading in a log of 8 x H200, 0.2 % of the weights in another. A second,
//! independent calculation resulted in the same tokens within 0.1 %.
//! Not in this module tree: reading tensors (`effects::store`), CPUs (their pool is a setting).

mod findings;
mod geometry;
mod measured;
mod reserve;
mod weights;

use serde::{Deserialize, Serialize};

pub use findings::{check, host};
pub use geometry::{bundled, published_bytes, published_code};
pub use weights::{classify, index_of};

use crate::facts::{Facts, ModelFacts};
use crate::profile::{Accelerator, Architecture, Profile, Stack};
use crate::sglang::deepseek_r1::{CONTEXT, HEADS};
use crate::sglang::resolve::{Checkpoint, Machine, Resolved, resolve};
use crate::sglang::settings::EffectiveSettings;

/// The memory of each GPU and its use.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says where one figure comes from"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Memory of a GPU, in bytes.
    pub gpu_bytes: u64,
    /// True if that is the host's GPU; otherwise it is the GPU that the profile is tuned for.
    pub gpu_known: bool,
    /// The part of it that is free before the weights are loaded, in bytes.
    pub usable_bytes: u64,
    /// True if the sizes of the weights are those of the pulled files; otherwise they are computed from the model's shape.
    pub weights_known: bool,
    /// True if they are those of the files at the hub, which are not pulled.
    pub weights_listed: bool,
    /// The weights on one GPU by class, in bytes.
    pub parts: Vec<(String, u64)>,
    /// The weights on one GPU, in bytes.
    pub weights_bytes: u64,
    /// Format of the weights as the files state it: `fp8`, `fp4`, `awq`, ...; `bf16` if they state none.
    pub format: String,
    /// Bytes that one token takes in the KV pool of one GPU.
    pub kv_bytes_per_token: u64,
    /// Share of the usable memory for weights and KV pool.
    pub fraction: f64,
    /// True if the profile names the fraction; otherwise it is SGLang's default for this GPU.
    pub fraction_named: bool,
    /// Lowest useful fraction, and the highest that is safe.
    pub window: (f64, f64),
    /// The highest fraction that is likely to run. It is above the window's end where the need is an estimate, and where a
    /// rare load needs more.
    pub likely_end: f64,
    /// The most that activations, CUDA graphs and request tables may need, in bytes: the window's end leaves it.
    pub most_bytes: u64,
    /// True if the memory beside weights and pool was measured for this kind of server.
    pub is_measured: bool,
    /// The arguments as the engine resolves them on this GPU.
    pub resolved: Resolved,
    /// The KV pool on one GPU, in bytes.
    pub pool_bytes: u64,
    /// Tokens in the KV pool of one attention replica.
    pub pool_tokens: u64,
    /// The tokens that are asked for, if they are more than fit.
    pub tokens_asked: Option<u64>,
    /// Attention replicas, each with its own pool.
    pub replicas: u32,
    /// Memory beside weights and pool, in bytes.
    pub slack_bytes: u64,
    /// The part of that which activations, CUDA graphs and request tables need, in bytes.
    pub need_bytes: u64,
    /// The part of that which a start takes for certain, in bytes.
    pub start_bytes: u64,
    /// The host's memory that all ranks take for weights and for cached prefixes, in bytes.
    pub host_bytes: u64,
    /// Length of one request of the benchmark, prompt and answer, in tokens.
    pub request_tokens: u64,
    /// Number of such requests that fit at once, over all replicas.
    pub requests_fit: u64,
}

impl MemoryPlan {
    /// Takes the tokens of the pool that an earlier start measured.
    pub(crate) fn take_tokens(&mut self, tokens: u64) {
        self.pool_tokens = tokens;
        self.pool_bytes = tokens.saturating_mul(self.kv_bytes_per_token);
        let taken = self.weights_bytes.saturating_add(self.pool_bytes);
        self.slack_bytes = self.usable_bytes.saturating_sub(taken);
        let fit = tokens / self.request_tokens.max(1);
        self.requests_fit = fit.saturating_mul(u64::from(self.replicas));
    }

    /// Returns the least memory with which a server starts: the runtime, the weights, one request and the activations.
    #[must_use]
    pub const fn least_bytes(&self) -> u64 {
        self.with_pool(self.request_tokens.saturating_mul(self.kv_bytes_per_token))
    }

    /// Returns the memory that a server with the planned KV pool takes.
    #[must_use]
    pub const fn planned_bytes(&self) -> u64 {
        self.with_pool(self.pool_bytes)
    }

    const fn with_pool(&self, pool_bytes: u64) -> u64 {
        self.gpu_bytes
            .saturating_sub(self.usable_bytes)
            .saturating_add(self.weights_bytes)
            .saturating_add(pool_bytes)
            .saturating_add(self.need_bytes)
    }
}

/// Plans the memory of a server; `None` for a CPU and for a model of unknown shape.
///
/// `settings` are those of the profile on the stack. The GPU is the host's smallest. Without one it is the GPU that the
/// profile is tuned for.
#[must_use]
pub fn plan(
    profile: &Profile,
    stack: &Stack,
    settings: &EffectiveSettings,
    facts: &Facts,
) -> Option<MemoryPlan> {
    if stack.accelerator == Accelerator::Cpu {
        return None;
    }
    let (machine, gpu_known) = machine(profile, facts)?;
    let (model, from) = known_model(profile, facts)?;
    let bench = &profile.bench;
    let mut plan = budget(
        settings,
        machine.architecture,
        (&model, &Checkpoint::new(profile, Some(&model))),
        machine.memory_mib << 20,
        u64::from(bench.input_len.get()) + u64::from(bench.output_len.get()),
    )?;
    plan.gpu_known = gpu_known;
    plan.weights_known = from != From::Shape;
    plan.weights_listed = from == From::Hub;
    Some(plan)
}

/// The origin of a model's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sglang) enum From {
    /// Its pulled files.
    Files,
    /// Its files at the hub.
    Hub,
    /// The published shape of DeepSeek-R1.
    Shape,
}

/// Returns the shape of the profile's model, if it is known.
pub(in crate::sglang) fn known_model(profile: &Profile, facts: &Facts) -> Option<(ModelFacts, From)> {
    let (repo, revision) = (&profile.model.repo, &profile.model.revision);
    if let Some(path) = &profile.model.path {
        let model = facts.folders.get(path)?.model.clone()?;
        return Some((model, From::Files));
    }
    let pulled = facts
        .resolved_commit(repo, revision)
        .and_then(|commit| facts.models.get(&format!("{repo}@{commit}")));
    let listed = facts.listed.get(&format!("{repo}@{revision}"));
    match (pulled, listed) {
        (Some(model), _) => Some((model.clone(), From::Files)),
        (None, Some(listed)) => Some((listed.model.clone(), From::Hub)),
        (None, None) => Some((bundled(repo)?, From::Shape)),
    }
}

/// Returns the host's smallest GPU, or the one that the profile is tuned for; and whether it is the host's.
pub(in crate::sglang) fn machine(profile: &Profile, facts: &Facts) -> Option<(Machine, bool)> {
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let mut machine = Machine::tuned_for(profile, *profile.architectures.first()?);
    if let Some(architecture) = gpus
        .first()
        .and_then(|gpu| Architecture::of(&gpu.name, &gpu.compute_capability).ok())
    {
        machine.architecture = architecture;
    }
    let smallest = gpus.iter().map(|gpu| gpu.memory_bytes >> 20).min();
    machine.memory_mib = smallest.unwrap_or(machine.memory_mib);
    Some((machine, smallest.is_some()))
}

/// Returns the format of a model's weights.
fn format_of(model: &ModelFacts) -> String {
    match &model.quantization {
        _ if model.is_modelopt => "fp4".to_owned(),
        Some(named) => named.clone(),
        None => "bf16".to_owned(),
    }
}

/// Returns the bytes of the host's memory that all ranks take: the weights that stay there, and the hierarchical cache, which is
/// a size for each rank or a multiple of its pool (`memory_pool_host.py`, 0.5.19).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate, cut at 0"
)]
fn host_bytes(settings: &EffectiveSettings, offloaded: u64, pool: u64) -> u64 {
    let cached = match settings.hierarchical_cache_gb {
        _ if !settings.hierarchical_cache => 0,
        Some(size @ 1..) => u64::from(size).saturating_mul(1_000_000_000),
        _ => (pool as f64 * settings.hierarchical_cache_ratio.max(0.0)) as u64,
    };
    let ranks =
        u64::from(settings.tensor_parallel.max(1)).saturating_mul(u64::from(settings.pipeline.max(1)));
    offloaded.saturating_add(cached).saturating_mul(ranks)
}

/// The memory of one GPU in a stage of the pipeline.
struct Budget {
    parts: Vec<(&'static str, u64)>,
    /// The draft layer, if it is outside the fraction.
    draft: u64,
    weights_bytes: u64,
    kv_bytes: u64,
    pool_bytes: u64,
}

impl Budget {
    /// Returns what orders the stages: the one with the fewest tokens is first, of equal ones that with the most weights.
    fn order(&self) -> (u64, std::cmp::Reverse<u64>) {
        (
            self.pool_bytes / self.kv_bytes,
            std::cmp::Reverse(self.weights_bytes),
        )
    }
}

/// Returns the bytes of weights of each GPU that stay in the host's memory.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size in GiB, cut at 0"
)]
fn offloaded(settings: &EffectiveSettings) -> u64 {
    (settings.offloaded_gib.max(0.0) * f64::from(1 << 30)) as u64
}

/// Returns the stage of the pipeline with the smallest pool, whose tokens all stages have. `None` if the shape of the model's
/// KV cache is not known.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes of a GPU are exact in an f64, and the result is cut at 0 first"
)]
fn smallest_stage(
    model: &ModelFacts,
    settings: &EffectiveSettings,
    resolved: &Resolved,
    usable: u64,
) -> Option<Budget> {
    let fraction = resolved.fraction.clamp(0.0, 1.0);
    let mut smallest: Option<Budget> = None;
    for stage in weights::stages(model.layers, settings) {
        let mut parts = weights::per_gpu(model, settings, resolved, stage);
        weights::offload(&mut parts, offloaded(settings));
        // A draft layer outside the fraction is part of the memory that is needed beside it.
        let mut draft = 0;
        if !reserve::is_draft_inside(settings) {
            for part in parts.iter_mut().filter(|part| part.0 == weights::DRAFT) {
                draft = std::mem::take(&mut part.1);
            }
        }
        let weights_bytes = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.1));
        let kv_bytes = weights::kv_bytes_per_token(model, settings, resolved, stage)?.max(1);
        let this = Budget {
            parts,
            draft,
            weights_bytes,
            kv_bytes,
            pool_bytes: (fraction * usable as f64 - weights_bytes as f64).max(0.0) as u64,
        };
        if smallest.as_ref().is_none_or(|other| this.order() < other.order()) {
            smallest = Some(this);
        }
    }
    smallest
}

/// Plans the memory for settings, a model and a GPU. `None` if the shape of the model's KV cache is not known.
#[expect(clippy::cast_precision_loss, reason = "bytes of a GPU are exact in an f64")]
fn budget(
    settings: &EffectiveSettings,
    architecture: Architecture,
    (model, checkpoint): (&ModelFacts, &Checkpoint),
    gpu_bytes: u64,
    request_tokens: u64,
) -> Option<MemoryPlan> {
    let usable = gpu_bytes.saturating_sub(reserve::before_load(settings));
    let machine = Machine {
        architecture,
        memory_mib: gpu_bytes >> 20,
    };
    let resolved = resolve(settings, machine, checkpoint).resolved;
    let load = reserve::Load {
        settings,
        resolved: &resolved,
        machine,
        heads: model.heads.unwrap_or(u64::from(HEADS)),
        longest: model.context.unwrap_or(CONTEXT),
        is_mla: model.kv_lora_rank.is_some(),
    };
    let fraction = resolved.fraction.clamp(0.0, 1.0);
    let Budget {
        parts,
        draft,
        weights_bytes,
        kv_bytes,
        mut pool_bytes,
    } = smallest_stage(model, settings, &resolved, usable)?;
    let named = settings.mem_fraction;
    let share = |bytes: u64| bytes as f64 / (usable.max(1)) as f64;
    let need = reserve::need(load).saturating_add(draft);
    let one_request = request_tokens.saturating_mul(kv_bytes);
    let likely_end = 1.0 - share(need);
    let most = reserve::most(load).saturating_add(draft);
    let safe_end = 1.0 - share(most);
    let window = (share(weights_bytes.saturating_add(one_request)), safe_end);
    let page = u64::from(resolved.page_size.max(1));
    let mut tokens = pool_bytes / kv_bytes / page * page;
    let fitting = tokens;
    if let Some(most) = settings
        .max_total_tokens
        .map(u64::from)
        .filter(|most| *most < tokens)
    {
        tokens = most;
        pool_bytes = most.saturating_mul(kv_bytes);
    }
    let replicas = settings.attention_data_parallel.max(1);
    Some(MemoryPlan {
        gpu_bytes,
        gpu_known: true,
        usable_bytes: usable,
        weights_known: true,
        weights_listed: false,
        weights_bytes,
        parts: parts
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect(),
        format: format_of(model),
        kv_bytes_per_token: kv_bytes,
        fraction,
        fraction_named: named.is_some(),
        window,
        likely_end,
        is_measured: load.is_measured(),
        most_bytes: most,
        resolved: resolved.clone(),
        pool_bytes,
        pool_tokens: tokens,
        tokens_asked: settings
            .max_total_tokens
            .map(u64::from)
            .filter(|asked| *asked > fitting),
        replicas,
        slack_bytes: usable.saturating_sub(weights_bytes).saturating_sub(pool_bytes),
        need_bytes: need,
        start_bytes: reserve::at_start(load),
        host_bytes: host_bytes(settings, offloaded(settings), fitting.saturating_mul(kv_bytes)),
        request_tokens,
        requests_fit: (tokens / request_tokens.max(1)).saturating_mul(u64::from(replicas)),
    })
}

/// Formats GPU memory in GiB, as SGLang's own log does (which calls it GB).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
pub fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::print_stdout, reason = "the errors are stated")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::profile::Version;
    use crate::sglang::check::Level;
    use crate::sglang::flags::{Parser, history};
    use crate::units::Bytes;

    const R1: &str = "deepseek-ai/DeepSeek-R1-0528";
    const B200_BYTES: u64 = crate::profile::gpu::B200.memory_mib << 20;
    const H200_BYTES: u64 = crate::profile::gpu::H200.memory_mib << 20;

    fn settings(version: &str, line: &str) -> EffectiveSettings {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let version: Version = version.parse().unwrap();
        let table = history(Parser::Server).table(version);
        EffectiveSettings::new(&table.parse(&args), &BTreeMap::new(), version)
    }

    /// The plan on a B200, or on a Hopper GPU of another size.
    fn budget(
        settings: &EffectiveSettings,
        model: &ModelFacts,
        gpu_bytes: u64,
        tokens: u64,
    ) -> Option<MemoryPlan> {
        let architecture = if gpu_bytes == B200_BYTES {
            Architecture::Blackwell
        } else {
            Architecture::Hopper
        };
        super::budget(
            settings,
            architecture,
            (model, &checkpoint(model)),
            gpu_bytes,
            tokens,
        )
    }

    fn checkpoint(model: &ModelFacts) -> Checkpoint {
        Checkpoint {
            is_deepseek_v3: true,
            quantization: model.quantization.clone(),
            is_modelopt: model.is_modelopt,
            context: model.context,
        }
    }

    fn load<'a>(settings: &'a EffectiveSettings, plan: &'a MemoryPlan) -> reserve::Load<'a> {
        reserve::Load {
            settings,
            resolved: &plan.resolved,
            machine: Machine {
                architecture: if plan.gpu_bytes == B200_BYTES {
                    Architecture::Blackwell
                } else {
                    Architecture::Hopper
                },
                memory_mib: plan.gpu_bytes >> 20,
            },
            heads: 128,
            longest: CONTEXT,
            is_mla: true,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures of a few digits")]
    fn error_percent(ours: u64, theirs: u64) -> f64 {
        (ours as f64 / theirs as f64 - 1.0) * 100.0
    }

    #[test]
    fn the_guides_log_is_predicted() {
        // guide, "Sample Output": 8 x B200, FP8, TEP8, no fraction named.
        let tep8 = settings(
            "0.4.10.post2",
            "--tp-size 8 --ep-size 8 --enable-flashinfer-trtllm-moe",
        );
        let plan = budget(&tep8, &bundled(R1).unwrap(), B200_BYTES, 9216).unwrap();
        let tokens = error_percent(plan.pool_tokens, 980_344);
        // 29.09 GB before the graphs: "avail mem=22.72 GB" after "mem usage=6.37 GB". The workspace is from this log.
        let before = plan.slack_bytes - reserve::WORKSPACE - reserve::request_table(load(&tep8, &plan));
        let slack = error_percent(before, 29_090 * (1 << 30) / 1000);
        println!(
            "tokens {} against 980344: {tokens:+.2} %; slack {slack:+.2} %",
            plan.pool_tokens
        );
        assert!(tokens.abs() < 2.0, "{tokens}");
        assert!(slack.abs() < 2.0, "{slack}");
        assert!((plan.fraction - 0.821).abs() < 0.001, "{}", plan.fraction);
    }

    #[test]
    fn the_free_memory_in_a_public_log_is_predicted() {
        // sgl-project/sglang#3416, 8 x H200, FP8, TP8: "Load weight end ... avail mem=58.12 GB".
        let tp8 = settings("0.4.10.post2", "--tp-size 8");
        let plan = budget(&tp8, &bundled(R1).unwrap(), H200_BYTES, 2048).unwrap();
        let left = plan.usable_bytes - plan.weights_bytes;
        let error = error_percent(left, 58_120 * (1 << 30) / 1000);
        println!("{} left against 58.12 GiB: {error:+.2} %", Bytes(left));
        assert!(error.abs() < 1.0, "{error}");
    }

    #[test]
    fn a_public_minimum_fraction_is_predicted() {
        // SemiAnalysisAI/InferenceX#2128, another model on 8 x H200: 125.65 GB of weights, minimum viable 0.9113.
        let usable = H200_BYTES - reserve::before_load(&settings("0.5.9", "--tp-size 8"));
        #[expect(clippy::cast_precision_loss, reason = "figures of a few digits")]
        let minimum = 125.65 * f64::from(1 << 30) / usable as f64;
        println!(
            "minimum {minimum:.4} against 0.9113: {:+.2} %",
            (minimum / 0.9113 - 1.0) * 100.0
        );
        assert!((minimum / 0.9113 - 1.0).abs() < 0.01, "{minimum}");
    }

    #[test]
    fn the_weights_of_a_public_log_are_predicted() {
        // HabanaAI/vllm-fork#809, 8 devices: 79.41 GiB of weights each. SGLang keeps two more copies of the projection
        // that MLA absorbs, in bfloat16.
        let tp8 = settings("0.5.23", "--tp-size 8");
        let plan = budget(&tp8, &bundled(R1).unwrap(), B200_BYTES, 2048).unwrap();
        let absorbed = plan.parts.iter().find(|part| part.0 == "absorbed").unwrap().1;
        let error = error_percent(plan.weights_bytes - absorbed, 79_410 * (1 << 30) / 1000);
        println!(
            "weights {} against 79.41 GiB: {error:+.2} %",
            Bytes(plan.weights_bytes - absorbed)
        );
        assert!(error.abs() < 1.0, "{error}");
    }

    #[test]
    fn settings_that_are_known_to_run_are_inside_the_window() {
        let fp4 = "nvidia/DeepSeek-R1-0528-FP4";
        for (version, line, repo, gpu, concurrency) in [
            // guide, FP8 high throughput and FP4 serve
            (
                "0.4.10.post2",
                "--tp-size 8 --dp-size 8 --enable-dp-attention --mem-fraction-static 0.89 --max-running-requests 3072 \
                 --chunked-prefill-size 32768",
                R1,
                B200_BYTES,
                3072,
            ),
            (
                "0.4.10.post2",
                "--tp-size 8 --ep-size 8 --mem-fraction-static 0.89 --max-running-requests 3072 \
                 --chunked-prefill-size 32768",
                fp4,
                B200_BYTES,
                512,
            ),
            // cookbook, FP8 on 8 B200; InferenceX, FP8 on 4 B200 and on 8 H200
            (
                "0.5.23",
                "--tp-size 8 --mem-fraction-static 0.82 --kv-cache-dtype fp8_e4m3 --cuda-graph-max-bs-decode 128 \
                 --max-running-requests 128 --chunked-prefill-size 32768",
                R1,
                B200_BYTES,
                128,
            ),
            (
                "0.5.23",
                "--tp-size 4 --mem-fraction-static 0.95 --kv-cache-dtype fp8_e4m3 --cuda-graph-max-bs-decode 32 \
                 --max-running-requests 32 --chunked-prefill-size 8192",
                R1,
                B200_BYTES,
                32,
            ),
            (
                "0.5.23",
                "--tp-size 8 --mem-fraction-static 0.82 --cuda-graph-max-bs-decode 256 --max-running-requests 256 \
                 --chunked-prefill-size 32768",
                R1,
                H200_BYTES,
                64,
            ),
        ] {
            let plan = budget(&settings(version, line), &bundled(repo).unwrap(), gpu, 2048).unwrap();
            let found = check(&plan, concurrency);
            let is_quiet = found.iter().all(|check| check.level != Level::Error);
            assert!(is_quiet, "{line}: {found:?}: {plan:?}");
        }
    }

    /// The plan of DeepSeek-R1 with these arguments on H200, for requests of 9216 tokens.
    fn on_h200(line: &str) -> MemoryPlan {
        budget(&settings("0.5.23", line), &bundled(R1).unwrap(), H200_BYTES, 9216).unwrap()
    }

    #[test]
    fn a_start_that_must_run_out_of_memory_is_an_error() {
        for line in [
            "--tp-size 8 --mem-fraction-static 0.999",
            "--tp-size 8 --mem-fraction-static 0.8 --max-running-requests 1000000",
        ] {
            let plan = on_h200(line);
            let found = check(&plan, 1);
            let start = found.iter().find(|check| check.id == "memory.start");
            assert!(
                start.is_some_and(|check| check.level == Level::Error),
                "{line}: {found:?}"
            );
        }
    }

    #[test]
    fn what_is_kept_in_the_hosts_memory_must_fit_there() {
        const TIB: u64 = 1 << 40;
        let bytes = |line: &str| {
            let line = format!("--tp-size 8 --mem-fraction-static 0.8 {line}");
            let plan = on_h200(&line);
            (plan.host_bytes, plan.pool_bytes, plan)
        };
        let (none, pool, _) = bytes("");
        assert_eq!(none, 0);
        let (twice, _, plan) = bytes("--enable-hierarchical-cache");
        assert!(twice.abs_diff(16 * pool) < 1 << 30, "{twice} {pool}");
        assert_eq!(
            bytes("--enable-hierarchical-cache --hicache-size 30").0,
            240_000_000_000
        );
        assert_eq!(bytes("--cpu-offload-gb 4").0, (8 * 4) << 30);
        let refused = host(&plan, Some(TIB / 8)).unwrap();
        assert_eq!(
            (refused.id.as_str(), refused.level),
            ("memory.host", Level::Error)
        );
        assert_eq!((host(&plan, Some(TIB)), host(&plan, None)), (None, None));
    }

    #[test]
    fn without_chunks_the_longest_prompt_is_one_prefill() {
        let most = |chunk: &str| {
            let line = format!("--tp-size 8 --chunked-prefill-size {chunk}");
            on_h200(&line).most_bytes
        };
        assert!(most("-1") > most("16384") + (20 << 30));
    }

    #[test]
    fn a_named_pool_that_holds_no_request_is_an_error() {
        let one = |line: &str| check(&on_h200(line), 64);
        let found = one("--tp-size 8 --max-total-tokens 100");
        let few = found
            .iter()
            .find(|check| check.id == "memory.tokens_few")
            .unwrap();
        assert_eq!(few.level, Level::Error);
        assert!(
            few.text.contains("100 tokens") && few.text.contains("9216"),
            "{}",
            few.text
        );
        let found = one("--tp-size 8 --max-total-tokens 20000");
        assert!(
            found.iter().all(|check| check.id != "memory.tokens_few"),
            "{found:?}"
        );
    }

    #[test]
    fn weights_on_the_host_and_small_kv_formats_are_counted() {
        let one = |gpu: u64, line: &str| {
            budget(&settings("0.5.23", line), &bundled(R1).unwrap(), gpu, 9216).unwrap()
        };
        let whole = one(H200_BYTES, "--tp-size 8");
        let offloaded = one(H200_BYTES, "--tp-size 8 --cpu-offload-gb 20");
        assert_eq!(whole.weights_bytes - offloaded.weights_bytes, 20 << 30);
        // Per token and layer 576 elements; 61 layers.
        let bytes = |format: &str| {
            one(
                B200_BYTES,
                &format!("--tp-size 8 --attention-backend triton --kv-cache-dtype {format}"),
            )
            .kv_bytes_per_token
        };
        assert_eq!(bytes("auto"), 576 * 61 * 2);
        assert_eq!(bytes("fp8_e5m2"), 576 * 61);
        assert_eq!(bytes("mxfp8"), 576 * 61 * 33 / 32);
        assert_eq!(bytes("nvfp4"), 576 * 61 * 18 / 32);
    }

    #[test]
    fn weights_that_do_not_fit_are_an_error() {
        let tp4 = settings("0.5.23", "--tp-size 4");
        let plan = budget(&tp4, &bundled(R1).unwrap(), H200_BYTES, 2048).unwrap();
        assert_eq!(check(&plan, 1)[0].id, "memory.weights");
        let low = settings("0.5.23", "--tp-size 8 --mem-fraction-static 0.4");
        let plan = budget(&low, &bundled(R1).unwrap(), B200_BYTES, 2048).unwrap();
        let found = check(&plan, 1);
        assert_eq!(found[0].id, "memory.fraction_low");
        assert!(
            found[0].fix.as_ref().unwrap().starts_with("use at least 0.4"),
            "{found:?}"
        );
    }

    proptest::proptest! {
        #[test]
        fn more_memory_never_holds_fewer_tokens(gpu in 0_u64..1 << 40, more in 0_u64..1 << 36, fraction in 1_u32..98, tp in 1_u32..9, dp in 1_u32..9) {
            let at = |fraction: u32| {
                settings("0.5.23", &format!("--tp-size {tp} --attn-dp-size {dp} --mem-fraction-static 0.{fraction:02}"))
            };
            let model = bundled(R1).unwrap();
            let base = budget(&at(fraction), &model, gpu, 2048).unwrap();
            let larger = budget(&at(fraction), &model, gpu + more, 2048).unwrap();
            let higher = budget(&at(fraction + 1), &model, gpu, 2048).unwrap();
            proptest::prop_assert!(larger.pool_tokens >= base.pool_tokens);
            proptest::prop_assert!(higher.pool_tokens >= base.pool_tokens);
            proptest::prop_assert!(base.window.0 <= base.likely_end || !check(&base, 1).is_empty());
        }

        #[test]
        fn any_numbers_are_planned_without_panic(a: u32, b: u32, c: u32, chunk: i64, heads: u64, layers: u64, context: u64) {
            let line = format!(
                "--tp-size {a} --attn-dp-size {b} --cuda-graph-max-bs-decode {c} --max-running-requests {a} --page-size {b} \
                 --chunked-prefill-size {chunk} --speculative-algorithm EAGLE --speculative-num-steps {c} \
                 --speculative-eagle-topk 1 --speculative-num-draft-tokens {a} --attention-backend triton --pp-size {b} \
                 --max-total-tokens {c} --max-prefill-tokens {a}"
            );
            let config = serde_json::json!({
                "num_hidden_layers": layers, "num_attention_heads": heads, "kv_lora_rank": heads, "qk_rope_head_dim": heads,
                "max_position_embeddings": context, "n_routed_experts": heads,
            });
            let tensors = [("model.layers.0.mlp.experts.0.up_proj.weight".to_owned(), heads)];
            let model = crate::sglang::checkpoint::facts(&config, None, tensors).unwrap();
            let plan = budget(&settings("0.5.16", &line), &model, H200_BYTES, context).unwrap();
            let _ = check(&plan, a);
        }

        #[test]
        fn any_sizes_are_planned_without_panic(sizes in proptest::collection::vec(proptest::num::u64::ANY, 9), gpu: u64, tokens: u64) {
            let mut model = bundled(R1).unwrap();
            let w = &mut model.weights;
            for (slot, size) in [
                &mut w.experts, &mut w.attention_split, &mut w.attention_whole, &mut w.absorbed, &mut w.dense,
                &mut w.shared_expert, &mut w.embedding, &mut w.head, &mut w.other,
            ].into_iter().zip(sizes) {
                *slot = size;
            }
            let plan = budget(&settings("0.5.23", "--tp-size 8"), &model, gpu, tokens);
            proptest::prop_assert!(plan.is_some_and(|plan| plan.pool_tokens <= gpu));
        }
    }
}
