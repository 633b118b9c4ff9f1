//! The GPUs that are known by name, and the family of any GPU by its name and compute capability.

use serde::{Deserialize, Serialize};

/// A family of NVIDIA GPUs whose kernels DeepSeek-R1 has in SGLang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 9.0: H100, H200, H20, H800.
    Hopper,
    /// 10.x: B200, GB200, B300, GB300.
    Blackwell,
}

/// A GPU that is sold for servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownGpu {
    /// Its name, as nvidia-smi prints it.
    pub name: &'static str,
    /// Its memory in MiB, as nvidia-smi prints it.
    pub memory_mib: u64,
    /// Its compute capability.
    pub capability: &'static str,
    /// Its family.
    pub architecture: Architecture,
}

const fn hopper(name: &'static str, memory_mib: u64) -> KnownGpu {
    KnownGpu {
        name,
        memory_mib,
        capability: "9.0",
        architecture: Architecture::Hopper,
    }
}

const fn blackwell(name: &'static str, memory_mib: u64, capability: &'static str) -> KnownGpu {
    KnownGpu {
        name,
        memory_mib,
        capability,
        architecture: Architecture::Blackwell,
    }
}

/// The GPU that stands for Hopper where the host's is not known.
pub(crate) const H200: KnownGpu = hopper("NVIDIA H200", 143_771);
/// The GPU that stands for Blackwell where the host's is not known.
pub(crate) const B200: KnownGpu = blackwell("NVIDIA B200", 183_359, "10.0");

/// The known GPUs: names and memory from public output of nvidia-smi.
pub const KNOWN_GPUS: [KnownGpu; 14] = [
    hopper("NVIDIA H100 80GB HBM3", 81_559),
    hopper("NVIDIA H100 PCIe", 81_559),
    hopper("NVIDIA H100 NVL", 95_830),
    hopper("NVIDIA H800", 81_559),
    hopper("NVIDIA H800 PCIe", 81_559),
    hopper("NVIDIA H20", 97_871),
    hopper("NVIDIA H20-3e", 143_771),
    H200,
    hopper("NVIDIA H200 NVL", 143_771),
    hopper("NVIDIA GH200 480GB", 97_871),
    B200,
    blackwell("NVIDIA GB200", 189_471, "10.0"),
    blackwell("NVIDIA B300 SXM6 AC", 275_040, "10.3"),
    blackwell("NVIDIA GB300", 284_208, "10.3"),
];

/// Returns the known GPU of that name, as nvidia-smi prints it.
#[must_use]
pub fn known_gpu(name: &str) -> Option<&'static KnownGpu> {
    const { &KNOWN_GPUS }
        .iter()
        .find(|gpu| gpu.name.eq_ignore_ascii_case(name.trim()))
}

impl Architecture {
    /// Returns the family of a GPU. A known name decides only where the compute capability is not known.
    ///
    /// # Errors
    /// The reason why the GPU cannot serve DeepSeek-R1 with these stacks, as a sentence without a period.
    pub fn of(name: &str, compute_capability: &str) -> Result<Self, String> {
        let shown = name.trim();
        let lower = shown.to_ascii_lowercase();
        // Some tools print AMD's gfx942 as 9.4, and gfx90a as 9.0.
        if ["amd", "instinct", "radeon"]
            .iter()
            .any(|maker| lower.contains(maker))
            || lower.starts_with("mi3")
        {
            return Err(format!(
                "{shown} is not supported: the stacks are for NVIDIA GPUs"
            ));
        }
        let mut numbers = compute_capability.trim().split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor)), None) = (numbers.next(), numbers.next(), numbers.next())
        else {
            return known_gpu(shown)
                .map(|gpu| gpu.architecture)
                .ok_or_else(|| format!("{shown} is not supported: its compute capability is not known"));
        };
        match (major, minor) {
            (9, 0) => return Ok(Self::Hopper),
            // 10.1 was the number of Jetson Thor in CUDA 12.
            (10, minor) if minor != 1 => return Ok(Self::Blackwell),
            _ => {}
        }
        let why = match major {
            0..=8 => "it is older than Hopper",
            9 => "no NVIDIA GPU of a server has it",
            10 | 11 => "it is a GPU for devices, not for servers",
            12 => "its Blackwell lacks the kernels of the servers' Blackwell (10.0 and 10.3)",
            _ => "no stack has kernels for it",
        };
        Err(format!(
            "{shown} (compute capability {major}.{minor}) is not supported: {why}"
        ))
    }

    /// Returns the GPU that stands for the family where the host's is not known.
    #[must_use]
    pub const fn nominal(self) -> KnownGpu {
        match self {
            Self::Hopper => H200,
            Self::Blackwell => B200,
        }
    }

    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hopper => "Hopper",
            Self::Blackwell => "Blackwell",
        }
    }
}

/// Returns the first CUDA version whose compiler makes kernels for a compute capability; `None` if every stack's does. CUDA
/// 12.9 added 10.3 (its release notes, "new features"), and kernels for 10.0 do not run there.
#[must_use]
pub fn cuda_min(compute_capability: &str) -> Option<(u32, u32)> {
    (compute_capability.trim() == "10.3").then_some((12, 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_gpu_has_its_family_by_name_and_by_capability() {
        for gpu in KNOWN_GPUS {
            assert_eq!(Architecture::of(gpu.name, gpu.capability), Ok(gpu.architecture));
            assert_eq!(Architecture::of(gpu.name, "[N/A]"), Ok(gpu.architecture));
            assert_eq!(gpu.architecture.nominal().architecture, gpu.architecture);
        }
        assert_eq!(
            Architecture::of("NVIDIA B300", "10.3"),
            Ok(Architecture::Blackwell)
        );
    }

    #[test]
    fn no_other_gpu_is_taken_for_one_of_a_server() {
        for (name, capability, why) in [
            ("AMD Instinct MI300X", "9.4", "for NVIDIA GPUs"),
            ("AMD Instinct MI250X", "9.0", "for NVIDIA GPUs"),
            ("MI325X", "9.4", "for NVIDIA GPUs"),
            ("Unknown", "9.4", "no NVIDIA GPU of a server has it"),
            ("NVIDIA A100-SXM4-80GB", "8.0", "older than Hopper"),
            ("NVIDIA L40S", "8.9", "older than Hopper"),
            ("NVIDIA GeForce RTX 5090", "12.0", "lacks the kernels"),
            (
                "NVIDIA RTX PRO 6000 Blackwell Server Edition",
                "12.0",
                "lacks the kernels",
            ),
            ("NVIDIA GB10", "12.1", "lacks the kernels"),
            ("NVIDIA Thor", "11.0", "for devices"),
            ("NVIDIA Thor", "10.1", "for devices"),
            ("NVIDIA Next", "13.0", "no stack has kernels"),
            ("NVIDIA Graphics Device", "[N/A]", "is not known"),
            ("", "", "is not known"),
            ("NVIDIA X", "9.0.1", "is not known"),
        ] {
            let reason = Architecture::of(name, capability).unwrap_err();
            assert!(
                reason.contains("not supported") && reason.contains(why),
                "{name}: {reason}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_and_capability_is_read_without_panic(name in "\\PC{0,20}", capability in "[0-9.]{0,8}") {
            let _ = Architecture::of(&name, &capability);
        }
    }
}
