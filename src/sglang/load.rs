//! The load of a server at a moment, by its metrics (Prometheus' text format, 0.4.10.post2 to 0.5.23:
//! `metrics/collector.py`, `http_request_metrics.py`).

use crate::report::Load;
use crate::sglang::exposition::{Sample, label, samples, whole};

/// The paths at which a server generates text.
const GENERATING: [&str; 5] = [
    "/generate",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
];

/// Returns the load that the metrics state; `None` if they are not those of SGLang. Attention replicas have a line each: their
/// requests and rates add up, and the fullest KV pool counts.
#[must_use]
pub(crate) fn load(metrics: &str) -> Option<Load> {
    let mut load = Load::default();
    let mut is_known = false;
    for Sample { name, labels, value } in samples(metrics) {
        let Some(name) = name.strip_prefix("sglang:") else {
            continue;
        };
        match name {
            "num_running_reqs" => {
                is_known = true;
                load.running = load.running.saturating_add(whole(value));
            }
            "num_queue_reqs" => load.queued = load.queued.saturating_add(whole(value)),
            // From 0.5.8 on. A stream counts only until its first byte.
            "http_requests_active" => {
                let endpoint = label(labels, "endpoint");
                if GENERATING.iter().any(|path| endpoint == Some(path)) {
                    load.waiting = load.waiting.saturating_add(whole(value));
                }
            }
            "num_requests_total" => load.finished = load.finished.saturating_add(whole(value)),
            "prompt_tokens_total" => load.prompt_tokens = load.prompt_tokens.saturating_add(whole(value)),
            "generation_tokens_total" => {
                load.generated_tokens = load.generated_tokens.saturating_add(whole(value));
            }
            "gen_throughput" => load.tokens_per_s += value.max(0.0),
            "token_usage" => load.kv_use = load.kv_use.max(value.clamp(0.0, 1.0)),
            _ => {}
        }
    }
    // The rate is that of the last batch, also long after it.
    if load.running == 0 {
        load.tokens_per_s = 0.0;
    }
    is_known.then_some(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of SGLang 0.5.23 on a CPU, while it computes one request and another waits.
    const METRICS: &str = "\
# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type=\"unified\",model_name=\"m\",tp_rank=\"0\"} 1.0
sglang:num_running_reqs_offline_batch{model_name=\"m\"} 7.0
sglang:num_queue_reqs{engine_type=\"unified\",model_name=\"m\",tp_rank=\"0\"} 1.0
sglang:token_usage{model_name=\"m\"} 0.25
sglang:gen_throughput{model_name=\"m\"} 81.5
sglang:num_requests_total{is_streaming=\"false\",model_name=\"m\"} 3.0
sglang:num_requests_total{is_streaming=\"true\",model_name=\"m\"} 18.0
sglang:generation_tokens_total{model_name=\"m\"} 328.0
sglang:prompt_tokens_total{model_name=\"m\"} 1.2e+03
sglang:http_requests_active{endpoint=\"/metrics\",method=\"GET\"} 1.0
sglang:http_requests_active{endpoint=\"/generate\",method=\"POST\"} 2.0
sglang:http_requests_active{method=\"POST\",endpoint=\"/v1/chat/completions\"} 1.0
";

    #[test]
    fn the_load_is_read_from_the_metrics() {
        assert_eq!(
            load(METRICS),
            Some(Load {
                running: 1,
                queued: 1,
                waiting: 3,
                finished: 21,
                prompt_tokens: 1200,
                generated_tokens: 328,
                tokens_per_s: 81.5,
                kv_use: 0.25,
            })
        );
    }

    #[test]
    fn replicas_add_up() {
        let metrics = "sglang:num_running_reqs{dp_rank=\"0\"} 2\nsglang:num_running_reqs{dp_rank=\"1\"} 3\n\
                       sglang:gen_throughput{dp_rank=\"0\"} 10\nsglang:gen_throughput{dp_rank=\"1\"} 20\n\
                       sglang:token_usage{dp_rank=\"0\"} 0.1\nsglang:token_usage{dp_rank=\"1\"} 0.9";
        let load = load(metrics).unwrap();
        assert_eq!((load.running, load.tokens_per_s, load.kv_use), (5, 30.0, 0.9));
    }

    #[test]
    fn the_rate_of_a_server_without_requests_is_0() {
        let load = load("sglang:num_running_reqs 0.0\nsglang:gen_throughput 300").unwrap();
        assert!(load.tokens_per_s.abs() < f64::EPSILON);
    }

    #[test]
    fn metrics_of_others_state_no_load() {
        for text in [
            "",
            "vllm:num_requests_running 3",
            "sglang:num_running_reqs",
            "sglang:num_running_reqs NaN",
            "<html>",
        ] {
            assert_eq!(load(text), None, "{text}");
        }
    }

    #[test]
    fn a_hostile_number_is_no_other_number() {
        let load =
            load("sglang:num_running_reqs 1e400\nsglang:num_running_reqs -3\nsglang:num_queue_reqs 1e300")
                .unwrap();
        assert_eq!((load.running, load.queued), (0, u64::MAX));
    }
}
