//! Checks of what an engine would be told, before it is told: each with a stable id, a reason, a version and a fix.
//!
//! Not in this module tree: the host (`plan::checks`), memory (`plan::memory`).

mod effective;
mod options;
mod owned;
mod rules;
mod variables;

use serde::{Deserialize, Serialize};

pub use effective::Effective;
pub(super) use options::successor;
pub use owned::check as check_owned;

use super::dialect::EngineFlags;
use super::flags::{Parser, history};
use super::origin::Origins;
use super::schema::Profile;
use super::stack::Stack;
use crate::error::{Error, Kind, Result};

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
    fn new(id: &str, level: Level, subject: &str, text: String) -> Self {
        Self {
            id: id.to_owned(),
            level,
            subject: subject.to_owned(),
            text,
            fix: None,
            place: None,
        }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Everything there is to say about a profile's flags on a stack, the worst first.
#[must_use]
pub fn lint(flags: &EngineFlags, profile: &Profile, stack: &Stack, origins: &Origins) -> Vec<Check> {
    let version = stack.pins.sglang;
    let table = history(Parser::Server).table(version);
    let args: Vec<String> = flags.argv().map(str::to_owned).collect();
    let parsed = table.parse(&args);
    let mut found = options::check(&parsed, Parser::Server, version);
    found.extend(owned::hidden(&args));
    if table.version != version {
        found.push(
            Check::new(
                "flag.table",
                Level::Warn,
                "--help",
                format!(
                    "options of SGLang {version} are not known; those of {} are used",
                    table.version
                ),
            )
            .fix("dsr1 flags sync reads them from the stack's image"),
        );
    }
    found.extend(variables::check(flags, version));
    let effective = Effective::new(&parsed, &flags.environment(), version);
    found.extend(rules::check(&effective, profile, stack));
    for check in &mut found {
        let argument = flags.args.iter().find(|flag| {
            flag.words
                .first()
                .is_some_and(|word| word.split('=').next() == Some(&check.subject))
        });
        let knob = argument.map(|flag| flag.knob.as_str()).or_else(|| {
            flags
                .env
                .get(&check.subject)
                .map(|variable| variable.knob.as_str())
        });
        check.place = knob
            .or(Some(check.subject.as_str()))
            .and_then(|path| origins.place(path))
            .map(|place| place.to_string());
    }
    found.sort_by_key(|check| std::cmp::Reverse(check.level));
    found
}

/// The first error among `checks` as an error of ours, the others as its log.
///
/// # Errors
/// [`Kind::Usage`] when there is one.
pub fn refuse(checks: &[Check], profile: &str, stack: &Stack) -> Result<()> {
    let mut errors = checks.iter().filter(|check| check.level == Level::Error);
    let Some(first) = errors.next() else {
        return Ok(());
    };
    let place = first
        .place
        .as_ref()
        .map_or_else(String::new, |place| format!("{place}: "));
    let mut error = Error::new(
        Kind::Usage,
        format!("{place}profile `{profile}` does not fit stack `{}`", stack.name),
    )
    .cause(format!("{} ({})", first.text, first.id));
    let others: Vec<String> = errors
        .map(|check| format!("also: {} ({})", check.text, check.id))
        .collect();
    if !others.is_empty() {
        error = error.log(others);
    }
    Err(match &first.fix {
        Some(fix) => error.hint(fix.clone()),
        None => error,
    })
}
