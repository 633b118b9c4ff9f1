#!/usr/bin/env python3
"""Writes a model with the layers of DeepSeek-V3 that a single GPU can serve.

    model.py DIR tiny    2 layers of small shapes with random weights, 6 MB: wiring
    model.py DIR rN      3 dense layers and N with experts in the shapes of DeepSeek-R1, FP8, all zeros, in sparse files
                         that take no disk: memory and speed (r2: 28 GB)
"""
import json
import os
import struct
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SIZES = {"BF16": 2, "F32": 4, "F8_E4M3": 1}
SHARD = 5_000_000_000

COMMON = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "torch_dtype": "bfloat16",
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "initializer_range": 0.02,
    "attention_bias": False, "attention_dropout": 0.0, "tie_word_embeddings": False, "use_cache": True,
    "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "n_shared_experts": 1, "moe_layer_freq": 1, "norm_topk_prob": True, "scoring_func": "sigmoid",
    "topk_method": "noaux_tc", "routed_scaling_factor": 2.5,
    "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
                     "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096},
}
TINY = {
    "vocab_size": 258, "hidden_size": 256, "intermediate_size": 256, "moe_intermediate_size": 128,
    "num_hidden_layers": 2, "first_k_dense_replace": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
    "q_lora_rank": 128, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1,
    "max_position_embeddings": 4096, "bos_token_id": 256, "eos_token_id": 257,
}
R1 = {
    "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
    "max_position_embeddings": 163840, "bos_token_id": 0, "eos_token_id": 1,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "weight_block_size": [128, 128]},
}


def tensors(c, fp8):
    """Yields name, type and shape of each tensor."""
    hidden, heads, rank = c["hidden_size"], c["num_attention_heads"], c["q_lora_rank"]

    def linear(name, rows, columns):
        if not fp8:
            yield name + ".weight", "BF16", [rows, columns]
            return
        yield name + ".weight", "F8_E4M3", [rows, columns]
        yield name + ".weight_scale_inv", "F32", [-(-rows // 128), -(-columns // 128)]

    def feed_forward(name, width):
        yield from linear(name + ".gate_proj", width, hidden)
        yield from linear(name + ".up_proj", width, hidden)
        yield from linear(name + ".down_proj", hidden, width)

    yield "model.embed_tokens.weight", "BF16", [c["vocab_size"], hidden]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}.{norm}.weight", "BF16", [hidden]
        attention = at + ".self_attn"
        yield from linear(attention + ".q_a_proj", rank, hidden)
        yield attention + ".q_a_layernorm.weight", "BF16", [rank]
        yield from linear(attention + ".q_b_proj", heads * 192, rank)
        yield from linear(attention + ".kv_a_proj_with_mqa", 576, hidden)
        yield attention + ".kv_a_layernorm.weight", "BF16", [512]
        yield from linear(attention + ".kv_b_proj", heads * 256, 512)
        yield from linear(attention + ".o_proj", hidden, heads * 128)
        if layer < c["first_k_dense_replace"]:
            yield from feed_forward(at + ".mlp", c["intermediate_size"])
            continue
        yield at + ".mlp.gate.weight", "BF16", [c["n_routed_experts"], hidden]
        yield at + ".mlp.gate.e_score_correction_bias", "F32", [c["n_routed_experts"]]
        for expert in range(c["n_routed_experts"]):
            yield from feed_forward(f"{at}.mlp.experts.{expert}", c["moe_intermediate_size"])
        yield from feed_forward(at + ".mlp.shared_experts", c["moe_intermediate_size"])
    yield "model.norm.weight", "BF16", [hidden]
    yield "lm_head.weight", "BF16", [c["vocab_size"], hidden]


def size(tensor):
    total = SIZES[tensor[1]]
    for side in tensor[2]:
        total *= side
    return total


def values(tensor, generator):
    name, kind, _ = tensor
    count = size(tensor) // SIZES[kind]
    if "norm.weight" in name:
        found = torch.ones(count)
    elif name.endswith("bias"):
        found = torch.zeros(count)
    else:
        found = torch.randn(count, generator=generator) * 0.05
    found = found.to(torch.bfloat16) if kind == "BF16" else found
    return found.view(torch.uint8).numpy().tobytes()


def write_tokenizer(folder):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|bos|>", "<|eos|>"])
    tokenizer.save(folder + "/tokenizer.json")
    with open(folder + "/tokenizer_config.json", "w") as file:
        json.dump({
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|eos|>",
            "model_max_length": 4096,
            "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        }, file)


def main(folder, kind):
    os.makedirs(folder, exist_ok=True)
    is_tiny = kind == "tiny"
    config = {**COMMON, **(TINY if is_tiny else {**R1, "num_hidden_layers": 3 + int(kind[1:])})}
    with open(folder + "/config.json", "w") as file:
        json.dump(config, file, indent=1)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id")}
    with open(folder + "/generation_config.json", "w") as file:
        json.dump(ids, file)
    write_tokenizer(folder)
    shards, filled = [[]], 0
    for tensor in tensors(config, not is_tiny):
        if filled + size(tensor) > SHARD:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += size(tensor)
    generator = torch.Generator().manual_seed(1)
    index, total = {}, 0
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):06d}.safetensors"
        header, at = {}, 0
        for tensor in shard:
            header[tensor[0]] = {"dtype": tensor[1], "shape": tensor[2], "data_offsets": [at, at + size(tensor)]}
            index[tensor[0]] = name
            at += size(tensor)
        total += at
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(f"{folder}/{name}", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            if is_tiny:
                for tensor in shard:
                    file.write(values(tensor, generator))
            else:
                file.truncate(8 + len(text) + at)
    with open(folder + "/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": index}, file)
    print(f"{kind}: {len(shards)} files, {total / 1e9:.1f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:3])
