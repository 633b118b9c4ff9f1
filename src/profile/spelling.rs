//! Misspelt names: the nearest known one, and the error that shows it.

use crate::error::{Error, Kind};

/// Returns the candidate nearest to `word`, if it is near enough to be a typo of it: a longer word may have more wrong
/// letters. A word of another meaning is worse than no hint.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = match word.trim_start_matches('-').len() {
        0..=3 => 0,
        4..=6 => 1,
        7..=11 => 2,
        _ => 3,
    };
    nearest_within(word, candidates, most)
}

/// Returns the candidate nearest to `word`, if at most `most` letters differ.
pub(crate) fn nearest_within<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
    most: usize,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns the option nearest to `word`: one that is spelt like it, or whose first letters it doubles (`--tpp` for
/// `--tp-size`).
pub(crate) fn nearest_option<'a>(word: &str, options: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let options: Vec<&str> = options.collect();
    let mut letters: Vec<char> = word.trim_start_matches('-').chars().collect();
    letters.dedup();
    let short: String = letters.into_iter().collect();
    let begins = |option: &&str| option.trim_start_matches('-').split('-').next() == Some(&short);
    nearest(word, options.iter().copied()).or_else(|| {
        let of_short = options.into_iter().filter(begins);
        of_short.min_by_key(|option| option.len())
    })
}

/// Returns the error for an unknown `kind` (profile, stack) called `name`, with the nearest known name or all of them.
pub(super) fn unknown_name<'a>(
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Error {
    let error = Error::new(Kind::Usage, format!("unknown {kind} `{}`", name.escape_debug()));
    if let Some(nearest) = nearest(name, known.clone()) {
        return error.hint(format!("did you mean `{nearest}`?"));
    }
    let mut names: Vec<&str> = known.collect();
    names.sort_unstable();
    names.dedup();
    error.hint(format!("known: {}", names.join(", ")))
}

/// Names that SGLang's flags (0.4.9 to 0.5.23) and vLLM's have for a setting, with `_` for `-`.
const OTHER_NAMES: [(&str, &str); 53] = [
    ("all2all_backend", "moe_a2a"),
    ("attn_dp_size", "attention_data_parallel"),
    ("block_size", "page_size"),
    ("cuda_graph_max_bs", "graph_batch"),
    ("cuda_graph_max_bs_decode", "graph_batch"),
    ("data_parallel_size", "attention_data_parallel"),
    ("dense_tp_size", "moe_dense_tensor_parallel"),
    ("disable_overlap_schedule", "overlap_schedule"),
    ("disable_radix_cache", "radix_cache"),
    ("disable_shared_experts_fusion", "shared_experts_fusion"),
    ("dp", "attention_data_parallel"),
    ("dp_size", "attention_data_parallel"),
    ("enable_dbo", "two_batch_overlap"),
    ("enable_deepep_moe", "moe_a2a"),
    ("enable_dp_attention", "attention_data_parallel"),
    (
        "enable_dp_attention_local_control_broadcast",
        "local_control_broadcast",
    ),
    ("enable_dp_lm_head", "lm_head_data_parallel"),
    ("enable_ep_moe", "expert_parallel"),
    ("enable_eplb", "eplb"),
    ("enable_expert_parallel", "expert_parallel"),
    ("enable_flashinfer_allreduce_fusion", "allreduce_fusion"),
    ("enable_metrics", "metrics"),
    ("enable_prefill_delayer", "prefill_delayer"),
    ("enable_prefix_caching", "radix_cache"),
    ("enable_symm_mem", "symmetric_memory"),
    ("enable_two_batch_overlap", "two_batch_overlap"),
    ("ep", "expert_parallel"),
    ("ep_num_redundant_experts", "redundant_experts"),
    ("ep_size", "expert_parallel"),
    ("expert_parallel_size", "expert_parallel"),
    ("fp8_gemm_backend", "fp8_gemm"),
    ("gpu_memory_utilization", "mem_fraction"),
    ("kv_cache_dtype", "kv_cache"),
    ("max_model_len", "context_length"),
    ("max_num_batched_tokens", "max_prefill_tokens"),
    ("max_num_seqs", "max_running_requests"),
    ("mem_fraction_static", "mem_fraction"),
    ("moe_a2a_backend", "moe_a2a"),
    ("moe_dense_tp_size", "moe_dense_tensor_parallel"),
    ("moe_runner_backend", "moe_runner"),
    ("pipeline_parallel_size", "pipeline_parallel"),
    ("pp", "pipeline_parallel"),
    ("pp_size", "pipeline_parallel"),
    ("served_model_name", "served_name"),
    ("speculative_algorithm", "speculative"),
    ("speculative_config", "speculative"),
    ("speculative_eagle_topk", "speculative"),
    ("speculative_num_draft_tokens", "speculative"),
    ("speculative_num_steps", "speculative"),
    ("tensor_parallel_size", "tensor_parallel"),
    ("tokenizer", "tokenizer_path"),
    ("tp", "tensor_parallel"),
    ("tp_size", "tensor_parallel"),
];

/// Returns the setting that has another name elsewhere: `tensor_parallel` for `tp_size`, `--tp-size` or `tp-size`.
pub(crate) fn setting_of(word: &str) -> Option<&'static str> {
    let name = word
        .trim_start_matches('-')
        .replace('-', "_")
        .to_ascii_lowercase();
    let index = OTHER_NAMES
        .binary_search_by_key(&name.as_str(), |(other, _)| other)
        .ok()?;
    Some(OTHER_NAMES[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_goes_by_few_letters_or_by_meaning() {
        let known = [
            "--max-loaded-loras",
            "--mem-fraction-static",
            "--ep-size",
            "mxfp8",
            "--tp-size",
        ];
        let case = |word| nearest(word, known.into_iter());
        assert_eq!(case("--mem-fracton-static"), Some("--mem-fraction-static"));
        for word in ["--max-model-len", "fp8", "--tp", "--xyz"] {
            assert_eq!(case(word), None, "{word}");
        }
        let option = |word| nearest_option(word, known.into_iter());
        for (word, near) in [
            ("--tpp", Some("--tp-size")),
            ("--epp", Some("--ep-size")),
            ("--top", None),
            ("--xyz", None),
        ] {
            assert_eq!(option(word), near, "{word}");
        }
        assert!(OTHER_NAMES.is_sorted());
        for word in ["tp_size", "--tp-size", "tp-size", "TP"] {
            assert_eq!(setting_of(word), Some("tensor_parallel"), "{word}");
        }
        assert_eq!(setting_of("mem_fraction"), None);
    }
}
