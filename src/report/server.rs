//! Results about a running server.
//!
//! Not in this module: the checks (`effects::verify`), how they are shown (`ui`).

use serde::{Deserialize, Serialize};

use crate::event::Stage;

/// When a stage was reached.
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
    /// What was checked, in words: `wiring` or `answers`.
    pub scope: String,
    /// Each check.
    pub checks: Vec<AnswerCheck>,
}

impl Verification {
    /// Whether every check passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

/// One check of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCheck {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

/// An answer to `dsr1 ask`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The model's reasoning, when it marks one.
    pub reasoning: Option<String>,
    /// The answer.
    pub content: String,
    /// Why it ended: `stop`, `length`.
    pub finish_reason: String,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub completion_tokens: u64,
}

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It runs and its probe answers.
    Ready,
    /// It runs and its probe does not answer (yet).
    Starting,
    /// It ended.
    Exited,
}

impl ServerState {
    /// The state in one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Exited => "exited",
        }
    }
}

/// One server of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Name.
    pub name: String,
    /// `docker` or `process`.
    pub runtime: String,
    /// How it is.
    pub state: ServerState,
    /// Container id or process id.
    pub id: String,
    /// Profile it was started from.
    pub profile: String,
    /// Stack it runs on.
    pub stack: String,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// Model path the engine serves.
    pub model: String,
    /// Exit code, of an ended container.
    pub exit_code: Option<i64>,
}
