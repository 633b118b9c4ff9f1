//! One line of `dsr1 doctor`.

use serde::{Deserialize, Serialize};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No problem.
    Ok,
    /// A drawback, with which the server still works.
    Warn,
    /// A problem, with which the server will not work.
    Fail,
    /// The fact is not known.
    NotChecked,
}

/// One line of `dsr1 doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id, such as `docker.reachable`.
    pub id: String,
    /// The result.
    pub verdict: Verdict,
    /// The fact and the requirement.
    pub text: String,
    /// The remedy, if the result is not ok.
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
