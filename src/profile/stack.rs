//! What a stack file may say: the pinned software inside an image or a venv.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// An SGLang version: `0.5.23`, `0.4.10.post2`. Ordered as Python orders them (post releases after their base).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
    post: u16,
}

impl Version {
    /// `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
            post: 0,
        }
    }

    /// The `n`-th post release of this version.
    #[must_use]
    pub const fn post(self, n: u16) -> Self {
        Self { post: n, ..self }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            major,
            minor,
            patch,
            post,
        } = self;
        write!(f, "{major}.{minor}.{patch}")?;
        if *post > 0 {
            write!(f, ".post{post}")
        } else {
            Ok(())
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a version such as 0.5.23 or 0.4.10.post2");
        let mut parts = text.split('.');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong);
        let (major, minor, patch) = (number()?, number()?, number()?);
        let post = match parts.next() {
            None => 0,
            Some(part) => part
                .strip_prefix("post")
                .and_then(|n| n.parse().ok())
                .ok_or_else(wrong)?,
        };
        if parts.next().is_some() {
            Err(wrong())
        } else {
            Ok(Self {
                major,
                minor,
                patch,
                post,
            })
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_round_trip_and_order() {
        for text in ["0.4.10.post1", "0.4.10.post2", "0.5.1", "0.5.23"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        assert!("0.4.10".parse::<Version>().unwrap() < "0.4.10.post1".parse().unwrap());
        assert!("0.4.10.post2".parse::<Version>().unwrap() < Version::new(0, 5, 0));
        assert!("0.5".parse::<Version>().is_err());
        assert!("0.5.1.rc1".parse::<Version>().is_err());
    }
}
