//! What the engine tells the world while it works: one enum, one trait.
//!
//! Every display (terminal, plain lines, JSON lines) and every recording reads these events and nothing else.
//! Not in this module: how an event looks (`ui`).

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// One thing that happened. Every quantity names its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step of the plan begins.
    StepStarted {
        /// Position in the plan, from 1.
        step: usize,
        /// Steps in the plan.
        of: usize,
        /// What the step does, for people.
        title: String,
    },
    /// Byte-counted work moved on. Sent at most ten times a second.
    Progress {
        /// Position in the plan, from 1.
        step: usize,
        /// Bytes done.
        done_bytes: u64,
        /// Bytes in all; `None` while unknown.
        total_bytes: Option<u64>,
        /// Bytes that came over the network, where that is another number: some were there, others came twice. A rate is
        /// of these.
        #[serde(skip_serializing_if = "Option::is_none")]
        fetched_bytes: Option<u64>,
        /// What is being worked on, such as a file name.
        item: String,
    },
    /// How far one file of a pull is. Sent once a second while it is under way, and when it is proven.
    File {
        /// Position in the plan, from 1.
        step: usize,
        /// Path in the repository.
        path: String,
        /// Bytes that are there; they are hashed as they come.
        done_bytes: u64,
        /// Its size.
        total_bytes: u64,
        /// What happens to it.
        state: FileState,
        /// Streams that had to be opened again.
        retries: u32,
    },
    /// A line of output from a child: pip, a build, the engine, a client.
    Line {
        /// Position in the plan, from 1.
        step: usize,
        /// Who printed it.
        source: Source,
        /// The line, without newline; may hold anything the child printed.
        text: String,
    },
    /// A step of an image's build began or ended.
    BuildStep {
        /// Position in the plan, from 1.
        step: usize,
        /// What the builder calls it: `[stage-0 2/8] RUN ...`.
        name: String,
        /// What became of it.
        state: BuildState,
        /// How long it took; 0 at its start.
        elapsed_ms: u64,
    },
    /// The engine reached a stage of its start.
    Stage {
        /// Position in the plan, from 1.
        step: usize,
        /// The stage reached.
        stage: Stage,
        /// Since the step began.
        elapsed_ms: u64,
        /// What the log said about it, such as a count of tokens.
        detail: String,
    },
    /// Something the user should know; the work goes on.
    Warning {
        /// What is wrong.
        text: String,
        /// What to do about it; may be empty.
        hint: String,
    },
    /// A fact worth a line: a choice that was made and why.
    Note {
        /// The fact.
        text: String,
    },
    /// A mirror answered a request.
    Request(Request),
    /// A step ended well.
    StepFinished {
        /// Position in the plan, from 1.
        step: usize,
        /// How long it took.
        elapsed_ms: u64,
        /// True when there was nothing to do.
        cached: bool,
        /// What came of it, for people.
        summary: String,
    },
}

/// A request that a mirror answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// When its head was there: UTC, as RFC 3339 writes it.
    pub time: String,
    /// Address of the client.
    pub client: String,
    /// Its method; empty when the head could not be read.
    pub method: String,
    /// Path of the URL as it was sent; may hold anything.
    pub path: String,
    /// The bytes that it asked for, as it says so; may hold anything, and is empty when it asked for all.
    pub range: String,
    /// The status.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// From the head to the last byte.
    pub elapsed_ms: u64,
}

/// What happens to a file of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FileState {
    /// What is there of it is hashed.
    Checking,
    /// It comes, and is hashed as it comes.
    Fetching,
    /// Its stream broke: there is a pause before the next.
    Waiting,
    /// Its hash is right, it is on the disk and has its name.
    Proven,
}

/// What became of a step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// It runs.
    Started,
    /// It ran before: its layer is taken.
    Cached,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
}

/// Who printed a line.
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

/// Where the engine is in its start, in the order SGLang goes through them.
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
    /// Takes one event.
    fn event(&self, event: &Event);
}

/// The reporter as one step of a plan sees it: the step's number is filled in.
#[derive(Clone, Copy)]
pub struct StepEvents<'a> {
    reporter: &'a dyn Reporter,
    step: usize,
}

impl<'a> StepEvents<'a> {
    /// Events of step number `step` (from 1).
    #[must_use]
    pub const fn new(reporter: &'a dyn Reporter, step: usize) -> Self {
        Self { reporter, step }
    }

    /// Byte-counted work moved on; `item` is what is being worked on.
    pub fn progress(&self, done_bytes: u64, total_bytes: Option<u64>, item: &str) {
        self.reporter.event(&Event::Progress {
            step: self.step,
            done_bytes,
            total_bytes,
            fetched_bytes: None,
            item: item.to_owned(),
        });
    }

    /// A pull moved on: of `total_bytes` so many are there, and so many came.
    pub fn pulled(&self, done_bytes: u64, total_bytes: u64, fetched_bytes: u64, item: &str) {
        self.reporter.event(&Event::Progress {
            step: self.step,
            done_bytes,
            total_bytes: Some(total_bytes),
            fetched_bytes: Some(fetched_bytes),
            item: item.to_owned(),
        });
    }

    /// One file moved on.
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

    /// A child printed a line.
    pub fn line(&self, source: Source, text: &str) {
        self.reporter.event(&Event::Line {
            step: self.step,
            source,
            text: text.to_owned(),
        });
    }

    /// A step of an image's build began or ended.
    pub fn build_step(&self, name: &str, state: BuildState, elapsed_ms: u64) {
        self.reporter.event(&Event::BuildStep {
            step: self.step,
            name: name.to_owned(),
            state,
            elapsed_ms,
        });
    }

    /// The engine reached a stage.
    pub fn stage(&self, stage: Stage, elapsed_ms: u64, detail: &str) {
        self.reporter.event(&Event::Stage {
            step: self.step,
            stage,
            elapsed_ms,
            detail: detail.to_owned(),
        });
    }

    /// Something the user should know; the work goes on.
    pub fn warning(&self, text: impl Into<String>, hint: impl Into<String>) {
        self.reporter.event(&Event::Warning {
            text: text.into(),
            hint: hint.into(),
        });
    }

    /// A fact worth a line.
    pub fn note(&self, text: impl Into<String>) {
        self.reporter.event(&Event::Note { text: text.into() });
    }
}

/// Keeps every event; for tests and reports.
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
