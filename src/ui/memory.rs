//! The memory plan of each GPU.

use super::table::{aligned, row};
use crate::sglang::memory::{MemoryPlan, gib};

/// Returns a block about the GPU, the weights, the pool, the fraction and the requests that fit.
#[must_use]
pub fn memory(plan: &MemoryPlan) -> String {
    let gpu = if plan.gpu_known {
        ""
    } else {
        " (the GPU that the profile is for; none of this host is known)"
    };
    let sizes = if plan.weights_listed {
        "as the hub lists them, not pulled yet"
    } else if plan.weights_known {
        "as pulled"
    } else {
        "computed from the published shape"
    };
    let mut parts: Vec<&(String, u64)> = plan.parts.iter().filter(|part| part.1 >= 1 << 26).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.1));
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, bytes)| format!("{name} {}", gib(*bytes)))
        .collect();
    let named = if plan.fraction_named {
        ""
    } else {
        ", SGLang's default"
    };
    let replicas = if plan.replicas > 1 {
        format!(" in each of {} replicas", plan.replicas)
    } else {
        String::new()
    };
    let (low, safe) = plan.window;
    let likely = plan.likely_end;
    let window = if low > likely || low >= 1.0 {
        "none".to_owned()
    } else if low > safe {
        format!("none is safe, {low:.3} to {likely:.3} may run")
    } else if plan.is_measured {
        format!("{low:.3} to {safe:.3}")
    } else {
        format!("{low:.3} to {safe:.3}, to {likely:.3} by an estimate")
    };
    aligned(&[
        row(["engine", &engine(plan)]),
        row([
            "memory",
            &format!(
                "{} per GPU, {} usable{gpu}",
                gib(plan.gpu_bytes),
                gib(plan.usable_bytes)
            ),
        ]),
        row([
            "weights",
            &format!("{} ({sizes}): {}", gib(plan.weights_bytes), parts.join(", ")),
        ]),
        row([
            "KV pool",
            &format!(
                "{}: {} tokens{replicas}, {} bytes each",
                gib(plan.pool_bytes),
                plan.pool_tokens,
                plan.kv_bytes_per_token
            ),
        ]),
        row([
            "rest",
            &format!(
                "{}, about {} needed for activations and graphs",
                gib(plan.slack_bytes),
                gib(plan.need_bytes)
            ),
        ]),
        row([
            "fraction",
            &format!("{:.3}{named}; window {window}", plan.fraction),
        ]),
        row([
            "fits",
            &format!(
                "{} requests of {} tokens at once",
                plan.requests_fit, plan.request_tokens
            ),
        ]),
    ])
}

/// Returns what the engine chooses for this GPU, in a line.
fn engine(plan: &MemoryPlan) -> String {
    let one = &plan.resolved;
    let mut words = Vec::new();
    let mut add =
        |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name} {value}")));
    add("attention", one.attention_backend.clone());
    add("experts", one.moe_runner.clone().filter(|name| name != "auto"));
    add("page", Some(one.page_size.to_string()));
    add(
        "chunk",
        Some(if one.chunk > 0 {
            one.chunk.to_string()
        } else {
            "none".to_owned()
        }),
    );
    add("graphs to", one.graph_batch.map(|batch| batch.to_string()));
    add(
        "requests to",
        one.max_running_requests.map(|most| most.to_string()),
    );
    words.join(", ")
}
