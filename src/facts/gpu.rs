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

/// The condition of a GPU, as `nvidia-smi -q -x` states it. What an older driver or another GPU does not state is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuHealth {
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
