//! The resolution of SGLang's arguments before it loads a model, by version: it chooses backends and sizes for the GPU and
//! the checkpoint, replaces values, ignores some, and refuses others. None of it is in the parser.
//!
//! | file | subject |
//! |---|---|
//! | `parallel` | ranks, attention replicas, the pipeline |
//! | `graphs` | whether and how far CUDA graphs are captured |
//! | `fraction` | chunk of a prefill, and the share of GPU memory |
//! | `attention` | attention backend, page size, format of the KV cache |
//! | `experts` | kernels and spread of the experts, format of the weights |
//! | `drafting` | multi-token prediction |
//! | `answer` | the engine's own resolution, read and compared |
//!
//! The order is the engine's (`__post_init__` and `check_server_args` in `server_args.py`, 0.4.10.post2;
//! `arg_groups/pipeline.py`, 0.5.19 and 0.5.23), because a later step reads what an earlier one decided. The tests compare
//! every field and every refusal with the engine's own code of these three versions. For the versions between them the
//! gates are those of their sources; the default fraction was read in 0.5.3 to 0.5.16.
//!
//! Not in this module tree: what the parser refuses (`flags`), and what fails only when weights are read or a kernel runs
//! (`rules`).

mod answer;
mod attention;
mod drafting;
mod experts;
mod fraction;
mod graphs;
mod parallel;

use serde::{Deserialize, Serialize};

pub(crate) use drafting::RUNNING;
pub(crate) use experts::{spreads_over_all, wrong_format};
pub(crate) use parallel::AT_LEAST_ONE_EACH;

pub use answer::{Answer, RESOLVED_SCHEMA, RESOLVER, TorchGpu, compared, differences, proof};

use crate::facts::ModelFacts;
use crate::profile::{Architecture, Precision, Profile, Role, Version, known_gpu};
use crate::sglang::check::{Check, Level};
use crate::sglang::deepseek_r1::{CONTEXT, is_deepseek_v3_architecture, names_a_format};
use crate::sglang::settings::EffectiveSettings;

/// First version whose default fraction counts tokens and graphs (`server_args.py`, 0.5.3).
const COUNTED: Version = Version::new(0, 5, 3);
/// First version that captures graphs of prefill unless they are switched off (`server_args.py`, 0.5.10).
const PREFILL_GRAPHS: Version = Version::new(0, 5, 10);
/// First version with one setting for graphs in decode and one for graphs in prefill (0.5.14).
const GRAPHS_BY_PHASE: Version = Version::new(0, 5, 14);
/// First version that reads FP8 experts as NVFP4 and quantizes them when it loads them (`model_config.py`, 0.5.18).
const FP8_AS_FP4: Version = Version::new(0, 5, 18);
/// First version that captures prefill in segments and not by torch's compiler (`cuda_graph_config.py`, 0.5.15).
const BREAKABLE: Version = Version::new(0, 5, 15);
/// First version in which attention replicas have an option of their own (0.5.22).
const ATTN_DP_SIZE: Version = Version::new(0, 5, 22);

/// The GPU, as far as the resolution asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// The family.
    pub architecture: Architecture,
    /// Memory in MiB, as nvidia-smi shows it.
    pub memory_mib: u64,
}

/// The checkpoint, as far as the resolution asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// True for the architecture of DeepSeek-V3: compressed KV cache and experts.
    pub is_deepseek_v3: bool,
    /// The format that its `config.json` states, in SGLang's spelling: `fp8`.
    pub quantization: Option<String>,
    /// True if a file of its own, `hf_quant_config.json`, states the format, as NVIDIA's do.
    pub is_modelopt: bool,
    /// The longest context in tokens, if it is known.
    pub context: Option<u64>,
}

impl Machine {
    /// Returns the GPU that stands for a family where the host's is not known: H200 or B200.
    #[must_use]
    pub const fn nominal(architecture: Architecture) -> Self {
        Self {
            architecture,
            memory_mib: architecture.nominal().memory_mib,
        }
    }

    /// Returns the GPU of a family that a profile is tuned for: the one that it names, or the one that stands for the family.
    #[must_use]
    pub fn tuned_for(profile: &Profile, architecture: Architecture) -> Self {
        let named = profile.gpu.as_deref().and_then(known_gpu);
        let memory_mib = named
            .filter(|gpu| gpu.architecture == architecture)
            .map_or(architecture.nominal().memory_mib, |gpu| gpu.memory_mib);
        Self {
            architecture,
            memory_mib,
        }
    }
}

impl Machine {
    /// Returns the compute capability of the family's first GPU.
    #[must_use]
    pub const fn capability(self) -> &'static str {
        self.architecture.nominal().capability
    }

    /// Returns the name of the GPU that stands for the family, as nvidia-smi shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.architecture.nominal().name
    }
}

impl Checkpoint {
    /// Returns true if SGLang reads these weights when it is told that they are in the format `named`.
    ///
    /// `_verify_quantization` in `model_config.py`, 0.4.10.post2 to 0.5.23. A format is read under its own name and under the
    /// names of other kernels for it.
    #[must_use]
    pub fn is_read_as(&self, named: &str, version: Version) -> bool {
        match self.quantization.as_deref() {
            Some("fp8") => match named {
                "fp8" | "unquant" | "nvfp4_online" => true,
                "modelopt_fp4" => version >= FP8_AS_FP4,
                other => other.starts_with("quark_"),
            },
            _ if self.is_modelopt => named.starts_with("modelopt"),
            Some(own) => {
                let own = own.replace('_', "-");
                let family: &[&str] = match own.as_str() {
                    "awq" => &["awq-marlin", "moe-wna16"],
                    "gptq" => &["gptq-marlin", "moe-wna16", "marlin"],
                    "compressed-tensors" => &["w8a8-int8", "w8a8-fp8", "auto-round-int8"],
                    _ => &[],
                };
                let named = named.replace('_', "-");
                named == own || named == "unquant" || family.contains(&named.as_str())
            }
            None => true,
        }
    }

    /// Returns the checkpoint of a profile: from its files if they are known, otherwise by the repository's name and the
    /// profile's precision.
    #[must_use]
    pub fn new(profile: &Profile, model: Option<&ModelFacts>) -> Self {
        let by_name = is_deepseek_v3_architecture(&profile.model.repo);
        let is_fp4 = profile.precision == Precision::Fp4;
        match model {
            Some(model) => Self {
                is_deepseek_v3: model.kv_lora_rank.is_some(),
                quantization: model.quantization.clone(),
                is_modelopt: model.is_modelopt,
                context: model.context,
            },
            None => Self {
                is_deepseek_v3: by_name,
                quantization: (by_name
                    && !is_fp4
                    && !names_a_format(&profile.model.repo)
                    && profile.model.path.is_none())
                .then(|| "fp8".to_owned()),
                is_modelopt: is_fp4,
                context: by_name.then_some(CONTEXT),
            },
        }
    }
}

/// The arguments that the engine runs with.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the engine")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Attention replicas; 1 without.
    pub attention_data_parallel: u32,
    /// GPUs over which the experts are spread.
    pub expert_parallel: u32,
    /// Kernels of attention; `None` where this version chooses them only when it loads the model.
    pub attention_backend: Option<String>,
    /// Tokens per page of the KV pool.
    pub page_size: u32,
    /// Format of the KV cache; `auto` is decided when the model is loaded.
    pub kv_cache: String,
    /// Kernels of the experts; `auto` is decided when the model is loaded, `None` where the version has no such option.
    pub moe_runner: Option<String>,
    /// Communication between experts: `none`, `deepep`, ...
    pub a2a: String,
    /// Format of the weights, if it is named or taken from the checkpoint; otherwise it is read when the model is loaded.
    pub quantization: Option<String>,
    /// Share of GPU memory for weights and KV pool.
    pub fraction: f64,
    /// Tokens of one prefill chunk of a replica; -1 for no chunking.
    pub chunk: i64,
    /// Tokens of one prefill batch.
    pub max_prefill_tokens: u64,
    /// Largest decode batch of a replica with a CUDA graph; `None` without graphs, and where this version decides it when it
    /// captures them.
    pub graph_batch: Option<u32>,
    /// True if prefill has CUDA graphs.
    pub prefill_graphs: bool,
    /// Requests at once over all replicas, if named or set by multi-token prediction; otherwise they follow from the pool.
    pub max_running_requests: Option<u32>,
    /// Caution of the scheduler.
    pub conservativeness: f64,
    /// True if the shared expert may be computed as one of the routed experts.
    pub shared_experts_fusion: bool,
    /// True if each replica has a whole output layer.
    pub lm_head_data_parallel: bool,
    /// True if prefixes are kept between requests.
    pub radix_cache: bool,
    /// True if the scheduler works while the GPU does.
    pub overlap_schedule: bool,
    /// Multi-token prediction.
    pub drafting: Option<Drafting>,
}

/// Multi-token prediction as the engine runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drafting {
    /// Draft steps in a row.
    pub steps: u32,
    /// Candidates kept in each step; `None` only where the engine fails later.
    pub top_k: Option<u32>,
    /// Tokens that are verified at once; `None` only where the engine fails later.
    pub tokens: Option<u32>,
}

/// The result of a resolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The arguments. If the engine refuses, they are those up to the refusal and its best guess beyond it.
    pub resolved: Resolved,
    /// Refusals, as errors, and replaced or ignored values.
    pub checks: Vec<Check>,
}

impl Resolution {
    /// Returns true if the engine ends with an error.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.checks.iter().any(|check| check.level == Level::Error)
    }
}

/// Returns what an engine of `settings.version` makes of its arguments.
#[must_use]
pub fn resolve(settings: &EffectiveSettings, machine: Machine, checkpoint: &Checkpoint) -> Resolution {
    let version = settings.version.unwrap_or(Version::new(0, 5, 23));
    let mut resolver = Resolver {
        settings,
        version,
        machine,
        checkpoint,
        out: start(settings, version),
        batch: None,
        found: Vec::new(),
    };
    resolver.idle();
    resolver.replicas();
    resolver.checkpoint();
    resolver.graphs();
    resolver.memory();
    resolver.format_of_checkpoint();
    resolver.attention_backend();
    resolver.split_over_replicas();
    resolver.experts();
    resolver.dispatch();
    resolver.pipeline();
    resolver.drafting();
    resolver.checked_last();
    Resolution {
        resolved: resolver.out,
        checks: resolver.found,
    }
}

/// One resolution on its way.
struct Resolver<'a> {
    settings: &'a EffectiveSettings,
    version: Version,
    machine: Machine,
    checkpoint: &'a Checkpoint,
    out: Resolved,
    /// Largest batch for a graph, also where none is captured.
    batch: Option<u32>,
    found: Vec<Check>,
}

impl Resolver<'_> {
    fn is_blackwell(&self) -> bool {
        self.machine.architecture == Architecture::Blackwell
    }

    /// Returns true if the engine has the role.
    fn has_role(&self, role: Role) -> bool {
        self.settings.distributed.has_role(role)
    }

    /// Names the options that nothing reads.
    fn idle(&mut self) {
        for (option, needed) in &self.settings.idle {
            let fix = if *needed == "--speculative-algorithm" {
                "use the setting `speculative`, which names it too".to_owned()
            } else {
                format!("add {needed}, or leave {option} out")
            };
            self.warn(
                "flag.idle",
                option,
                format!("{option} has no effect without {needed}"),
                fix,
            );
        }
    }

    fn refuse(&mut self, id: &str, subject: &str, text: String, fix: impl Into<String>) {
        self.add(id, Level::Error, subject, text, fix);
    }

    fn warn(&mut self, id: &str, subject: &str, text: String, fix: impl Into<String>) {
        self.add(id, Level::Warn, subject, text, fix);
    }

    fn note(&mut self, id: &str, subject: &str, text: String) {
        self.found.push(Check::new(id, Level::Note, subject, text));
    }

    fn add(&mut self, id: &str, level: Level, subject: &str, text: String, fix: impl Into<String>) {
        self.found.push(Check::new(id, level, subject, text).fix(fix));
    }
}

/// Returns the arguments as the parser leaves them.
fn start(settings: &EffectiveSettings, version: Version) -> Resolved {
    Resolved {
        attention_data_parallel: settings.attention_data_parallel,
        expert_parallel: settings.expert_parallel,
        attention_backend: settings.attention_backend.clone(),
        page_size: settings.page_size.unwrap_or(1),
        kv_cache: settings.kv_cache.clone().unwrap_or_else(|| "auto".to_owned()),
        moe_runner: settings
            .moe_runner
            .clone()
            .or_else(|| (version >= Version::new(0, 5, 1)).then(|| "auto".to_owned())),
        a2a: settings.a2a.clone().unwrap_or_else(|| "none".to_owned()),
        quantization: settings.quantization.clone().filter(|named| named != "unquant"),
        fraction: settings.mem_fraction.unwrap_or(0.0),
        chunk: 0,
        max_prefill_tokens: settings.max_prefill_tokens.map_or(16_384, u64::from),
        graph_batch: None,
        prefill_graphs: false,
        max_running_requests: settings.max_running_requests,
        conservativeness: settings.schedule_conservativeness.unwrap_or(1.0),
        shared_experts_fusion: settings.shared_experts_fusion,
        lm_head_data_parallel: settings.lm_head_data_parallel,
        // `handle_pd_disaggregation`, 0.5.23: decode keeps prefixes only on request.
        radix_cache: if settings.distributed.has_role(Role::Decode) {
            settings.distributed.decode_radix_cache
        } else {
            settings.radix_cache
        },
        overlap_schedule: settings.overlap_schedule,
        drafting: None,
    }
}
