//! The facts that planning may use: plain data, gathered by `effects`, written to a file with `dsr1 doctor`.
//!
//! An unknown fact is `None`. It is reported as "not checked" and never guessed. Not in this module tree: gathering them
//! (`effects`), verdicts over them (`doctor`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

mod environment;
mod gpu;
mod site;

pub use environment::Environment;
pub use gpu::{Fabric, Gpu, GpuHealth, GpuProcess, visible};
pub use site::{Site, WorkFolder};

/// Version of the JSON form of [`Facts`].
pub const SCHEMA: &str = "dsr1.facts/1";

/// Least memory of a GPU in bytes that is believed: a smaller number is in MiB.
const LEAST_MEMORY: u64 = 1 << 30;

/// Everything that is known about a host, its Docker daemon and its weights.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The machine.
    pub host: Host,
    /// The Docker daemon.
    pub docker: Docker,
    /// Commits of the snapshots in the hub cache, by repository and revision (`repo@revision`).
    pub snapshots: BTreeMap<String, String>,
    /// Verified files of those snapshots, by repository and commit (`repo@commit`), if a command needs them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, Vec<WeightFile>>,
    /// Shapes and sizes of those snapshots' models (`repo@commit`), read from their files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelFacts>,
    /// Models that are not pulled, as their hub lists them (`repo@revision`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listed: BTreeMap<String, Listed>,
    /// Folders of weights that profiles name, by path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub folders: BTreeMap<String, ModelFolder>,
    /// Earlier starts on this host, by the digest of what decides them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub starts: BTreeMap<String, MeasuredStart>,
    /// Paths that dsr1 uses.
    pub paths: Paths,
    /// Servers of dsr1 that are starting or running on this host, by name.
    pub servers: BTreeMap<String, RunningServer>,
    /// The sources of packages and weights, as far as they were asked.
    pub sources: Sources,
}

/// The sources of packages and weights.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sources {
    /// The package index of pip; `None` if it was not asked.
    pub packages: Option<Access>,
    /// The hub, asked for the weights of the profile; `None` if it was not asked.
    pub weights: Option<Access>,
}

/// The answer of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// The source: URL of a hub, or the settings of pip that name a package index; empty for pip's default index.
    pub source: String,
    /// The reason why it gives nothing; `None` if it gives what was asked for.
    pub refused: Option<String>,
    /// The remedy; empty without a reason.
    pub fix: String,
}

/// A server of dsr1 that is starting or running.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "ServerForm")]
pub struct RunningServer {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its runtime: `docker` or `process`.
    pub runtime: String,
    /// The model path that the engine was given.
    pub model: String,
    /// Digest of the inputs of its plan; empty for a server of an earlier dsr1.
    pub inputs: String,
    /// True if the `dsr1 up` that started it stops it at its end.
    pub temporary: bool,
    /// The GPUs that were chosen for it, as indices of nvidia-smi; empty if none were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<u32>,
}

/// The forms of a server in a file of facts: an earlier dsr1 wrote its port only.
#[derive(Deserialize)]
#[serde(untagged)]
enum ServerForm {
    Port(u16),
    Whole {
        port: u16,
        #[serde(default)]
        runtime: String,
        #[serde(default)]
        model: String,
        #[serde(default)]
        inputs: String,
        #[serde(default)]
        temporary: bool,
        #[serde(default)]
        gpus: Vec<u32>,
    },
}

impl From<ServerForm> for RunningServer {
    fn from(form: ServerForm) -> Self {
        match form {
            ServerForm::Port(port) => Self {
                port,
                ..Self::default()
            },
            ServerForm::Whole {
                port,
                runtime,
                model,
                inputs,
                temporary,
                gpus,
            } => Self {
                port,
                runtime,
                model,
                inputs,
                temporary,
                gpus,
            },
        }
    }
}

impl Facts {
    /// Returns a field that cannot be true, with the reason: a file of facts may be written by hand.
    #[must_use]
    pub fn contradiction(&self) -> Option<(String, String)> {
        let mut indices = BTreeSet::new();
        for (at, gpu) in self.host.gpus.iter().flatten().enumerate() {
            let wrong = |field: &str, text: String| Some((format!("host.gpus[{at}].{field}"), text));
            if !indices.insert(gpu.index) {
                return wrong("index", format!("another GPU has the index {}, too", gpu.index));
            }
            if gpu.name.trim().is_empty() {
                return wrong("name", "the GPU has no name".to_owned());
            }
            if gpu.memory_bytes < LEAST_MEMORY {
                let text = format!("{} bytes are no memory of a GPU", gpu.memory_bytes);
                return wrong("memory_bytes", text);
            }
            if gpu.memory_used_bytes.is_some_and(|used| used > gpu.memory_bytes) {
                return wrong("memory_used_bytes", "more is used than there is".to_owned());
            }
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let capability = gpu.compute_capability.split_once('.');
            if !capability.is_some_and(|(major, minor)| digits(major) && digits(minor)) {
                let text = format!(
                    "`{}` is not a compute capability such as 9.0",
                    gpu.compute_capability.escape_debug()
                );
                return wrong("compute_capability", text);
            }
        }
        let host = &self.host;
        let is_more = host.memory_available_bytes.zip(host.memory_bytes);
        if is_more.is_some_and(|(available, all)| available > all) {
            let text = "more is available than there is".to_owned();
            return Some(("host.memory_available_bytes".to_owned(), text));
        }
        if host.cpus == Some(0) {
            return Some(("host.cpus".to_owned(), "a host has processors".to_owned()));
        }
        None
    }

    /// Returns the commit that `revision` of `repo` has in the local cache.
    #[must_use]
    pub fn cached_commit(&self, repo: &str, revision: &str) -> Option<&str> {
        self.snapshots
            .get(&format!("{repo}@{revision}"))
            .map(String::as_str)
    }

    /// Returns the commit of a revision: the revision itself if it is a full hash, else the cached commit.
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

/// A folder with the files of a model, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFolder {
    /// Shape and sizes of the model; `None` if its configuration does not tell them.
    pub model: Option<ModelFacts>,
    /// Number of its files with weights.
    pub shards: usize,
    /// Bytes of all files in it.
    pub size_bytes: u64,
    /// The reasons against a start, a line each: the file and its fault.
    pub wrong: Vec<String>,
    /// A file that is a link to a place outside the folder, which a container does not see.
    pub outside: Option<String>,
}

/// One verified file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightFile {
    /// Path in the repository.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, or git's blob SHA-1 of a small file, in hex.
    pub hash: String,
}

/// The shape and sizes of a model, read from its files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFacts {
    /// The first of `architectures` in `config.json`.
    pub architecture: Option<String>,
    /// Attention heads.
    pub heads: Option<u64>,
    /// Routed experts of a layer; `None` for a dense model.
    pub experts: Option<u64>,
    /// Longest context in tokens.
    pub context: Option<u64>,
    /// Format of the weights by `config.json`, in SGLang's spelling.
    pub quantization: Option<String>,
    /// True if NVIDIA's `ModelOpt` states the format, and it is NVFP4.
    pub is_modelopt: bool,
    /// Format of the KV cache that the checkpoint asks for: `fp8`; `None` if it states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<String>,
    /// Number of layers without the draft layer.
    pub layers: u64,
    /// The first of them that have no experts; all of them in a dense model.
    pub dense_layers: u64,
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

/// The measurements of a start, in the words of the engine's log. "GB" there is 2^30 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MeasuredStart {
    /// Digest of what decides the server: engine, model, flags, environment, port.
    pub inputs: String,
    /// The GPUs, as in `8 x NVIDIA H200`; empty without.
    pub gpus: String,
    /// Day of the start, in UTC.
    pub date: String,
    /// Milliseconds to READY.
    pub ready_ms: u64,
    /// Weights on one GPU in GiB.
    pub weights_gib: Option<String>,
    /// Tokens in the KV pool.
    pub pool_tokens: Option<u64>,
    /// CUDA graphs in GiB.
    pub graphs_gib: Option<String>,
    /// Memory that is left after all of it, in GiB.
    pub left_gib: Option<String>,
}

/// A model as its hub lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Listed {
    /// Commit of the revision.
    pub commit: String,
    /// Sum of the sizes of all files in bytes.
    pub size_bytes: u64,
    /// Identifier of the licence; empty if the hub states none.
    pub license: String,
    /// Shape and sizes, from the configuration and the headers of the safetensors files.
    pub model: ModelFacts,
}

/// Bytes of a model's weights by their use, before anything is split over GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WeightSizes {
    /// Routed experts.
    pub experts: u64,
    /// Attention that is split over ranks by heads.
    pub attention_split: u64,
    /// Attention that every rank holds whole.
    pub attention_whole: u64,
    /// Halves of MLA's up-projection that the engine makes beside the checkpoint's tensor; in no file.
    pub absorbed: u64,
    /// Feed-forward layers without experts.
    pub dense: u64,
    /// The expert that every token uses.
    pub shared_expert: u64,
    /// Embedding.
    pub embedding: u64,
    /// Output layer.
    pub head: u64,
    /// Norms, gates and tensors that are not recognised; every GPU holds them.
    pub other: u64,
    /// The draft layer of multi-token prediction.
    pub draft: u64,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// `linux/amd64` or `linux/arm64`.
    pub platform: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Logical processors that this process may use.
    pub cpus: Option<u32>,
    /// Total memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory available without swapping, in bytes.
    pub memory_available_bytes: Option<u64>,
    /// The Python with which a venv would be made.
    pub python: Option<Python>,
    /// The environment of the user that runs the engine, if one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The Python of the venv or the conda environment that is active in the user's shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_python: Option<String>,
    /// Limits, compilers and folders for a process that runs the engine on GPUs, if one is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Box<Site>>,
    /// Variables of the user's shell that decide which GPUs and libraries a process uses.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// NVIDIA GPUs; `None` if they are not known, empty if there are none.
    pub gpus: Option<Vec<Gpu>>,
    /// NVIDIA driver version, such as `575.57.08`.
    pub driver: Option<String>,
    /// Free bytes on the filesystem of each examined path.
    pub disk_free_bytes: BTreeMap<String, u64>,
    /// The examined TCP ports on 127.0.0.1 that are taken, each with its holder, or with nothing if that is not known.
    pub ports_taken: BTreeMap<u16, String>,
    /// All examined TCP ports on 127.0.0.1.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ports_examined: BTreeSet<u16>,
}

impl Host {
    /// Returns the option that names an environment of the user: the active one, if the shell has one.
    #[must_use]
    pub fn python_option(&self) -> String {
        self.active_python.as_ref().map_or_else(
            || "--python PATH of an engine".to_owned(),
            |python| {
                format!(
                    "--python {} (the active environment)",
                    crate::quote::shell_word(python)
                )
            },
        )
    }

    /// Leaves only the GPUs that a process sees, if `CUDA_VISIBLE_DEVICES` is set.
    pub fn keep_visible_gpus(&mut self) {
        let Some(devices) = self.variables.get("CUDA_VISIBLE_DEVICES") else {
            return;
        };
        if let Some(kept) = self.gpus.as_ref().and_then(|gpus| visible(gpus, devices)) {
            self.gpus = Some(kept);
        }
    }

    /// Returns the major version of the NVIDIA driver.
    #[must_use]
    pub fn driver_major(&self) -> Option<u32> {
        self.driver.as_ref()?.split('.').next()?.parse().ok()
    }
}

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// Path of the executable.
    pub path: String,
    /// Version, `3.11.7`.
    pub version: String,
    /// True if it can make virtual environments with pip.
    pub venv: bool,
}

/// The Docker daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// Its address, such as `unix:///var/run/docker.sock`.
    pub endpoint: Option<String>,
    /// The reason why it cannot be used; `None` if it answers or was not asked.
    pub unreachable: Option<String>,
    /// The remedy, if there is one for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreachable_fix: Option<String>,
    /// Version of the daemon.
    pub version: Option<String>,
    /// Name of the product if it is not Docker's own, such as `Podman Engine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Highest API version that it supports.
    pub api_version: Option<String>,
    /// Directory of its images.
    pub root_dir: Option<String>,
    /// Free bytes in that directory, if it is on this host.
    pub root_free_bytes: Option<u64>,
    /// Its platform, `linux/amd64`.
    pub platform: Option<String>,
    /// True if it builds with BuildKit, in sessions.
    pub sessions: Option<bool>,
    /// Names of its runtimes.
    pub runtimes: Vec<String>,
    /// The examined images that it has: reference to image id.
    pub images: BTreeMap<String, String>,
    /// Digests of those images: in the registry from which they were pulled, else their own id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
    /// Base images that it does not have but whose registry does.
    pub pullable: Vec<String>,
    /// Base images that it neither has nor can pull, each with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_pullable: BTreeMap<String, String>,
}

impl Docker {
    /// Returns true if the daemon answered.
    #[must_use]
    pub const fn answers(&self) -> bool {
        self.version.is_some()
    }

    /// Returns true if its address is on another host. A forwarded port looks like a local one.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        let local = ["unix://", "tcp://127.", "tcp://localhost", "tcp://[::1]"];
        self.endpoint
            .as_ref()
            .is_some_and(|url| !local.iter().any(|prefix| url.starts_with(prefix)))
    }
}

/// Paths that dsr1 uses, all absolute.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Paths {
    /// Hub cache (`HF_HUB_CACHE`): `models--owner--name` folders.
    pub hub_cache: String,
    /// `$XDG_CACHE_HOME/dsr1`: venvs, the rehearsal model's source.
    pub cache: String,
    /// `$XDG_STATE_HOME/dsr1`: engine logs and results.
    pub state: String,
    /// The CA bundle that pip must trust, if the environment names one (`PIP_CERT` and similar variables).
    pub ca_bundle: Option<String>,
    /// The CA bundle that pip's configuration files name (`cert`). Builds of images use it if `ca_bundle` is `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pip_cert: Option<String>,
    /// Names of the proxy variables that are set. Their values are left out, because a proxy's URL may hold a password.
    pub proxies: Vec<String>,
    /// Paths of complete venvs.
    pub ready_venvs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_that_cannot_be_true_name_their_field() {
        let gpu = r#"{"index": 0, "name": "NVIDIA H200", "memory_bytes": 150754820096, "compute_capability": "9.0"}"#;
        let with = |from: &str, to: &str| -> Option<String> {
            let second = gpu.replace("\"index\": 0", "\"index\": 1").replace(from, to);
            let text = format!(r#"{{"host": {{"gpus": [{gpu}, {second}]}}}}"#);
            let facts: Facts = serde_json::from_str(&text).unwrap();
            facts.contradiction().map(|(field, _)| field)
        };
        assert_eq!(with("x", "x"), None);
        for (from, to, field) in [
            ("\"index\": 1", "\"index\": 0", "index"),
            ("150754820096", "143771", "memory_bytes"),
            ("\"9.0\"", "\"sm_90\"", "compute_capability"),
            ("NVIDIA H200", " ", "name"),
            (
                "\"name\"",
                "\"memory_used_bytes\": 150754820097, \"name\"",
                "memory_used_bytes",
            ),
        ] {
            assert_eq!(with(from, to), Some(format!("host.gpus[1].{field}")), "{to}");
        }
    }

    #[test]
    fn a_slice_of_a_gpu_is_known_by_its_name_or_its_mode() {
        for (name, mig, is_sliced) in [
            ("NVIDIA H200", None, false),
            ("NVIDIA H200 MIG 1g.18gb", None, true),
            ("NVIDIA H200", Some(true), true),
            ("NVIDIA H200", Some(false), false),
        ] {
            let gpu = Gpu {
                index: 0,
                name: name.to_owned(),
                memory_bytes: 0,
                memory_used_bytes: None,
                compute_capability: String::new(),
                mig,
                health: None,
            };
            assert_eq!(gpu.is_sliced(), is_sliced, "{name} {mig:?}");
        }
    }
}
