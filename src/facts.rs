//! What planning may know about the world: plain data, gathered by `effects`, storable with `dsr1 doctor`.
//!
//! An unknown fact is `None` and is reported as "not checked", never guessed.
//! Not in this module: gathering them (`effects`), what follows from them (`plan`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the JSON form of [`Facts`].
pub const SCHEMA: &str = "dsr1.facts/1";

/// Everything known about this host, its Docker daemon and its weights.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The machine.
    pub host: Host,
    /// The Docker daemon.
    pub docker: Docker,
    /// Commits of the snapshots in the hub cache, by repository and revision (`repo@revision`).
    pub snapshots: BTreeMap<String, String>,
    /// Proven files of those snapshots, by repository and commit (`repo@commit`), when they were asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, Vec<WeightFile>>,
    /// Shapes and sizes of those snapshots' models (`repo@commit`), as their files say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelFacts>,
    /// Paths that dsr1 works in.
    pub paths: Paths,
    /// Servers of dsr1 that start or run on this host, with their ports on 127.0.0.1.
    pub servers: BTreeMap<String, u16>,
}

impl Facts {
    /// The commit that `revision` of `repo` has in the local cache.
    #[must_use]
    pub fn cached_commit(&self, repo: &str, revision: &str) -> Option<&str> {
        self.snapshots
            .get(&format!("{repo}@{revision}"))
            .map(String::as_str)
    }

    /// The commit that a revision means: the revision itself when it is a full hash, else the cached one.
    #[must_use]
    pub fn resolved_commit<'a>(&'a self, repo: &str, revision: &'a str) -> Option<&'a str> {
        let is_hash = revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit());
        if is_hash {
            Some(revision)
        } else {
            self.cached_commit(repo, revision)
        }
    }
}

/// One proven file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightFile {
    /// Path in the repository.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, or git's blob SHA-1 of a small file, in hex.
    pub hash: String,
}

/// What a model's files say of its shape and sizes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Layers, the draft layer not counted.
    pub layers: u64,
    /// Width of the compressed KV cache, with multi-head latent attention (MLA).
    pub kv_lora_rank: Option<u64>,
    /// Width of its rotary part, with MLA.
    pub rope_dim: Option<u64>,
    /// KV heads, without MLA.
    pub kv_heads: Option<u64>,
    /// Width of a head, without MLA.
    pub head_dim: Option<u64>,
    /// Bytes of the weights by class.
    pub weights: WeightSizes,
}

/// Bytes of a model's weights by what is done with them, before anything is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WeightSizes {
    /// Routed experts.
    pub experts: u64,
    /// Attention that is split over ranks by heads.
    pub attention_split: u64,
    /// Attention that every rank holds whole.
    pub attention_whole: u64,
    /// What the engine makes of MLA's up-projection beside the checkpoint's; in no file.
    pub absorbed: u64,
    /// Feed-forward layers without experts.
    pub dense: u64,
    /// The expert that every token visits.
    pub shared_expert: u64,
    /// Embedding.
    pub embedding: u64,
    /// Output layer.
    pub head: u64,
    /// Norms, gates and what is not recognised; every GPU holds it.
    pub other: u64,
    /// The draft layer of multi-token prediction.
    pub draft: u64,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// `linux/amd64` or `linux/arm64`.
    pub platform: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Logical processors this process may use.
    pub cpus: Option<u32>,
    /// Memory in all, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory available without swapping, in bytes.
    pub memory_available_bytes: Option<u64>,
    /// The Python that a venv would be made from.
    pub python: Option<Python>,
    /// NVIDIA GPUs; `None` when it could not be found out, empty when there are none.
    pub gpus: Option<Vec<Gpu>>,
    /// NVIDIA driver version, such as `575.57.08`.
    pub driver: Option<String>,
    /// Free bytes on the filesystem of each path asked about.
    pub disk_free_bytes: BTreeMap<String, u64>,
    /// TCP ports on 127.0.0.1 that are taken, of those asked about, with the holder where it is known.
    pub ports_taken: BTreeMap<u16, String>,
}

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// Path of the executable.
    pub path: String,
    /// Version, `3.11.7`.
    pub version: String,
    /// Whether it can make virtual environments with pip in them.
    pub venv: bool,
}

/// One NVIDIA GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Index as nvidia-smi counts.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Compute capability, `10.0` on B200, `9.0` on H200.
    pub compute_capability: String,
}

impl Host {
    /// Major version of the NVIDIA driver.
    #[must_use]
    pub fn driver_major(&self) -> Option<u32> {
        self.driver.as_ref()?.split('.').next()?.parse().ok()
    }
}

/// The Docker daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Docker {
    /// Where it was looked for, such as `unix:///var/run/docker.sock`.
    pub endpoint: Option<String>,
    /// Why it cannot be used; `None` when it answers (or was not asked).
    pub unreachable: Option<String>,
    /// Engine version.
    pub version: Option<String>,
    /// What it is when it is not Docker's own, such as `Podman Engine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Highest API version it speaks.
    pub api_version: Option<String>,
    /// Where it keeps images.
    pub root_dir: Option<String>,
    /// Free bytes there, when that path is on this host.
    pub root_free_bytes: Option<u64>,
    /// Its platform, `linux/amd64`.
    pub platform: Option<String>,
    /// Whether it builds with BuildKit, in sessions.
    pub sessions: Option<bool>,
    /// Names of its runtimes.
    pub runtimes: Vec<String>,
    /// Images asked about: reference to image id; absent ones are not listed.
    pub images: BTreeMap<String, String>,
    /// Digests of those images: of the registry they came from, else their own id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
    /// Base images that are absent but whose registry answered for them.
    pub pullable: Vec<String>,
}

impl Docker {
    /// Whether the daemon answered.
    #[must_use]
    pub const fn answers(&self) -> bool {
        self.version.is_some()
    }

    /// Whether it is on another host, as far as its address says: a forwarded port looks like a near one.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        let near = ["unix://", "tcp://127.", "tcp://localhost", "tcp://[::1]"];
        self.endpoint
            .as_ref()
            .is_some_and(|url| !near.iter().any(|prefix| url.starts_with(prefix)))
    }
}

/// Paths that dsr1 works in, all absolute.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Paths {
    /// Hub cache (`HF_HUB_CACHE`): `models--owner--name` folders.
    pub hub_cache: String,
    /// `$XDG_CACHE_HOME/dsr1`: venvs, the rehearsal model's source.
    pub cache: String,
    /// `$XDG_STATE_HOME/dsr1`: engine logs and results.
    pub state: String,
    /// A CA bundle that pip must trust on this site, when the environment names one (`PIP_CERT` and peers).
    pub ca_bundle: Option<String>,
    /// Names of the proxy variables that are set. Not their values: a proxy's URL may hold a password.
    pub proxies: Vec<String>,
    /// Venvs that are complete.
    pub ready_venvs: Vec<String>,
}
