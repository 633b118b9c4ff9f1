//! Results about a running server.

use serde::{Deserialize, Serialize};

use crate::event::Stage;

/// The time at which a stage of the engine's startup was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// Milliseconds since the start.
    pub at_ms: u64,
}

/// Outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Scope of the checks: `wiring` or `answers`.
    pub scope: String,
    /// The checks.
    pub checks: Vec<AnswerCheck>,
}

impl Verification {
    /// Returns whether every check passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

/// One check of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCheck {
    /// Name of the check.
    pub name: String,
    /// True if the check passed.
    pub passed: bool,
    /// The observed value.
    pub seen: String,
}

/// An answer to `dsr1 ask`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The model's reasoning, if the model marks it.
    pub reasoning: Option<String>,
    /// The answer.
    pub content: String,
    /// Reason for the end of the answer: `stop`, `length`.
    pub finish_reason: String,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub completion_tokens: u64,
}

/// Token counts of an answer, as the server sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens of the request.
    pub prompt_tokens: u64,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
    /// Tokens of the reasoning, if the server counts them.
    pub reasoning_tokens: Option<u64>,
}

/// An answer that arrived as a stream, from any server of the `OpenAI` API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedAnswer {
    /// The model's reasoning, if the model marks it.
    pub reasoning: Option<String>,
    /// The answer.
    pub content: String,
    /// Reason for the end of the answer: `stop`, `length`.
    pub finish_reason: String,
    /// Token counts, if the server sends them.
    pub usage: Option<TokenUsage>,
}

/// A piece of an answer that arrives as a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerPiece {
    /// Text of the reasoning.
    Reasoning(String),
    /// Text of the answer.
    Content(String),
    /// All content before this was reasoning: the server has no reasoning parser.
    ReasoningEnded,
}

/// State of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// The server runs, and is not ready yet.
    Starting,
    /// The server is ready; its load is not known.
    Ready,
    /// The server is ready, and computes or holds requests.
    Busy,
    /// The server is ready and has no request.
    Idle,
    /// The server was ready, has requests, and does not work on them.
    Hung,
    /// The server was asked to end, and still computes requests.
    Draining,
    /// The server ended, or is ending, and nobody asked it to.
    Crashed,
    /// The server ended because it was asked to.
    Stopped,
}

impl ServerState {
    /// Every state.
    pub const ANY: &[Self] = &[
        Self::Starting,
        Self::Ready,
        Self::Busy,
        Self::Idle,
        Self::Hung,
        Self::Draining,
        Self::Crashed,
        Self::Stopped,
    ];

    /// The states of a server that takes requests.
    pub const SERVING: &[Self] = &[Self::Ready, Self::Busy, Self::Idle];

    /// The state in one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Hung => "hung",
            Self::Draining => "draining",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
        }
    }

    /// Returns true if the server takes requests.
    #[must_use]
    pub const fn is_serving(self) -> bool {
        matches!(self, Self::Ready | Self::Busy | Self::Idle)
    }

    /// Returns true if the server has ended.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Crashed | Self::Stopped)
    }
}

/// The load of a server at a moment, as its metrics state it. Of several attention replicas it is the sum, and the use of the
/// fullest KV pool.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Requests that are computed.
    pub running: u64,
    /// Requests that wait for a place in a batch.
    pub queued: u64,
    /// Requests whose answer has not begun, as far as the version counts them.
    pub waiting: u64,
    /// Requests that ended since the server started.
    pub finished: u64,
    /// Prompt tokens of these.
    pub prompt_tokens: u64,
    /// Generated tokens of these.
    pub generated_tokens: u64,
    /// Generated tokens per second, as of the last batch.
    pub tokens_per_s: f64,
    /// Used share of the KV pool, 0 to 1.
    pub kv_use: f64,
}

impl Load {
    /// Returns the number of requests that are not finished.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.running.saturating_add(self.queued).max(self.waiting)
    }
}

/// A server that dsr1 started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Name of the server.
    pub name: String,
    /// `docker` or `process`.
    pub runtime: String,
    /// State of the server.
    pub state: ServerState,
    /// Container id or process id.
    pub id: String,
    /// Profile of the server.
    pub profile: String,
    /// Stack of the server.
    pub stack: String,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Path of the model that the engine serves.
    pub model: String,
    /// Name of the model in requests, as the server lists it; `None` unless it was asked and is ready.
    pub served_model: Option<String>,
    /// Exit code, of an ended container.
    pub exit_code: Option<i64>,
    /// The cause of its end by its log, or the reason why it is held to hang; `None` for others, and where nothing shows one.
    #[serde(default)]
    pub cause: Option<String>,
    /// Seconds since it was started; `None` if that is not known.
    #[serde(default)]
    pub age_s: Option<u64>,
    /// The last stage of a start, as in `load weights`; `None` of others.
    #[serde(default)]
    pub stage: Option<String>,
    /// Its load; `None` if it is not ready, or has no metrics.
    #[serde(default)]
    pub load: Option<Load>,
}

/// A kind of event in the life of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// Its container or process was started.
    Started,
    /// It was ready for the first time since its start.
    Ready,
    /// Its start failed, and it was removed.
    Failed,
    /// A command began to stop it.
    Stopping,
    /// A command stopped it.
    Stopped,
    /// It ended, and nobody asked it to.
    Crashed,
    /// It has requests and does not work on them.
    Hung,
    /// It works again.
    Recovered,
    /// `dsr1 watch` starts it again.
    Restarting,
    /// `dsr1 watch` does not start it again.
    GaveUp,
}

impl Happening {
    /// The event in a word or two.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Hung => "hung",
            Self::Recovered => "recovered",
            Self::Restarting => "restarting",
            Self::GaveUp => "gave up",
        }
    }
}

/// An event in the life of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerEvent {
    /// Its time in UTC, as in `2026-11-23T21:52:31Z`.
    pub at: String,
    /// Name of the server.
    pub server: String,
    /// Its kind.
    pub what: Happening,
    /// The cause, or further words; empty if there are none.
    #[serde(default)]
    pub text: String,
}
