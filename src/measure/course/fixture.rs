//! A measurement for tests.

/// A measurement without figures.
pub(super) fn measurement() -> crate::report::Measurement {
    serde_json::from_value(serde_json::json!({
        "began": "", "run_s": 1.5, "warm_up_s": null, "window_s": null, "figures": null, "definitions": {},
        "verdicts": [], "trust": "trusted", "timeline": [], "saved_to": null,
        "server": crate::report::MeasuredServer::default(),
        "load": {
            "api": "generate", "kind": "concurrency", "max_concurrency": 4, "request_rate": null, "input_len": 8,
            "output_len": 8, "range_ratio": 1.0, "shared_prefix": 0, "requests": 4, "least_s": 1.0,
            "data": "random", "seed": 1, "warm_up": true, "ignores_end": true, "temperature": 0.0,
        },
        "client": crate::report::MeasuringClient::default(),
        "requests": crate::report::RequestCounts::default(),
    }))
    .unwrap()
}
