//! What a stack file may say: the pinned software inside an image or a venv.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::version::Version;

/// A pinned engine stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Name on the command line.
    pub name: String,
    /// One line for lists.
    pub title: String,
    /// Exact versions inside.
    pub pins: Pins,
    /// What the stack computes on.
    pub accelerator: Accelerator,
    /// Lowest NVIDIA driver major version; `None` when no GPU is needed.
    pub driver_min: Option<u32>,
    /// Base image reference without digest.
    pub base_image: String,
    /// Digest of the base image, `sha256:...`; `None` when nobody has pinned it yet.
    pub base_digest: Option<String>,
    /// Platforms the base exists for, `linux/amd64` style.
    pub platforms: Vec<String>,
    /// What the image adds to its base.
    pub install: Install,
    /// Python inside the image that runs the engine.
    pub image_python: String,
    /// Python arguments that start the server.
    pub launch: Vec<String>,
    /// Python arguments that start the benchmark client.
    pub bench: Vec<String>,
    /// Python arguments that start the GSM8K evaluation.
    pub gsm8k: Vec<String>,
    /// Whether the evaluation's `--host` wants a scheme (SGLang before 0.5: it does).
    pub gsm8k_host_scheme: bool,
    /// Path of the readiness probe.
    pub probe: String,
    /// Container network; the guide uses the host's.
    pub network: Network,
    /// `/dev/shm` of the container, in bytes.
    pub shm_bytes: u64,
    /// Container paths that keep compiled kernels between starts, each on a named volume.
    pub cache_paths: Vec<String>,
    /// Whether a venv on the host can run this stack (`--runtime process`).
    pub process_runtime: bool,
    /// Bytes of disk that the install takes at its peak, measured or stated.
    pub install_bytes: u64,
    /// Bytes of host memory the engine needs to start at all, measured or stated.
    pub memory_bytes: u64,
}

/// Exact versions inside a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// SGLang.
    pub sglang: Version,
    /// FlashInfer.
    pub flashinfer: String,
    /// PyTorch.
    pub torch: String,
    /// CUDA toolkit; `None` on CPUs.
    pub cuda: Option<String>,
}

/// What the stack computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// No GPU.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
}

/// What the image (or venv) adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// Debian packages.
    pub apt: Vec<String>,
    /// Whether to make a venv for the packages (a bare base) or to install into the base's Python.
    pub venv: bool,
    /// pip requirements, exactly pinned, installed without resolving dependencies.
    pub requirements: Vec<String>,
    /// Small files below `site-packages`, with the reason in their text.
    pub files: BTreeMap<String, String>,
}

/// Container network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The host's network: the server still binds 127.0.0.1 only.
    Host,
}

impl Network {
    /// Docker's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
        }
    }
}

impl Stack {
    /// The base image reference with its digest where one is pinned.
    #[must_use]
    pub fn base_reference(&self) -> String {
        match &self.base_digest {
            Some(digest) => format!("{}@{digest}", self.base_image),
            None => self.base_image.clone(),
        }
    }
}
