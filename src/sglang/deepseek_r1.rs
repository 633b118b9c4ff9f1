//! The shape of DeepSeek-R1, as far as several modules need it (config.json of deepseek-ai/DeepSeek-R1-0528).

/// Routed experts of a layer (`n_routed_experts`).
pub(super) const EXPERTS: u64 = 256;

/// Attention heads (`num_attention_heads`).
pub(super) const HEADS: u32 = 128;

/// Width of a token between layers (`hidden_size`).
pub(super) const HIDDEN: u64 = 7168;

/// Width of a routed expert and of the shared one (`moe_intermediate_size`).
pub(super) const EXPERT_WIDTH: u32 = 2048;

/// Width of the first dense layers (`intermediate_size`).
pub(super) const DENSE_WIDTH: u32 = 18_432;

/// Rows and columns of a block of FP8 weights with one scale (`weight_block_size`).
pub(super) const FP8_BLOCK: u32 = 128;

/// Width of the compressed KV cache (`kv_lora_rank`).
pub(super) const KV_RANK: u64 = 512;

/// Longest context in tokens (`max_position_embeddings`).
pub(crate) const CONTEXT: u64 = 163_840;

/// Returns true for a repository of the architecture of DeepSeek-V3: R1, V3 and their quantized copies, not the distilled
/// models.
pub(crate) fn is_deepseek_v3_architecture(repo: &str) -> bool {
    let name = repo.rsplit('/').next().unwrap_or(repo).to_ascii_lowercase();
    // V3.2 has another attention.
    let is_named = name.contains("deepseek-r1") || name.contains("deepseek-v3");
    is_named && !is_distilled(&name) && !name.contains("v3.2")
}

/// Returns true if the name of a repository says that its weights were brought into another format than DeepSeek's own FP8.
pub(crate) fn names_a_format(repo: &str) -> bool {
    let name = repo.rsplit('/').next().unwrap_or(repo).to_ascii_lowercase();
    let formats = [
        "awq", "gptq", "gguf", "int4", "int8", "w4a", "w8a", "fp4", "bf16", "bfloat16", "mxfp", "4bit",
        "8bit", "quant", "channel", "marlin",
    ];
    formats.iter().any(|format| name.contains(format))
}

/// Returns true if the name of a repository tells the architecture of its model.
pub(crate) fn is_known_by_name(repo: &str) -> bool {
    is_deepseek_v3_architecture(repo) || is_dense(repo)
}

/// Returns true for a repository of a model that was distilled from DeepSeek-R1: Qwen's and Llama's architectures, without
/// experts.
pub(crate) fn is_dense(repo: &str) -> bool {
    is_deepseek_r1(repo) && is_distilled(&repo.to_ascii_lowercase())
}

/// Returns true for the lower-case name of a distilled model: it says so, or it names the model that was trained, as
/// `DeepSeek-R1-0528-Qwen3-8B` does.
fn is_distilled(name: &str) -> bool {
    name.contains("distill") || name.contains("qwen") || name.contains("llama")
}

/// Returns the attention heads of a distilled model by the name of its repository: `num_attention_heads` in the `config.json`
/// of the models that were trained (Qwen2.5, Qwen3-8B, Llama 3.1 and 3.3).
pub(crate) fn heads_of_distilled(repo: &str) -> Option<u32> {
    let name = repo.rsplit('/').next()?.to_ascii_lowercase();
    let known = [
        ("qwen3-8b", 32),
        ("qwen-1.5b", 12),
        ("qwen-7b", 28),
        ("qwen-14b", 40),
        ("qwen-32b", 40),
        ("llama-8b", 32),
        ("llama-70b", 64),
    ];
    let (_, heads) = known
        .iter()
        .find(|(size, _)| is_dense(repo) && name.contains(size))?;
    Some(*heads)
}

/// Returns true for a repository of DeepSeek-R1, a quantized copy or a distilled model: all of them reason between the same
/// marks.
pub(crate) fn is_deepseek_r1(repo: &str) -> bool {
    let name = repo.rsplit('/').next().unwrap_or(repo).to_ascii_lowercase();
    name.contains("deepseek-r1")
}
