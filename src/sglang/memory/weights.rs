//! The weights on each GPU: tensors by class, and each class split over its ranks.

use crate::facts::{ModelFacts, WeightSizes};
use crate::profile::Version;
use crate::sglang::EffectiveSettings;
use crate::sglang::deepseek_r1::EXPERTS;
use crate::sglang::resolve::Resolved;

/// Memory that loading takes beside the tensors, counted by SGLang as weights: 0.06 to 0.07 GiB in each of 60 runs.
const LOADING: u64 = 66 << 20;

/// First version that takes the format of the KV cache from the checkpoint (`model_runner.py`, 0.5.3).
const KV_OF_CHECKPOINT: Version = Version::new(0, 5, 3);

/// Name of the draft layer's class.
pub(super) const DRAFT: &str = "draft layer";

/// Adds a tensor of the checkpoint to its class. `layers` is the model's own number of layers: a higher one is the draft
/// layer.
///
/// Names are those of DeepSeek-V3 and of plain transformers. Every GPU holds the tensors that are not recognised.
pub fn classify(name: &str, bytes: u64, layers: u64, sizes: &mut WeightSizes) {
    let slot = if index_of(name).is_some_and(|layer| layer >= layers) {
        &mut sizes.draft
    } else if name.contains(".mlp.experts.") {
        &mut sizes.experts
    } else if name.contains(".mlp.shared_experts.") {
        &mut sizes.shared_expert
    } else if name.contains(".self_attn.") {
        // Every rank holds the two down-projections and their norms.
        if name.contains("q_a_") || name.contains("kv_a_") {
            &mut sizes.attention_whole
        } else {
            &mut sizes.attention_split
        }
    } else if name.contains(".mlp.gate.") {
        &mut sizes.other
    } else if name.contains(".mlp.") {
        &mut sizes.dense
    } else if name.contains("embed_tokens") {
        &mut sizes.embedding
    } else if name.starts_with("lm_head") {
        &mut sizes.head
    } else {
        &mut sizes.other
    };
    *slot = slot.saturating_add(bytes);
}

/// Returns the layer in a tensor's name: 61 of `model.layers.61.mlp.gate.weight`.
#[must_use]
pub fn index_of(name: &str) -> Option<u64> {
    name.split_once("layers.")?.1.split('.').next()?.parse().ok()
}

/// The layers of one stage of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// Its first layer.
    first: u64,
    /// The layer after its last one.
    end: u64,
    /// True for the last stage, which has the output layer.
    is_last: bool,
}

impl Stage {
    /// Returns the number of layers.
    const fn layers(self) -> u64 {
        self.end - self.first
    }

    /// Returns the stage's part of the bytes that the layers from `first` to before `end` have together.
    fn part(self, bytes: u64, first: u64, end: u64) -> u64 {
        let own = self.end.min(end).saturating_sub(self.first.max(first));
        let all = end.saturating_sub(first).max(1);
        u64::try_from(u128::from(bytes) * u128::from(own) / u128::from(all)).unwrap_or(u64::MAX)
    }
}

/// First version that gives the layers which are left to several stages (`get_pp_indices`, 0.5.6).
const LAYERS_SHARED: Version = Version::new(0, 5, 6);
/// Most stages that are looked at; SGLang has no pipeline of so many.
const MOST_STAGES: u64 = 1024;

/// Returns the stages of a pipeline; one with all layers without a pipeline. What cannot be divided goes one layer each to the
/// last stages, in older versions all to the last one (`get_pp_indices` in `distributed/utils.py`).
pub(super) fn stages(layers: u64, settings: &EffectiveSettings) -> Vec<Stage> {
    let count = u64::from(settings.pipeline.max(1))
        .min(layers.max(1))
        .min(MOST_STAGES);
    let (least, left) = (layers / count, layers % count);
    let is_shared = settings.version.is_none_or(|version| version >= LAYERS_SHARED);
    let first = |stage: u64| {
        let further = if is_shared {
            (stage + left).saturating_sub(count)
        } else {
            left * u64::from(stage == count)
        };
        stage * least + further
    };
    (0..count)
        .map(|stage| Stage {
            first: first(stage),
            end: first(stage + 1),
            is_last: stage + 1 == count,
        })
        .collect()
}

/// Returns the classes and their bytes on one GPU of a stage.
pub(super) fn per_gpu(
    model: &ModelFacts,
    settings: &EffectiveSettings,
    resolved: &Resolved,
    stage: Stage,
) -> Vec<(&'static str, u64)> {
    let WeightSizes {
        experts,
        attention_split,
        attention_whole,
        absorbed,
        dense,
        shared_expert,
        embedding,
        head,
        other,
        draft,
    } = model.weights;
    let tp = u64::from(settings.tensor_parallel.max(1));
    let dp = u64::from(settings.attention_data_parallel.max(1));
    // Attention is split only over the ranks of one replica.
    let attention_ranks = (tp / dp).max(1);
    let redundant = u64::from(settings.redundant_experts);
    let copies = (experts / model.experts.unwrap_or(EXPERTS).max(1)).saturating_mul(redundant);
    let dense_ranks = settings
        .dense_tensor_parallel
        .map_or(tp, |ranks| u64::from(ranks.max(1)));
    // Behind an all-to-all each rank has other tokens, and computes its own shared expert (`models/deepseek_v2.py`).
    let shared_ranks = if resolved.a2a == "none" { tp } else { 1 };
    let layers = |bytes: u64| stage.part(bytes, 0, model.layers);
    let without_experts = |bytes: u64| stage.part(bytes, 0, model.dense_layers);
    let with_experts = |bytes: u64| stage.part(bytes, model.dense_layers, model.layers);
    let embedding = embedding / attention_ranks;
    let head = if settings.lm_head_data_parallel {
        head / attention_ranks
    } else {
        head / tp
    };
    let embedding = if stage.first == 0 { embedding } else { 0 };
    let head = if stage.is_last { head } else { 0 };
    vec![
        ("experts", with_experts(experts.saturating_add(copies) / tp)),
        (
            "attention",
            layers((attention_split / attention_ranks).saturating_add(attention_whole)),
        ),
        ("absorbed", layers(absorbed / attention_ranks)),
        ("dense layers", without_experts(dense / dense_ranks)),
        ("shared expert", with_experts(shared_expert / shared_ranks)),
        // Over the ranks of attention in models/deepseek_v2.py: each replica of one rank holds it whole.
        ("embedding", embedding),
        ("output layer", head),
        ("norms and gates", layers(other).saturating_add(LOADING)),
        // SGLang loads it only for multi-token prediction.
        (
            DRAFT,
            if settings.draft_tokens.is_some() {
                draft / tp
            } else {
                0
            },
        ),
    ]
}

/// Takes the weights that stay in the host's memory out of the classes (`--cpu-offload-gb`, `utils/offloader.py`: the layers
/// in their order, of which most are experts).
pub(super) fn offload(parts: &mut [(&'static str, u64)], bytes: u64) {
    let mut left = bytes;
    for (name, part) in parts.iter_mut() {
        let is_of_a_layer = matches!(
            *name,
            "experts" | "attention" | "absorbed" | "dense layers" | "shared expert"
        );
        if is_of_a_layer {
            let taken = left.min(*part);
            *part -= taken;
            left -= taken;
        }
    }
}

/// Returns the bytes of one token in the KV pool of one GPU of a stage. `None` if the model's shape is not known.
pub(super) fn kv_bytes_per_token(
    model: &ModelFacts,
    settings: &EffectiveSettings,
    resolved: &Resolved,
    stage: Stage,
) -> Option<u64> {
    // In 1/32 of a byte. Block formats have a scale of one byte for 16 elements of 4 bits, or for 32 of 8 bits.
    // Versions from 0.5.3 on take the format that the checkpoint states (`kv_cache_dtype.py`, 0.5.19).
    let stated = model.kv_cache.as_deref().filter(|_| {
        let takes = settings.version.is_none_or(|version| version >= KV_OF_CHECKPOINT);
        takes && resolved.kv_cache == "auto"
    });
    let element = match stated.unwrap_or(&resolved.kv_cache) {
        name if name.starts_with("fp8") => 32,
        "nvfp4" | "fp4_e2m1" | "fp4_mx_block16" => 18,
        "mxfp8" => 33,
        _ => 64,
    };
    // The draft layer has its own pool, with as many tokens.
    let layers = stage
        .layers()
        .saturating_add(u64::from(settings.draft_tokens.is_some()));
    let per_layer = match (model.kv_lora_rank, model.kv_heads) {
        (Some(rank), _) => rank.saturating_add(model.rope_dim?),
        (None, Some(heads)) => {
            let ranks = u64::from(settings.tensor_parallel / settings.attention_data_parallel.max(1)).max(1);
            // A head is on at least one rank.
            (heads / ranks)
                .max(1)
                .saturating_mul(model.head_dim?)
                .saturating_mul(2)
        }
        (None, None) => return None,
    };
    Some(per_layer.saturating_mul(layers).saturating_mul(element) / 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stages_have_the_layers_that_are_left() {
        let lengths = |version: &str, pipeline| {
            let settings = EffectiveSettings {
                version: Some(version.parse().unwrap()),
                pipeline,
                ..EffectiveSettings::default()
            };
            let stages = stages(61, &settings);
            assert_eq!((stages[0].first, stages[stages.len() - 1].end), (0, 61));
            stages.iter().map(|stage| stage.layers()).collect::<Vec<_>>()
        };
        // As `get_pp_indices` of both versions returns them.
        assert_eq!(lengths("0.5.23", 3), [20, 20, 21]);
        assert_eq!(lengths("0.5.23", 8), [7, 7, 7, 8, 8, 8, 8, 8]);
        assert_eq!(lengths("0.4.10.post2", 8), [7, 7, 7, 7, 7, 7, 7, 12]);
        assert_eq!(lengths("0.5.23", 1), [61]);
    }

    #[test]
    fn the_last_stage_of_r1_holds_21_of_58_layers_with_experts() {
        let model = crate::sglang::memory::bundled("deepseek-ai/DeepSeek-R1-0528").unwrap();
        let settings = EffectiveSettings {
            version: Some(Version::new(0, 5, 23)),
            tensor_parallel: 8,
            pipeline: 3,
            ..EffectiveSettings::default()
        };
        let experts: Vec<u64> = stages(61, &settings)
            .into_iter()
            .map(|stage| stage.part(58, model.dense_layers, model.layers))
            .collect();
        assert_eq!(experts, [17, 20, 21]);
    }

    #[test]
    fn tensors_find_their_class() {
        let mut sizes = WeightSizes::default();
        for name in [
            "model.layers.3.mlp.experts.0.up_proj.weight",
            "model.layers.3.self_attn.q_b_proj.weight",
            "model.layers.3.self_attn.kv_a_proj_with_mqa.weight",
            "model.layers.0.mlp.gate_proj.weight",
            "model.layers.3.mlp.shared_experts.up_proj.weight",
            "model.embed_tokens.weight",
            "lm_head.weight",
            "model.layers.3.mlp.gate.weight",
            "model.norm.weight",
            "model.layers.61.mlp.experts.0.up_proj.weight",
        ] {
            classify(name, 1, 61, &mut sizes);
        }
        let expected = WeightSizes {
            experts: 1,
            attention_split: 1,
            attention_whole: 1,
            absorbed: 0,
            dense: 1,
            shared_expert: 1,
            embedding: 1,
            head: 1,
            other: 2,
            draft: 1,
        };
        assert_eq!(sizes, expected);
    }
}
