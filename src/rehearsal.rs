//! The rehearsal model: a tiny Qwen2-architecture checkpoint with deterministic random weights.
//!
//! DeepSeek-R1's own architecture does not run on a CPU without AMX, but the Qwen2 architecture of the
//! DeepSeek-R1-Distill family does. So this is the smallest model with which the real SGLang runs the whole chain on a
//! laptop. It has DeepSeek's chat roles and `<think>`; its answers are noise. This module only makes bytes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Hub repository id under which the rehearsal model is served and pulled.
pub const REPO: &str = "dsr1/rehearsal-qwen2";

/// Width of the residual stream.
const HIDDEN: usize = 128;
/// Width of the MLP.
const INTERMEDIATE: usize = 256;
/// Transformer layers.
const LAYERS: usize = 2;
/// Attention heads; each is `HIDDEN / HEADS` wide.
const HEADS: usize = 4;
/// Key/value heads (grouped-query attention).
const KV_HEADS: usize = 2;
/// Rows of the embedding: 256 bytes, 6 special tokens, 10 reserved ones.
const VOCAB: usize = 272;
/// Longest context, in tokens.
const CONTEXT: usize = 4096;

/// Special tokens after the 256 byte tokens, in id order; DeepSeek-R1's own spellings.
const SPECIALS: [&str; 6] = [
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
];

/// One file of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Path inside the repository.
    pub path: String,
    /// The whole content.
    pub bytes: Vec<u8>,
    /// A hub keeps it in LFS storage (addressed by sha256), not in git (by blob sha1).
    pub lfs: bool,
}

/// Makes every file of the checkpoint: the same bytes on every call and every machine, about one megabyte.
#[must_use]
pub fn files() -> Vec<ModelFile> {
    let shards = shards();
    let mut weight_map = BTreeMap::new();
    let mut total_size = 0;
    for (name, tensors) in &shards {
        for tensor in tensors {
            weight_map.insert(tensor.name.clone(), name.clone());
            total_size += tensor.bytes.len();
        }
    }
    let mut files: Vec<ModelFile> = shards
        .iter()
        .map(|(name, tensors)| lfs(name, safetensors(tensors)))
        .collect();
    files.push(text(
        "model.safetensors.index.json",
        &json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map }),
    ));
    files.push(text("config.json", &config()));
    files.push(text("generation_config.json", &generation_config()));
    files.push(text("tokenizer.json", &tokenizer()));
    files.push(text("tokenizer_config.json", &tokenizer_config()));
    files.push(ModelFile {
        path: "README.md".to_owned(),
        bytes:
            b"# dsr1 rehearsal model\n\nRandom weights, made by `dsr1`. It answers with noise, on purpose.\n"
                .to_vec(),
        lfs: false,
    });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn lfs(path: &str, bytes: Vec<u8>) -> ModelFile {
    ModelFile {
        path: path.to_owned(),
        bytes,
        lfs: true,
    }
}

fn text(path: &str, value: &Value) -> ModelFile {
    let mut bytes = format!("{value:#}").into_bytes();
    bytes.push(b'\n');
    ModelFile {
        path: path.to_owned(),
        bytes,
        lfs: false,
    }
}

fn config() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "use_cache": true,
        "use_sliding_window": false,
        "tie_word_embeddings": false,
        "torch_dtype": "bfloat16",
        "bos_token_id": 256,
        "eos_token_id": 257,
    })
}

fn generation_config() -> Value {
    json!({
        "bos_token_id": 256,
        "eos_token_id": 257,
        "do_sample": true,
        "temperature": 0.6,
        "top_p": 0.95,
    })
}

/// Makes a byte-level BPE without merges: every byte is one token, so any text round-trips.
fn tokenizer() -> Value {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255_u8 {
        vocab.insert(byte_char(byte).to_string(), json!(byte));
    }
    let added: Vec<Value> = special_tokens()
        .into_iter()
        .map(|(id, content)| {
            let thinking = content == "<think>" || content == "</think>";
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": !thinking,
            })
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": [],
        },
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[0],
        "eos_token": SPECIALS[1],
        "pad_token": SPECIALS[1],
        "add_bos_token": false,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": CONTEXT,
        "chat_template": chat_template(),
    })
}

/// Makes a chat template with DeepSeek-R1's roles: system text, then user and assistant turns, then `<think>`.
fn chat_template() -> String {
    let [bos, eos, user, assistant, ..] = SPECIALS;
    [
        "{{ '".to_owned() + bos + "' }}",
        "{% for message in messages %}".to_owned(),
        "{% if message['role'] == 'system' %}{{ message['content'] }}{% endif %}".to_owned(),
        format!("{{% if message['role'] == 'user' %}}{{{{ '{user}' + message['content'] }}}}{{% endif %}}"),
        format!(
            "{{% if message['role'] == 'assistant' %}}{{{{ '{assistant}' + message['content'] + '{eos}' }}}}{{% endif %}}"
        ),
        "{% endfor %}".to_owned(),
        format!("{{% if add_generation_prompt %}}{{{{ '{assistant}<think>\\n' }}}}{{% endif %}}"),
    ]
    .concat()
}

fn special_tokens() -> Vec<(usize, String)> {
    (256..VOCAB)
        .map(|id| {
            let content = SPECIALS
                .get(id - 256)
                .map_or_else(|| format!("<｜reserved▁{id}｜>"), |special| (*special).to_owned());
            (id, content)
        })
        .collect()
}

/// Returns the printable character for a byte in byte-level BPE vocabularies (the GPT-2 convention): a printable Latin-1
/// byte is itself, and the other 68 follow from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !printable(*b)).count();
    u32::try_from(before)
        .ok()
        .and_then(|n| char::from_u32(0x100 + n))
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    /// Little-endian bfloat16.
    bytes: Vec<u8>,
}

fn shards() -> Vec<(String, Vec<Tensor>)> {
    let mut noise = Noise(0x6473_7231);
    let mut first = vec![noise.matrix("model.embed_tokens.weight", &[VOCAB, HIDDEN])];
    first.extend(layer(&mut noise, 0));
    let mut second = Vec::new();
    for index in 1..LAYERS {
        second.extend(layer(&mut noise, index));
    }
    second.push(ones("model.norm.weight"));
    second.push(noise.matrix("lm_head.weight", &[VOCAB, HIDDEN]));
    vec![
        ("model-00001-of-00002.safetensors".to_owned(), first),
        ("model-00002-of-00002.safetensors".to_owned(), second),
    ]
}

fn layer(noise: &mut Noise, index: usize) -> Vec<Tensor> {
    let kv = HIDDEN / HEADS * KV_HEADS;
    let name = |suffix: &str| format!("model.layers.{index}.{suffix}");
    vec![
        ones(&name("input_layernorm.weight")),
        noise.matrix(&name("self_attn.q_proj.weight"), &[HIDDEN, HIDDEN]),
        noise.matrix(&name("self_attn.q_proj.bias"), &[HIDDEN]),
        noise.matrix(&name("self_attn.k_proj.weight"), &[kv, HIDDEN]),
        noise.matrix(&name("self_attn.k_proj.bias"), &[kv]),
        noise.matrix(&name("self_attn.v_proj.weight"), &[kv, HIDDEN]),
        noise.matrix(&name("self_attn.v_proj.bias"), &[kv]),
        noise.matrix(&name("self_attn.o_proj.weight"), &[HIDDEN, HIDDEN]),
        ones(&name("post_attention_layernorm.weight")),
        noise.matrix(&name("mlp.gate_proj.weight"), &[INTERMEDIATE, HIDDEN]),
        noise.matrix(&name("mlp.up_proj.weight"), &[INTERMEDIATE, HIDDEN]),
        noise.matrix(&name("mlp.down_proj.weight"), &[HIDDEN, INTERMEDIATE]),
    ]
}

fn ones(name: &str) -> Tensor {
    Tensor {
        name: name.to_owned(),
        shape: vec![HIDDEN],
        bytes: bfloat16(1.0).repeat(HIDDEN),
    }
}

fn bfloat16(value: f32) -> [u8; 2] {
    let [_, _, low, high] = value.to_le_bytes();
    [low, high]
}

/// A splitmix64 stream: deterministic on every platform, and random enough for noise.
struct Noise(u64);

impl Noise {
    fn next_value(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        let [a, b, ..] = z.to_le_bytes();
        f32::from(u16::from_le_bytes([a, b])) / 65_536.0 - 0.5
    }

    /// Makes a tensor of values in ±0.1: large enough for different logits, small enough to avoid an overflow.
    fn matrix(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let bytes = (0..count)
            .flat_map(|_| bfloat16(self.next_value() * 0.2))
            .collect();
        Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            bytes,
        }
    }
}

/// Writes the safetensors container: 8-byte little-endian header length, JSON header, then the tensors without gaps.
fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.bytes.len();
        header.insert(
            tensor.name.clone(),
            json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut text = Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.into_bytes());
    for tensor in tensors {
        bytes.extend(&tensor.bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_deterministic_and_about_a_megabyte() {
        let once = files();
        assert_eq!(once, files());
        let total: usize = once.iter().map(|f| f.bytes.len()).sum();
        assert!((500_000..1_500_000).contains(&total), "{total}");
    }

    #[test]
    fn byte_tokens_are_distinct() {
        let chars: std::collections::BTreeSet<char> = (0..=255).map(byte_char).collect();
        assert_eq!(chars.len(), 256);
        assert_eq!(byte_char(b' '), 'Ġ');
        assert_eq!(byte_char(b'\n'), 'Ċ');
    }

    #[test]
    fn index_covers_both_shards_without_gaps() {
        let files = files();
        let find = |path: &str| &files.iter().find(|f| f.path == path).unwrap().bytes;
        let index: Value = serde_json::from_slice(find("model.safetensors.index.json")).unwrap();
        for shard in [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ] {
            let bytes = find(shard);
            let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
            let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
            let names: Vec<&String> = header
                .as_object()
                .unwrap()
                .keys()
                .filter(|k| *k != "__metadata__")
                .collect();
            assert!(names.iter().all(|name| index["weight_map"][name] == shard));
            let end = names
                .iter()
                .map(|n| header[*n]["data_offsets"][1].as_u64().unwrap())
                .max()
                .unwrap();
            assert_eq!(8 + length + usize::try_from(end).unwrap(), bytes.len());
        }
    }
}
