//! The server: its compilers, its memory, and whether it is still the same.

use super::words::{verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::report::{Figures, Trust, Verdict};

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
