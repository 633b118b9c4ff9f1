//! Memory beside weights and KV pool: the part that is known to be needed, or estimated.

use crate::profile::{Architecture, Role, Version};
use crate::sglang::EffectiveSettings;
use crate::sglang::deepseek_r1::{EXPERTS, HEADS, HIDDEN, KV_RANK};
use crate::sglang::resolve::{Machine, Resolved};

const MIB: u64 = 1 << 20;

/// GPU memory in use before the first weight is loaded, as nvidia-smi counts it, on one GPU of its own: the driver's part, a
/// CUDA context and torch. Measured on H200 (driver 580.159.04, `PyTorch` 2.11 for CUDA 13): 139.13 GiB of 140.40 are left.
/// A B200's driver may keep more or less.
const CONTEXT_OF_ONE: u64 = 1300 * MIB;
/// The same with several ranks: NCCL and the all-reduce come on top. Measured on 2 and 4 H200: 0.92 to 1.14 GiB.
const COMMUNICATION: u64 = 1100 * MIB;
/// The same for 8 ranks: 2.01 GiB in a public log (sgl-project/sglang#11716), 1.4 in another (SemiAnalysisAI/InferenceX#2128);
/// this is the larger one, less what torch takes without other ranks.
const COMMUNICATION_OF_8: u64 = 1900 * MIB;

/// Returns the bytes of a GPU that are in use before the first weight is loaded.
pub(super) fn before_load(settings: &EffectiveSettings) -> u64 {
    let ranks = u64::from(settings.tensor_parallel).saturating_mul(u64::from(settings.pipeline));
    CONTEXT_OF_ONE
        + match ranks {
            0 | 1 => 0,
            2..=4 => COMMUNICATION,
            _ => COMMUNICATION_OF_8,
        }
}

/// Attention workspaces, cuBLAS and fragments, between the KV pool and the first graph: 0.54 GiB.
///
/// Computed from the guide's log: 31.5 GiB outside the fraction, less 1.87 of request table, less the 29.09 that
/// are free before the capture.
pub(super) const WORKSPACE: u64 = 553 * MIB;

/// Default number of requests in the request table: 3063 in the guide's log.
const RUNNING: u64 = 3072;
/// First version that divides the request table by the attention replicas (`model_runner.py`, 0.5.8).
const DIVIDED_TABLE: Version = Version::new(0, 5, 8);
/// First version whose fraction includes the draft layer (`model_runner.py`, 0.5.14).
const DRAFT_INSIDE: Version = Version::new(0, 5, 14);

/// Memory of CUDA graphs per captured request on Blackwell: the guide's log has 6.37 GB for graphs of up to 512 requests.
const GRAPH_PER_REQUEST: u64 = 13 * MIB;
/// The same on Hopper: 6.22 GB for graphs of up to 256 requests on 8 x H200 (sgl-project/sglang#5893).
const GRAPH_PER_REQUEST_HOPPER: u64 = 25 * MIB;
/// Memory of the graphs of prefill for a model with a compressed KV cache (`server_args.py` from 0.5.10 on: 1.5 GiB,
/// "much higher than expected" with fa3). Measured with triton and flashinfer: none.
const PREFILL_GRAPHS: u64 = 1536 * MIB;

/// Activations per token of a prefill chunk, in KiB.
///
/// The highest value for which settings that are known to run have room: the guide's FP4 server (32768 tokens at 0.89)
/// and `InferenceX`'s FP8 on 4 B200 (8192 at 0.95). SGLang's default reserves 1.5 MiB.
const ACTIVATION_KIB_PER_TOKEN: u64 = 300;

/// First version whose memory beside the pool is known by attention backend: measured with 0.5.16 on one H200
/// (`tests/fixtures/memory`), and the same in the source of 0.5.14.
const BY_BACKEND: Version = Version::new(0, 5, 14);

/// Most parts into which triton's decode splits a sequence: the next power of two above the 132 SMs of a Hopper GPU.
const TRITON_SPLITS: u64 = 256;
/// Tokens in one part (`triton_backend.py`: the splits are also bound by the context divided by 32).
const TRITON_PART: u64 = 32;
/// Memory of triton's graphs beside its buffers, for each captured request.
const TRITON_GRAPH: u64 = 1638 << 10;
/// Activations of a prefill token behind a prefix with triton, at 128 heads a rank: 0.532 MiB; 0.250 without a prefix.
const TRITON_KIB_PER_TOKEN: u64 = 545;
/// `FlashInfer`'s graphs on one rank: 0.87 GiB for 256 requests, 1.52 for 512.
const FLASHINFER_GRAPHS: u64 = 225 * MIB;
/// The same with several ranks: 0.93 GiB for 256 requests, 0.63 for 128, 0.46 for 64.
const FLASHINFER_GRAPHS_OF_RANKS: u64 = 300 * MIB;
/// The same for each captured request.
const FLASHINFER_GRAPH: u64 = 2662 << 10;
/// Activations of a prefill token behind a prefix of one more chunk with `FlashInfer`, at 128 heads a rank: 0.36 MiB
/// on one GPU, 0.391 with two attention replicas. They grow with the prefix: 0.18 MiB for each token of prefix and chunk.
const FLASHINFER_KIB_PER_TOKEN: u64 = 400;

/// The graphs of a replica that has several ranks: 0.55 to 0.68 GiB more, measured with 2 replicas of 2 ranks.
const GRAPHS_OF_SPLIT_REPLICAS: u64 = 600 * MIB;

/// Memory for the gathered batches of attention replicas, for each captured request and replica (`server_args.py` from
/// 0.5.3 on, which leaves 4.5 MiB above 300 requests; the guide's server with 384 runs with less).
const PER_REQUEST_AND_REPLICA: u64 = 3 * MIB;

/// Tokens that a rank may send at once in `DeepEP`'s low-latency mode, unless they are named (`environ.py`, 0.5.8 to 0.5.23).
const DISPATCH_TOKENS: u32 = 128;

/// Memory that the all-reduce fusion of `FlashInfer` takes on each of several ranks without replicas, which SGLang turns on
/// by itself for DeepSeek-V3. Measured on 2 H200 with and without it.
const ALLREDUCE_FUSION: u64 = 1000 * MIB;
/// First version that turns it on by itself; measured with 0.5.16.
const FUSES_ALLREDUCE: Version = Version::new(0, 5, 14);

/// Memory of the draft worker beside its weights: graphs and workspaces (`server_args.py`, 0.4.10 and 0.5.3: 2 GiB).
const DRAFT_WORKER: u64 = 2048 * MIB;

/// A server: its arguments as they were given and as the engine resolves them, the GPU and the model.
#[derive(Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) settings: &'a EffectiveSettings,
    pub(super) resolved: &'a Resolved,
    pub(super) machine: Machine,
    /// Attention heads of the model.
    pub(super) heads: u64,
    /// Longest context of the model in tokens.
    pub(super) longest: u64,
    /// True for a compressed KV cache.
    pub(super) is_mla: bool,
}

impl Load<'_> {
    fn replicas(self) -> u64 {
        u64::from(self.resolved.attention_data_parallel.max(1))
    }

    /// Returns the attention backend if the memory that it takes is known for this version.
    fn known_backend(self) -> Option<&'static str> {
        let is_known = self.settings.version.is_some_and(|version| version >= BY_BACKEND) && self.is_mla;
        match self.resolved.attention_backend.as_deref() {
            Some("triton") if is_known => Some("triton"),
            Some("flashinfer") if is_known => Some("flashinfer"),
            _ => None,
        }
    }

    /// Returns true if the memory beside weights and pool was measured for this kind of server.
    pub(super) fn is_measured(self) -> bool {
        self.known_backend().is_some()
    }

    /// Returns the attention heads of one rank.
    fn heads_per_rank(self) -> u64 {
        let ranks = u64::from(self.settings.tensor_parallel) / self.replicas();
        self.heads / ranks.max(1)
    }

    /// Returns the longest request in tokens, bounded so that sums cannot overflow.
    fn context(self) -> u64 {
        self.settings.context_length.unwrap_or(self.longest).min(1 << 24)
    }

    /// Returns the requests that a replica runs at once, if their number is named.
    fn running(self) -> Option<u64> {
        let most = self.resolved.max_running_requests?;
        Some(u64::from(most) / self.replicas())
    }

    /// Returns the requests in the largest captured decode batch of one attention replica; 0 without graphs.
    fn graph_batch(self) -> u64 {
        if !self.settings.decode_graphs {
            return 0;
        }
        let running = self.running().unwrap_or(u64::MAX).max(1);
        // Old versions decide when they capture (`cuda_graph_runner.py`, 0.4.10.post2).
        let old = match self.machine.memory_mib {
            0..=92_160 => 160,
            92_161..=160_000 => 256,
            _ => 512,
        };
        self.resolved.graph_batch.map_or(old, u64::from).min(running)
    }

    /// Returns the tokens that a replica computes at once: those of one prefill, and without chunks those of a whole prefill batch;
    /// on an engine for decode those of its requests.
    fn chunk(self) -> u64 {
        if self.settings.distributed.has_role(Role::Decode) {
            let drafts = self
                .resolved
                .drafting
                .and_then(|drafts| drafts.tokens)
                .unwrap_or(1);
            let requests = self.running().unwrap_or_else(|| self.graph_batch());
            return requests.saturating_mul(u64::from(drafts));
        }
        match u64::try_from(self.resolved.chunk) {
            Ok(chunk) if chunk > 0 => chunk.min(1 << 20),
            _ => self.resolved.max_prefill_tokens.min(1 << 20),
        }
    }
}

/// Returns the bytes per GPU that activations, graphs and request tables need, as far as runs show it.
pub(super) fn need(load: Load<'_>) -> u64 {
    let drafts = if load.resolved.drafting.is_some() {
        DRAFT_WORKER
    } else {
        0
    };
    [
        request_table(load),
        graphs(load),
        decode_without_graph(load),
        load.chunk()
            .saturating_mul(activation_kib(load))
            .saturating_mul(1024),
        gathered(load),
        exchanged(load),
        allreduce_fusion(load),
        drafts,
    ]
    .into_iter()
    .fold(WORKSPACE, u64::saturating_add)
}

/// Returns the bytes of CUDA graphs, with the buffers that are allocated for them.
pub(super) fn graphs(load: Load<'_>) -> u64 {
    let batch = load.graph_batch();
    let per_request = match load.machine.architecture {
        Architecture::Hopper => GRAPH_PER_REQUEST_HOPPER,
        Architecture::Blackwell => GRAPH_PER_REQUEST,
    };
    let split = load.replicas() > 1 && u64::from(load.settings.tensor_parallel) > load.replicas();
    let shared = if split { GRAPHS_OF_SPLIT_REPLICAS } else { 0 };
    let own = match load.known_backend() {
        _ if batch == 0 => return 0,
        Some("triton") => batch.saturating_mul(triton_buffers(load) + TRITON_GRAPH),
        Some(_) if load.settings.tensor_parallel > 1 => {
            FLASHINFER_GRAPHS_OF_RANKS + batch.saturating_mul(FLASHINFER_GRAPH)
        }
        Some(_) => FLASHINFER_GRAPHS + batch * FLASHINFER_GRAPH,
        None if load.resolved.prefill_graphs && load.is_mla => PREFILL_GRAPHS + batch * per_request,
        None => batch * per_request,
    };
    own.saturating_add(shared)
}

/// Returns the bytes that a start certainly takes beside weights and pool: the request table, and most of what the graphs are
/// estimated at. The figures of measured backends are within 5 % (`measured`), of the others within a factor that is not
/// known.
pub(super) fn at_start(load: Load<'_>) -> u64 {
    let graphs = graphs(load);
    let certain = if load.is_measured() {
        graphs / 10 * 9
    } else {
        graphs / 4
    };
    request_table(load).saturating_add(certain)
}

/// Returns the bytes that may be needed in the worst case that is known. Where this kind of server was measured, that is a
/// decode without graphs: a replica whose neighbour still prefills captures nothing, and triton allocates its buffers again,
/// two of them if it lasts. Otherwise it is a quarter more than the estimate, and at least what SGLang itself leaves on large
/// GPUs (`memory_hook.py`, 0.5.23: 10 GiB).
pub(super) fn most(load: Load<'_>) -> u64 {
    let need = need(load).saturating_add(whole_prompts(load));
    match load.known_backend() {
        Some("triton") if load.replicas() > 1 => {
            let running = load.running().unwrap_or_else(|| load.graph_batch());
            let eager = triton_buffers(load).saturating_mul(2).saturating_mul(running);
            need.saturating_add(eager.saturating_sub(decode_without_graph(load)))
        }
        Some(_) => need,
        None => need.saturating_add(need / 4).max(FLOOR),
    }
}

/// Returns the activations of the longest prompt beyond one prefill batch, if prompts are not divided into chunks.
fn whole_prompts(load: Load<'_>) -> u64 {
    if load.resolved.chunk > 0 {
        return 0;
    }
    let beyond = load.context().saturating_sub(load.chunk());
    beyond.saturating_mul(activation_kib(load)).saturating_mul(1024)
}

/// The memory that SGLang leaves at least on GPUs above 60 GiB.
const FLOOR: u64 = 10_240 * MIB;

/// Returns the bytes of the all-reduce fusion.
fn allreduce_fusion(load: Load<'_>) -> u64 {
    let is_on = load.is_mla
        && load.settings.tensor_parallel > 1
        && load.replicas() == 1
        && load.resolved.a2a == "none"
        && load
            .settings
            .version
            .is_some_and(|version| version >= FUSES_ALLREDUCE);
    if is_on { ALLREDUCE_FUSION } else { 0 }
}

/// Returns the bytes for the batches that attention replicas gather. Where the experts exchange tokens, and neither the dense layers
/// nor the output layer are split, no replica gathers any.
fn gathered(load: Load<'_>) -> u64 {
    let settings = load.settings;
    let is_whole = settings.lm_head_data_parallel && settings.dense_tensor_parallel == Some(1);
    match load.replicas() {
        1 => 0,
        _ if load.resolved.a2a == "deepep" && is_whole => 0,
        replicas => load
            .graph_batch()
            .saturating_mul(replicas)
            .saturating_mul(PER_REQUEST_AND_REPLICA),
    }
}

/// Returns the bytes of the buffers of `DeepEP`'s low-latency kernels: two for sending and two for receiving, each with room for the
/// tokens of a rank for every expert, in bfloat16 (`LowLatencyLayout` in `csrc/config.hpp`).
fn exchanged(load: Load<'_>) -> u64 {
    let settings = load.settings;
    let is_low_latency = load.resolved.a2a == "deepep"
        && settings.deepep_mode.as_deref() != Some("normal")
        && !(settings.distributed.has_role(Role::Prefill) && settings.deepep_mode.is_none());
    if !is_low_latency {
        return 0;
    }
    let tokens = settings.distributed.dispatch_tokens.unwrap_or(DISPATCH_TOKENS);
    let experts = EXPERTS + u64::from(settings.redundant_experts);
    experts
        .saturating_mul(u64::from(tokens))
        .saturating_mul(HIDDEN * 2 * 4)
}

/// Returns the bytes of triton's decode buffers for one request: partial results of each split and their scales in
/// float32, and indices and mask of its tokens (`init_cuda_graph_state` in `triton_backend.py`).
fn triton_buffers(load: Load<'_>) -> u64 {
    let context = load.context();
    let splits = (context / TRITON_PART).next_power_of_two().min(TRITON_SPLITS);
    load.heads_per_rank() * splits * (KV_RANK + 1) * 4 + context * 9
}

/// Returns the bytes that decoding takes beyond the largest graph: triton allocates its buffers again for the batch, and the
/// next batch's before it frees them. A server with 256 requests and graphs to 32 died of it.
fn decode_without_graph(load: Load<'_>) -> u64 {
    let running = load.running().unwrap_or(0);
    if load.known_backend() == Some("triton") && running > load.graph_batch() {
        triton_buffers(load).saturating_mul(2).saturating_mul(running)
    } else {
        0
    }
}

/// Returns the activations of a prefill token in KiB. Attention's part is that of a rank's heads.
fn activation_kib(load: Load<'_>) -> u64 {
    let measured = match load.known_backend() {
        Some("triton") => TRITON_KIB_PER_TOKEN,
        Some(_) => FLASHINFER_KIB_PER_TOKEN,
        None => 0,
    };
    (measured * load.heads_per_rank() / u64::from(HEADS)).max(ACTIVATION_KIB_PER_TOKEN)
}

/// Returns the bytes of the table that holds each running request's token positions.
pub(super) fn request_table(load: Load<'_>) -> u64 {
    let divided = load
        .settings
        .version
        .is_none_or(|version| version >= DIVIDED_TABLE);
    let running = load.resolved.max_running_requests.map_or(RUNNING, u64::from)
        / if divided { load.replicas() } else { 1 };
    // A row has an entry of 4 bytes for each token of the context.
    running.saturating_mul(load.context()).saturating_mul(4)
}

/// Returns true if the fraction includes the draft layer's weights.
pub(super) fn is_draft_inside(settings: &EffectiveSettings) -> bool {
    settings.version.is_none_or(|version| version >= DRAFT_INSIDE)
}
