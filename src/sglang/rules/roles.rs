//! Findings about an engine that spans nodes or has one role: what fails after the arguments are resolved, at the first
//! collective, at the first request or under load.
//!
//! Each rule names the public report and the code that it comes from. Rules about two roles that do not fit each other are in
//! `plan::cluster`.

use crate::profile::{Accelerator, Architecture, Profile, Role, Stack, Version};
use crate::sglang::check::{Check, Level};
use crate::sglang::deepseek_r1::is_deepseek_v3_architecture;
use crate::sglang::distributed::{NO_REGISTRATION, POOLS_BY_NAME};
use crate::sglang::resolve::{Checkpoint, Machine, Resolved, resolve};
use crate::sglang::settings::EffectiveSettings;

/// The variable with the tokens that a rank may send to the experts at once.
const DISPATCH: &str = "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK";
/// Its default (`environ.py`, 0.5.8 to 0.5.23).
const DISPATCH_DEFAULT: u32 = 128;
/// Its highest value: `token_dispatcher/deepep.py` asserts it (0.5.8 to 0.5.23).
const DISPATCH_MOST: u32 = 1024;
/// First version that refuses `flashinfer_cutedsl` with normal kernels of `DeepEP`, and takes those of low latency for `auto`
/// (`_handle_a2a_moe`, 0.5.17).
const CUTEDSL_MODES: Version = Version::new(0, 5, 17);
/// First version that fuses all-reduce over nodes, on Blackwell (`flashinfer_comm_fusion.py`, 0.5.14).
const FUSES_OVER_NODES: Version = Version::new(0, 5, 14);
/// First version that computes the output layer of decode over all ranks by itself (`_tp_lm_head_all_to_all_default`, 0.5.18).
const SPREADS_OUTPUT: Version = Version::new(0, 5, 18);
/// First version that refuses the transfer `fake` for prefill (`handle_pd_disaggregation`, 0.5.10).
const FAKE_REFUSED: Version = Version::new(0, 5, 10);
/// First version in which `round_robin` chooses the replicas of prefill in turn (`data_parallel_controller.py`, 0.5.10).
const ROUND_ROBIN: Version = Version::new(0, 5, 10);
/// First version that names the attention replicas in its refusal of copies over nodes (`validation_hook.py`, 0.5.22).
const ATTN_DP_SIZE: Version = Version::new(0, 5, 22);
/// First version whose decode keeps prefixes beside multi-token prediction (0.5.21 for one algorithm, 0.5.23 for EAGLE).
const DRAFTS_WITH_PREFIXES: Version = Version::new(0, 5, 23);
/// Longest useful wait of prefill and decode for each other, in seconds: six times the default.
const LONGEST_WAIT_S: u64 = 1800;
/// Longest useful time without a step, in seconds: twelve times the default.
const LONGEST_STEP_S: f64 = 3600.0;

/// One engine that is examined: its settings, and the arguments that they come to.
struct Examined<'a> {
    settings: &'a EffectiveSettings,
    profile: &'a Profile,
    version: Version,
    /// The arguments as each architecture of the profile resolves them.
    resolved: Vec<(Architecture, Resolved)>,
}

/// Returns the findings about one engine.
pub(super) fn check(
    settings: &EffectiveSettings,
    profile: &Profile,
    stack: &Stack,
    checkpoint: &Checkpoint,
) -> Vec<Check> {
    let resolved = profile.architectures.iter().map(|one| {
        (
            *one,
            resolve(settings, Machine::tuned_for(profile, *one), checkpoint).resolved,
        )
    });
    let engine = Examined {
        settings,
        profile,
        version: stack.pins.sglang,
        resolved: resolved.collect(),
    };
    let mut found: Vec<Check> = RULES.iter().filter_map(|rule| rule(&engine)).collect();
    if stack.accelerator == Accelerator::Cuda {
        found.extend(interface(&engine));
        found.extend(adapters(&engine));
    }
    found.extend(long_waits(&engine));
    found
}

/// A rule: a finding about an engine, or none.
type Rule = fn(&Examined<'_>) -> Option<Check>;

/// The rules for every accelerator, each of which has one finding at most.
const RULES: [Rule; 15] = [
    dispatch_limit,
    dispatch_tokens,
    low_latency_prefill,
    cutedsl_modes,
    copies_over_nodes,
    copies_of_prefill,
    fusion_over_nodes,
    graph_registration,
    memory_pool,
    nvlink_kinds,
    fake_prefill,
    staging,
    decode_prefixes,
    round_robin,
    tokenizer,
];

fn error(id: &str, subject: &str, text: String, fix: impl Into<String>) -> Check {
    Check::new(id, Level::Error, subject, text).fix(fix)
}

fn warn(id: &str, subject: &str, text: String, fix: impl Into<String>) -> Check {
    Check::new(id, Level::Warn, subject, text).fix(fix)
}

impl Examined<'_> {
    fn spans_nodes(&self) -> bool {
        self.settings.distributed.nodes > 1
    }

    fn has_one_role(&self) -> bool {
        self.settings.distributed.role.is_some()
    }

    fn has_role(&self, role: Role) -> bool {
        self.settings.distributed.has_role(role)
    }

    fn is_on(&self, architecture: Architecture) -> bool {
        self.profile.architectures.contains(&architecture)
    }

    fn shares_nvlink(&self) -> bool {
        self.profile.topology.as_ref().is_some_and(|one| one.nvlink)
    }

    fn replicas(&self) -> u32 {
        self.settings.attention_data_parallel.max(1)
    }

    fn runs_cutedsl(&self) -> bool {
        self.settings.moe_runner.as_deref() == Some("flashinfer_cutedsl")
    }

    /// Returns the mode of `DeepEP`; `None` if the experts exchange tokens otherwise.
    fn deepep_mode(&self) -> Option<&str> {
        if self.settings.a2a.as_deref() != Some("deepep") {
            return None;
        }
        let mode = self.settings.deepep_mode.as_deref().unwrap_or("auto");
        let is_forced = mode == "auto" && self.runs_cutedsl() && self.version >= CUTEDSL_MODES;
        Some(if is_forced { "low_latency" } else { mode })
    }

    /// Returns true if decode sends tokens by the low-latency kernels of `DeepEP`.
    fn decodes_by_low_latency(&self) -> bool {
        !self.has_role(Role::Prefill) && matches!(self.deepep_mode(), Some("auto" | "low_latency"))
    }

    /// Returns true if prefill does.
    fn prefills_by_low_latency(&self) -> bool {
        !self.has_role(Role::Decode) && self.deepep_mode() == Some("low_latency")
    }
}

/// A budget above what the kernels have. Recipes were told to raise it to 4096 (NVIDIA/srt-slurm#42); the assertion ends the
/// engine when it makes its buffers.
fn dispatch_limit(engine: &Examined<'_>) -> Option<Check> {
    let named = engine.settings.distributed.dispatch_tokens?;
    let is_used = engine.decodes_by_low_latency() || engine.prefills_by_low_latency();
    (is_used && named > DISPATCH_MOST).then(|| {
        let text = format!(
            "SGLang {} ends with {DISPATCH} {named}: DeepEP's low-latency kernels take {DISPATCH_MOST} tokens of a rank at most",
            engine.version
        );
        error(
            "deepep.limit",
            DISPATCH,
            text,
            format!("{DISPATCH}: \"{DISPATCH_MOST}\", and fewer max_running_requests"),
        )
    })
}

/// More tokens than the buffers of `DeepEP` hold: an assertion in `deep_ep.cpp`, when graphs are captured or under load
/// (NVIDIA/srt-slurm#42, #44; deepseek-ai/DeepEP#165, #419; sglang#29942, #14426). No version from 0.5.8 to 0.5.23 checks it at
/// its start: the check of sglang#14065 was revoked in #14171.
fn dispatch_tokens(engine: &Examined<'_>) -> Option<Check> {
    let settings = engine.settings;
    let budget = settings.distributed.dispatch_tokens.unwrap_or(DISPATCH_DEFAULT);
    let (_, resolved) = engine.resolved.first()?;
    let each = resolved.drafting.map_or(1, |drafts| drafts.tokens.unwrap_or(1));
    let replicas = engine.replicas();
    let running = settings.max_running_requests.map(|most| most.div_ceil(replicas));
    let requests = running.or(resolved.graph_batch).unwrap_or(1);
    let decoded = if engine.decodes_by_low_latency() {
        requests.saturating_mul(each)
    } else {
        0
    };
    let chunk = u32::try_from(resolved.chunk).unwrap_or(u32::MAX);
    let prefilled = if engine.prefills_by_low_latency() {
        chunk
    } else {
        0
    };
    let needed = decoded.max(prefilled);
    if needed <= budget {
        return None;
    }
    let by_default = if settings.distributed.dispatch_tokens.is_some() {
        ""
    } else {
        ", SGLang's default"
    };
    let tokens = if prefilled > decoded {
        format!("a prefill chunk has {prefilled} tokens on each rank")
    } else if each > 1 {
        format!("{requests} requests of {each} tokens run on each rank")
    } else {
        format!("{requests} requests run on each rank")
    };
    let text = format!(
        "{tokens}, and DeepEP's low-latency buffers hold {budget} tokens{by_default}: the engine ends"
    );
    let fix = if needed <= DISPATCH_MOST {
        format!("env: {{{DISPATCH}: \"{needed}\"}}")
    } else if prefilled > decoded {
        format!(
            "chunked_prefill_size: {}",
            u64::from(DISPATCH_MOST) * u64::from(replicas)
        )
    } else {
        format!(
            "max_running_requests: {} and {DISPATCH}: \"{DISPATCH_MOST}\"",
            u64::from(DISPATCH_MOST / each.max(1)) * u64::from(replicas)
        )
    };
    Some(error("deepep.tokens", "engine.max_running_requests", text, fix))
}

/// Low-latency kernels for prefill: they take a few tokens of each rank, and a prompt has thousands (sglang#12293;
/// `moe_hook.py` forces them for `flashinfer_cutedsl` alone).
fn low_latency_prefill(engine: &Examined<'_>) -> Option<Check> {
    let is_wrong =
        engine.has_role(Role::Prefill) && engine.prefills_by_low_latency() && !engine.runs_cutedsl();
    is_wrong.then(|| {
        error(
            "deepep.mode",
            "engine.deepep_mode",
            "low_latency is for decode: an engine for prefill sends whole chunks".to_owned(),
            "deepep_mode: normal for prefill",
        )
    })
}

/// `flashinfer_cutedsl` has no kernels for normal dispatch: 0.5.17 and later refuse it, older versions fail at the first prefill
/// (sglang#12293; `_handle_a2a_moe`, 0.5.17 and 0.5.23).
fn cutedsl_modes(engine: &Examined<'_>) -> Option<Check> {
    let prefills = !engine.has_role(Role::Decode);
    let is_wrong = match engine.deepep_mode()? {
        "normal" => true,
        "auto" => prefills,
        _ => false,
    };
    (engine.runs_cutedsl() && is_wrong).then(|| {
        let text = format!(
            "flashinfer_cutedsl computes no tokens of DeepEP's normal kernels in SGLang {}",
            engine.version
        );
        error(
            "deepep.cutedsl",
            "engine.moe_runner",
            text,
            "deepep_mode: low_latency for decode, and moe_runner: flashinfer_cutlass without DeepEP for prefill",
        )
    })
}

/// Copies of the model over nodes (sglang#15385): `check_server_args` asserts it (0.5.8 to 0.5.23).
fn copies_over_nodes(engine: &Examined<'_>) -> Option<Check> {
    let is_wrong = engine.spans_nodes() && engine.settings.replicas > 1 && engine.replicas() == 1;
    is_wrong.then(|| {
        let option = if engine.version >= ATTN_DP_SIZE {
            "--attn-dp-size"
        } else {
            "--enable-dp-attention"
        };
        let text = format!(
            "SGLang {} refuses {} copies of the model over {} nodes: only attention replicas span nodes",
            engine.version, engine.settings.replicas, engine.settings.distributed.nodes
        );
        let fix = format!("attention_data_parallel, which is {option}; or `workers` of a role");
        error("nodes.copies", "--data-parallel-size", text, fix)
    })
}

/// Copies of the model behind one prefill server: half of the requests fail with "`follow_bootstrap_room` conflict"
/// (sglang#29725; `data_parallel_controller.py`, 0.5.23).
fn copies_of_prefill(engine: &Examined<'_>) -> Option<Check> {
    let settings = engine.settings;
    let is_wrong = engine.has_role(Role::Prefill)
        && settings.replicas > 1
        && engine.replicas() == 1
        && !settings.distributed.asks_for_replica;
    is_wrong.then(|| {
        error(
            "role.copies",
            "--data-parallel-size",
            format!("decode cannot tell which of the {} copies has a request", settings.replicas),
            "use `workers` of the role, or SGLANG_DISAGGREGATION_FORCE_QUERY_PREFILL_DP_RANK: \"1\" for both roles",
        )
    })
}

/// All-reduce that is fused over nodes (sglang#12724, #29073; flashinfer#2006). Before 0.5.14 it breaks every answer or hangs; since
/// then it is on by itself on Blackwell, needs memory that other nodes can map, and is refused on Hopper
/// (`flashinfer_comm_fusion.py`, `_flashinfer_allreduce_fusion_auto_enable`).
fn fusion_over_nodes(engine: &Examined<'_>) -> Option<Check> {
    let settings = engine.settings;
    let named = settings.distributed.fusion.as_deref();
    let is_split = settings.tensor_parallel > 1 && engine.replicas() == 1;
    let exchanges = settings.a2a.as_deref().is_some_and(|name| name != "none");
    if !engine.spans_nodes() || !is_split || exchanges || settings.distributed.fusion_off {
        return None;
    }
    let id = "nodes.fusion";
    let subject = "engine.allreduce_fusion";
    let fix = "allreduce_fusion: false";
    let version = engine.version;
    if version < FUSES_OVER_NODES {
        let text = format!(
            "SGLang {version} does not fuse all-reduce over nodes: it hangs, or the answers are wrong"
        );
        return named.map(|_| error(id, subject, text, fix));
    }
    match named {
        Some(backend @ ("auto" | "mnnvl")) if engine.is_on(Architecture::Hopper) => {
            let text = format!("SGLang {version} refuses {backend} over nodes on Hopper");
            Some(error(id, subject, text, fix))
        }
        Some("trtllm") => {
            let text = format!("SGLang {version} refuses trtllm for all-reduce over nodes");
            Some(error(id, subject, text, fix))
        }
        _ if engine.is_on(Architecture::Blackwell) && !engine.shares_nvlink() => {
            let text = format!(
                "SGLang {version} fuses all-reduce over nodes by memory that they map from each other, and these nodes share no \
                 NVLink domain"
            );
            Some(warn(
                id,
                subject,
                text,
                "allreduce_fusion: false, or topology.nvlink: true",
            ))
        }
        _ => None,
    }
}

/// Buffers of CUDA graphs that NCCL registers: decode hangs under bursts (sglang#38936, #40649, #29548; `parallel_hook.py`, 0.5.20,
/// switches it off for every version after).
fn graph_registration(engine: &Examined<'_>) -> Option<Check> {
    let settings = engine.settings;
    let named = settings.distributed.graph_registration.as_deref();
    let is_off = named.map_or(engine.version >= NO_REGISTRATION, |value| value == "0");
    let captures = !engine.has_role(Role::Prefill) && settings.decode_graphs;
    if is_off || !captures {
        return None;
    }
    let spreads_output = engine.has_role(Role::Decode)
        && engine.replicas() > 1
        && engine.replicas() == settings.tensor_parallel
        && !settings.lm_head_data_parallel
        && engine.version >= SPREADS_OUTPUT;
    let text =
        "NCCL registers the buffers of CUDA graphs, and decode hangs under bursts of requests".to_owned();
    let fix = "NCCL_GRAPH_REGISTER: \"0\"";
    if spreads_output {
        let fix = format!("{fix}, or lm_head_data_parallel: true");
        Some(error(
            "nodes.graph_registration",
            "NCCL_GRAPH_REGISTER",
            text,
            fix,
        ))
    } else if engine.spans_nodes() {
        Some(warn("nodes.graph_registration", "NCCL_GRAPH_REGISTER", text, fix))
    } else {
        None
    }
}

/// A kind of memory that this version does not know: the KV pool stays in ordinary memory without a word, and transfers over
/// `NVLink` fail with "Requested address not found" (sglang#11321, Mooncake#1627; `disaggregation/mooncake/utils.py`).
fn memory_pool(engine: &Examined<'_>) -> Option<Check> {
    let named = engine.settings.distributed.memory_pool.as_deref()?;
    let version = engine.version;
    let switch = named.eq_ignore_ascii_case("true");
    let known: &[&str] = match version {
        version if version < POOLS_BY_NAME => &["1"],
        version if version < Version::new(0, 5, 9) => &["NVLINK", "BAREX"],
        version if version < Version::new(0, 5, 10) => &["NVLINK", "BAREX", "INTRA_NVLINK"],
        _ => &["NVLINK", "BAREX", "INTRA_NODE_NVLINK"],
    };
    if switch || known.contains(&named) {
        return None;
    }
    let right = if version < POOLS_BY_NAME { "True" } else { "NVLINK" };
    let text =
        format!("SGLang {version} knows no memory pool `{named}`, and puts the KV pool into ordinary memory");
    Some(error(
        "transfer.memory_pool",
        "SGLANG_MOONCAKE_CUSTOM_MEM_POOL",
        text,
        format!("SGLANG_MOONCAKE_CUSTOM_MEM_POOL: {right}"),
    ))
}

/// `NVLink` within a node and between nodes: the first one wins, and other nodes are not reached (sglang#17866;
/// `transfer_engine_impl.cpp` of Mooncake 0.3.10).
fn nvlink_kinds(engine: &Examined<'_>) -> Option<Check> {
    let distributed = &engine.settings.distributed;
    let is_wrong = distributed.nvlink_between_nodes && distributed.nvlink_within_node;
    is_wrong.then(|| {
        error(
            "transfer.nvlink",
            "MC_INTRANODE_NVLINK",
            "Mooncake takes NVLink within the node, and reaches no other node".to_owned(),
            "leave MC_INTRANODE_NVLINK out",
        )
    })
}

/// A transfer that moves nothing: `handle_pd_disaggregation` asserts it for prefill (0.5.10 to 0.5.23), and before the answers are
/// without their prompts.
fn fake_prefill(engine: &Examined<'_>) -> Option<Check> {
    let is_fake = engine.has_role(Role::Prefill) && engine.settings.distributed.transfer() == "fake";
    is_fake.then(|| {
        let text = if engine.version >= FAKE_REFUSED {
            format!(
                "SGLang {} refuses the transfer `fake` for prefill",
                engine.version
            )
        } else {
            "with the transfer `fake` decode never sees the prompts".to_owned()
        };
        error(
            "transfer.fake",
            "topology.transfer",
            text,
            "transfer: nixl or mooncake",
        )
    })
}

/// A buffer between prefill and decode, which a compressed KV cache does not go through (`staging_handler.py`, 0.5.10 to 0.5.23).
fn staging(engine: &Examined<'_>) -> Option<Check> {
    let is_wrong = engine.settings.distributed.staging
        && engine.has_one_role()
        && is_deepseek_v3_architecture(&engine.profile.model.repo);
    is_wrong.then(|| {
        error(
            "transfer.staging",
            "SGLANG_DISAGG_STAGING_BUFFER",
            "a staging buffer is for KV caches by head, which DeepSeek-R1 does not have".to_owned(),
            "leave SGLANG_DISAGG_STAGING_BUFFER out",
        )
    })
}

/// Prefixes on an engine for decode: each version has other conditions (`handle_pd_disaggregation`, 0.5.11 to 0.5.23).
fn decode_prefixes(engine: &Examined<'_>) -> Option<Check> {
    let distributed = &engine.settings.distributed;
    if !distributed.decode_radix_cache || !engine.has_role(Role::Decode) {
        return None;
    }
    let version = engine.version;
    let transfer = distributed.transfer();
    let excluded = if transfer == "fake"
        || (version < Version::new(0, 5, 12) && transfer != "nixl")
        || (version < Version::new(0, 5, 14) && !matches!(transfer, "nixl" | "mooncake"))
    {
        format!("the transfer `{transfer}`")
    } else if engine.settings.draft_algorithm.is_some() && version < DRAFTS_WITH_PREFIXES {
        "multi-token prediction".to_owned()
    } else {
        return None;
    };
    Some(error(
        "role.prefixes",
        "--disaggregation-decode-enable-radix-cache",
        format!("SGLang {version} keeps no prefixes on decode beside {excluded}"),
        "leave --disaggregation-decode-enable-radix-cache out",
    ))
}

/// A choice of replicas that old versions read as another one (sglang#16110, #16080; `data_parallel_controller.py`, 0.5.9).
fn round_robin(engine: &Examined<'_>) -> Option<Check> {
    let is_named = engine.settings.distributed.load_balance.as_deref() == Some("round_robin");
    let is_wrong = is_named && engine.has_role(Role::Prefill) && engine.version < ROUND_ROBIN;
    is_wrong.then(|| {
        let text = format!(
            "SGLang {} chooses the replica of prefill by the number of the request, not in turn",
            engine.version
        );
        warn(
            "role.balance",
            "--load-balance-method",
            text,
            "leave --load-balance-method out",
        )
    })
}

/// Prompts as token ids only: recipes set it for a front end of another program, and every request of text then fails
/// (`skip-tokenizer-init` in srt-slurm's recipes for Dynamo; `serving_hook.py`, 0.5.23).
fn tokenizer(engine: &Examined<'_>) -> Option<Check> {
    engine.settings.distributed.skips_tokenizer.then(|| {
        error(
            "server.tokenizer",
            "--skip-tokenizer-init",
            "without a tokenizer the server takes no text: neither chat nor completions".to_owned(),
            "leave --skip-tokenizer-init out",
        )
    })
}

/// No interface is named where ranks meet over a network: on a host with several, Gloo and NCCL may take another one, and the first
/// collective hangs (sglang#3516, #4766, #3398; NVIDIA/srt-slurm#419).
fn interface(engine: &Examined<'_>) -> Option<Check> {
    let topology = engine.profile.topology.as_ref()?;
    let meets = engine.spans_nodes() || engine.has_one_role();
    (meets && topology.network.interface.is_none()).then(|| {
        let text =
            "no network interface is named: on nodes with several, ranks may choose different ones and hang";
        let check = Check::new(
            "nodes.interface",
            Level::Note,
            "topology.network",
            text.to_owned(),
        );
        check.fix("topology: {network: {interface: NAME}}, as `ip -br addr` shows it")
    })
}

/// No RDMA adapter is named where the KV cache goes over a network: libraries then take adapters that have no link
/// (NVIDIA/srt-slurm#429, sglang#27730, Mooncake#507).
fn adapters(engine: &Examined<'_>) -> Option<Check> {
    let topology = engine.profile.topology.as_ref()?;
    let uses_rdma = matches!(engine.settings.distributed.transfer(), "mooncake" | "nixl");
    let is_found = topology.network.hcas.is_empty() && !topology.nvlink;
    (engine.has_one_role() && uses_rdma && is_found).then(|| {
        let text = "no RDMA adapter is named: the KV cache may go over one without a link, or over TCP";
        let check = Check::new(
            "transfer.adapters",
            Level::Note,
            "topology.network",
            text.to_owned(),
        );
        check.fix("topology: {network: {hcas: [NAME]}}, those that `ibv_devinfo` shows as active")
    })
}

/// Times that belong to benchmarks: a dead peer is not noticed for a day (100,000 s in srt-slurm's recipes, and a watchdog of 1,000,000
/// s). The defaults are 300 s (`environ.py`, 0.5.8 to 0.5.23).
fn long_waits(engine: &Examined<'_>) -> Vec<Check> {
    let distributed = &engine.settings.distributed;
    let waits = distributed
        .waits
        .iter()
        .filter(|(_, seconds)| *seconds > LONGEST_WAIT_S && engine.has_one_role())
        .map(|(name, seconds)| {
            let text =
                format!("requests wait {seconds} s for an engine that is gone: right for a benchmark only");
            warn("benchmark.wait", name, text, "use at most 1800, or leave it out")
        });
    let watchdog = distributed
        .watchdog_s
        .filter(|seconds| *seconds > LONGEST_STEP_S)
        .map(|seconds| {
            let text = format!("an engine that hangs is not ended for {seconds} s");
            warn(
                "benchmark.watchdog",
                "--watchdog-timeout",
                text,
                "use at most 3600, or leave it out",
            )
        });
    waits.chain(watchdog).collect()
}

#[cfg(test)]
mod tests;
