//! The answer of the engine's own resolution (`stacks/flags/resolve.py`), read and compared with dsr1's.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Drafting, GRAPHS_BY_PHASE, Resolved};
use crate::profile::Version;
use crate::report::{Difference, Proof};

/// The program that asks an SGLang what it makes of command lines; for `python -c`.
pub const RESOLVER: &str = include_str!("../../../stacks/flags/resolve.py");
/// Version of its answer.
pub const RESOLVED_SCHEMA: &str = "dsr1.resolved/1";

/// A GPU as torch describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TorchGpu {
    /// Name, as nvidia-smi shows it.
    pub name: String,
    /// Compute capability, such as 9 and 0.
    pub capability: (u32, u32),
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Number of GPUs.
    pub count: u32,
}

/// A command line as an engine resolves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The arguments that it would run with, by their names in SGLang.
    Resolved(Value),
    /// The reason why it refuses.
    Refused(String),
    /// The error of a question that says nothing about the engine.
    Failed(String),
}

/// Returns the verdict that an answer of that version comes to, beside what dsr1 planned.
#[must_use]
pub fn proof(answer: Answer, sglang: &str, planned: Option<&Resolved>) -> Proof {
    let mut proof = Proof {
        sglang: sglang.to_owned(),
        ..Proof::default()
    };
    match (answer, planned, sglang.parse::<Version>()) {
        (Answer::Refused(why), _, _) => proof.refused = Some(why),
        (Answer::Failed(why), _, _) => proof.failed = Some(why),
        (Answer::Resolved(theirs), Some(planned), Ok(version)) => {
            proof.compared = compared(version, planned, &theirs);
            proof.differences = differences(version, planned, &theirs);
        }
        (Answer::Resolved(_), _, _) => {}
    }
    proof
}

/// Returns the fields on which they differ.
#[must_use]
pub fn differences(version: Version, ours: &Resolved, theirs: &Value) -> Vec<Difference> {
    fields(version, ours, theirs)
        .into_iter()
        .filter(|(_, planned, engine)| planned != engine)
        .map(|(field, planned, engine)| Difference {
            field: field.to_owned(),
            planned,
            engine,
        })
        .collect()
}

/// Returns the number of fields that are compared.
#[must_use]
pub fn compared(version: Version, ours: &Resolved, theirs: &Value) -> usize {
    fields(version, ours, theirs).len()
}

/// Fractions are compared by four digits.
fn rounded(number: Option<f64>) -> Value {
    json!(number.map(|number| format!("{number:.4}")))
}

/// Returns the negation of a switch of the engine.
fn not(value: &Value) -> Value {
    value.as_bool().map_or(Value::Null, |is_set| json!(!is_set))
}

/// Returns each field with dsr1's value and the engine's.
fn fields(version: Version, ours: &Resolved, theirs: &Value) -> Vec<(&'static str, Value, Value)> {
    let their = |name: &str| theirs[name].clone();
    let mut all = vec![
        (
            "attention_data_parallel",
            json!(ours.attention_data_parallel),
            replicas(theirs),
        ),
        ("expert_parallel", json!(ours.expert_parallel), their("ep_size")),
        (
            "attention_backend",
            json!(ours.attention_backend),
            their("attention_backend"),
        ),
        ("page_size", json!(ours.page_size), their("page_size")),
        ("kv_cache", json!(ours.kv_cache), their("kv_cache_dtype")),
        (
            "a2a",
            json!(ours.a2a),
            theirs["moe_a2a_backend"]
                .as_str()
                .map_or_else(|| json!("none"), |name| json!(name)),
        ),
        ("quantization", json!(ours.quantization), their("quantization")),
        (
            "fraction",
            rounded(Some(ours.fraction)),
            rounded(theirs["mem_fraction_static"].as_f64()),
        ),
        ("chunk", json!(ours.chunk), their("chunked_prefill_size")),
        (
            "max_prefill_tokens",
            json!(ours.max_prefill_tokens),
            their("max_prefill_tokens"),
        ),
        ("graph_batch", json!(ours.graph_batch), graphs(theirs)),
        (
            "max_running_requests",
            json!(ours.max_running_requests),
            their("max_running_requests"),
        ),
        (
            "conservativeness",
            rounded(Some(ours.conservativeness)),
            rounded(theirs["schedule_conservativeness"].as_f64()),
        ),
        (
            "shared_experts_fusion",
            json!(ours.shared_experts_fusion),
            not(&theirs["disable_shared_experts_fusion"]),
        ),
        (
            "lm_head_data_parallel",
            json!(ours.lm_head_data_parallel),
            their("enable_dp_lm_head"),
        ),
        (
            "radix_cache",
            json!(ours.radix_cache),
            not(&theirs["disable_radix_cache"]),
        ),
        (
            "overlap_schedule",
            json!(ours.overlap_schedule),
            not(&theirs["disable_overlap_schedule"]),
        ),
    ];
    // Numbers of drafts without an algorithm stay where they are, and nothing reads them.
    if !theirs["speculative_algorithm"].is_null() {
        let of = |number: fn(&Drafting) -> Option<u32>| json!(ours.drafting.as_ref().and_then(number));
        all.extend([
            (
                "draft_steps",
                of(|one| Some(one.steps)),
                their("speculative_num_steps"),
            ),
            (
                "draft_top_k",
                of(|one| one.top_k),
                their("speculative_eagle_topk"),
            ),
            (
                "draft_tokens",
                of(|one| one.tokens),
                their("speculative_num_draft_tokens"),
            ),
        ]);
    }
    if ours.moe_runner.is_some() && theirs.get("moe_runner_backend").is_some() {
        all.push(("moe_runner", json!(ours.moe_runner), their("moe_runner_backend")));
    }
    if version >= GRAPHS_BY_PHASE {
        let backend = &theirs["cuda_graph_config"]["prefill"]["backend"];
        all.push((
            "prefill_graphs",
            json!(ours.prefill_graphs),
            json!(backend != "disabled"),
        ));
    }
    all
}

/// Returns the engine's attention replicas, which older versions count by another option.
fn replicas(theirs: &Value) -> Value {
    if theirs["attn_dp_size"].is_number() {
        theirs["attn_dp_size"].clone()
    } else if theirs["enable_dp_attention"] == true {
        theirs["dp_size"].clone()
    } else {
        json!(1)
    }
}

/// Returns the engine's largest captured decode batch.
fn graphs(theirs: &Value) -> Value {
    let decode = &theirs["cuda_graph_config"]["decode"];
    if decode.is_object() {
        if decode["backend"] == "disabled" {
            Value::Null
        } else {
            decode["max_bs"].clone()
        }
    } else if theirs["disable_cuda_graph"] == true {
        Value::Null
    } else {
        theirs["cuda_graph_max_bs"].clone()
    }
}
