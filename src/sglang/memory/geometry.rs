//! The sizes of DeepSeek-R1 and of its siblings of the same shape in three published formats, computed from the shape.
//!
//! For a pulled model the headers of its files are used instead.

use crate::facts::{ModelFacts, WeightSizes};
use crate::sglang::deepseek_r1::{CONTEXT, EXPERTS};

// config.json of deepseek-ai/DeepSeek-R1-0528.
const HIDDEN: u64 = 7168;
const LAYERS: u64 = 61;
const DENSE_LAYERS: u64 = 3;
const INTERMEDIATE: u64 = 18_432;
const EXPERT_INTERMEDIATE: u64 = 2048;
const HEADS: u64 = 128;
const Q_RANK: u64 = 1536;
const KV_RANK: u64 = 512;
const ROPE: u64 = 64;
const NOPE: u64 = 128;
const V_DIM: u64 = 128;
const VOCABULARY: u64 = 129_280;

/// Bytes of a matrix by its format.
#[derive(Debug, Clone, Copy)]
enum Format {
    /// 2 bytes.
    Bf16,
    /// 1 byte, and 4 bytes for each block of 128 x 128.
    Fp8,
    /// Half a byte, and 1 byte for each group of 16.
    Nvfp4,
}

impl Format {
    const fn bytes(self, elements: u64) -> u64 {
        match self {
            Self::Bf16 => elements * 2,
            Self::Fp8 => elements + elements / 4096,
            Self::Nvfp4 => elements / 2 + elements / 16,
        }
    }
}

/// Formats of a published checkpoint.
struct Checkpoint {
    /// Repositories with this shape and these formats.
    repos: &'static [&'static str],
    mlp: Format,
    attention: Format,
    attention_out: Format,
    draft: Format,
}

const CHECKPOINTS: [Checkpoint; 3] = [
    Checkpoint {
        repos: &[
            "deepseek-ai/DeepSeek-R1-0528",
            "deepseek-ai/DeepSeek-R1",
            "deepseek-ai/DeepSeek-V3",
            "deepseek-ai/DeepSeek-V3-0324",
            "deepseek-ai/DeepSeek-V3.1",
        ],
        mlp: Format::Fp8,
        attention: Format::Fp8,
        attention_out: Format::Fp8,
        draft: Format::Fp8,
    },
    Checkpoint {
        repos: &["nvidia/DeepSeek-R1-0528-FP4", "nvidia/DeepSeek-R1-FP4"],
        mlp: Format::Nvfp4,
        attention: Format::Bf16,
        attention_out: Format::Bf16,
        draft: Format::Bf16,
    },
    // The second version also quantizes the output projection of attention, which explains its difference in size.
    Checkpoint {
        repos: &["nvidia/DeepSeek-R1-0528-FP4-v2", "nvidia/DeepSeek-R1-FP4-v2"],
        mlp: Format::Nvfp4,
        attention: Format::Bf16,
        attention_out: Format::Nvfp4,
        draft: Format::Bf16,
    },
];

/// Returns the shape and sizes of a published checkpoint by its repository; `None` for others.
#[must_use]
pub fn bundled(repo: &str) -> Option<ModelFacts> {
    let checkpoint = CHECKPOINTS
        .iter()
        .find(|known| known.repos.iter().any(|known| known.eq_ignore_ascii_case(repo)))?;
    let is_fp8 = matches!(checkpoint.mlp, Format::Fp8);
    Some(ModelFacts {
        architecture: Some("DeepseekV3ForCausalLM".to_owned()),
        heads: Some(HEADS),
        experts: Some(EXPERTS),
        context: Some(CONTEXT),
        quantization: is_fp8.then(|| "fp8".to_owned()),
        is_modelopt: !is_fp8,
        // Not known without the files: NVIDIA states it in `hf_quant_config.json`.
        kv_cache: None,
        layers: LAYERS,
        dense_layers: DENSE_LAYERS,
        kv_lora_rank: Some(KV_RANK),
        rope_dim: Some(ROPE),
        kv_heads: None,
        head_dim: None,
        weights: sizes(checkpoint),
    })
}

/// Returns the files of a published checkpoint that hold code and may be fetched: those that `auto_map` in its `config.json`
/// names. Empty for other repositories.
#[must_use]
pub fn published_code(repo: &str) -> Vec<String> {
    if bundled(repo).is_none() {
        return Vec::new();
    }
    ["configuration_deepseek.py", "modeling_deepseek.py"]
        .map(str::to_owned)
        .into()
}

/// Returns the bytes of a published checkpoint's files, without what the engine makes at load.
#[must_use]
pub fn published_bytes(repo: &str) -> Option<u64> {
    let WeightSizes {
        experts,
        attention_split,
        attention_whole,
        absorbed: _,
        dense,
        shared_expert,
        embedding,
        head,
        other,
        draft,
    } = bundled(repo)?.weights;
    let parts = [
        experts,
        attention_split,
        attention_whole,
        dense,
        shared_expert,
        embedding,
        head,
        other,
        draft,
    ];
    Some(parts.iter().sum())
}

fn sizes(checkpoint: &Checkpoint) -> WeightSizes {
    let Checkpoint {
        repos: _,
        mlp,
        attention,
        attention_out,
        draft,
    } = *checkpoint;
    let moe_layers = LAYERS - DENSE_LAYERS;
    let expert = 3 * HIDDEN * EXPERT_INTERMEDIATE;
    let split = |attention: Format, out: Format| {
        attention.bytes(Q_RANK * HEADS * (NOPE + ROPE))
            + attention.bytes(KV_RANK * HEADS * (NOPE + V_DIM))
            + out.bytes(HEADS * V_DIM * HIDDEN)
    };
    let whole =
        |attention: Format| attention.bytes(HIDDEN * Q_RANK) + attention.bytes(HIDDEN * (KV_RANK + ROPE));
    let vocabulary = Format::Bf16.bytes(VOCABULARY * HIDDEN);
    // The draft layer: one layer of experts, the projection of two hidden states, its own embedding and output.
    let drafted = draft.bytes((EXPERTS + 1) * expert)
        + split(draft, draft)
        + whole(draft)
        + Format::Bf16.bytes(2 * HIDDEN * HIDDEN)
        + 2 * vocabulary;
    WeightSizes {
        experts: moe_layers * EXPERTS * mlp.bytes(expert),
        attention_split: LAYERS * split(attention, attention_out),
        attention_whole: LAYERS * whole(attention),
        absorbed: absorbed(LAYERS, HEADS, KV_RANK, NOPE + V_DIM),
        dense: DENSE_LAYERS * mlp.bytes(3 * HIDDEN * INTERMEDIATE),
        shared_expert: moe_layers * mlp.bytes(expert),
        embedding: vocabulary,
        head: vocabulary,
        // Gates in bfloat16, and two norms in each layer.
        other: moe_layers * Format::Bf16.bytes(HIDDEN * EXPERTS) + LAYERS * 2 * Format::Bf16.bytes(HIDDEN),
        draft: drafted,
    }
}

/// Returns the bytes of the two halves of `kv_b_proj` in bfloat16, which SGLang makes at load and keeps beside the
/// checkpoint's tensor (`post_load_weights` in `models/deepseek_v2.py`).
pub(super) const fn absorbed(layers: u64, heads: u64, rank: u64, width: u64) -> u64 {
    layers
        .saturating_mul(heads)
        .saturating_mul(rank)
        .saturating_mul(width)
        .saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_published_checkpoints_is_that_of_the_profiles() {
        let catalog = crate::profile::Catalog::load(None).unwrap();
        for profile in catalog.profiles().unwrap() {
            let model = &profile.model;
            assert_eq!(published_code(&model.repo), model.code_files, "{}", profile.name);
        }
        assert_eq!(published_code("deepseek-ai/DeepSeek-R1").len(), 2);
        assert!(published_code("lab/DeepSeek-R1").is_empty());
    }

    #[test]
    #[expect(
        clippy::cast_precision_loss,
        clippy::print_stdout,
        reason = "the error is stated"
    )]
    fn the_sums_are_those_of_the_repositories() {
        for (repo, gigabytes) in [
            ("deepseek-ai/DeepSeek-R1-0528", 688.6),
            ("nvidia/DeepSeek-R1-0528-FP4", 424.1),
            ("nvidia/DeepSeek-R1-0528-FP4-v2", 413.0),
        ] {
            let WeightSizes {
                experts,
                attention_split,
                attention_whole,
                absorbed: _, // in no file
                dense,
                shared_expert,
                embedding,
                head,
                other,
                draft,
            } = bundled(repo).unwrap().weights;
            let sum: u64 = [
                experts,
                attention_split,
                attention_whole,
                dense,
                shared_expert,
                embedding,
                head,
                other,
                draft,
            ]
            .iter()
            .sum();
            let error = (sum as f64 / 1e9 / gigabytes - 1.0) * 100.0;
            println!(
                "{repo}: {:.1} GB against {gigabytes}: {error:+.2} %",
                sum as f64 / 1e9
            );
            assert!(error.abs() < 1.0, "{repo}: {sum}");
        }
    }
}
