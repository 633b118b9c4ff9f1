//! Results with the keys of `InferenceX`'s board, for its plots and for comparisons with its published points.
//!
//! The keys and their units are those of `utils/process_result.py` at 843c6254 (August 2026): times in seconds, rates over all GPUs of
//! one server, times by the definitions of the client of vLLM, which its own client is made from.

use serde_json::{Map, Value, json};

use super::KeptResult;
use crate::report::{Measurement, OtherFigures, Trust};

/// The tool whose definitions the board uses.
const DEFINITIONS: &str = "vllm";

/// Returns the results as a JSON array, without those that must not be used.
#[must_use]
pub fn inferencex_sheet(runs: &[KeptResult<'_>]) -> String {
    let used = runs
        .iter()
        .filter(|run| run.measurement.trust != Trust::Untrusted);
    let entries: Vec<Value> = used.filter_map(|run| entry_of(run.measurement)).collect();
    format!("{:#}\n", Value::Array(entries))
}

/// Returns the entry of a result; `None` for one without figures.
fn entry_of(run: &Measurement) -> Option<Value> {
    let figures = run.figures.as_ref()?;
    let argument = |name: &str| {
        let value = run.server.arguments.get(name)?;
        Some(value.as_str()).filter(|value| !matches!(*value, "None" | "null" | "none" | ""))
    };
    let size = |name: &str| argument(name).and_then(|text| text.parse::<u32>().ok());
    let per_gpu = |rate: f64| run.server.gpus().map(|gpus| rate / f64::from(gpus));
    let mut entry = json!({
        "hw": run.server.host.get("gpus"),
        "conc": run.load.max_concurrency,
        "image": run.server.host.get("base_image").or_else(|| run.server.host.get("image")),
        "model": run.server.model,
        "infmax_model_prefix": prefix_of(&run.server.model),
        "framework": "sglang",
        "precision": argument("quantization").map(precision_of),
        "spec_decoding": if argument("speculative_algorithm").is_some() { "mtp" } else { "none" },
        "disagg": argument("disaggregation_mode").is_some(),
        "isl": run.load.input_len,
        "osl": run.load.output_len,
        "is_multinode": size("nnodes").is_some_and(|nodes| nodes > 1),
        "tp": size("tp_size"),
        "pp": size("pp_size"),
        "ep": size("ep_size"),
        "dp_attention": argument("enable_dp_attention").unwrap_or("false"),
        "tput_per_gpu": per_gpu(figures.total_throughput),
        "output_tput_per_gpu": per_gpu(figures.output_throughput),
        "input_tput_per_gpu": per_gpu(figures.input_throughput),
    });
    let told = run.definitions.get(DEFINITIONS);
    if let (Some(entry), Some(told)) = (entry.as_object_mut(), told) {
        add_times(entry, told);
    }
    Some(entry)
}

fn add_times(entry: &mut Map<String, Value>, told: &OtherFigures) {
    let all = [
        ("ttft", &told.ttft),
        ("tpot", &told.tpot),
        ("itl", &told.itl),
        ("e2el", &told.e2e),
    ];
    for (name, times) in all {
        let statistics = [
            ("mean", times.mean_ms),
            ("median", times.p50_ms),
            ("p90", times.p90_ms),
            ("p99", times.p99_ms),
        ];
        for (statistic, ms) in statistics {
            let Some(ms) = ms else {
                continue;
            };
            entry.insert(format!("{statistic}_{name}"), json!(ms / 1000.0));
            // Interactivity: tokens a second of one user.
            if name == "tpot" && ms > 0.0 {
                entry.insert(format!("{statistic}_intvty"), json!(1000.0 / ms));
            }
        }
    }
}

/// Returns the board's short name of a model; `None` for one that it does not have.
fn prefix_of(model: &str) -> Option<&'static str> {
    model
        .to_ascii_lowercase()
        .contains("deepseek-r1")
        .then_some("dsr1")
}

fn precision_of(quantization: &str) -> &str {
    match quantization {
        "modelopt_fp4" | "nvfp4" => "fp4",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Figures, Times};

    #[test]
    fn a_result_has_the_keys_of_the_board() {
        let mut run: Measurement =
            serde_json::from_str(include_str!("../../tests/fixtures/results/trusted.json")).unwrap();
        run.trust = Trust::Trusted;
        run.server.model = "nvidia/DeepSeek-R1-0528-FP4".to_owned();
        for (name, value) in [
            ("tp_size", "8"),
            ("quantization", "modelopt_fp4"),
            ("speculative_algorithm", "EAGLE"),
        ] {
            run.server.arguments.insert(name.to_owned(), value.to_owned());
        }
        run.server.arguments.remove("device");
        let figures = run.figures.get_or_insert_with(Figures::default);
        figures.total_throughput = 800.0;
        run.definitions.insert(
            DEFINITIONS.to_owned(),
            OtherFigures {
                tpot: Times {
                    p50_ms: Some(20.0),
                    ..Times::default()
                },
                ..OtherFigures::default()
            },
        );
        let entry = entry_of(&run).unwrap();
        let expected = [
            ("tput_per_gpu", json!(100.0)),
            ("median_tpot", json!(0.02)),
            ("median_intvty", json!(50.0)),
            ("precision", json!("fp4")),
            ("spec_decoding", json!("mtp")),
            ("infmax_model_prefix", json!("dsr1")),
        ];
        for (key, value) in expected {
            assert_eq!(entry[key], value, "{key}");
        }
        assert!(entry.get("p99_tpot").is_none());
        run.trust = Trust::Untrusted;
        let kept = KeptResult {
            file: "a",
            measurement: &run,
        };
        assert_eq!(inferencex_sheet(&[kept]), "[]\n");
    }
}
