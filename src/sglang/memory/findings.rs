//! Findings about a memory plan: what cannot start, what may run out of memory, and what waits.

use crate::sglang::check::{Check, Level};
use crate::sglang::memory::{MemoryPlan, gib};

/// The setting that most of them are about.
const FRACTION: &str = "engine.mem_fraction";

/// Returns the findings about a plan, for a benchmark with `concurrency` requests in flight.
#[must_use]
pub fn check(plan: &MemoryPlan, concurrency: u32) -> Vec<Check> {
    let mut found: Vec<Check> = fraction(plan).into_iter().collect();
    if found.iter().all(|check| check.level != Level::Error) {
        found.extend(tokens(plan));
        found.extend(queue(plan, concurrency));
    }
    found
}

fn finding(id: &str, level: Level, text: String, fix: String) -> Check {
    Check::new(id, level, FRACTION, text).fix(fix)
}

/// Returns the worst finding about the share of memory.
fn fraction(plan: &MemoryPlan) -> Option<Check> {
    let (low, safe) = plan.window;
    let likely = plan.likely_end;
    let weights = gib(plan.weights_bytes);
    let usable = gib(plan.usable_bytes);
    if low >= 1.0 {
        let text =
            format!("the weights take {weights} of the {usable} of each GPU: no fraction leaves a KV pool");
        let fix = "use more GPUs, or FP4 weights on Blackwell".to_owned();
        return Some(finding("memory.weights", Level::Error, text, fix));
    }
    if plan.fraction < low {
        let fix = if low > likely {
            format!(
                "use more GPUs: {} are left beside the weights, and activations, graphs and request tables need about {}",
                gib(plan.usable_bytes.saturating_sub(plan.weights_bytes)),
                gib(plan.need_bytes)
            )
        } else {
            format!(
                "use at least {}; dsr1 profiles new NAME --for-host finds settings for these GPUs",
                round_up(low)
            )
        };
        let text = format!(
            "mem_fraction {:.3} leaves no KV pool beside {weights} of weights",
            plan.fraction
        );
        return Some(finding("memory.fraction_low", Level::Error, text, fix));
    }
    let slack = gib(plan.slack_bytes);
    if plan.slack_bytes < plan.start_bytes {
        let text = format!(
            "mem_fraction {:.3} leaves {slack} beside weights and KV pool, and CUDA graphs and request tables alone take {} at \
             the start",
            plan.fraction,
            gib(plan.start_bytes)
        );
        let fix = if low > safe {
            "use fewer running requests and a smaller graph_batch".to_owned()
        } else {
            format!("use at most {}", round_down(safe))
        };
        return Some(finding("memory.start", Level::Error, text, fix));
    }
    if low > likely {
        let text = format!(
            "the weights take {weights} of the {usable} of each GPU; activations, graphs and request tables need about {} more",
            gib(plan.need_bytes)
        );
        let fix = "use fewer running requests or smaller chunks".to_owned();
        return Some(finding("memory.need", Level::Warn, text, fix));
    }
    if plan.slack_bytes < plan.need_bytes {
        let text = format!(
            "mem_fraction {:.3} leaves {slack} for activations and CUDA graphs, which need about {}",
            plan.fraction,
            gib(plan.need_bytes)
        );
        let fix = format!("use at most {}", round_down(safe));
        return Some(finding("memory.fraction_high", Level::Warn, text, fix));
    }
    if plan.slack_bytes < plan.most_bytes && plan.fraction_named {
        let why = if plan.resolved.chunk <= 0 {
            "without chunks, the longest prompt is one prefill"
        } else if plan.is_measured {
            "a replica that decodes without graphs, while another prefills, needs more"
        } else {
            "this attention backend was not measured"
        };
        let text = format!(
            "mem_fraction {:.3} leaves {slack} for activations and CUDA graphs, which need about {} and at most {}: {why}",
            plan.fraction,
            gib(plan.need_bytes),
            gib(plan.most_bytes)
        );
        let fix = format!("use at most {} to be safe", round_down(safe));
        return Some(finding("memory.fraction_unproven", Level::Note, text, fix));
    }
    None
}

/// Returns the finding about the host's memory, of which `available` bytes are free: SGLang ends when it cannot take what it is
/// told to.
#[must_use]
pub fn host(plan: &MemoryPlan, available: Option<u64>) -> Option<Check> {
    let available = available.filter(|available| *available < plan.host_bytes)?;
    let text = format!(
        "offloaded weights and cached prefixes take {} of the host's memory, and {} are free",
        gib(plan.host_bytes),
        gib(available)
    );
    let check = Check::new("memory.host", Level::Error, "engine.extra_args", text);
    Some(check.fix("use a smaller --hicache-ratio, --hicache-size or --cpu-offload-gb"))
}

/// Returns the finding about a pool that is asked to be larger than it can be: SGLang takes what fits
/// (`model_runner_kv_cache_mixin.py`, 0.5.16: "Use the profiled value instead").
fn tokens(plan: &MemoryPlan) -> Option<Check> {
    let asked = plan.tokens_asked?;
    let text = format!(
        "{asked} tokens are asked for, and {} fit into the KV pool: SGLang takes these",
        plan.pool_tokens
    );
    let check = Check::new("memory.tokens", Level::Note, "engine.max_total_tokens", text);
    Some(check.fix(format!("max_total_tokens: {}, or leave it out", plan.pool_tokens)))
}

/// Returns the finding about requests that wait. A queue is worth knowing; a load of twice the pool is not what was meant.
fn queue(plan: &MemoryPlan, concurrency: u32) -> Option<Check> {
    let concurrency = u64::from(concurrency);
    if plan.requests_fit >= concurrency {
        return None;
    }
    // A share of memory that leaves no room for one request is refused before; here only a named size can be that small.
    if plan.requests_fit == 0 {
        let text = format!(
            "the KV pool of {} tokens holds no request of {} tokens: SGLang refuses each of them",
            plan.pool_tokens, plan.request_tokens
        );
        let check = Check::new("memory.tokens_few", Level::Error, "engine.max_total_tokens", text);
        return Some(check.fix(format!(
            "use at least {} tokens, or leave max_total_tokens out",
            plan.request_tokens
        )));
    }
    let level = if plan.requests_fit.saturating_mul(2) < concurrency {
        Level::Warn
    } else {
        Level::Note
    };
    let text = format!(
        "{} requests of {} tokens fit into the KV pool, and the benchmark keeps {concurrency} in flight: the others wait, or \
         SGLang retracts requests",
        plan.requests_fit, plan.request_tokens
    );
    let check = Check::new("memory.concurrency", level, "bench.max_concurrency", text);
    Some(check.fix(format!(
        "expect the throughput of {} requests at once",
        plan.requests_fit
    )))
}

/// Formats a lowest fraction, rounded up.
fn round_up(fraction: f64) -> String {
    format!("{:.3}", (fraction * 1000.0).ceil() / 1000.0)
}

/// Formats a highest fraction, rounded down.
fn round_down(fraction: f64) -> String {
    format!("{:.3}", (fraction * 1000.0).floor() / 1000.0)
}
