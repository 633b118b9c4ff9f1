//! The plan and its steps, as data: every effect that dsr1 can have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::doctor::Blocker;
use crate::evaluate::AnswerSettings;
use crate::facts::{MeasuredStart, WeightFile};
use crate::measure::course::Course;
use crate::measure::{Api, Extent, Lengths, Load, PromptSource};
use crate::plan::image::BuildImage;
use crate::plan::selection::{CodeFiles, FilePatterns, Transport};
use crate::profile::Verify;
use crate::sglang::Check;
use crate::sglang::memory::MemoryPlan;
use crate::sglang::resolve::{Resolved, TorchGpu};

/// Version of the JSON form of [`Plan`].
pub const SCHEMA: &str = "dsr1.plan/1";

/// Working directory of a client in a container: `few_shot_gsm8k` writes a file to it, and the engine's user can write
/// to no other (`sglang/test/few_shot_gsm8k.py` 0.5.23).
pub const CLIENT_DIR: &str = "/tmp";

/// A list of steps, with everything that the user should know before they are executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The command this plan belongs to, such as `up`.
    pub command: String,
    /// Choices that dsr1 made, and facts for the user.
    pub notes: Vec<String>,
    /// Findings about the engine's flags.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Memory plan of each GPU; `None` on a CPU, for an unknown model, and without a server.
    #[serde(default)]
    pub memory: Option<MemoryPlan>,
    /// The measurements of the last start of the same server on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredStart>,
    /// Conditions of the target host that prevent the plan. A plan with blockers can be printed, but not executed.
    pub blockers: Vec<Blocker>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Returns a plan without notes.
    #[must_use]
    pub fn new(command: &str, steps: Vec<Step>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            command: command.to_owned(),
            notes: Vec::new(),
            checks: Vec::new(),
            memory: None,
            measured: None,
            blockers: Vec::new(),
            steps,
        }
    }
}

impl Plan {
    /// Returns the server that goes on running if the plan ends during step `index` (from 0): it is ready before that step,
    /// or ran before the plan, and no later step stops it.
    #[must_use]
    pub fn left_running(&self, index: usize) -> Option<&Server> {
        let server = self.steps.iter().enumerate().find_map(|(at, step)| match step {
            Step::AwaitReady(step) if step.runs_already || at < index => Some(&step.server),
            _ => None,
        })?;
        let stops = |step: &Step| matches!(step, Step::StopServer(stop) if stop.server == *server);
        (!self.steps.iter().any(stops)).then_some(server)
    }

    /// Returns the notes and then the findings, one line each.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        self.notes
            .iter()
            .cloned()
            .chain(self.checks.iter().map(ToString::to_string))
    }
}

/// One effect. The list is closed: a new effect is a variant here and an arm in `render::shell` and in `effects`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Makes a venv with the stack's packages.
    CreateVenv(CreateVenv),
    /// Fails if an environment of the user is not the planned one, or cannot import the engine.
    CheckEnvironment(CheckEnvironment),
    /// Builds the stack's image.
    BuildImage(BuildImage),
    /// Writes the rehearsal model into a hub cache of its own.
    WriteModel(WriteModel),
    /// Serves a hub cache over HTTP until the plan ends.
    ServeMirror(ServeMirror),
    /// Fetches a snapshot and verifies every byte.
    PullSnapshot(PullSnapshot),
    /// Fails if the snapshot is not complete and verified.
    CheckSnapshot(CheckSnapshot),
    /// Fails if a folder does not hold a whole model.
    CheckFolder(CheckFolder),
    /// Asks the installed engine what it makes of the arguments.
    ProveArguments(Box<ProveArguments>),
    /// Starts the engine in a container.
    StartContainer(StartContainer),
    /// Starts the engine as a child process.
    StartProcess(StartProcess),
    /// Submits a server over several nodes as a job of Slurm.
    SubmitJob(Box<SubmitJob>),
    /// Follows a job until its server takes requests.
    AwaitJob(AwaitJob),
    /// Follows the engine through its startup until the readiness probe succeeds.
    AwaitReady(AwaitReady),
    /// Checks answers of the server.
    VerifyAnswers(VerifyAnswers),
    /// Puts a load on the server with dsr1's own client.
    MeasureLoad(Box<MeasureLoad>),
    /// Puts several loads on a server, one after the other.
    MeasureCourse(Box<MeasureCourse>),
    /// Runs the stack's benchmark client.
    RunBenchmark(RunBenchmark),
    /// Asks the server the questions of an evaluation with dsr1's own client.
    EvaluateModel(Box<EvaluateModel>),
    /// Runs the stack's GSM8K evaluation.
    RunGsm8k(RunGsm8k),
    /// Stops the engine and removes its container.
    StopServer(StopServer),
}

impl Step {
    /// Returns the title for people; it fits "doing: {title}".
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::CreateVenv(step) => format!("install {} packages", step.stack),
            Self::CheckEnvironment(step) => format!("check the environment of {}", step.python),
            Self::BuildImage(step) => format!("build image {}", step.tag),
            Self::WriteModel(step) => format!("write model {}", step.repo),
            Self::ServeMirror(step) => format!("mirror on {}", step.listen),
            Self::PullSnapshot(step) => format!("pull {}", step.repo),
            Self::CheckSnapshot(step) => format!("check weights {}", step.repo),
            Self::CheckFolder(step) => format!("check weights in {}", step.path),
            Self::ProveArguments(step) => format!("ask SGLang {} about the arguments", step.sglang),
            Self::StartContainer(step) => format!("start container {}", step.name),
            Self::StartProcess(step) => format!("start process {}", step.name),
            Self::SubmitJob(step) => format!("submit job {}", step.name),
            Self::AwaitJob(step) => format!("wait for job {}", step.server.name()),
            Self::AwaitReady(step) => format!("wait for {}", step.base_url),
            Self::VerifyAnswers(_) => "verify answers".to_owned(),
            Self::MeasureLoad(step) => match &step.server {
                // Only the job knows the URL.
                Some(server @ Server::Slurm { .. }) => format!("measure {}", server.name()),
                _ => format!("measure {}", step.base_url),
            },
            Self::MeasureCourse(step) => format!("measure {} at several loads", step.measure.base_url),
            Self::RunBenchmark(_) => "benchmark".to_owned(),
            Self::EvaluateModel(step) => format!("evaluate {}", step.settings.task.name()),
            Self::RunGsm8k(_) => "evaluate gsm8k".to_owned(),
            Self::StopServer(step) => format!("stop {}", step.server.name()),
        }
    }
}

/// A server: its runtime, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "runtime", rename_all = "snake_case")]
pub enum Server {
    /// A container of that name.
    Docker {
        /// Container name.
        name: String,
    },
    /// The process group leader whose standard output is `log`.
    Process {
        /// Server name.
        name: String,
        /// File that receives stdout and stderr.
        log: String,
    },
    /// The newest job of Slurm of that name, of this user.
    Slurm {
        /// Name of the job.
        name: String,
        /// Folder with its log, its script and the logs of its ranks; the nodes see it, too.
        folder: String,
    },
}

impl Server {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Docker { name } | Self::Process { name, .. } | Self::Slurm { name, .. } => name,
        }
    }
}

/// Makes a venv with exactly pinned packages. Nothing is done if `dir/dsr1-inputs` holds `inputs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVenv {
    /// Stack of the packages.
    pub stack: String,
    /// Interpreter that creates the venv.
    pub python: String,
    /// Absolute directory of the venv; its name holds the digest of the inputs.
    pub dir: String,
    /// pip requirements, pinned, installed without resolving dependencies.
    pub requirements: Vec<String>,
    /// The pip requirement of uv, which installs them if the package index has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installer: Option<String>,
    /// Files below site-packages: relative path to text.
    pub files: BTreeMap<String, String>,
    /// Digest of the inputs above.
    pub inputs: String,
    /// Bytes that the venv takes on disk.
    pub install_bytes: u64,
}

/// Checks an environment of the user. Nothing is imported if `cache_dir` has the result for `inputs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckEnvironment {
    /// Its Python: an absolute path.
    pub python: String,
    /// Version of its SGLang.
    pub sglang: String,
    /// SHA-256 of its packages.
    pub sha256: String,
    /// Variables that the engine gets.
    pub variables: BTreeMap<String, String>,
    /// Modules that a start imports.
    pub modules: Vec<String>,
    /// True if the engine uses no GPU.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_cpu: bool,
    /// Digest of all that decides the result: packages, variables, driver, GPUs.
    pub inputs: String,
    /// Directory of the results.
    pub cache_dir: String,
}

/// Writes the rehearsal model in the hub cache layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteModel {
    /// Repository id of the model.
    pub repo: String,
    /// Hub cache directory to write to.
    pub cache_dir: String,
}

/// Serves a hub cache read-only over the protocol of the hub.
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
    /// Directory that receives the files under their own names, instead of the hub cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_dir: Option<String>,
    /// Licence of the weights as the profile states it; empty if only the hub states it.
    pub license: String,
    /// True if the user accepted the licence.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_license: bool,
    /// Maximum number of files that are fetched at once.
    pub max_workers: usize,
    /// Maximum bytes per second over all files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_rate: Option<u64>,
    /// Transport of large files.
    #[serde(default, skip_serializing_if = "Transport::is_auto")]
    pub transport: Transport,
    /// Patterns of the files to fetch.
    #[serde(default, skip_serializing_if = "FilePatterns::is_all")]
    pub selection: FilePatterns,
    /// Files with code that may be fetched.
    #[serde(default, skip_serializing_if = "CodeFiles::is_none")]
    pub code: CodeFiles,
    /// The only files that may be fetched, if a lock lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Vec<WeightFile>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
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

/// Checks that a folder of this host holds a whole model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFolder {
    /// Absolute path.
    pub path: String,
    /// The model's name: that of a repository if the profile names one.
    pub repo: String,
    /// True if the engine sees the folder through a read-only mount: links must not leave it.
    pub in_container: bool,
}

/// The place of an installed SGLang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case")]
pub enum EngineSource {
    /// In an image.
    Image {
        /// Tag or id.
        image: String,
        /// Python inside it.
        python: String,
    },
    /// In a venv on this host.
    Venv {
        /// Its Python.
        python: String,
        /// Variables that decide what this Python finds.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        variables: BTreeMap<String, String>,
    },
}

impl EngineSource {
    /// Returns the image or the Python, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Image { image, .. } => image,
            Self::Venv { python, .. } => python,
        }
    }
}

/// Asks the installed engine what it makes of the arguments, without a GPU and without the weights. An answer is kept in
/// `cache_dir` by everything that decides it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProveArguments {
    /// Version of SGLang.
    pub sglang: String,
    /// The SGLang to ask.
    pub source: EngineSource,
    /// SHA-256 of the packages of an environment of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Base URL of the hub that has the model's configuration, if it is not pulled yet.
    pub endpoint: Option<String>,
    /// Folder of the model, if the profile names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Repository of the model, `owner/name`.
    pub repo: String,
    /// Its branch, tag or commit.
    pub revision: String,
    /// Hub cache directory.
    pub hub_cache: String,
    /// The GPU that the arguments are for; `None` for a CPU.
    pub gpu: Option<TorchGpu>,
    /// The arguments; `{model}` stands for the model's folder.
    pub words: Vec<String>,
    /// The arguments as dsr1 resolves them, to compare; `None` where it resolves none.
    pub planned: Option<Box<Resolved>>,
    /// Directory of the answers.
    pub cache_dir: String,
}

/// Starts a container. Every field appears in the API call and in each form of `render`: all of them take the struct
/// apart without `..`, so the compiler names the places that a new field needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartContainer {
    /// Container name; the daemon refuses a second container of that name, which prevents a second start.
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
    /// True for every GPU of the host, false for none.
    pub gpus: bool,
    /// `/dev/shm`, in bytes.
    pub shm_bytes: u64,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Bind mounts and volumes.
    pub mounts: Vec<Mount>,
    /// True if an init process is PID 1. Always true: SGLang kills itself on a crash, but PID 1 ignores that signal,
    /// and the container would exit with 0.
    pub init: bool,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// Security options.
    pub security_opt: Vec<String>,
    /// Seconds that `docker stop` waits before SIGKILL.
    pub stop_timeout_s: u32,
    /// Log driver. Docker's default has no size limit, and the log of an engine would fill the disk.
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

/// A mount, always given as `--mount`, because `-v` creates an empty directory for a mistyped source.
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

/// Starts the engine as a child process in a process group of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartProcess {
    /// Server name.
    pub name: String,
    /// Whole command; the first element is an absolute path.
    pub argv: Vec<String>,
    /// Variables that are added to a minimal inherited environment.
    pub env: BTreeMap<String, String>,
    /// Labels; the first line of the log holds them (see `log_header`).
    pub labels: BTreeMap<String, String>,
    /// File that receives stdout and stderr.
    pub log: String,
    /// Working directory.
    pub workdir: String,
}

/// The memory of one GPU in a plan, as far as the engine's log states it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMemory {
    /// Bytes that are free before the weights are loaded.
    pub usable_bytes: u64,
    /// Bytes of the weights.
    #[serde(default)]
    pub weights_bytes: u64,
    /// Tokens in the KV pool of one attention replica.
    pub pool_tokens: u64,
}

/// Submits a job of Slurm. A job of that name that waits or runs is not doubled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitJob {
    /// Name of the job and the server.
    pub name: String,
    /// Folder for the script and the logs; it must be on storage that all nodes share.
    pub folder: String,
    /// The script, as `sbatch` takes it.
    pub script: String,
    /// Labels of the server; the comment of the job holds them.
    pub labels: BTreeMap<String, String>,
}

/// Waits until the server of a job takes requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitJob {
    /// The server.
    pub server: Server,
    /// The URL that later steps name; the job says the real one, because only it knows its nodes.
    pub base_url: String,
    /// Name of the model in the API.
    pub model: String,
    /// The log files of the ranks, by the name of the rank.
    pub ranks: BTreeMap<String, String>,
}

/// Waits until an engine is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitReady {
    /// The server.
    pub server: Server,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Name of the model in the API.
    #[serde(default)]
    pub model: String,
    /// Path of the readiness probe.
    pub probe: String,
    /// Folder of the weights on this host, whose files are read ahead; `None` if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<String>,
    /// The plan's memory, which the engine's own figures are compared with; `None` without a memory plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedMemory>,
    /// Seconds without a log line, CPU time or I/O after which a stage counts as stalled.
    pub stall_s: u64,
    /// True if the plan does not start the server, because it runs already: the lines of its log up to now are old.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runs_already: bool,
    /// Digest of what decides the server, by which the measurements of its start are kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub inputs: String,
    /// The GPUs of the host, as in `8 x NVIDIA H200`; empty without.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gpus: String,
    /// Milliseconds that the last start of the same server took here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<u64>,
}

/// Sends requests to the server and checks the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyAnswers {
    /// The server; it must still be alive after the last answer.
    pub server: Server,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// The checks that this model can pass.
    pub checks: Verify,
}

/// Puts a load on a server with dsr1's own client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureLoad {
    /// The server; `None` for one that dsr1 knows by its URL only.
    pub server: Option<Server>,
    /// Its base URL.
    pub base_url: String,
    /// The model's name in requests; `None` for the first one that the server lists.
    pub model: Option<String>,
    /// Profile and stack of the server.
    pub profile: Option<String>,
    /// Stack of the server.
    pub stack: Option<String>,
    /// Folder of the model as the server's runtime sees it: its `config.json` has the size of the vocabulary.
    pub model_path: Option<String>,
    /// Facts about the host and the start of the server, for the result.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host: BTreeMap<String, String>,
    /// Size of the vocabulary, if the user says it.
    pub vocabulary: Option<u32>,
    /// The API.
    pub api: Api,
    /// The load.
    pub load: Load,
    /// The lengths.
    pub lengths: Lengths,
    /// The source of the prompts.
    #[serde(default, skip_serializing_if = "PromptSource::is_default")]
    pub source: PromptSource,
    /// The extent.
    pub extent: Extent,
    /// Seed of all random numbers; `None` for a new one in each run.
    pub seed: Option<u64>,
    /// True if the server is to ignore the model's mark of an end.
    pub ignores_end: bool,
    /// The verdicts that make the command fail.
    pub strictness: Strictness,
    /// Directory on this host for the result.
    pub results_dir: String,
    /// File for the records of all requests, a JSON object on each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<String>,
    /// The same load by the engine's own client, for a script that runs without dsr1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_engine: Option<RunBenchmark>,
}

/// Puts several loads on a server, one after the other, with dsr1's own client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureCourse {
    /// Everything but the loads: that of the first one is in it, too.
    pub measure: MeasureLoad,
    /// The loads.
    pub course: Course,
    /// Seconds without a load between two points; 0 hands the load over from each to the next one.
    pub cool_down_s: u32,
    /// Digest of all that decides the results.
    pub key: String,
    /// File on this host with the points so far, until the course is complete.
    pub partial: String,
    /// True to measure kept points again.
    pub is_fresh: bool,
}

/// The verdicts on a measurement that make a command fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// None: the measurement is one step of many.
    Reports,
    /// Those of figures that must not be used.
    RefusesBad,
    /// Those of doubt, too.
    RefusesDoubt,
}

/// Runs the stack's benchmark client in the runtime of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBenchmark {
    /// The server whose runtime runs the client.
    pub server: Server,
    /// Its URL, `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub base_url: String,
    /// Whole command, without `--output-file`.
    pub argv: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// File inside the runtime that receives the JSONL line.
    pub output: String,
    /// Number of requests; fewer completed requests are a failure.
    pub num_prompts: u32,
    /// Directory on this host for the typed result.
    pub results_dir: String,
}

/// Runs the stack's few-shot GSM8K script in the runtime of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGsm8k {
    /// The server whose runtime runs the script.
    pub server: Server,
    /// Its URL, `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub base_url: String,
    /// Whole command, with `--data-path` last but without its value.
    pub argv: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Path or URL of `test.jsonl`.
    pub data: String,
    /// Expected SHA-256 of the data; required for a URL.
    pub sha256: Option<String>,
    /// Number of questions.
    pub questions: u32,
    /// Minimum accuracy to pass, 0 to 1.
    pub min_accuracy: Option<Threshold>,
    /// Directory on this host for the data and the result.
    pub results_dir: String,
}

/// Asks the server the questions of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluateModel {
    /// The server; `None` for one that is known by its URL only.
    pub server: Option<Server>,
    /// Its base URL.
    pub base_url: String,
    /// The model's name in requests; `None` for the first one that the server lists.
    pub model: Option<String>,
    /// Profile of the server.
    pub profile: Option<String>,
    /// Stack of the server.
    pub stack: Option<String>,
    /// Facts about the host and the start of the server, for the result.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host: BTreeMap<String, String>,
    /// The settings that decide an answer.
    pub settings: AnswerSettings,
    /// The year of a competition, if the user says it.
    pub year: Option<u32>,
    /// Path or URL of the questions.
    pub data: String,
    /// Expected SHA-256 of the data; required for a URL.
    pub sha256: Option<String>,
    /// Number of questions, from the first one; `None` for all.
    pub questions: Option<u32>,
    /// Answers to each question.
    pub samples: u32,
    /// Requests in flight.
    pub parallel: u32,
    /// Most seconds in which nothing arrives for a request.
    pub stall_s: u32,
    /// Minimum accuracy to pass.
    pub min_accuracy: Option<Threshold>,
    /// Expected mean tokens of an answer, with its reasoning.
    pub expect_tokens: Option<f64>,
    /// Half the width of the band around them, in percent of them.
    pub length_tolerance: f64,
    /// True to ask all questions, although answers of an earlier start are kept.
    pub fresh: bool,
    /// Most wrong answers in the result.
    pub show_wrong: u32,
    /// Directory on this host for the answers and the result.
    pub results_dir: String,
    /// The same questions by the engine's own script, for a script that runs without dsr1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_engine: Option<RunGsm8k>,
}

/// A share in ten-thousandths, so that plans compare exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Threshold(pub u32);

impl Threshold {
    /// Returns a share as a threshold; `None` outside 0 to 1.
    #[must_use]
    pub fn from_share(share: f64) -> Option<Self> {
        let parts = (share * 10_000.0).round();
        // Every whole number up to 10 000 is exact in both types.
        (0.0..=10_000.0)
            .contains(&parts)
            .then(|| (0..=10_000).find(|n| f64::from(*n) >= parts).map(Self))?
    }

    /// Returns the share, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// Seconds that running requests have when a server is stopped and the user names no other time.
pub const DRAIN_S: u32 = 30;

/// Stops a server: no new requests, a drain time, then a kill, and the removal of its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopServer {
    /// The server.
    pub server: Server,
    /// Seconds that running requests have before SIGKILL.
    pub drain_s: u32,
}
