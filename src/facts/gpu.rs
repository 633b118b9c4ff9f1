//! The GPUs of a host.

use serde::{Deserialize, Serialize};

/// One NVIDIA GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Index in nvidia-smi.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Memory in use by processes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Compute capability, `10.0` on B200, `9.0` on H200.
    pub compute_capability: String,
    /// True if MIG slices it; `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<bool>,
    /// Its condition, and the processes on it; `None` if nvidia-smi did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<GpuHealth>,
}

impl Gpu {
    /// Returns true for a GPU that MIG slices, and for one of its slices: `NVIDIA H200 MIG 1g.18gb`.
    #[must_use]
    pub fn is_sliced(&self) -> bool {
        self.mig == Some(true) || self.name.split_whitespace().any(|word| word == "MIG")
    }
}

/// Returns the GPUs that a process sees by the value of `CUDA_VISIBLE_DEVICES`, in its order: a list of indices or of UUIDs,
/// which ends at the first word that names none. `None` for words of another kind, such as slices of MIG.
#[must_use]
pub fn visible(gpus: &[Gpu], devices: &str) -> Option<Vec<Gpu>> {
    let mut found: Vec<Gpu> = Vec::new();
    for word in devices.split(',').map(str::trim) {
        if word.starts_with("MIG") {
            return None;
        }
        let is_it = |gpu: &&Gpu| {
            let uuid = gpu.health.as_ref().map_or("", |health| health.uuid.as_str());
            word.parse() == Ok(gpu.index) || (word.starts_with("GPU-") && uuid.starts_with(word))
        };
        match gpus.iter().find(is_it) {
            Some(gpu) => found.push(gpu.clone()),
            None if word.starts_with("GPU-") => return None,
            None => break,
        }
    }
    Some(found)
}

/// The condition of a GPU, as `nvidia-smi -q -x` states it. What an older driver or another GPU does not state is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuHealth {
    /// Its UUID, such as `GPU-5ea39a8b-...`; `CUDA_VISIBLE_DEVICES` may name it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// Bus address, such as `00000000:19:00.0`: the kernel's log names the GPU by it.
    pub bus: String,
    /// The driver stays loaded without a process.
    pub persistence: Option<bool>,
    /// `Default`, `Exclusive_Process` or `Prohibited`.
    pub compute_mode: Option<String>,
    /// The action that the driver asks for: `None`, `GPU Reset`, `Node Reboot`, ... (drivers from R555 on).
    pub recovery_action: Option<String>,
    /// Errors of its memories since the driver was loaded that could not be corrected.
    pub uncorrectable_errors: Option<u64>,
    /// True if a row of its memory is replaced at the next reset.
    pub remap_pending: Option<bool>,
    /// True if a row of its memory could not be replaced.
    pub remap_failed: Option<bool>,
    /// The reasons that slow it down now and are no choice of its owner: `hw_thermal_slowdown`, ...
    pub slowdowns: Vec<String>,
    /// True if the limit of its power lowers its clocks now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_capped: Option<bool>,
    /// Share of the time in which a kernel ran, in percent, of the last second or less (`nvmlUtilization_t`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<u32>,
    /// Temperature in degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Power that it takes now, in watts.
    pub power_w: Option<u32>,
    /// Limit of its power, in watts.
    pub power_limit_w: Option<u32>,
    /// Highest limit of its power that can be set, in watts.
    pub power_limit_max_w: Option<u32>,
    /// Its place in the fabric of `NVSwitch`; `None` without one.
    pub fabric: Option<Fabric>,
    /// The processes on it that this user may see.
    pub processes: Vec<GpuProcess>,
}

/// The place of a GPU in the fabric of `NVSwitch`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fabric {
    /// `Completed` when the GPU is part of it; `In Progress`, `Not Started`.
    pub state: String,
    /// `Success`, or the reason of a failure.
    pub status: String,
}

/// A process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuProcess {
    /// Its ID.
    pub pid: u32,
    /// Its program.
    pub name: String,
    /// GPU memory that it uses, in bytes; `None` where the driver cannot tell, as inside a container.
    pub memory_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_the_gpus_that_the_shell_names() {
        let gpu = |index: u32| Gpu {
            index,
            name: "NVIDIA H200".to_owned(),
            memory_bytes: 0,
            memory_used_bytes: None,
            compute_capability: "9.0".to_owned(),
            mig: None,
            health: Some(GpuHealth {
                uuid: format!("GPU-{index}{index}-a"),
                ..GpuHealth::default()
            }),
        };
        let all: Vec<Gpu> = (0..4).map(gpu).collect();
        let seen = |devices: &str| {
            let found = visible(&all, devices)?;
            Some(found.iter().map(|gpu| gpu.index).collect::<Vec<_>>())
        };
        for (devices, expected) in [
            ("0,1", Some(vec![0, 1])),
            (" 3 , 1 ", Some(vec![3, 1])),
            ("1,9,2", Some(vec![1])),
            ("-1", Some(vec![])),
            ("NoDevFiles", Some(vec![])),
            ("GPU-22-a", Some(vec![2])),
            ("GPU-22", Some(vec![2])),
            ("GPU-77", None),
            ("MIG-1234", None),
        ] {
            assert_eq!(seen(devices), expected, "{devices}");
        }
    }
}
