//! The events that dsr1 sends while it works: one enum, and one trait for their receivers.
//!
//! Every display (terminal, plain lines, JSON lines) and every recording reads these events and nothing else.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// One event. Every quantity names its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step of the plan started.
    StepStarted {
        /// Position in the plan, from 1.
        step: usize,
        /// Number of steps in the plan.
        of: usize,
        /// The step's title, for people.
        title: String,
    },
    /// Progress of work that is counted in bytes. Sent at most ten times a second.
    Progress {
        /// Position in the plan, from 1.
        step: usize,
        /// Bytes done.
        done_bytes: u64,
        /// Total bytes; `None` while unknown.
        total_bytes: Option<u64>,
        /// Bytes fetched over the network, where that number differs from `done_bytes`: some were present before,
        /// others were fetched twice. A rate is computed from these.
        #[serde(skip_serializing_if = "Option::is_none")]
        fetched_bytes: Option<u64>,
        /// Name of the item in work, such as a file name.
        item: String,
    },
    /// Progress of one file of a pull. Sent once a second while the file is in work, and when it is verified.
    File {
        /// Position in the plan, from 1.
        step: usize,
        /// Path in the repository.
        path: String,
        /// Bytes on the disk; they are hashed while they are fetched.
        done_bytes: u64,
        /// Size of the file.
        total_bytes: u64,
        /// State of the file.
        state: FileState,
        /// Number of streams that were reopened.
        retries: u32,
    },
    /// The work of a step that is not counted in bytes.
    Activity {
        /// Position in the plan, from 1.
        step: usize,
        /// The work, such as `load shards`.
        what: String,
        /// Items done: packages, shards, graphs, requests.
        #[serde(skip_serializing_if = "Option::is_none")]
        done: Option<u64>,
        /// Items in all.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A line of output of a child process: pip, a build, the engine, a client.
    Line {
        /// Position in the plan, from 1.
        step: usize,
        /// The program that printed the line.
        source: Source,
        /// The line without its newline; it may hold anything that the child printed.
        text: String,
    },
    /// A step of an image build started or ended.
    BuildStep {
        /// Position in the plan, from 1.
        step: usize,
        /// The builder's name for the step: `[stage-0 2/8] RUN ...`.
        name: String,
        /// State of the step.
        state: BuildState,
        /// Duration of the step; 0 at its start.
        elapsed_ms: u64,
    },
    /// The engine reached a stage of its startup.
    Stage {
        /// Position in the plan, from 1.
        step: usize,
        /// The stage reached.
        stage: Stage,
        /// Time since the step began.
        elapsed_ms: u64,
        /// Detail from the log, such as a number of tokens.
        detail: String,
    },
    /// A problem that the user should know about; the work continues.
    Warning {
        /// The problem.
        text: String,
        /// Advice about it; may be empty.
        hint: String,
    },
    /// A fact for the user, such as a choice that dsr1 made and its reason.
    Note {
        /// The fact.
        text: String,
    },
    /// A mirror answered a request.
    Request(Request),
    /// A step failed or was interrupted.
    StepFailed {
        /// Position in the plan, from 1.
        step: usize,
        /// Name of the kind of error, as in the JSON form of errors.
        kind: String,
        /// The error in one line.
        message: String,
    },
    /// A step succeeded.
    StepFinished {
        /// Position in the plan, from 1.
        step: usize,
        /// Duration of the step.
        elapsed_ms: u64,
        /// True if the step had nothing to do.
        cached: bool,
        /// One-line summary of the outcome, for people.
        summary: String,
    },
}

/// A request that a mirror answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Time at which the head of the request was complete: UTC, in the format of RFC 3339.
    pub time: String,
    /// Address of the client.
    pub client: String,
    /// HTTP method; empty if the head could not be read.
    pub method: String,
    /// Path of the URL as the client sent it; may hold anything.
    pub path: String,
    /// The `Range` header as the client sent it; may hold anything. Empty without one.
    pub range: String,
    /// HTTP status of the response.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// Time from the head of the request to the last byte of the response.
    pub elapsed_ms: u64,
}

/// State of a file of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FileState {
    /// The bytes on the disk are being hashed.
    Checking,
    /// Bytes are being fetched, and hashed at the same time.
    Fetching,
    /// The stream broke; the next one is opened after a pause.
    Waiting,
    /// The file is verified, on the disk, and published under its name.
    Proven,
}

/// State of a step of an image build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// The step is running.
    Started,
    /// The step ran in an earlier build, and its layer is reused.
    Cached,
    /// The step succeeded.
    Done,
    /// The step failed.
    Failed,
}

/// The program that printed a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// pip, venv or an image build.
    Build,
    /// The engine's log.
    Engine,
    /// A benchmark or evaluation client.
    Client,
}

/// Stages of the engine's startup, in the order in which SGLang reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Python imports, argument checks, process spawn.
    Starting,
    /// Reading weights.
    LoadingWeights,
    /// Sizing and allocating the KV cache.
    AllocatingKvCache,
    /// Capturing CUDA graphs.
    CapturingGraphs,
    /// The HTTP server listens; the warm-up request runs.
    WarmingUp,
    /// The readiness probe answers.
    Ready,
}

impl Stage {
    /// The stage in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Starting => "start",
            Self::LoadingWeights => "load weights",
            Self::AllocatingKvCache => "kv cache",
            Self::CapturingGraphs => "graph capture",
            Self::WarmingUp => "warm-up",
            Self::Ready => "ready",
        }
    }
}

/// Receives events. Never fails and never blocks for long.
pub trait Reporter: Send + Sync {
    /// Receives one event.
    fn event(&self, event: &Event);
}

/// A reporter for one step of a plan: it fills in the number of the step.
#[derive(Clone, Copy)]
pub struct StepEvents<'a> {
    reporter: &'a dyn Reporter,
    step: usize,
}

impl<'a> StepEvents<'a> {
    /// Returns the reporter of step number `step`, counted from 1.
    #[must_use]
    pub const fn new(reporter: &'a dyn Reporter, step: usize) -> Self {
        Self { reporter, step }
    }

    /// Reports the progress of work that is counted in bytes; `item` names the item in work.
    pub fn progress(&self, done_bytes: u64, total_bytes: Option<u64>, item: &str) {
        self.reporter.event(&Event::Progress {
            step: self.step,
            done_bytes,
            total_bytes,
            fetched_bytes: None,
            item: item.to_owned(),
        });
    }

    /// Reports the progress of a pull: bytes on the disk, their total, and bytes fetched over the network.
    pub fn pull_progress(&self, done_bytes: u64, total_bytes: u64, fetched_bytes: u64, item: &str) {
        self.reporter.event(&Event::Progress {
            step: self.step,
            done_bytes,
            total_bytes: Some(total_bytes),
            fetched_bytes: Some(fetched_bytes),
            item: item.to_owned(),
        });
    }

    /// Reports the progress of one file.
    pub fn file(&self, path: &str, (done_bytes, total_bytes): (u64, u64), state: FileState, retries: u32) {
        self.reporter.event(&Event::File {
            step: self.step,
            path: path.to_owned(),
            done_bytes,
            total_bytes,
            state,
            retries,
        });
    }

    /// Reports the work of the step, and how many items of how many are done, if they are counted.
    pub fn activity(&self, what: &str, count: Option<(u64, u64)>) {
        self.reporter.event(&Event::Activity {
            step: self.step,
            what: what.to_owned(),
            done: count.map(|(done, _)| done),
            total: count.map(|(_, total)| total),
        });
    }

    /// Reports a line that a child process printed.
    pub fn line(&self, source: Source, text: &str) {
        self.reporter.event(&Event::Line {
            step: self.step,
            source,
            text: text.to_owned(),
        });
    }

    /// Reports the start or the end of a step of an image build.
    pub fn build_step(&self, name: &str, state: BuildState, elapsed_ms: u64) {
        self.reporter.event(&Event::BuildStep {
            step: self.step,
            name: name.to_owned(),
            state,
            elapsed_ms,
        });
    }

    /// Reports a stage of the engine's startup.
    pub fn stage(&self, stage: Stage, elapsed_ms: u64, detail: &str) {
        self.reporter.event(&Event::Stage {
            step: self.step,
            stage,
            elapsed_ms,
            detail: detail.to_owned(),
        });
    }

    /// Reports a problem that the user should know about; the work continues.
    pub fn warning(&self, text: impl Into<String>, hint: impl Into<String>) {
        self.reporter.event(&Event::Warning {
            text: text.into(),
            hint: hint.into(),
        });
    }

    /// Reports a fact.
    pub fn note(&self, text: impl Into<String>) {
        self.reporter.event(&Event::Note { text: text.into() });
    }
}

/// A reporter that keeps every event, for tests and reports.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().map(|events| events.clone()).unwrap_or_default()
    }
}

impl Reporter for Recorder {
    fn event(&self, event: &Event) {
        if let Ok(mut events) = self.0.lock() {
            events.push(event.clone());
        }
    }
}
