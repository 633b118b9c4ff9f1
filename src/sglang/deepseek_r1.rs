//! The shape of DeepSeek-R1, as far as several modules need it (config.json of deepseek-ai/DeepSeek-R1-0528).

/// Routed experts of a layer (`n_routed_experts`).
pub(super) const EXPERTS: u64 = 256;

/// Longest context in tokens (`max_position_embeddings`).
pub(super) const CONTEXT: u64 = 163_840;
