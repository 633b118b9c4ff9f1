//! The server: its caches, its compilers, its memory, and whether it is still the same.

use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::figures::to_float;
use crate::report::{Figures, Trust, Verdict};

/// Share of the prompt tokens from the prefix cache beyond what the load shares: vLLM's client warns from 1 % on
/// (vllm#53920).
const CACHED: f64 = 0.01;
const MUCH_CACHED: f64 = 0.05;
/// Tokens at the start of a prompt that it has in common with another one by chance: once a tree holds as many prompts as there
/// are ids, the first one is always known.
const BY_CHANCE: f64 = 2.0;

/// Judges the prompt tokens that came from the prefix cache.
pub(super) fn judge_prefix_cache(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    let prompt = to_float(figures.input_tokens);
    let by_requests = figures
        .cached_tokens
        .map(|cached| to_float(cached) / prompt.max(1.0));
    let Some(share) = by_requests.or(evidence.server.cached_share) else {
        let text = "the server does not say how many prompt tokens came from its cache";
        return Some(with_hint(
            verdict("prefix cache", Trust::Unknown, text),
            "--api generate, --enable-cache-report or --enable-metrics tell",
        ));
    };
    let shared = f64::from(evidence.lengths.shared_prefix)
        / f64::from(evidence.lengths.shared_prefix + evidence.lengths.input).max(1.0);
    let text = format!("{} of the prompt tokens came from it", percent(share));
    if !evidence.is_random {
        return Some(verdict("prefix cache", Trust::Trusted, text));
    }
    let chance = BY_CHANCE / figures.mean_input_len.max(1.0);
    let beyond = share - shared;
    let trust = if beyond > MUCH_CACHED.max(2.0 * chance) {
        Trust::Untrusted
    } else if beyond > CACHED.max(chance) {
        Trust::Doubtful
    } else {
        return Some(verdict("prefix cache", Trust::Trusted, text));
    };
    let text = format!("{text}, and the load shares {}: TTFT is too low", percent(shared));
    Some(with_hint(
        verdict("prefix cache", trust, text),
        "leave --seed out: each run then has prompts that no run had before",
    ))
}

/// Judges compilers that ran while it was measured.
pub(super) fn judge_compilers(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let lines = evidence.server.compiled.as_ref()?;
    let Some(first) = lines.first() else {
        return Some(verdict(
            "compilers",
            Trust::Trusted,
            "none ran, by the server's log",
        ));
    };
    let text = format!(
        "the server compiled kernels while it was measured ({} lines), first: {first}",
        lines.len()
    );
    Some(with_hint(
        verdict("compilers", Trust::Untrusted, text),
        "measure again: the kernels are there now",
    ))
}

/// Judges requests that the server took back because its KV pool was full.
pub(super) fn judge_retractions(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let retracted = evidence.server.retracted?;
    (retracted > 0).then(|| {
        let text = format!("the server took back {retracted} requests, because its KV pool was full");
        with_hint(
            verdict("retractions", Trust::Doubtful, text),
            "a lower concurrency, or shorter answers, fit into the pool",
        )
    })
}

/// Judges whether one and the same server answered.
pub(super) fn judge_identity(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let changes = evidence.server.changes.as_ref()?;
    if changes.is_empty() {
        return Some(verdict(
            "same server",
            Trust::Trusted,
            "one server answered from beginning to end",
        ));
    }
    let text = format!(
        "the server is another one than at the beginning: {}",
        changes.join("; ")
    );
    Some(verdict("same server", Trust::Untrusted, text))
}
