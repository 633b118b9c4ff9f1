//! The keys of a stack file: the pinned software inside an image or a venv.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::gpu::Architecture;
use crate::profile::requirement::Requirement;
use crate::profile::version::Version;

/// A stack: SGLang and everything that runs it, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Name on the command line.
    pub name: String,
    /// The stack whose properties apply where this file has none. Already applied in a stack of the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// One line for lists.
    pub title: String,
    /// Exact versions inside.
    pub pins: Pins,
    /// The hardware that the stack computes on.
    pub accelerator: Accelerator,
    /// GPU architectures its kernels are built for; empty on CPUs.
    pub architectures: Vec<Architecture>,
    /// Lowest NVIDIA driver major version; `None` when no GPU is needed.
    pub driver_min: Option<u32>,
    /// Base image reference without digest.
    pub base_image: String,
    /// Digest of the base image, `sha256:...`, by platform. Without it the stack can be locked only after the image was
    /// pulled to the host.
    pub base_digests: BTreeMap<String, String>,
    /// Platforms for which the base image exists, such as `linux/amd64`.
    pub platforms: Vec<String>,
    /// The packages and files that the image adds to its base.
    pub install: Install,
    /// FlashInfer's own packages, for `--flashinfer`.
    #[serde(default)]
    pub flashinfer: FlashinferPackages,
    /// Versions to which the guide's own steps are pinned, for `--recipe guide`.
    #[serde(default)]
    pub source: Option<SourceBuild>,
    /// Python inside the image that runs the engine.
    pub image_python: String,
    /// The command that starts the server.
    pub launch: EntryPoint,
    /// Python arguments that start the benchmark client.
    pub bench: Vec<String>,
    /// Python arguments that start the GSM8K evaluation.
    pub gsm8k: Vec<String>,
    /// The evaluation's `--host` needs a scheme (SGLang before 0.5).
    pub gsm8k_host_scheme: bool,
    /// Path of the readiness probe.
    pub probe: String,
    /// Container network; the guide uses the host's.
    pub network: Network,
    /// Size of the container's `/dev/shm` in bytes.
    pub shm_bytes: u64,
    /// Container paths that keep compiled kernels between starts, each on a named volume.
    pub cache_paths: Vec<String>,
    /// A venv on the host can run this stack (`--runtime process`).
    pub process_runtime: bool,
    /// Disk space of the installed packages or of the image, in bytes, measured or stated.
    pub install_bytes: u64,
    /// Host memory that the engine needs to start, in bytes, measured or stated.
    pub memory_bytes: u64,
}

/// The pin of a package that is in the image in a version that the stack's files do not state.
pub const UNKNOWN_PIN: &str = "unknown";
/// The pin of a package that a stack does not have.
pub(super) const ABSENT: &str = "none";

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

/// The way in which SGLang is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EntryPoint {
    /// With Python.
    Python {
        /// Python's arguments: `-m sglang.launch_server`.
        python: Vec<String>,
    },
    /// With a program beside that Python (SGLang 0.5.10 and later).
    Program {
        /// The program's name and arguments: `sglang serve`.
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

/// The hardware that a stack computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// No GPU.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
}

/// The packages and files that an image adds to its base, or that a venv holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// Debian packages, `name` or `name=version`.
    pub apt: Vec<String>,
    /// The image gets a venv for the packages, because its base is bare. Otherwise they go into the base's Python.
    pub venv: bool,
    /// Python packages, installed without resolving dependencies. Each list becomes a layer of the image.
    pub requirements: Vec<Vec<Requirement>>,
    /// uv as a package. It fetches and unpacks the packages of a venv several times faster than pip, which installs them if
    /// this is `None` or the package index does not have it.
    #[serde(default)]
    pub installer: Option<Requirement>,
    /// Small files below `site-packages`, with the reason in their text.
    pub files: BTreeMap<String, String>,
    /// User (and group) that runs the image. `None` leaves the base's. In the official images that is root, and their
    /// kernel caches belong to root.
    #[serde(default)]
    pub user: Option<u32>,
}

/// FlashInfer's own packages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlashinferPackages {
    /// Packages of kernel sources, which are compiled at their first use.
    pub jit: Vec<Requirement>,
    /// Packages of compiled kernels.
    pub prebuilt: Option<Prebuilt>,
}

/// Packages from a separate index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prebuilt {
    /// URL of the index.
    pub index: String,
    /// The packages from that index.
    pub requirements: Vec<Requirement>,
}

/// Versions to which the guide's own steps are pinned ("Building Docker Image").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceBuild {
    /// Tools as Debian packages.
    pub apt: Vec<String>,
    /// pip and its build tools.
    pub pip: Vec<Requirement>,
    /// The evaluation harness.
    pub lm_eval: Harness,
    /// SGLang's source package.
    pub sglang: Requirement,
    /// FlashInfer's repository, with its submodules.
    pub flashinfer: Repository,
    /// cuDNN.
    pub cudnn: Requirement,
    /// Packages of the benchmark clients.
    pub clients: Vec<Requirement>,
}

/// A commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// URL from which it is cloned.
    pub url: String,
    /// The commit, 40 hex digits.
    pub commit: String,
}

/// The evaluation harness: its repository, and the packages that it needs beside SGLang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Harness {
    /// The repository of the harness.
    pub repository: Repository,
    /// The packages that it needs.
    pub requirements: Vec<Requirement>,
}

impl Stack {
    /// Disk space in bytes that an installation needs while it runs. What dsr1 installs package by package is fetched and
    /// unpacked side by side: pip takes 10.5 GB for 7 GB of packages.
    #[must_use]
    pub const fn peak_bytes(&self) -> u64 {
        if self.install.venv {
            self.install_bytes + self.install_bytes / 2
        } else {
            self.install_bytes
        }
    }
}

/// Returns the remedy where a base image cannot be pulled.
#[must_use]
pub fn hint_without_registry(base: &str) -> String {
    let release = base
        .strip_prefix("debian:")
        .map(|tag| tag.trim_end_matches("-slim"));
    match release {
        Some(release) if release.chars().all(|c| c.is_ascii_alphanumeric()) => format!(
            "without a registry, make it as root: d=$(mktemp -d) && debootstrap --variant=minbase {release} $d && \
             tar -C $d -c . | docker import - {base}"
        ),
        _ => "without a registry, docker load it here from a host that has it, or name another with --base-image"
            .to_owned(),
    }
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
    /// The host's network. The server still binds 127.0.0.1 only.
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
    /// Returns the digest of the base image for a platform. For an unknown platform, the digest of the only image.
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

    /// Returns the base image reference for a platform, with its digest if one is pinned.
    #[must_use]
    pub fn base_reference(&self, platform: Option<&str>) -> String {
        match self.base_digest(platform) {
            Some(digest) => format!("{}@{digest}", self.base_image),
            None => self.base_image.clone(),
        }
    }
}

/// Returns true for a path below a directory that needs no quoting in any shell and on any filesystem: letters, digits,
/// `._-/`, and no part that is empty or begins with a dot or a dash.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(plain);
    path.len() <= 300 && path.split('/').all(part)
}
