//! Memory beside weights and KV pool: the part that SGLang reserves by default, and the part that is known to be needed.

use crate::profile::Version;
use crate::sglang::EffectiveSettings;
use crate::sglang::deepseek_r1::{CONTEXT, HEADS, KV_RANK};

const MIB: u64 = 1 << 20;

/// GPU memory in use before the first weight is loaded, as nvidia-smi counts it.
///
/// Measured on one H200 (driver 580.159.04, `PyTorch` 2.11 for CUDA 13): the driver keeps 616 MiB and a CUDA context
/// takes 526. NCCL and the all-reduce of 8 ranks take 2.01 GiB in a public log (sgl-project/sglang#11716) and 1.4 in
/// another (SemiAnalysisAI/InferenceX#2128); this is the larger one. A B200's driver may keep more or less.
pub(super) const BEFORE_LOAD: u64 = (616 + 526 + 2058) * MIB;

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

/// Memory of CUDA graphs per captured request: the guide's log has 6.37 GB for graphs of up to 512 requests.
const GRAPH_PER_REQUEST: u64 = 13 * MIB;

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
/// `FlashInfer`'s graphs: 0.87 GiB for 256 requests, 1.52 for 512.
const FLASHINFER_GRAPHS: u64 = 225 * MIB;
/// The same for each captured request.
const FLASHINFER_GRAPH: u64 = 2662 << 10;
/// Activations of a prefill token behind a prefix of one more chunk with `FlashInfer`, at 128 heads a rank. They grow with
/// the prefix: 0.18 MiB for each token of prefix and chunk.
const FLASHINFER_KIB_PER_TOKEN: u64 = 368;

/// Memory that 0.4.10 adds for the gathered batches of attention replicas.
const ATTENTION_REPLICAS: u64 = 4096 * MIB;

/// Largest default batch that is captured on a GPU of over 60 GiB (`memory_hook.py`, 0.5.23: 512).
const GRAPH_BATCH: u64 = 512;

/// The version whose default fraction counts tokens and graphs (`server_args.py`, 0.5.3).
const COUNTED: Version = Version::new(0, 5, 3);

/// Returns the bytes per GPU that activations, graphs and request tables need, as far as public runs show it.
pub(super) fn need(settings: &EffectiveSettings) -> u64 {
    let dp = u64::from(settings.attention_data_parallel.max(1));
    let chunk = chunk(settings, u64::MAX) / dp;
    let replicas = if dp > 1 { ATTENTION_REPLICAS } else { 0 };
    WORKSPACE
        + request_table(settings)
        + graphs(settings)
        + decode_without_graph(settings)
        + chunk * activation_kib(settings) * 1024
        + replicas
}

/// Returns the attention backend if the memory that it takes is known for this version.
fn known_backend(settings: &EffectiveSettings) -> Option<&str> {
    let is_known = settings.version.is_some_and(|version| version >= BY_BACKEND);
    settings.attention_backend.as_deref().filter(|_| is_known)
}

/// Returns the attention heads of one rank.
fn heads(settings: &EffectiveSettings) -> u64 {
    let ranks = settings.tensor_parallel / settings.attention_data_parallel.max(1);
    u64::from(HEADS / ranks.max(1))
}

/// Returns the bytes of CUDA graphs, with the buffers that are allocated for them.
pub(super) fn graphs(settings: &EffectiveSettings) -> u64 {
    let batch = graph_batch(settings);
    match known_backend(settings) {
        Some("triton") => batch * (triton_buffers(settings) + TRITON_GRAPH),
        Some("flashinfer") => FLASHINFER_GRAPHS + batch * FLASHINFER_GRAPH,
        _ => batch * GRAPH_PER_REQUEST,
    }
}

/// Returns the bytes of triton's decode buffers for one request: partial results of each split and their scales in
/// float32, and indices and mask of its tokens (`init_cuda_graph_state` in `triton_backend.py`).
fn triton_buffers(settings: &EffectiveSettings) -> u64 {
    let context = settings.context_length.unwrap_or(CONTEXT).min(1 << 24);
    let splits = (context / TRITON_PART).next_power_of_two().min(TRITON_SPLITS);
    heads(settings) * splits * (KV_RANK + 1) * 4 + context * 9
}

/// Returns the bytes that decoding takes beyond the largest graph: triton allocates its buffers again for the batch, and the
/// next batch's before it frees them. A server with 256 requests and graphs to 32 died of it.
fn decode_without_graph(settings: &EffectiveSettings) -> u64 {
    let dp = u64::from(settings.attention_data_parallel.max(1));
    let running = settings
        .max_running_requests
        .map_or(0, |most| u64::from(most) / dp);
    if known_backend(settings) == Some("triton") && running > graph_batch(settings) {
        2 * running * triton_buffers(settings)
    } else {
        0
    }
}

/// Returns the activations of a prefill token in KiB. Attention's part is that of a rank's heads.
fn activation_kib(settings: &EffectiveSettings) -> u64 {
    let measured = match known_backend(settings) {
        Some("triton") => TRITON_KIB_PER_TOKEN,
        Some("flashinfer") => FLASHINFER_KIB_PER_TOKEN,
        _ => 0,
    };
    (measured * heads(settings) / u64::from(HEADS)).max(ACTIVATION_KIB_PER_TOKEN)
}

/// Returns the bytes of the table that holds each running request's token positions.
pub(super) fn request_table(settings: &EffectiveSettings) -> u64 {
    let dp = u64::from(settings.attention_data_parallel.max(1));
    let divided = settings.version.is_none_or(|version| version >= DIVIDED_TABLE);
    let running = settings.max_running_requests.map_or(RUNNING, u64::from) / if divided { dp } else { 1 };
    // A row has an entry of 4 bytes for each token of the context.
    let context = settings.context_length.unwrap_or(CONTEXT).min(1 << 24);
    running.saturating_mul(context).saturating_mul(4)
}

/// Returns true if the fraction includes the draft layer's weights.
pub(super) fn is_draft_inside(settings: &EffectiveSettings) -> bool {
    settings.version.is_none_or(|version| version >= DRAFT_INSIDE)
}

/// Returns the requests in the largest captured decode batch of one attention replica.
fn graph_batch(settings: &EffectiveSettings) -> u64 {
    let dp = u64::from(settings.attention_data_parallel.max(1));
    let running = settings
        .max_running_requests
        .map_or(u64::MAX, |most| (u64::from(most) / dp).max(1));
    // server_args.py of 0.5.3 and later, for GPUs of 35 to 160 GiB: 256 with fewer than 4 ranks.
    let few_ranks = settings.tensor_parallel < 4 && settings.version.is_none_or(|version| version >= COUNTED);
    let default = if few_ranks { GRAPH_BATCH / 2 } else { GRAPH_BATCH };
    settings.graph_batch.map_or(default, u64::from).min(running)
}

/// Returns the tokens of one prefill chunk over all replicas; the default is SGLang's for a GPU of `gpu_bytes`.
fn chunk(settings: &EffectiveSettings, gpu_bytes: u64) -> u64 {
    let by_gpu = match gpu_bytes / MIB {
        0..35_840 => 2048,
        35_840..163_840 => 8192,
        _ => 16_384,
    };
    match settings.chunked_prefill_size {
        // Without chunking a prefill of the whole context is possible; it is not planned for.
        Some(..=0) | None => by_gpu,
        Some(tokens) => u64::try_from(tokens).unwrap_or(by_gpu).min(1 << 20),
    }
}

/// Returns SGLang's default fraction for GPUs of over 35 GiB.
#[expect(clippy::cast_precision_loss, reason = "MiB of a GPU are exact in an f64")]
pub(super) fn default_fraction(settings: &EffectiveSettings, gpu_bytes: u64) -> f64 {
    let gpu = (gpu_bytes / MIB) as f64;
    let ranks = f64::from(settings.tensor_parallel);
    let old = settings.version.is_some_and(|version| version < COUNTED);
    let reserved = if old {
        let by_gpu = match gpu_bytes / MIB {
            0..92_160 => (9.5 + ranks / 2.0) * 1024.0,
            92_160..163_840 => (12.0 + ranks / 2.0) * 1024.0,
            _ => 32.0 * 1024.0,
        };
        let drafts = if settings.draft_tokens.is_some() {
            2048.0
        } else {
            0.0
        };
        let replicas = if settings.attention_data_parallel > 1 {
            4096.0
        } else {
            0.0
        };
        by_gpu + drafts + replicas
    } else {
        let batch = graph_batch(settings) as f64;
        let tokens = chunk(settings, gpu_bytes).max(2048) as f64;
        let dp = f64::from(settings.attention_data_parallel);
        let replicas = match settings.attention_data_parallel {
            0 | 1 => 0.0,
            _ if batch > 300.0 => batch * dp * 4.5,
            _ => batch * dp * 3.0,
        };
        // In MiB: 512 for metadata, 1.5 per token, 2 per captured request, 1024 per 8 ranks, 1536 for MLA's prefill graphs.
        let sum = 512.0 + tokens * 1.5 + ranks / 8.0 * 1024.0 + batch * 2.0 + replicas + 1536.0;
        if gpu > 61_440.0 { sum.max(10_240.0) } else { sum }
    };
    (((gpu - reserved) / gpu.max(1.0) * 1000.0).round() / 1000.0).clamp(0.0, 1.0)
}

/// Returns the tokens per page of the pool: `cutlass_mla` needs 128, `trtllm_mla` 64 unless 32 is named, others have 1.
pub(super) fn page(settings: &EffectiveSettings) -> u64 {
    match (settings.attention_backend.as_deref(), settings.page_size) {
        (Some("cutlass_mla"), _) => 128,
        (Some("trtllm_mla"), Some(32)) => 32,
        (Some("trtllm_mla"), _) => 64,
        (_, Some(page)) => u64::from(page.max(1)),
        (_, None) => 1,
    }
}
