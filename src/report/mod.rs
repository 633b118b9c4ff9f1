//! Typed results of steps and commands: plain data, written to stdout as text or JSON and kept in the state directory.
//!
//! Not in this module tree: rendering (`ui`), measuring (`effects`).

mod bench;
mod bundle;
mod comparison;
mod evaluation;
mod expose;
mod measurement;
mod mirror;
mod proof;
mod server;
mod sweep;
mod upgrade;
mod weights;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use bench::{Benchmark, Gsm8k, Latency};
pub use bundle::{Bundled, BundledFile, LeftOut};
pub use comparison::{
    ComparedSide, Comparison, FigureVerdict, GateVerdict, Gated, GatedFigure, MissingFact, NoiseSource,
    Ratio, Reproduction, Shortfall, SideDifference, Subject,
};
pub use evaluation::{
    AnswerCounts, AnswerTokens, BandVerdict, BaselineComparison, EvaluatedData, Evaluation,
    EvaluationSettings, LengthComparison, WrongAnswer,
};
pub use expose::{ExposedRequest, ExposedServer};
pub use measurement::{
    Conversations, Distributions, Figures, MeasuredFile, MeasuredGpus, MeasuredLoad, MeasuredServer,
    Measurement, MeasuringClient, Noise, OtherFigures, Reasoning, RequestCounts, Second, Times, Trust,
    TurnFigures, Verdict,
};
pub use mirror::{Mirrored, MirroredSnapshot, MirroredState};
pub use proof::{Difference, Proof};
pub use server::{
    Answer, AnswerCheck, AnswerPiece, Happening, Load, ServerEvent, ServerState, ServerStatus, StageTime,
    StreamedAnswer, TokenUsage, Verification,
};
pub use sweep::{
    FoundLoad, Mean, Sweep, SweptCombination, SweptFailure, SweptFigures, SweptLimits, SweptLoad, SweptPoint,
};
pub use upgrade::Upgraded;
pub use weights::{
    PullSurvey, SurveyedFile, WeightsChecked, WeightsRepo, WeightsSnapshot, WeightsState, WrongFile,
    WrongState,
};

/// The outcome of a step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// A venv was created, or was present.
    Installed(Installed),
    /// An image was built, or was present.
    Built(Built),
    /// The rehearsal model was written.
    ModelWritten {
        /// Repository id.
        repo: String,
        /// Commit id of the written snapshot.
        commit: String,
    },
    /// A mirror is listening.
    Mirroring {
        /// Its base URL.
        endpoint: String,
    },
    /// An environment of the user can import the engine.
    EnvironmentChecked(EnvironmentChecked),
    /// A snapshot was pulled, or was present.
    Pulled(Pulled),
    /// A snapshot is unchanged since a pull verified it.
    Checked(Pulled),
    /// A folder holds a whole model.
    FolderChecked(FolderChecked),
    /// The engine accepts the arguments.
    Proven(Proof),
    /// A container or process was started.
    Started {
        /// Server name.
        name: String,
    },
    /// A job was submitted.
    Submitted {
        /// Name of the server and the job.
        name: String,
        /// Number of the job.
        job: u64,
    },
    /// The engine is ready.
    Ready(Ready),
    /// Answers of the server were checked.
    Verified(Verification),
    /// A load was measured.
    Measured(Box<Measurement>),
    /// Several loads were measured.
    Swept(Box<Sweep>),
    /// The engine's own benchmark client ran.
    Benchmarked(Box<Benchmark>),
    /// The questions of an evaluation were answered.
    AccuracyMeasured(Box<Evaluation>),
    /// The engine's own script for GSM8K ran.
    Evaluated(Gsm8k),
    /// The server was stopped.
    Stopped {
        /// Server name.
        name: String,
        /// True if the server was killed at the end of the drain time.
        killed: bool,
    },
}

/// A folder of this host that holds a whole model. Its headers were read, no hash was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderChecked {
    /// Absolute path.
    pub path: String,
    /// Number of files with weights.
    pub shards: usize,
    /// Bytes of all files.
    pub size_bytes: u64,
}

/// An environment of the user that can import the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentChecked {
    /// Its Python.
    pub python: String,
    /// Version of its SGLang.
    pub sglang: String,
    /// Number of its packages.
    pub packages: usize,
    /// The modules that were imported.
    pub imports: Vec<Imported>,
    /// True if an earlier check of the same environment imported them.
    pub cached: bool,
}

/// A module that was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Its name.
    pub module: String,
    /// Duration in milliseconds.
    pub ms: u64,
}

/// A venv that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Directory of the venv.
    pub dir: String,
    /// True if the venv was present before.
    pub cached: bool,
    /// Number of packages in the venv.
    pub packages: usize,
}

/// An image that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Its tag.
    pub tag: String,
    /// Its id, `sha256:...`.
    pub image_id: String,
    /// True if the image was present before.
    pub cached: bool,
    /// References that were pushed to registries: `name:tag@sha256:...`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pushed: Vec<String>,
    /// Size in bytes, as the daemon counts.
    pub size_bytes: u64,
}

/// An image of dsr1 on the Docker daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSummary {
    /// Its tags.
    pub tags: Vec<String>,
    /// Its id, `sha256:...`.
    pub image_id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Size in bytes, as the daemon counts: a shared layer counts in every image.
    pub size_bytes: u64,
    /// Time of the build, in seconds since 1970.
    pub created_s: i64,
    /// Containers that use the image.
    pub used_by: Vec<String>,
}

/// Verdicts of the engine's own parser, inside an image or a venv, about the profiles of its stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilesVerified {
    /// Always `dsr1.profiles-verified/1`.
    pub schema: String,
    /// Tag of the image, or directory of the venv.
    pub subject: String,
    /// Id of the image; `None` for a venv.
    pub image_id: Option<String>,
    /// Version of SGLang in the image or the venv.
    pub sglang: String,
    /// One verdict for each profile.
    pub profiles: Vec<ProfileVerified>,
}

/// The parser's verdict about one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileVerified {
    /// Name of the profile.
    pub profile: String,
    /// Arguments that the parser was given.
    pub argv: Vec<String>,
    /// The parser's complaint; `None` if it accepted the arguments.
    pub complaint: Option<String>,
}

/// A snapshot that is complete and verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Repository, `owner/name`.
    pub repo: String,
    /// Requested revision.
    pub revision: String,
    /// Commit of the revision.
    pub commit: String,
    /// Snapshot directory.
    pub snapshot: String,
    /// Files in the snapshot.
    pub files: usize,
    /// Bytes in the snapshot.
    pub total_bytes: u64,
    /// Bytes fetched over the network.
    pub fetched_bytes: u64,
    /// True if nothing was fetched.
    pub cached: bool,
}

/// An engine that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Name of the server.
    #[serde(default)]
    pub server: String,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Name of the model in the API.
    #[serde(default)]
    pub model: String,
    /// Stages with the times at which they were reached.
    pub stages: Vec<StageTime>,
    /// Capacity of the KV pool in tokens, as the log states it.
    pub kv_pool_tokens: Option<u64>,
    /// Memory of the first rank that says it, as the log states it.
    #[serde(default)]
    pub memory: EngineMemory,
    /// The same of the plan; `None` without a memory plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedFigures>,
}

/// Memory of one GPU in a plan, as far as the engine's log states it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFigures {
    /// Bytes that are free before the weights are loaded.
    pub free_bytes: u64,
    /// Bytes of the weights.
    pub weights_bytes: u64,
    /// Tokens in the KV pool of one attention replica.
    pub pool_tokens: u64,
}

/// Memory of one GPU in the words of the engine's log, in GiB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EngineMemory {
    /// Memory that is free before the weights are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_gib: Option<String>,
    /// Weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_gib: Option<String>,
    /// CUDA graphs of decode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphs_gib: Option<String>,
    /// Memory that is left when the scheduler starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_gib: Option<String>,
}

/// The result of a command that executes a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `dsr1.report/1`.
    pub schema: String,
    /// The command.
    pub command: String,
    /// Outcome and time of each step, in order.
    pub steps: Vec<StepReport>,
    /// Total time in milliseconds.
    pub elapsed_ms: u64,
}

/// Outcome and time of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Title of the step.
    pub title: String,
    /// Time in milliseconds.
    pub elapsed_ms: u64,
    /// Outcome of the step.
    pub outcome: Outcome,
}

/// Version of the JSON form of [`Report`].
pub const SCHEMA: &str = "dsr1.report/1";
