//! A server as a witness of its own measurement: its counters, and its description.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sglang::exposition::{Sample, samples};

/// Counters of a server since its start (`metrics/collector.py`, 0.4.10.post2 to 0.5.23), added up over its ranks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Counters {
    /// Tokens of prompts.
    pub(crate) prompt_tokens: f64,
    /// Those of them that came from the prefix cache.
    pub(crate) cached_tokens: Option<f64>,
    /// Requests that were retracted, because the KV pool was full.
    pub(crate) retracted: Option<f64>,
    /// Requests that have ended, without those of health checks.
    pub(crate) answered: Option<f64>,
    /// Seconds from the arrival of requests to their first tokens, added up, and the number of these requests.
    pub(crate) ttft: Option<(f64, f64)>,
    /// Seconds in which schedulers had no work, added up, and the number of the schedulers; from 0.5.20 on.
    pub(crate) idle: Option<(f64, u32)>,
}

/// Reads the counters in the text of `/metrics`; `None` if they are not those of `SGLang`.
#[must_use]
pub(crate) fn counters(metrics: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    let mut is_known = false;
    for Sample { name, value, .. } in samples(metrics) {
        match name.strip_prefix("sglang:") {
            Some("prompt_tokens_total") => {
                is_known = true;
                counters.prompt_tokens += value;
            }
            Some("cached_tokens_total") => *counters.cached_tokens.get_or_insert(0.0) += value,
            // The name of 0.5.23; earlier versions have a gauge of the last batch, which no difference can use.
            Some("num_retracted_requests_total" | "num_retractions_total") => {
                *counters.retracted.get_or_insert(0.0) += value;
            }
            Some("num_requests_total") => *counters.answered.get_or_insert(0.0) += value,
            Some("time_to_first_token_seconds_sum") => counters.ttft.get_or_insert((0.0, 0.0)).0 += value,
            Some("time_to_first_token_seconds_count") => counters.ttft.get_or_insert((0.0, 0.0)).1 += value,
            Some("scheduler_idle_seconds_total") => {
                let (seconds, schedulers) = counters.idle.get_or_insert((0.0, 0));
                *seconds += value;
                *schedulers += 1;
            }
            _ => {}
        }
    }
    is_known.then_some(counters)
}

/// Names of facts that a server says of itself and that decide its speed, in `/server_info` and its older form.
const TOLD: [&str; 44] = [
    "version",
    "model_path",
    "served_model_name",
    "dtype",
    "quantization",
    "kv_cache_dtype",
    "tp_size",
    "dp_size",
    "pp_size",
    "ep_size",
    "nnodes",
    "enable_dp_attention",
    "enable_dp_lm_head",
    "attention_backend",
    "prefill_attention_backend",
    "decode_attention_backend",
    "moe_runner_backend",
    "moe_a2a_backend",
    "deepep_mode",
    "sampling_backend",
    "mem_fraction_static",
    "max_running_requests",
    "max_total_tokens",
    "max_total_num_tokens",
    "chunked_prefill_size",
    "max_prefill_tokens",
    "page_size",
    "schedule_policy",
    "schedule_conservativeness",
    "disable_radix_cache",
    "disable_overlap_schedule",
    "disable_cuda_graph",
    "cuda_graph_max_bs",
    "stream_interval",
    "num_continuous_decode_steps",
    "scheduler_recv_interval",
    "speculative_algorithm",
    "speculative_num_steps",
    "speculative_eagle_topk",
    "speculative_num_draft_tokens",
    "context_length",
    "device",
    "random_seed",
    "disaggregation_mode",
];

/// Returns the facts that decide a server's speed, from its description of itself. Everything else is left out: it holds keys.
#[must_use]
pub(crate) fn told_facts(info: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.chars().take(200).collect()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    TOLD.iter()
        .filter_map(|name| Some(((*name).to_owned(), text(&info[*name])?)))
        .collect()
}

/// Returns what differs between two descriptions of a server, in words. A new process has another random seed.
#[must_use]
pub(crate) fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let none = "nothing".to_owned();
    before
        .keys()
        .chain(after.keys())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .filter_map(|name| {
            let (was, is) = (
                before.get(name).unwrap_or(&none),
                after.get(name).unwrap_or(&none),
            );
            (was != is).then(|| format!("{name} was {was}, is {is}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_ranks() {
        let text = "# HELP sglang:prompt_tokens_total x\n\
                    sglang:prompt_tokens_total{dp_rank=\"0\"} 100.0\n\
                    sglang:prompt_tokens_total{dp_rank=\"1\"} 20.0\n\
                    sglang:cached_tokens_total{cache_source=\"device\"} 30.0\n\
                    sglang:num_requests_total{is_streaming=\"true\"} 3.0\n\
                    sglang:num_requests_total{is_streaming=\"false\"} 1.0\n\
                    sglang:time_to_first_token_seconds_bucket{le=\"0.1\"} 3.0\n\
                    sglang:time_to_first_token_seconds_sum{} 0.6\n\
                    sglang:time_to_first_token_seconds_count{} 3.0\n\
                    sglang:scheduler_idle_seconds_total{tp_rank=\"0\"} 1.5\n\
                    sglang:scheduler_idle_seconds_total{tp_rank=\"1\"} 2.5\n";
        let counters = counters(text).unwrap();
        assert_eq!(counters.cached_tokens, Some(30.0));
        assert!((counters.prompt_tokens - 120.0).abs() < f64::EPSILON && counters.retracted.is_none());
        assert_eq!(counters.answered, Some(4.0));
        assert_eq!(counters.ttft, Some((0.6, 3.0)));
        assert_eq!(counters.idle, Some((4.0, 2)));
        assert_eq!(super::counters("vllm:x 1\n"), None);
    }

    #[test]
    fn a_description_has_no_keys_and_its_differences_are_named() {
        let info = serde_json::json!({
            "version": "0.5.23", "api_key": "sk-secret", "tp_size": 8, "random_seed": 5,
            "disable_radix_cache": false, "quantization": null,
        });
        let before = told_facts(&info);
        assert!(!format!("{before:?}").contains("secret"));
        assert_eq!(before["tp_size"], "8");
        let mut after = before.clone();
        after.insert("random_seed".to_owned(), "6".to_owned());
        after.remove("version");
        let expected = ["random_seed was 5, is 6", "version was 0.5.23, is nothing"];
        assert_eq!(differences(&before, &after), expected);
        assert!(differences(&before, &before).is_empty());
    }
}
