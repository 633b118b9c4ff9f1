//! A finding about the engine's command line and environment.

use serde::{Deserialize, Serialize};

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Works, but probably not as intended, or not for long.
    Warn,
    /// The engine refuses, ignores or reinterprets it.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable id, such as `flag.removed`.
    pub id: String,
    /// Severity.
    pub level: Level,
    /// The option, the variable or the knob that it is about.
    pub subject: String,
    /// The problem, with the version.
    pub text: String,
    /// The remedy.
    pub fix: Option<String>,
    /// The place of the subject, `file:line`.
    pub place: Option<String>,
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            id,
            level: _,
            subject: _,
            text,
            fix,
            place,
        } = self;
        if let Some(place) = place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{text} ({id})")?;
        match fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

impl Check {
    /// Makes a finding without a fix and a place.
    pub(crate) fn new(id: &str, level: Level, subject: &str, text: String) -> Self {
        Self {
            id: id.to_owned(),
            level,
            subject: subject.to_owned(),
            text,
            fix: None,
            place: None,
        }
    }

    /// Returns the finding with a remedy.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
