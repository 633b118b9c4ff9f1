//! Typed results of what was done: plain data, written to stdout as text or JSON and kept in the state directory.
//!
//! Not in this module: rendering (`ui`), measuring (`effects`).

mod bench;
mod mirror;
mod server;
mod weights;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use bench::{Benchmark, Gsm8k, Latency};
pub use mirror::{Mirrored, MirroredSnapshot, MirroredState};
pub use server::{Answer, AnswerCheck, ServerState, ServerStatus, StageTime, Verification};
pub use weights::{
    PullSurvey, SurveyedFile, WeightsChecked, WeightsRepo, WeightsSnapshot, WeightsState, WrongFile,
    WrongState,
};

/// What a step of a plan came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// A venv was made or found.
    Installed(Installed),
    /// An image was built or found.
    Built(Built),
    /// The rehearsal model was written.
    ModelWritten {
        /// Repository id.
        repo: String,
        /// Commit id of the written snapshot.
        commit: String,
    },
    /// A mirror listens.
    Mirroring {
        /// Its base URL.
        endpoint: String,
    },
    /// A snapshot was pulled or found.
    Pulled(Pulled),
    /// A snapshot is what was proven when it was pulled.
    Checked(Pulled),
    /// A container or process was started.
    Started {
        /// Server name.
        name: String,
    },
    /// The engine is ready.
    Ready(Ready),
    /// Answers were checked.
    Verified(Verification),
    /// A benchmark ran.
    Benchmarked(Box<Benchmark>),
    /// GSM8K ran.
    Evaluated(Gsm8k),
    /// The server was stopped.
    Stopped {
        /// Server name.
        name: String,
        /// Whether it had to be killed after the drain time.
        killed: bool,
    },
}

/// A venv that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Its directory.
    pub dir: String,
    /// True when it was there already.
    pub cached: bool,
    /// Packages in it.
    pub packages: usize,
}

/// An image that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Its tag.
    pub tag: String,
    /// Its id, `sha256:...`.
    pub image_id: String,
    /// True when it was there already.
    pub cached: bool,
    /// What was sent to registries: `name:tag@sha256:...`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pushed: Vec<String>,
    /// Size in bytes, as the daemon counts.
    pub size_bytes: u64,
}

/// An image of ours on the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSummary {
    /// Its tags.
    pub tags: Vec<String>,
    /// Its id, `sha256:...`.
    pub image_id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Size in bytes, as the daemon counts: layers that images share are in each.
    pub size_bytes: u64,
    /// When it was built, in seconds since 1970.
    pub created_s: i64,
    /// Containers that use it.
    pub used_by: Vec<String>,
}

/// What the engine's own parser inside an image or a venv said to the profiles of its stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilesVerified {
    /// Always `dsr1.profiles-verified/1`.
    pub schema: String,
    /// Tag of the image, or directory of the venv.
    pub subject: String,
    /// The image's id; a venv has none.
    pub image_id: Option<String>,
    /// Version of the SGLang inside.
    pub sglang: String,
    /// One for each profile.
    pub profiles: Vec<ProfileVerified>,
}

/// What the parser said to one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileVerified {
    /// Its name.
    pub profile: String,
    /// What the parser was given.
    pub argv: Vec<String>,
    /// What is wrong with it; `None` when it was accepted.
    pub complaint: Option<String>,
}

/// A snapshot that is complete and proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Repository, `owner/name`.
    pub repo: String,
    /// Revision asked for.
    pub revision: String,
    /// Commit it resolved to.
    pub commit: String,
    /// Snapshot directory.
    pub snapshot: String,
    /// Files in the snapshot.
    pub files: usize,
    /// Bytes in the snapshot.
    pub total_bytes: u64,
    /// Bytes that came over the network.
    pub fetched_bytes: u64,
    /// True when nothing had to be fetched.
    pub cached: bool,
}

/// An engine that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Stages and when they were reached.
    pub stages: Vec<StageTime>,
    /// Tokens the KV pool holds, as the log says.
    pub kv_pool_tokens: Option<u64>,
}

/// What a command that executes a plan came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `dsr1.report/1`.
    pub schema: String,
    /// The command.
    pub command: String,
    /// Outcome of each step, in order, with its time.
    pub steps: Vec<StepReport>,
    /// Time of the whole, in milliseconds.
    pub elapsed_ms: u64,
}

/// Outcome and time of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// What the step did.
    pub title: String,
    /// Time in milliseconds.
    pub elapsed_ms: u64,
    /// Outcome of the step.
    pub outcome: Outcome,
}

/// Version of the JSON form of [`Report`].
pub const SCHEMA: &str = "dsr1.report/1";
