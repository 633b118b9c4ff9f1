//! One line of `dsr1 doctor`.

use serde::{Deserialize, Serialize};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with a drawback.
    Warn,
    /// Will not work.
    Fail,
    /// Not known, not guessed.
    NotChecked,
}

/// One line of `dsr1 doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id, such as `docker.reachable`.
    pub id: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what is wanted.
    pub text: String,
    /// What to do when it is not ok.
    pub fix: Option<String>,
}

impl Finding {
    pub(super) fn new(id: &str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            verdict,
            text: text.into(),
            fix: None,
        }
    }

    pub(super) fn fix(mut self, fix: &str) -> Self {
        self.fix = Some(fix.to_owned());
        self
    }
}
