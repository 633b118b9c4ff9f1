//! The pages beside the answers, with the keys of SGLang 0.5.23 (`http_server.py`).

use serde_json::json;

use super::request::Request;
use super::run::Run;
use super::shape::Shape;
use super::wire::JSON;

/// An answer that is ready at once.
pub struct Page {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
}

impl Page {
    fn json(value: &serde_json::Value) -> Self {
        Self {
            status: 200,
            kind: JSON,
            body: value.to_string(),
        }
    }

    fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.to_owned(),
        }
    }
}

/// Returns the page of a request that asks for no tokens.
pub fn page(shape: &Shape, run: &mut Run, request: &Request, now: u64) -> Page {
    let has_changed = shape.changes_at.is_some_and(|at| run.time(now) >= at);
    let model = if has_changed {
        format!("{}-changed", shape.model)
    } else {
        shape.model.clone()
    };
    match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/health" | "/health_generate" | "/ready" | "/") => Page::text(200, ""),
        ("GET", "/v1/models") => Page::json(&json!({
            "object": "list",
            "data": [{
                "id": model, "object": "model", "created": run.served.clock.unix_seconds(0),
                "owned_by": "sglang", "root": model, "parent": null, "max_model_len": 163_840,
            }],
        })),
        ("GET", "/model_info" | "/get_model_info") => Page::json(&json!({
            "model_path": model, "served_model_name": model, "tokenizer_path": model, "is_generation": true,
            "preferred_sampling_params": null,
            "weight_version": if has_changed { "changed" } else { "default" },
            "load_format": "auto", "reasoning_parser": "deepseek-r1", "tool_call_parser": null,
            "disaggregation_mode": "null", "has_image_understanding": false,
            "has_audio_understanding": false, "model_type": "deepseek_v3",
            "architectures": ["DeepseekV3ForCausalLM"],
        })),
        ("GET", "/server_info" | "/get_server_info") => Page::json(&json!({
            "model_path": model, "served_model_name": model, "tokenizer_path": model,
            "stream_interval": shape.interval, "max_running_requests": shape.max_running,
            "disable_radix_cache": shape.prefix_cache.is_none() && shape.prefill_token.is_none(), "enable_cache_report": shape.cache_report,
            "enable_metrics": true, "tp_size": 1, "dp_size": 1,
            "startup_time": {"scheduler_e2e": 0.0, "tokenizer_e2e": 0.0},
            "internal_states": [{}], "version": shape.version, "frontend": "python",
        })),
        ("GET", "/metrics") => {
            if has_changed && !run.has_changed {
                run.has_changed = true;
                run.counters = super::counters::Counters::default();
            }
            let load = run.load(now);
            Page {
                status: 200,
                kind: "text/plain; version=0.0.4; charset=utf-8",
                body: run.counters.page(&model, load),
            }
        }
        ("GET" | "POST", "/flush_cache") => {
            run.flush();
            Page::text(200, "Cache flushed.\n")
        }
        ("GET", "/truth") => Page::json(&run.served.json()),
        ("GET", "/truth/summary") => Page::json(&run.served.summary()),
        ("POST", "/truth/reset") => {
            run.reset();
            Page::text(200, "")
        }
        (method, path) => {
            let is_known = super::asked::Api::of(path).is_some() && method != "POST";
            let (status, detail) = if is_known {
                (405, "Method Not Allowed")
            } else {
                (404, "Not Found")
            };
            Page {
                status,
                kind: JSON,
                body: json!({"detail": detail}).to_string(),
            }
        }
    }
}
