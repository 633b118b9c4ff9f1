//! What a stack file may say: the pinned software inside an image or a venv.
//!
//! Not in this module: whether what it says is there (`effects`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::requirement::Requirement;
use crate::profile::version::Version;

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
    /// GPU architectures its kernels are built for; empty on CPUs.
    pub architectures: Vec<Architecture>,
    /// Lowest NVIDIA driver major version; `None` when no GPU is needed.
    pub driver_min: Option<u32>,
    /// Base image reference without digest.
    pub base_image: String,
    /// Digest of the base image, `sha256:...`, by platform. Where it is unknown the stack cannot be locked before the
    /// image is on the host.
    pub base_digests: BTreeMap<String, String>,
    /// Platforms the base exists for, `linux/amd64` style.
    pub platforms: Vec<String>,
    /// What the image adds to its base.
    pub install: Install,
    /// FlashInfer on its own, for `--flashinfer`.
    #[serde(default)]
    pub flashinfer: FlashinferPackages,
    /// What the guide's own steps are pinned to, for `--recipe guide`.
    #[serde(default)]
    pub source: Option<SourceBuild>,
    /// Python inside the image that runs the engine.
    pub image_python: String,
    /// How the server is started.
    pub launch: EntryPoint,
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
    /// SGLang's own kernels: `sgl-kernel`, from 0.5.10 on `sglang-kernel`; `none` on CPUs.
    pub kernel: String,
    /// PyTorch.
    pub torch: String,
    /// CUDA toolkit; `None` on CPUs.
    pub cuda: Option<String>,
}

/// How SGLang is spelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EntryPoint {
    /// By Python.
    Python {
        /// Its arguments: `-m sglang.launch_server`.
        python: Vec<String>,
    },
    /// By a program beside that Python (SGLang 0.5.10 and later).
    Program {
        /// Its name and arguments: `sglang serve`.
        program: Vec<String>,
    },
}

impl EntryPoint {
    /// The beginning of the command line, for the Python at `python`.
    #[must_use]
    pub fn command(&self, python: &str) -> Vec<String> {
        match self {
            Self::Python { python: args } => std::iter::once(python.to_owned())
                .chain(args.iter().cloned())
                .collect(),
            Self::Program { program: words } => {
                let directory = python.rsplit_once('/').map_or("", |(directory, _)| directory);
                let mut words = words.clone();
                if let Some(program) = words.first_mut().filter(|_| !directory.is_empty()) {
                    *program = format!("{directory}/{program}");
                }
                words
            }
        }
    }
}

/// A family of NVIDIA GPUs, by compute capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 9.0: H100, H200.
    Hopper,
    /// 10.x: B200, GB200, B300.
    Blackwell,
}

impl Architecture {
    /// The family of a compute capability such as `10.0`; `None` for others, consumer Blackwell (12.x) among them:
    /// it lacks the kernels that SGLang checks for as SM100.
    #[must_use]
    pub fn of(compute_capability: &str) -> Option<Self> {
        match compute_capability.split('.').next()? {
            "9" => Some(Self::Hopper),
            "10" => Some(Self::Blackwell),
            _ => None,
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
    /// Debian packages, `name` or `name=version`.
    pub apt: Vec<String>,
    /// Whether to make a venv for the packages (a bare base) or to install into the base's Python.
    pub venv: bool,
    /// Python packages, installed without resolving dependencies. Each list is a layer of the image.
    pub requirements: Vec<Vec<Requirement>>,
    /// Small files below `site-packages`, with the reason in their text.
    pub files: BTreeMap<String, String>,
    /// User (and group) that runs the image; `None` leaves the base's, which for the official images is root: their
    /// caches of kernels are root's.
    #[serde(default)]
    pub user: Option<u32>,
}

/// FlashInfer's own packages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlashinferPackages {
    /// Sources of kernels, which are compiled at their first use.
    pub jit: Vec<Requirement>,
    /// Kernels that its makers compiled.
    pub prebuilt: Option<Prebuilt>,
}

/// Packages of an index of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prebuilt {
    /// URL of the index.
    pub index: String,
    /// What is taken from it.
    pub requirements: Vec<Requirement>,
}

/// What the guide's own steps are pinned to ("Building Docker Image").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceBuild {
    /// Tools as Debian packages.
    pub apt: Vec<String>,
    /// pip, and what it builds with.
    pub pip: Vec<Requirement>,
    /// The evaluation harness.
    pub lm_eval: Harness,
    /// SGLang's source package.
    pub sglang: Requirement,
    /// FlashInfer's repository, with its submodules.
    pub flashinfer: Repository,
    /// cuDNN.
    pub cudnn: Requirement,
    /// Clients.
    pub clients: Vec<Requirement>,
}

/// A commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Where it is cloned from.
    pub url: String,
    /// The commit, 40 hex digits.
    pub commit: String,
}

/// The evaluation harness: its repository, and what it needs beside SGLang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Harness {
    /// Where it comes from.
    pub repository: Repository,
    /// Packages that it needs.
    pub requirements: Vec<Requirement>,
}

impl Install {
    /// Every package, in the order of their layers.
    pub fn packages(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter().flatten()
    }
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
    /// Digest of the base image for a platform; that of the only one when the platform is unknown.
    #[must_use]
    pub fn base_digest(&self, platform: Option<&str>) -> Option<&str> {
        let found = match platform {
            Some(platform) => self.base_digests.get(platform),
            None => self
                .base_digests
                .values()
                .next()
                .filter(|_| self.base_digests.len() == 1),
        };
        found.map(String::as_str)
    }

    /// The base image reference for a platform, with its digest where one is pinned.
    #[must_use]
    pub fn base_reference(&self, platform: Option<&str>) -> String {
        match self.base_digest(platform) {
            Some(digest) => format!("{}@{digest}", self.base_image),
            None => self.base_image.clone(),
        }
    }
}

/// Whether a text is a path below a directory, on any filesystem and in any shell: letters, digits, `._-/`, and no part
/// that is empty or begins with a dot.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(plain);
    path.len() <= 300 && path.split('/').all(part)
}
