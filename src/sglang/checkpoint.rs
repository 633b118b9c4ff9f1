//! Shape and sizes of a checkpoint, from its `config.json` and the names and sizes of its tensors.

use serde_json::Value;

use crate::facts::{ModelFacts, WeightSizes};
use crate::sglang::memory::classify;

/// Largest number of a configuration: no model has more heads, layers, experts or tokens.
const LARGEST: u64 = 1 << 24;

/// Returns the facts of a model. `tensors` are names and bytes; `quantization` is `hf_quant_config.json`, where it is there.
///
/// # Errors
/// The key of `config.json` without which nothing can be said.
pub(crate) fn facts(
    config: &Value,
    quantization: Option<&Value>,
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
    let experts = number("n_routed_experts").or_else(|| number("num_experts"));
    let modelopt = Modelopt::read(config, quantization);
    let hidden_per_head = || Some(number("hidden_size")? / heads.filter(|heads| *heads > 0)?);
    Ok(ModelFacts {
        architecture: config.pointer("/architectures/0").and_then(text),
        heads,
        experts,
        context: number("max_position_embeddings"),
        quantization: match &modelopt {
            Some(modelopt) => modelopt.quantization.map(str::to_owned),
            None => config.pointer("/quantization_config/quant_method").and_then(text),
        },
        is_modelopt: modelopt.as_ref().is_some_and(|modelopt| modelopt.is_nvfp4),
        kv_cache: modelopt.and_then(|modelopt| modelopt.kv_cache),
        layers,
        dense_layers: match experts {
            Some(_) => number("first_k_dense_replace").unwrap_or(0).min(layers),
            None => layers,
        },
        kv_lora_rank: rank,
        rope_dim: number("qk_rope_head_dim"),
        kv_heads: number("num_key_value_heads").or(heads),
        head_dim: number("head_dim").or_else(hidden_per_head),
        weights,
    })
}

/// The format that NVIDIA's `ModelOpt` states, in a file of its own or in `config.json` (`_parse_quant_hf_config` in
/// `model_config.py`, 0.5.19).
struct Modelopt {
    is_nvfp4: bool,
    /// The format in SGLang's spelling, if it is not NVFP4.
    quantization: Option<&'static str>,
    /// `fp8`, or another format of the KV cache, in lower case.
    kv_cache: Option<String>,
}

impl Modelopt {
    fn read(config: &Value, own: Option<&Value>) -> Option<Self> {
        let inside = &config["quantization_config"];
        let stated = match own {
            Some(own) => &own["quantization"],
            None if inside["quant_method"] == "modelopt" => inside,
            None => return None,
        };
        let algorithm = stated["quant_algo"]
            .as_str()
            .unwrap_or("NVFP4")
            .to_ascii_uppercase();
        let is_nvfp4 = !algorithm.starts_with("FP8");
        Some(Self {
            is_nvfp4,
            quantization: (!is_nvfp4).then_some("modelopt_fp8"),
            kv_cache: stated["kv_cache_quant_algo"]
                .as_str()
                .map(str::to_ascii_lowercase),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_format_that_modelopt_states_is_read() {
        let config = json!({"num_hidden_layers": 2});
        let inside = json!({"num_hidden_layers": 2, "quantization_config":
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}});
        let own = |algorithm: &str, kv: Value| json!({"quantization": {"quant_algo": algorithm, "kv_cache_quant_algo": kv}});
        let read = |config: &Value, own: Option<&Value>| {
            let found = facts(config, own, []).unwrap();
            (found.is_modelopt, found.quantization, found.kv_cache)
        };
        let fp8 = Some("fp8".to_owned());
        assert_eq!(
            read(&config, Some(&own("NVFP4", json!("FP8")))),
            (true, None, fp8.clone())
        );
        assert_eq!(
            read(&config, Some(&own("NVFP4", json!(null)))),
            (true, None, None)
        );
        assert_eq!(
            read(&config, Some(&own("FP8", json!(null)))),
            (false, Some("modelopt_fp8".to_owned()), None)
        );
        assert_eq!(read(&inside, None), (true, None, fp8));
        assert_eq!(read(&config, None), (false, None, None));
    }
}
