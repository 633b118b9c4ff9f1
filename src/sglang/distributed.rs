//! The settings of an engine that spans nodes or has one role, as they stand on a command line and in an environment.

use std::collections::BTreeMap;

use crate::profile::{Role, Version};
use crate::sglang::flags::Parsed;

/// First version that knows kinds of memory pools by name, such as `NVLINK`; before, the variable was a switch
/// (`disaggregation/mooncake/utils.py`, 0.5.8; `environ.py`, 0.5.5).
pub(super) const POOLS_BY_NAME: Version = Version::new(0, 5, 8);
/// First version that turns NCCL's registration of graph buffers off by itself (`parallel_hook.py`, 0.5.20).
pub(super) const NO_REGISTRATION: Version = Version::new(0, 5, 20);
/// Variables that bound the wait of prefill and decode for each other, in seconds (`environ.py`, 0.5.8 to 0.5.23).
const WAITS: [&str; 2] = [
    "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT",
    "SGLANG_DISAGGREGATION_WAITING_TIMEOUT",
];

/// The settings of an engine that spans nodes or has one role.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the engine")]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distributed {
    /// Nodes of the engine, as SGLang counts them; 1 without `--nnodes`.
    pub nodes: u32,
    /// The role; `None` for an engine that does prefill and decode.
    pub role: Option<Role>,
    /// Library that moves the KV cache from prefill to decode, if named.
    pub transfer: Option<String>,
    /// RDMA adapters for that, if named.
    pub devices: Option<String>,
    /// Tokens that a rank may send to the experts at once in `DeepEP`'s low-latency mode, if named.
    pub dispatch_tokens: Option<u32>,
    /// Kind of memory that holds the KV cache for Mooncake, if named.
    pub memory_pool: Option<String>,
    /// Mooncake uses `NVLink` between nodes.
    pub nvlink_between_nodes: bool,
    /// Mooncake uses `NVLink` within a node only.
    pub nvlink_within_node: bool,
    /// NCCL's registration of buffers in CUDA graphs, if named: `0` is off.
    pub graph_registration: Option<String>,
    /// Kernels that fuse all-reduce with the norm behind it, if they are asked for.
    pub fusion: Option<String>,
    /// These kernels are switched off.
    pub fusion_off: bool,
    /// Choice of an attention replica for a request, if named.
    pub load_balance: Option<String>,
    /// Decode asks prefill which replica has a request.
    pub asks_for_replica: bool,
    /// Decode keeps prefixes between requests.
    pub decode_radix_cache: bool,
    /// The KV cache goes through a buffer on its way.
    pub staging: bool,
    /// Waits of prefill and decode for each other that are named, in seconds.
    pub waits: Vec<(&'static str, u64)>,
    /// Seconds without a step after which the engine ends, if named.
    pub watchdog_s: Option<f64>,
    /// Prompts are taken as token ids only.
    pub skips_tokenizer: bool,
    /// Graphs of decode are asked for by name, so that a role does not switch them off.
    pub decode_graphs_named: bool,
    /// Weights of the draft model, if named.
    pub draft_model: Option<String>,
}

impl Distributed {
    /// Reads a command line and an environment.
    pub(super) fn new(parsed: &Parsed<'_>, env: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| parsed.value(name).map(str::to_owned);
        let variable = |name: &str| env.get(name).map(|value| value.trim());
        let is_on = |name: &str| variable(name).is_some_and(is_on);
        let backend = text("--flashinfer-allreduce-fusion-backend");
        let switch = parsed.has_option("--enable-flashinfer-allreduce-fusion");
        Self {
            nodes: parsed
                .value("--nnodes")
                .and_then(|nodes| nodes.trim().parse().ok())
                .unwrap_or(1),
            role: match parsed.value("--disaggregation-mode") {
                Some("prefill") => Some(Role::Prefill),
                Some("decode") => Some(Role::Decode),
                _ => None,
            },
            transfer: text("--disaggregation-transfer-backend"),
            devices: text("--disaggregation-ib-device"),
            dispatch_tokens: variable("SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK")
                .and_then(|tokens| tokens.parse().ok()),
            memory_pool: variable("SGLANG_MOONCAKE_CUSTOM_MEM_POOL").map(str::to_owned),
            // Mooncake asks only whether they are set, and the second one wins (`transfer_engine_impl.cpp`, 0.3.10).
            nvlink_between_nodes: variable("MC_FORCE_MNNVL").is_some(),
            nvlink_within_node: variable("MC_INTRANODE_NVLINK").is_some(),
            graph_registration: variable("NCCL_GRAPH_REGISTER").map(str::to_owned),
            fusion: backend.or_else(|| switch.then(|| "auto".to_owned())),
            fusion_off: parsed.has_option("--enforce-disable-flashinfer-allreduce-fusion"),
            load_balance: text("--load-balance-method"),
            asks_for_replica: is_on("SGLANG_DISAGGREGATION_FORCE_QUERY_PREFILL_DP_RANK"),
            decode_radix_cache: parsed.has_option("--disaggregation-decode-enable-radix-cache"),
            staging: is_on("SGLANG_DISAGG_STAGING_BUFFER"),
            waits: WAITS
                .into_iter()
                .filter_map(|name| Some((name, variable(name)?.parse().ok()?)))
                .collect(),
            watchdog_s: parsed
                .value("--watchdog-timeout")
                .and_then(|seconds| seconds.trim().parse().ok()),
            skips_tokenizer: parsed.has_option("--skip-tokenizer-init"),
            decode_graphs_named: super::graphs::names_decode(parsed),
            draft_model: text("--speculative-draft-model-path"),
        }
    }

    /// Returns true if the engine has the role.
    #[must_use]
    pub fn has_role(&self, role: Role) -> bool {
        self.role == Some(role)
    }

    /// Returns the library that moves the KV cache; Mooncake is the engine's default (`server_args.py`, 0.5.8 to 0.5.23).
    #[must_use]
    pub fn transfer(&self) -> &str {
        self.transfer.as_deref().unwrap_or("mooncake")
    }
}

/// Reads a variable as SGLang's `get_bool_env_var` does.
pub(super) fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true")
}
