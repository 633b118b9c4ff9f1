//! The plan and its steps, as data: every effect that dsr1 can have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::doctor::Blocker;
use crate::facts::WeightFile;
use crate::plan::image::BuildImage;
use crate::plan::selection::{CodeFiles, FilePatterns, Transport};
use crate::profile::Verify;
use crate::sglang::Check;
use crate::sglang::memory::MemoryPlan;

/// Version of the JSON form of [`Plan`].
pub const SCHEMA: &str = "dsr1.plan/1";

/// Where a client runs in a container: `few_shot_gsm8k` writes a file where it stands, and the engine's user owns
/// nothing else (`sglang/test/few_shot_gsm8k.py` 0.5.23).
pub const CLIENT_DIR: &str = "/tmp";

/// What will be done, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The command this plan belongs to, such as `up`.
    pub command: String,
    /// Choices that were made and facts worth knowing.
    pub notes: Vec<String>,
    /// What is to be said about the engine's flags.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What fits on each GPU; `None` on a CPU, for an unknown model, and where nothing is served.
    #[serde(default)]
    pub memory: Option<MemoryPlan>,
    /// What stands in the way on the host that was planned for. Such a plan can be printed and not carried out.
    pub blockers: Vec<Blocker>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// A plan without notes.
    #[must_use]
    pub fn new(command: &str, steps: Vec<Step>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            command: command.to_owned(),
            notes: Vec::new(),
            checks: Vec::new(),
            memory: None,
            blockers: Vec::new(),
            steps,
        }
    }
}

impl Plan {
    /// Everything worth knowing before it is carried out, one line each: notes, then checks.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        self.notes
            .iter()
            .cloned()
            .chain(self.checks.iter().map(ToString::to_string))
    }
}

/// One effect. A closed list: a new effect is a variant here and an arm in [`shell`] and `effects`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Makes a venv with the stack's packages.
    CreateVenv(CreateVenv),
    /// Builds the stack's image.
    BuildImage(BuildImage),
    /// Writes the rehearsal model into a hub cache of its own.
    WriteModel(WriteModel),
    /// Serves a hub cache over HTTP until the plan ends.
    ServeMirror(ServeMirror),
    /// Fetches a snapshot and proves every byte.
    PullSnapshot(PullSnapshot),
    /// Refuses to go on when the snapshot is not complete and verified.
    CheckSnapshot(CheckSnapshot),
    /// Starts the engine in a container.
    StartContainer(StartContainer),
    /// Starts the engine as a child process.
    StartProcess(StartProcess),
    /// Follows the engine through its start until the probe answers.
    AwaitReady(AwaitReady),
    /// Checks answers.
    VerifyAnswers(VerifyAnswers),
    /// Runs the stack's benchmark client.
    RunBenchmark(RunBenchmark),
    /// Runs the stack's GSM8K evaluation.
    RunGsm8k(RunGsm8k),
    /// Stops the engine and removes what ran it.
    StopServer(StopServer),
}

impl Step {
    /// What the step does, for people; fits "doing: {title}".
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::CreateVenv(step) => format!("install {} packages", step.stack),
            Self::BuildImage(step) => format!("build image {}", step.tag),
            Self::WriteModel(step) => format!("write model {}", step.repo),
            Self::ServeMirror(step) => format!("mirror on {}", step.listen),
            Self::PullSnapshot(step) => format!("pull {}", step.repo),
            Self::CheckSnapshot(step) => format!("check weights {}", step.repo),
            Self::StartContainer(step) => format!("start container {}", step.name),
            Self::StartProcess(step) => format!("start process {}", step.name),
            Self::AwaitReady(step) => format!("wait for {}", step.base_url),
            Self::VerifyAnswers(_) => "verify answers".to_owned(),
            Self::RunBenchmark(_) => "benchmark".to_owned(),
            Self::RunGsm8k(_) => "evaluate gsm8k".to_owned(),
            Self::StopServer(step) => format!("stop {}", step.server.name()),
        }
    }
}

/// Which runtime holds a server, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "runtime", rename_all = "snake_case")]
pub enum Server {
    /// A container of that name.
    Docker {
        /// Container name.
        name: String,
    },
    /// The group leader whose standard output is `log`.
    Process {
        /// Server name.
        name: String,
        /// File that takes its stdout and stderr.
        log: String,
    },
}

impl Server {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Docker { name } | Self::Process { name, .. } => name,
        }
    }
}

/// Makes a venv with exactly pinned packages. Done when `dir/dsr1-inputs` holds `inputs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVenv {
    /// Stack the packages belong to.
    pub stack: String,
    /// Interpreter to make it from.
    pub python: String,
    /// Absolute directory of the venv; its name holds the inputs digest.
    pub dir: String,
    /// pip requirements, pinned, installed without resolving dependencies.
    pub requirements: Vec<String>,
    /// Files below site-packages: relative path to text.
    pub files: BTreeMap<String, String>,
    /// Digest of the above.
    pub inputs: String,
    /// Bytes it will take on disk.
    pub install_bytes: u64,
}

/// Writes the rehearsal model in the hub cache layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteModel {
    /// Repository id it is stored under.
    pub repo: String,
    /// Hub cache directory to write to.
    pub cache_dir: String,
}

/// Serves a hub cache read-only with the Hub protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeMirror {
    /// Hub cache directory to serve.
    pub cache_dir: String,
    /// Address and port, `127.0.0.1:8490`.
    pub listen: String,
}

/// Fetches one revision of a repository into the hub cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullSnapshot {
    /// Hub base URL.
    pub endpoint: String,
    /// Repository, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Hub cache directory to write to.
    pub cache_dir: String,
    /// Directory that gets the files under their own names, instead of the hub cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_dir: Option<String>,
    /// Licence of the weights as the profile knows it; empty when only the hub does.
    pub license: String,
    /// Whether a licence that asks for it was agreed to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_license: bool,
    /// Most files fetched at once.
    pub max_workers: usize,
    /// Most bytes a second, over all files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_rate: Option<u64>,
    /// How large files come.
    #[serde(default, skip_serializing_if = "Transport::is_auto")]
    pub transport: Transport,
    /// Which files.
    #[serde(default, skip_serializing_if = "FilePatterns::is_all")]
    pub selection: FilePatterns,
    /// Which files may come that hold code.
    #[serde(default, skip_serializing_if = "CodeFiles::is_none")]
    pub code: CodeFiles,
    /// The only files that may come, when a lock states them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Vec<WeightFile>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Checks that a snapshot is complete and was verified when it was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSnapshot {
    /// Repository, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Hub cache directory.
    pub cache_dir: String,
}

/// Starts a container. Every field is in both renderings: the API call and `docker run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartContainer {
    /// Container name; also the mutex against a second start.
    pub name: String,
    /// Image tag.
    pub image: String,
    /// Whole command, exec form.
    pub argv: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Network mode.
    pub network: String,
    /// Every GPU of the host, or none.
    pub gpus: bool,
    /// `/dev/shm`, in bytes.
    pub shm_bytes: u64,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Bind mounts and volumes.
    pub mounts: Vec<Mount>,
    /// Whether an init process is PID 1. Always true: SGLang kills itself on a crash, and as PID 1 that is a
    /// no-op and the container exits 0.
    pub init: bool,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// Security options.
    pub security_opt: Vec<String>,
    /// Seconds that `docker stop` waits before SIGKILL.
    pub stop_timeout_s: u32,
    /// Log driver. Docker's default keeps everything for ever, and a chatty engine fills the disk.
    pub log_driver: String,
    /// Options of the log driver.
    pub log_opts: BTreeMap<String, String>,
}

/// A resource limit; -1 is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's name: `memlock`, `stack`.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// A mount, always by `--mount`: `-v` makes an empty directory of a mistyped source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Mount {
    /// A host path, read-only.
    Bind {
        /// Host path.
        source: String,
        /// Container path.
        target: String,
    },
    /// A named volume, writable.
    Volume {
        /// Volume name.
        name: String,
        /// Container path.
        target: String,
    },
}

/// Starts the engine as a child in a process group of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartProcess {
    /// Server name.
    pub name: String,
    /// Whole command; the first element is an absolute path.
    pub argv: Vec<String>,
    /// Environment added to a minimal inherited one.
    pub env: BTreeMap<String, String>,
    /// The labels, kept in the first line of the log (see [`log_header`]).
    pub labels: BTreeMap<String, String>,
    /// File that takes stdout and stderr.
    pub log: String,
    /// Working directory.
    pub workdir: String,
}

/// Follows a starting engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitReady {
    /// The server.
    pub server: Server,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Path of the readiness probe.
    pub probe: String,
    /// Seconds without a log line, processor time or I/O after which a stage counts as stalled.
    pub stall_s: u64,
}

/// Asks the server and checks what comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyAnswers {
    /// The server; it must still be alive when the last answer is in.
    pub server: Server,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Which checks this model can pass.
    pub checks: Verify,
}

/// A client command that runs where the server runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBenchmark {
    /// The server whose runtime runs the client.
    pub server: Server,
    /// Whole command, without `--output-file`.
    pub argv: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// File inside the runtime that takes the JSONL line.
    pub output: String,
    /// Requests asked for; fewer completed ones are a failure.
    pub num_prompts: u32,
    /// Directory on this host that keeps the typed result.
    pub results_dir: String,
}

/// The stack's few-shot GSM8K script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGsm8k {
    /// The server whose runtime runs the script.
    pub server: Server,
    /// Whole command, with `--data-path` last but without its value.
    pub argv: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Path or URL of `test.jsonl`.
    pub data: String,
    /// Expected SHA-256 of the data; required for a URL.
    pub sha256: Option<String>,
    /// Questions asked.
    pub questions: u32,
    /// Lowest accuracy that passes, 0 to 1.
    pub min_accuracy: Option<Threshold>,
    /// Directory on this host that keeps data and result.
    pub results_dir: String,
}

/// A share in ten-thousandths, so that plans can be compared exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Threshold(pub u32);

impl Threshold {
    /// A share as a threshold; `None` outside 0 to 1.
    #[must_use]
    pub fn from_share(share: f64) -> Option<Self> {
        let parts = (share * 10_000.0).round();
        // Every whole number up to 10 000 is exact in both types.
        (0.0..=10_000.0)
            .contains(&parts)
            .then(|| (0..=10_000).find(|n| f64::from(*n) >= parts).map(Self))?
    }

    /// The share, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// Stops a server: closes, drains, kills, removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopServer {
    /// The server.
    pub server: Server,
    /// Seconds for running requests before SIGKILL.
    pub drain_s: u32,
}
