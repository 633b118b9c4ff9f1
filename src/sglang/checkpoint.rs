//! Shape and sizes of a checkpoint, from its `config.json` and the names and sizes of its tensors.

use serde_json::Value;

use crate::facts::{ModelFacts, WeightSizes};
use crate::sglang::memory::classify;

/// Largest number of a configuration: no model has more heads, layers, experts or tokens.
const LARGEST: u64 = 1 << 24;

/// Returns the facts of a model. `tensors` are names and bytes; `is_modelopt` tells that `hf_quant_config.json` is there.
///
/// # Errors
/// The key of `config.json` without which nothing can be said.
pub(crate) fn facts(
    config: &Value,
    is_modelopt: bool,
    tensors: impl IntoIterator<Item = (String, u64)>,
) -> Result<ModelFacts, &'static str> {
    // A model for text and images keeps the shape of its text part apart.
    let nested = config
        .get("text_config")
        .filter(|_| config.get("num_hidden_layers").is_none());
    let shape = nested.unwrap_or(config);
    // Sizes come from a stranger: sums and products of them must not overflow.
    let number = |key: &str| {
        shape
            .get(key)
            .and_then(Value::as_u64)
            .map(|number| number.min(LARGEST))
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let layers = number("num_hidden_layers").ok_or("num_hidden_layers")?;
    let heads = number("num_attention_heads");
    let rank = number("kv_lora_rank");
    let mut weights = WeightSizes::default();
    for (name, bytes) in tensors {
        classify(&name, bytes, layers, &mut weights);
    }
    if let (Some(rank), Some(heads)) = (rank, heads) {
        let width = number("qk_nope_head_dim")
            .unwrap_or(0)
            .saturating_add(number("v_head_dim").unwrap_or(0));
        // Both halves of `kv_b_proj` in bfloat16, which SGLang keeps beside the checkpoint's tensor.
        weights.absorbed = layers
            .saturating_mul(heads)
            .saturating_mul(rank)
            .saturating_mul(width)
            .saturating_mul(2);
    }
    let hidden_per_head = || Some(number("hidden_size")? / heads.filter(|heads| *heads > 0)?);
    Ok(ModelFacts {
        architecture: config.pointer("/architectures/0").and_then(text),
        heads,
        experts: number("n_routed_experts").or_else(|| number("num_experts")),
        context: number("max_position_embeddings"),
        quantization: config.pointer("/quantization_config/quant_method").and_then(text),
        is_modelopt,
        layers,
        kv_lora_rank: rank,
        rope_dim: number("qk_rope_head_dim"),
        kv_heads: number("num_key_value_heads").or(heads),
        head_dim: number("head_dim").or_else(hidden_per_head),
        weights,
    })
}
