//! A finding about what the engine would be told.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Works, and is probably not what was meant, or not for long.
    Warn,
    /// The engine would refuse, ignore or reinterpret it.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable id, such as `flag.removed`.
    pub id: String,
    /// How bad.
    pub level: Level,
    /// What it is about: an option, a variable or a knob.
    pub subject: String,
    /// What is wrong, with the version.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
    /// Where it was written, `file:line`.
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
    /// A finding without a fix or a place.
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

    /// The finding with what to do about it.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
