//! Findings about the condition of the GPUs: faults that nvidia-smi states, and what slows them down.

use crate::doctor::finding::{Finding, Verdict};
use crate::facts::{Facts, Gpu, GpuHealth};
use crate::units::counted;

/// The share of the highest power limit below which the set one is worth a warning, in percent.
const LOW_POWER_PERCENT: u32 = 90;

/// A fault of one GPU.
struct Fault {
    id: &'static str,
    verdict: Verdict,
    text: String,
    fix: &'static str,
}

impl Fault {
    fn new(id: &'static str, verdict: Verdict, text: String, fix: &'static str) -> Self {
        Self {
            id,
            verdict,
            text,
            fix,
        }
    }
}

/// Returns the findings about the condition of the GPUs; none where it is not known. `alone` is true for a server on one GPU,
/// which needs no fabric.
pub(super) fn findings(facts: &Facts, alone: bool) -> Vec<Finding> {
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let known: Vec<(&Gpu, &GpuHealth)> = gpus
        .iter()
        .filter_map(|gpu| Some((gpu, gpu.health.as_ref()?)))
        .collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut groups: Vec<(Fault, Vec<u32>)> = Vec::new();
    for (gpu, health) in &known {
        for fault in faults(health, alone) {
            match groups.iter_mut().find(|(other, _)| other.text == fault.text) {
                Some((_, indices)) => indices.push(gpu.index),
                None => groups.push((fault, vec![gpu.index])),
            }
        }
    }
    if groups.is_empty() {
        let text = format!("nvidia-smi states no fault of {}", counted(known.len(), "GPU"));
        return vec![Finding::new("gpu.health", Verdict::Ok, text)];
    }
    groups
        .into_iter()
        .map(|(fault, indices)| {
            let text = format!("{}: {}", named(&indices), fault.text);
            Finding::new(fault.id, fault.verdict, text).fix(fault.fix)
        })
        .collect()
}

/// Returns the GPUs of these indices in words: `GPU 3`, `GPUs 0 to 7`, `GPUs 1, 4`.
fn named(indices: &[u32]) -> String {
    let (first, last) = (indices.first().copied(), indices.last().copied());
    match (indices, first.zip(last)) {
        ([one], _) => format!("GPU {one}"),
        (several, Some((first, last)))
            if several.len() > 2 && (last - first) as usize + 1 == several.len() =>
        {
            format!("GPUs {first} to {last}")
        }
        (several, _) => {
            let several: Vec<String> = several.iter().map(u32::to_string).collect();
            format!("GPUs {}", several.join(", "))
        }
    }
}

fn faults(health: &GpuHealth, alone: bool) -> Vec<Fault> {
    let mut found = unusable(health, alone);
    let mut add = |id, verdict, text, fix| found.push(Fault::new(id, verdict, text, fix));
    if let Some(action) = health
        .recovery_action
        .as_deref()
        .filter(|action| *action != "None")
    {
        add(
            "gpu.recovery",
            Verdict::Fail,
            format!("the driver asks for `{}`", action.escape_debug()),
            "drain the host and do that: until then kernels may fail or hang",
        );
    }
    if health.remap_failed == Some(true) {
        add(
            "gpu.memory_rows",
            Verdict::Fail,
            "a broken row of its memory could not be replaced".to_owned(),
            "the GPU must be exchanged: leave it out with CUDA_VISIBLE_DEVICES until then",
        );
    }
    if health.remap_pending == Some(true) {
        add(
            "gpu.memory_rows",
            Verdict::Warn,
            "a broken row of its memory is replaced at the next reset".to_owned(),
            "reset it when nothing runs on it: sudo nvidia-smi --gpu-reset -i INDEX",
        );
    }
    if let Some(errors) = health.uncorrectable_errors.filter(|errors| *errors > 0) {
        add(
            "gpu.ecc",
            Verdict::Warn,
            format!("{errors} errors of its memory were not corrected since the driver was loaded"),
            "reset it when nothing runs on it; if they come again, it must be exchanged",
        );
    }
    if !health.slowdowns.is_empty() {
        let temperature = health
            .temperature_c
            .map_or_else(String::new, |degrees| format!(" at {degrees} C"));
        add(
            "gpu.slowdown",
            Verdict::Warn,
            format!(
                "it runs slower than it could{temperature}: {}",
                health.slowdowns.join(", ")
            ),
            "check cooling and power supply: the slowest GPU sets the pace of all",
        );
    }
    if let Some((limit, most)) = health.power_limit_w.zip(health.power_limit_max_w)
        && limit.saturating_mul(100) < most.saturating_mul(LOW_POWER_PERCENT)
    {
        add(
            "gpu.power",
            Verdict::Warn,
            format!("its power is limited to {limit} W of {most} W"),
            "if that is not meant: sudo nvidia-smi -pl WATTS",
        );
    }
    if health.persistence == Some(false) {
        add(
            "gpu.persistence",
            Verdict::Warn,
            "persistence mode is off: the driver initialises it at each start".to_owned(),
            "sudo nvidia-smi -pm 1",
        );
    }
    found
}

/// Returns the faults that keep processes from using the GPU.
fn unusable(health: &GpuHealth, alone: bool) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut add = |id, verdict, text, fix| found.push(Fault::new(id, verdict, text, fix));
    if let Some(fabric) = health.fabric.as_ref().filter(|_| !alone)
        && (fabric.state != "Completed" || !["Success", ""].contains(&fabric.status.as_str()))
    {
        let status = match fabric.status.as_str() {
            "" => String::new(),
            status => format!(", {}", status.escape_debug()),
        };
        add(
            "gpu.fabric",
            Verdict::Fail,
            format!(
                "it is not part of the NVSwitch fabric: {}{status}",
                fabric.state.escape_debug()
            ),
            "sudo systemctl restart nvidia-fabricmanager, whose version must be that of the driver",
        );
    }
    match health.compute_mode.as_deref() {
        Some("Prohibited") => add(
            "gpu.compute_mode",
            Verdict::Fail,
            "its compute mode lets no process use it".to_owned(),
            "sudo nvidia-smi -c DEFAULT",
        ),
        Some("Exclusive_Process") => add(
            "gpu.compute_mode",
            Verdict::Warn,
            "its compute mode lets only one process use it".to_owned(),
            "a second process, such as a profiler, will fail: sudo nvidia-smi -c DEFAULT",
        ),
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fabric;

    fn facts(health: &[GpuHealth]) -> Facts {
        let mut facts = Facts::default();
        facts.host.gpus = Some(
            health
                .iter()
                .zip(0..)
                .map(|(health, index)| Gpu {
                    index,
                    name: "NVIDIA H200".to_owned(),
                    memory_bytes: 143_771 << 20,
                    memory_used_bytes: None,
                    compute_capability: "9.0".to_owned(),
                    mig: None,
                    health: Some(health.clone()),
                })
                .collect(),
        );
        facts
    }

    fn healthy() -> GpuHealth {
        GpuHealth {
            persistence: Some(true),
            compute_mode: Some("Default".to_owned()),
            recovery_action: Some("None".to_owned()),
            uncorrectable_errors: Some(0),
            remap_pending: Some(false),
            remap_failed: Some(false),
            power_limit_w: Some(700),
            power_limit_max_w: Some(700),
            fabric: Some(Fabric {
                state: "Completed".to_owned(),
                status: "Success".to_owned(),
            }),
            ..GpuHealth::default()
        }
    }

    fn lines(health: &[GpuHealth], alone: bool) -> Vec<(String, Verdict, String)> {
        findings(&facts(health), alone)
            .into_iter()
            .map(|finding| (finding.id, finding.verdict, finding.text))
            .collect()
    }

    #[test]
    fn gpus_without_a_fault_have_one_line() {
        let found = lines(&[healthy(), healthy()], false);
        let expected = (
            "gpu.health".to_owned(),
            Verdict::Ok,
            "nvidia-smi states no fault of 2 GPUs".to_owned(),
        );
        assert_eq!(found, [expected]);
        assert!(findings(&Facts::default(), false).is_empty());
    }

    #[test]
    fn each_fault_names_the_gpus_that_have_it() {
        type Change = fn(&mut GpuHealth);
        let cases: [(Change, &str, Verdict, &str); 10] = [
            (
                |gpu| gpu.recovery_action = Some("GPU Reset".to_owned()),
                "gpu.recovery",
                Verdict::Fail,
                "asks for `GPU Reset`",
            ),
            (
                |gpu| gpu.remap_failed = Some(true),
                "gpu.memory_rows",
                Verdict::Fail,
                "could not be replaced",
            ),
            (
                |gpu| gpu.remap_pending = Some(true),
                "gpu.memory_rows",
                Verdict::Warn,
                "at the next reset",
            ),
            (
                |gpu| gpu.uncorrectable_errors = Some(3),
                "gpu.ecc",
                Verdict::Warn,
                "3 errors",
            ),
            (
                |gpu| gpu.slowdowns = vec!["hw_thermal_slowdown".to_owned()],
                "gpu.slowdown",
                Verdict::Warn,
                "hw_thermal_slowdown",
            ),
            (
                |gpu| gpu.power_limit_w = Some(500),
                "gpu.power",
                Verdict::Warn,
                "500 W of 700 W",
            ),
            (
                |gpu| {
                    gpu.fabric = Some(Fabric {
                        state: "In Progress".to_owned(),
                        status: String::new(),
                    });
                },
                "gpu.fabric",
                Verdict::Fail,
                "In Progress",
            ),
            (
                |gpu| gpu.compute_mode = Some("Prohibited".to_owned()),
                "gpu.compute_mode",
                Verdict::Fail,
                "no process",
            ),
            (
                |gpu| gpu.compute_mode = Some("Exclusive_Process".to_owned()),
                "gpu.compute_mode",
                Verdict::Warn,
                "only one process",
            ),
            (
                |gpu| gpu.persistence = Some(false),
                "gpu.persistence",
                Verdict::Warn,
                "persistence mode is off",
            ),
        ];
        for (change, id, verdict, text) in cases {
            let mut broken = healthy();
            change(&mut broken);
            let found = lines(&[healthy(), broken], false);
            assert_eq!(found.len(), 1, "{id}: {found:?}");
            assert_eq!((found[0].0.as_str(), found[0].1), (id, verdict));
            assert!(
                found[0].2.starts_with("GPU 1: ") && found[0].2.contains(text),
                "{found:?}"
            );
        }
    }

    #[test]
    fn equal_faults_are_one_line_and_a_single_gpu_needs_no_fabric() {
        let broken = GpuHealth {
            persistence: Some(false),
            fabric: Some(Fabric {
                state: "Not Started".to_owned(),
                status: "Not Supported".to_owned(),
            }),
            ..healthy()
        };
        let found = lines(&vec![broken.clone(); 8], false);
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|line| line.2.starts_with("GPUs 0 to 7: ")),
            "{found:?}"
        );
        let found = lines(&[broken.clone(), healthy(), broken], true);
        assert_eq!(found.len(), 1);
        assert!(found[0].2.starts_with("GPUs 0, 2: persistence"), "{found:?}");
    }
}
