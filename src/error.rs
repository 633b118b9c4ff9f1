//! The one error type: a kind (which decides the exit code), a cause chain, hints.
//!
//! Not in this module: printing (`ui`), process exit (`main`). The only home of `anyhow`.

use std::fmt;

/// What sort of thing went wrong; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bug in dsr1 or something nobody foresaw.
    Internal,
    /// The command line, a profile or a stack file is wrong.
    Usage,
    /// This host cannot do it: disk, memory, Python, ports, GPUs, driver.
    Host,
    /// The Docker daemon refused, is absent, or a build failed.
    Docker,
    /// The hub, a package index, the network or authentication failed.
    Hub,
    /// Bytes are not what their hash or size says.
    Integrity,
    /// The engine died, stalled, or answered wrongly.
    Server,
    /// A check ran and its threshold was missed.
    Gate,
    /// A measurement ran but must not be trusted.
    Untrusted,
    /// The user interrupted.
    Interrupted,
}

impl Kind {
    /// Every kind, in the order of the exit-code table in README.
    pub const ALL: [Self; 10] = [
        Self::Internal,
        Self::Usage,
        Self::Host,
        Self::Docker,
        Self::Hub,
        Self::Integrity,
        Self::Server,
        Self::Gate,
        Self::Untrusted,
        Self::Interrupted,
    ];

    /// The process exit code of this kind (design.md 7); 0 is success and 130 is 128 + SIGINT.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Host => 3,
            Self::Docker => 4,
            Self::Hub => 5,
            Self::Integrity => 6,
            Self::Server => 7,
            Self::Gate => 8,
            Self::Untrusted => 9,
            Self::Interrupted => 130,
        }
    }

    /// Stable lower-case name, used in JSON output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::Host => "host",
            Self::Docker => "docker",
            Self::Hub => "hub",
            Self::Integrity => "integrity",
            Self::Server => "server",
            Self::Gate => "gate",
            Self::Untrusted => "untrusted",
            Self::Interrupted => "interrupted",
        }
    }
}

/// An error as the user meets it: what failed, why, and what to do.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: anyhow::Error,
    hints: Vec<String>,
    log: Vec<String>,
    told: bool,
}

/// The result of everything fallible here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error without a cause. `message` is a lower-case fragment: what failed, on what.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            source: anyhow::Error::msg(message.into()),
            hints: Vec::new(),
            log: Vec::new(),
            told: false,
        }
    }

    /// Puts `cause` under this error's message and the causes that it has, as text.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        let above: Vec<String> = self.source.chain().map(ToString::to_string).collect();
        let cause = anyhow::Error::msg(cause.into());
        self.source = above.into_iter().rev().fold(cause, anyhow::Error::context);
        self
    }

    /// Adds one hint: one command to paste or one fact. A repeated hint is kept once.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// Attaches the last lines of a log that show the failure.
    #[must_use]
    pub fn log(mut self, lines: Vec<String>) -> Self {
        self.log = lines;
        self
    }

    /// The same error as one of another kind: what it means was found out later.
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Marks an error that the command's result has told already: only its exit code is left to give.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// As [`Error::told`] when `told`: in JSON the result is the whole answer.
    #[must_use]
    pub fn told_if(mut self, told: bool) -> Self {
        self.told |= told;
        self
    }

    /// Whether the command's result has told it already.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.told
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The message without causes.
    #[must_use]
    pub fn message(&self) -> String {
        self.source.to_string()
    }

    /// The messages of the causes, outermost first.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = self.source.chain().skip(1).map(ToString::to_string).collect();
        causes.dedup();
        causes
    }

    /// The hints, in the order added.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The attached log lines; empty when there is no log.
    #[must_use]
    pub fn log_lines(&self) -> &[String] {
        &self.log
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message())
    }
}

impl std::error::Error for Error {}

/// Turns a foreign error into ours at the edge where it enters.
pub trait At<T> {
    /// Wraps the error with its kind and what was being done.
    ///
    /// # Errors
    /// [`Error`] of `kind` when `self` is an error; its chain becomes the causes.
    fn at(self, kind: Kind, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E> At<T> for std::result::Result<T, E>
where
    E: Into<anyhow::Error>,
{
    fn at(self, kind: Kind, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error {
            kind,
            source: error.into().context(message()),
            hints: Vec::new(),
            log: Vec::new(),
            told: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_distinct_and_documented() {
        let codes: std::collections::BTreeSet<u8> = Kind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        let readme = include_str!("../README.md");
        for kind in Kind::ALL {
            assert!(
                readme.contains(&format!("| {} |", kind.exit_code())),
                "{kind:?} is not in README"
            );
        }
    }

    #[test]
    fn chain_and_hints_are_kept_apart() {
        let io: std::result::Result<(), _> = Err(std::io::Error::other("disk on fire"));
        let error = io
            .at(Kind::Host, || "cannot write `x`".to_owned())
            .unwrap_err()
            .cause("nobody looked")
            .hint("buy a disk")
            .hint("buy a disk");
        assert_eq!(error.message(), "cannot write `x`");
        assert_eq!(error.causes(), ["disk on fire", "nobody looked"]);
        assert_eq!(error.hints(), ["buy a disk"]);
    }
}
