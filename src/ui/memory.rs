//! The memory plan of each GPU.

use super::table::{aligned, row};
use crate::sglang::memory::{MemoryPlan, gib};

/// Returns a block about the GPU, the weights, the pool, the fraction and the requests that fit.
#[must_use]
pub fn memory(plan: &MemoryPlan) -> String {
    let gpu = if plan.gpu_known {
        ""
    } else {
        " (the GPU that the profile is for; this host was not looked at)"
    };
    let sizes = if plan.weights_known {
        "as pulled"
    } else {
        "computed, not pulled yet"
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
    let (low, high) = plan.window;
    let window = if low <= high && low < 1.0 {
        format!("{low:.3} to {high:.3}")
    } else {
        "none".to_owned()
    };
    aligned(&[
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
