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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// The server runs, and its readiness probe succeeds.
    Ready,
    /// The server runs, and its readiness probe does not succeed yet.
    Starting,
    /// The server runs, was ready, and does not work on.
    Hung,
    /// The server ended.
    Exited,
}

impl ServerState {
    /// Every state.
    pub const ANY: &[Self] = &[Self::Ready, Self::Starting, Self::Hung, Self::Exited];

    /// The state in one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Hung => "hung",
            Self::Starting => "starting",
            Self::Exited => "exited",
        }
    }
}

/// A server that dsr1 started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}
