//! The consequence of a failure for a supervisor: whether a start with the same arguments can go well.

/// The consequence of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restart {
    /// The next start would fail in the same way, or a person must look after the hardware first.
    Never,
    /// The next start needs a smaller share of the GPU's memory.
    LessMemory,
    /// The next start can go well.
    Again,
}

/// Kinds, and beginnings of kinds, after which a person must act first.
const NEVER: [&str; 33] = [
    "args.",
    "version.",
    "libs.",
    "python.",
    "weights.",
    "tokenizer.",
    "hub.auth",
    "docker.",
    "disk.full",
    "shm.full",
    "limits.",
    "port.",
    "driver.",
    "fabric.",
    "gpu.",
    "imex.",
    "proxy.",
    "jit.",
    "kernel.arch_assert",
    "kernel.triton_resources",
    "kernel.moe_runner",
    "nccl.nvls",
    "nccl.unsupported",
    "nccl.ptrace",
    "nccl.interface",
    "rdma.memlock",
    "rdma.peermem",
    "nvshmem.init",
    "deepep.dispatch",
    "memory.no_pool",
    "memory.unbalanced",
    "memory.load",
    "rendezvous.port",
];

/// Exceptions from [`NEVER`], and what may pass by itself also before a server was ready.
const AGAIN: [&str; 15] = [
    "gpu.lost_in_container",
    "docker.daemon",
    "docker.rate",
    "docker.registry",
    "hub.rate",
    "hub.offline",
    "weights.io",
    "jit.build_killed",
    "process.killed",
    "memory.host",
    "rendezvous.timeout",
    "dist.slow_node",
    "nccl.timeout",
    "peer.gone",
    "router.no_worker",
];

/// Kinds after which a smaller share of the memory helps.
const LESS_MEMORY: [&str; 5] = [
    "memory.capture",
    "memory.pool_alloc",
    "memory.runtime",
    "memory.nccl",
    "memory.gpu",
];

/// Returns the consequence of a failure of `kind`. A server that was never ready with its arguments fails again, unless the
/// cause is one that passes.
#[must_use]
pub fn restart_after(kind: &str, was_ready: bool) -> Restart {
    let is_in = |kinds: &[&str]| {
        kinds
            .iter()
            .any(|one| kind == *one || (one.ends_with('.') && kind.starts_with(one)))
    };
    if is_in(&AGAIN) {
        Restart::Again
    } else if is_in(&LESS_MEMORY) {
        Restart::LessMemory
    } else if is_in(&NEVER) || !was_ready {
        Restart::Never
    } else {
        Restart::Again
    }
}

/// Bytes that a server gets beyond the request that failed.
const MARGIN_GIB: f64 = 1.0;

/// Returns the share of the GPU's memory for the next start: less by the request that failed and 1 GiB, rounded down to a
/// hundredth. `said` is PyTorch's message, as in `Tried to allocate 112.00 MiB. GPU 0 has a total capacity of 139.80 GiB`; one
/// without these figures takes 0.03 off. `None` below 0.5, where something else is wrong.
#[must_use]
pub fn smaller_fraction(fraction: f64, said: &str) -> Option<f64> {
    let asked = gib_after(said, "Tried to allocate ");
    let total = gib_after(said, "total capacity of ");
    let share = match (asked, total) {
        (Some(asked), Some(total)) if total > 0.0 => ((asked + MARGIN_GIB) / total).max(0.01),
        _ => 0.03,
    };
    let next = ((fraction - share) * 100.0).floor() / 100.0;
    (0.5..fraction).contains(&next).then_some(next)
}

/// Returns the size that stands behind `before`, in GiB.
fn gib_after(text: &str, before: &str) -> Option<f64> {
    let (_, rest) = text.split_once(before)?;
    let mut words = rest.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = words.next()?.trim_end_matches(['.', ',', ';']);
    let factor = match unit {
        "GiB" => 1.0,
        "MiB" => 1.0 / 1024.0,
        "KiB" => 1.0 / (1024.0 * 1024.0),
        _ => return None,
    };
    Some(number * factor).filter(|gib| gib.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::signature::{Class, signatures};

    #[test]
    fn each_kind_of_failure_has_its_consequence() {
        use std::fmt::Write;
        let mut kinds: Vec<&str> = signatures()
            .iter()
            .filter(|one| matches!(one.class, Class::Cause | Class::Effect))
            .map(|one| one.kind.as_str())
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        let table = kinds.iter().fold(String::new(), |mut table, kind| {
            let (start, later) = (restart_after(kind, false), restart_after(kind, true));
            let _ = writeln!(table, "{kind:28} at the start {start:?}, later {later:?}");
            table
        });
        insta::assert_snapshot!(table);
    }

    #[test]
    fn every_name_in_the_tables_is_a_kind() {
        let all = signatures();
        for name in NEVER.iter().chain(&AGAIN).chain(&LESS_MEMORY) {
            assert!(
                all.iter()
                    .any(|one| one.kind == *name || (name.ends_with('.') && one.kind.starts_with(name))),
                "{name}"
            );
        }
    }

    #[test]
    fn the_next_fraction_leaves_what_failed_and_a_gib() {
        let said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 112.00 MiB. GPU 0 has a total \
                    capacity of 139.80 GiB of which 46.69 MiB is free.";
        assert_eq!(smaller_fraction(0.88, said), Some(0.87));
        let said = said.replace("112.00 MiB", "14.00 GiB");
        assert_eq!(smaller_fraction(0.88, &said), Some(0.77));
        assert_eq!(smaller_fraction(0.88, "CUDA out of memory"), Some(0.85));
        assert_eq!(smaller_fraction(0.51, "CUDA out of memory"), None);
        assert_eq!(
            smaller_fraction(0.88, "Tried to allocate 9e999 GiB. total capacity of 0 GiB"),
            Some(0.85)
        );
    }
}
