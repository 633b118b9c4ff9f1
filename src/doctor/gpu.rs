//! Findings about the GPUs: their number, family, driver and memory.

use crate::doctor::finding::{Finding, Verdict};
use crate::facts::{Facts, Gpu, GpuProcess};
use crate::profile::{Accelerator, Architecture, Origins, Profile, Selection, Stack, cuda_min};
use crate::sglang::memory::{self, MemoryPlan};
use crate::sglang::{Check, Launch, Level};

/// Returns the findings about the GPUs that a profile needs; none for a stack without GPUs.
pub(super) fn findings(profile: &Profile, stack: &Stack, facts: &Facts) -> Vec<Finding> {
    if stack.accelerator == Accelerator::Cpu {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let needed = profile.gpus;
    findings.push(match &facts.host.gpus {
        None => Finding::new(
            "gpu.count",
            Verdict::NotChecked,
            format!("the GPUs are not known, {needed} needed"),
        ),
        Some(gpus) if gpus.is_empty() => Finding::new(
            "gpu.count",
            Verdict::Fail,
            format!("no GPU found, {needed} needed"),
        )
        .fix("if this host has GPUs, install the NVIDIA driver; without GPUs only `rehearsal` runs: dsr1 up rehearsal"),
        Some(gpus) if (gpus.len() as u64) < u64::from(needed) => Finding::new(
            "gpu.count",
            Verdict::Fail,
            format!("{} GPUs found, {needed} needed", gpus.len()),
        )
        .fix("dsr1 profiles new NAME --for-host writes a profile for this host, or says what cannot run"),
        Some(gpus) => {
            let name = gpus.first().map_or("", |gpu| gpu.name.as_str());
            Finding::new("gpu.count", Verdict::Ok, format!("{} x {name}", gpus.len()))
        }
    });
    findings.extend(mixed(facts));
    findings.extend(sliced(facts));
    findings.push(architecture(profile, stack, facts));
    if let Some(min) = stack.driver_min {
        findings.push(match (facts.host.driver_major(), &facts.host.driver) {
            (Some(major), Some(driver)) if major < min => Finding::new(
                "gpu.driver",
                Verdict::Fail,
                format!("driver {driver}, stack `{}` needs {min} or newer", stack.name),
            )
            .fix("install a newer NVIDIA driver, then reboot"),
            (Some(_), Some(driver)) => Finding::new("gpu.driver", Verdict::Ok, format!("driver {driver}")),
            _ => Finding::new(
                "gpu.driver",
                Verdict::NotChecked,
                format!("the driver is not known, {min} or newer needed"),
            ),
        });
    }
    findings
}

/// Returns a warning about GPUs of several kinds: the slowest and the smallest of them sets the pace.
fn mixed(facts: &Facts) -> Option<Finding> {
    let gpus = facts.host.gpus.as_deref()?;
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for gpu in gpus {
        match kinds.iter_mut().find(|(name, _)| *name == gpu.name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((&gpu.name, 1)),
        }
    }
    (kinds.len() > 1).then(|| {
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(name, count)| format!("{count} x {name}"))
            .collect();
        Finding::new(
            "gpu.mixed",
            Verdict::Warn,
            format!("the GPUs differ: {}", kinds.join(", ")),
        )
        .fix("choose GPUs of one kind with CUDA_VISIBLE_DEVICES: the smallest decides the memory of all")
    })
}

/// Returns a failure for GPUs that MIG slices: a process computes on one slice, and slices cannot be joined for tensor
/// parallelism.
fn sliced(facts: &Facts) -> Option<Finding> {
    let gpus = facts.host.gpus.as_deref()?;
    let sliced: Vec<&Gpu> = gpus.iter().filter(|gpu| gpu.is_sliced()).collect();
    let first = sliced.first()?;
    let others = match sliced.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(
        Finding::new(
            "gpu.mig",
            Verdict::Fail,
            format!(
                "MIG slices GPU {} ({}){others}: a server needs whole GPUs",
                first.index, first.name
            ),
        )
        .fix("turn MIG off when nothing runs on the GPU: sudo nvidia-smi -mig 0"),
    )
}

/// Returns the families of GPUs, each once.
fn families(gpus: &[Gpu]) -> Vec<Architecture> {
    let of = |gpu: &Gpu| Architecture::of(&gpu.name, &gpu.compute_capability).ok();
    let mut families: Vec<Architecture> = gpus.iter().filter_map(of).collect();
    families.sort_unstable();
    families.dedup();
    families
}

/// Returns the names of families as alternatives: `Hopper or Blackwell`.
pub(crate) fn names(families: &[Architecture]) -> String {
    let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
    names.join(" or ")
}

/// Returns the reason why a stack has no kernels for one of these GPUs, and the remedy.
pub(crate) fn refusal(stack: &Stack, gpus: &[Gpu]) -> Option<(String, &'static str)> {
    let other_stack = "choose a profile and a stack for this GPU: dsr1 profiles list, dsr1 stacks list";
    gpus.iter().find_map(|gpu| {
        let family = match Architecture::of(&gpu.name, &gpu.compute_capability) {
            Ok(family) => family,
            Err(reason) => {
                let fix = "use a host with Hopper or Blackwell GPUs of a server; without them only `rehearsal` runs: \
                           dsr1 up rehearsal";
                return Some((reason, fix));
            }
        };
        if !stack.architectures.contains(&family) {
            let reason = format!(
                "{} has compute capability {}, the image of stack `{}` is for {}",
                gpu.name,
                gpu.compute_capability,
                stack.name,
                names(&stack.architectures)
            );
            return Some((reason, other_stack));
        }
        let (major, minor) = cuda_min(&gpu.compute_capability)?;
        let has = stack.pins.cuda.as_deref().and_then(numbers)?;
        (has < (major, minor)).then(|| {
            let reason = format!(
                "{} (compute capability {}) needs CUDA {major}.{minor}, stack `{}` has {}.{}",
                gpu.name, gpu.compute_capability, stack.name, has.0, has.1
            );
            (reason, other_stack)
        })
    })
}

/// Returns the first two numbers of a version such as `12.8`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

/// Checks that the stack's kernels, the weights and the profile's backends are for the family of the GPUs.
fn architecture(profile: &Profile, stack: &Stack, facts: &Facts) -> Finding {
    let id = "gpu.architecture";
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    if gpus.is_empty() {
        let needed = names(&profile.architectures);
        return Finding::new(
            id,
            Verdict::NotChecked,
            format!("the architecture is not known, {needed} needed"),
        );
    }
    if let Some((reason, fix)) = refusal(stack, gpus) {
        return Finding::new(id, Verdict::Fail, reason).fix(fix);
    }
    let families = families(gpus);
    // The rules for profiles, applied to this host's GPUs.
    let on_host = Profile {
        architectures: families.clone(),
        ..profile.clone()
    };
    let wrong = Launch::new(&on_host, stack, &Origins::default(), &[])
        .checks
        .into_iter()
        .find(|check| check.id.starts_with("architecture.") && check.level == Level::Error);
    if let Some(check) = wrong {
        let fix = check
            .fix
            .unwrap_or_else(|| "choose a profile for this GPU: dsr1 profiles list".to_owned());
        return Finding::new(id, Verdict::Fail, check.text).fix(&fix);
    }
    let is_tuned = |family: &Architecture| profile.architectures.contains(family);
    if profile.architectures.is_empty() || families.iter().all(is_tuned) {
        return Finding::new(id, Verdict::Ok, names(&families));
    }
    let tuned = names(&profile.architectures);
    Finding::new(
        id,
        Verdict::Warn,
        format!("{}, the profile is tuned for {tuned}", names(&families)),
    )
    .fix("choose a profile for this GPU: dsr1 profiles list")
}

/// Returns the findings about GPU memory; none on a CPU, on GPUs that are not supported, and for a model of unknown shape,
/// because they have no memory plan.
pub(super) fn memory_findings(selection: &Selection, facts: &Facts) -> Vec<Finding> {
    let Selection {
        profile,
        stack,
        origins,
        ..
    } = selection;
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    if !gpus.is_empty() && families(gpus).is_empty() {
        return Vec::new();
    }
    let launch = Launch::new(profile, stack, origins, &[]);
    let Some(plan) = memory::plan(profile, stack, &launch.settings, facts) else {
        return Vec::new();
    };
    let free = (!gpus.is_empty()).then(|| free_memory(&plan, gpus));
    let host = memory::host(&plan, facts.host.memory_available_bytes)
        .map(|check| finding_of("host.cache_memory", check));
    std::iter::once(fit(&plan, profile))
        .chain(free)
        .chain(host)
        .collect()
}

/// Checks that the weights and the KV pool fit into a GPU.
fn fit(plan: &MemoryPlan, profile: &Profile) -> Finding {
    let id = "gpu.memory";
    let text = format!(
        "{} of weights per GPU, {} requests of {} tokens fit",
        memory::gib(plan.weights_bytes),
        plan.requests_fit,
        plan.request_tokens
    );
    if !plan.gpu_known {
        return Finding::new(id, Verdict::NotChecked, text);
    }
    let worst = memory::check(plan, profile.bench.max_concurrency.get())
        .into_iter()
        .max_by_key(|check| check.level);
    let Some(check) = worst else {
        return Finding::new(id, Verdict::Ok, text);
    };
    finding_of(id, check)
}

/// Returns a check of a plan as a finding about the host.
fn finding_of(id: &'static str, check: Check) -> Finding {
    let verdict = if check.level == Level::Error {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    Finding::new(id, verdict, check.text).fix(&check.fix.unwrap_or_default())
}

/// Returns the processes that use a GPU's memory, the largest first: `, used by python3 (pid 12, 132.0 GiB)`.
fn holders(gpu: &Gpu) -> String {
    let mut processes: Vec<&GpuProcess> = gpu.health.iter().flat_map(|health| &health.processes).collect();
    processes.sort_by_key(|process| std::cmp::Reverse(process.memory_bytes));
    let named = |process: &&GpuProcess| {
        let memory = process
            .memory_bytes
            .map_or_else(String::new, |bytes| format!(", {}", memory::gib(bytes)));
        let program = process.name.rsplit('/').next().unwrap_or_default();
        format!("{} (pid {}{memory})", program.escape_debug(), process.pid)
    };
    let shown: Vec<String> = processes.iter().take(MOST_HOLDERS).map(named).collect();
    if shown.is_empty() {
        String::new()
    } else {
        format!(", used by {}", shown.join(", "))
    }
}

/// Most processes of a GPU that a finding names.
const MOST_HOLDERS: usize = 3;

/// Checks that other processes leave enough memory on every GPU.
///
/// A server needs room for its weights, one request and its activations; with less it cannot start. SGLang takes the KV
/// pool from the memory that is free at the start, so with less than the whole plan the pool is smaller than planned.
pub(super) fn free_memory(plan: &MemoryPlan, gpus: &[Gpu]) -> Finding {
    let id = "gpu.free";
    let fix = "nvidia-smi lists the processes that use it: stop them";
    let free = |gpu: &Gpu| Some(gpu.memory_bytes.saturating_sub(gpu.memory_used_bytes?));
    let least = gpus
        .iter()
        .filter_map(|gpu| Some((free(gpu)?, gpu)))
        .min_by_key(|(free, _)| *free);
    let Some((free, gpu)) = least.filter(|_| gpus.iter().all(|gpu| gpu.memory_used_bytes.is_some())) else {
        return Finding::new(id, Verdict::NotChecked, "the GPU memory in use is not known");
    };
    let least = plan.least_bytes();
    let text = format!(
        "GPU {}: {} of {} free{}",
        gpu.index,
        memory::gib(free),
        memory::gib(gpu.memory_bytes),
        holders(gpu)
    );
    if free < least {
        let text = format!("{text}, a server needs at least {}", memory::gib(least));
        return Finding::new(id, Verdict::Fail, text).fix(fix);
    }
    let planned = plan.planned_bytes();
    if free < planned {
        let text = format!(
            "{text}, the plan needs {}: the KV pool will be smaller",
            memory::gib(planned)
        );
        return Finding::new(id, Verdict::Warn, text).fix(fix);
    }
    Finding::new(
        id,
        Verdict::Ok,
        format!("at least {} free on each GPU", memory::gib(free)),
    )
}
