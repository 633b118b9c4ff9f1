//! Findings about the GPUs: their number, family, driver and memory.

use crate::doctor::finding::{Finding, Verdict};
use crate::facts::Facts;
use crate::profile::{Accelerator, Architecture, Origins, Profile, Selection, Stack};
use crate::sglang::{Launch, Level, memory};

/// Findings about the GPUs that a profile needs; empty for a stack without GPUs.
pub(super) fn findings(profile: &Profile, stack: &Stack, facts: &Facts) -> Vec<Finding> {
    if stack.accelerator == Accelerator::Cpu {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let wanted = profile.gpus;
    findings.push(match &facts.host.gpus {
        None => Finding::new(
            "gpu.count",
            Verdict::NotChecked,
            format!("GPUs not known, {wanted} wanted"),
        ),
        Some(gpus) if (gpus.len() as u64) < u64::from(wanted) => Finding::new(
            "gpu.count",
            Verdict::Fail,
            format!("{} GPUs found, {wanted} wanted", gpus.len()),
        )
        .fix("choose a profile for this host: dsr1 profiles list"),
        Some(gpus) => {
            let name = gpus.first().map_or("", |gpu| gpu.name.as_str());
            Finding::new("gpu.count", Verdict::Ok, format!("{} x {name}", gpus.len()))
        }
    });
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
                format!("driver not known, {min} or newer wanted"),
            ),
        });
    }
    findings
}

/// Whether the GPUs are of a family that the stack's kernels, the weights and the profile's backends are for.
fn architecture(profile: &Profile, stack: &Stack, facts: &Facts) -> Finding {
    let id = "gpu.architecture";
    let names = |wanted: &[Architecture]| {
        wanted
            .iter()
            .map(|one| one.name())
            .collect::<Vec<_>>()
            .join(" or ")
    };
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let Some(gpu) = gpus.first() else {
        let wanted = names(&profile.architectures);
        return Finding::new(
            id,
            Verdict::NotChecked,
            format!("architecture not known, {wanted} wanted"),
        );
    };
    let Some(have) =
        Architecture::of(&gpu.compute_capability).filter(|have| stack.architectures.contains(have))
    else {
        return Finding::new(
            id,
            Verdict::Fail,
            format!(
                "{} has compute capability {}, the image of stack `{}` is for {}",
                gpu.name,
                gpu.compute_capability,
                stack.name,
                names(&stack.architectures)
            ),
        )
        .fix("choose a profile and a stack for this GPU: dsr1 profiles list, dsr1 stacks list");
    };
    // The profile's own rules, asked about this host's GPUs.
    let here = Profile {
        architectures: vec![have],
        ..profile.clone()
    };
    let wrong = Launch::new(&here, stack, &Origins::default(), &[])
        .checks
        .into_iter()
        .find(|check| check.id.starts_with("architecture.") && check.level == Level::Error);
    if let Some(check) = wrong {
        let fix = check
            .fix
            .unwrap_or_else(|| "choose a profile for this GPU: dsr1 profiles list".to_owned());
        return Finding::new(id, Verdict::Fail, check.text).fix(&fix);
    }
    if profile.architectures.is_empty() || profile.architectures.contains(&have) {
        return Finding::new(id, Verdict::Ok, have.name());
    }
    let tuned = names(&profile.architectures);
    Finding::new(
        id,
        Verdict::Warn,
        format!("{}, the profile is tuned for {tuned}", have.name()),
    )
    .fix("dsr1 profiles list shows what is for this GPU")
}

/// The finding of the memory plan; `None` where none is made: on a CPU, and for a model of unknown shape.
pub(super) fn memory_finding(selection: &Selection, facts: &Facts) -> Option<Finding> {
    let Selection {
        profile,
        stack,
        origins,
        ..
    } = selection;
    let launch = Launch::new(profile, stack, origins, &[]);
    let plan = memory::plan(profile, stack, &launch.settings, facts)?;
    let id = "gpu.memory";
    let told = format!(
        "{} of weights per GPU, {} requests of {} tokens fit",
        memory::gib(plan.weights_bytes),
        plan.requests_fit,
        plan.request_tokens
    );
    if !plan.gpu_known {
        return Some(Finding::new(id, Verdict::NotChecked, told));
    }
    let worst = memory::check(&plan, profile.bench.max_concurrency.get())
        .into_iter()
        .max_by_key(|check| check.level);
    Some(match worst {
        None => Finding::new(id, Verdict::Ok, told),
        Some(check) => {
            let verdict = if check.level == Level::Error {
                Verdict::Fail
            } else {
                Verdict::Warn
            };
            Finding::new(id, verdict, check.text).fix(&check.fix.unwrap_or_default())
        }
    })
}
