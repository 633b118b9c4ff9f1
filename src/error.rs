//! The one error type: a kind, which decides the exit code, a chain of causes, and hints. No other module uses
//! `anyhow`.

use std::fmt;

/// Declares [`Kind`] from one table: a variant without an exit code and a name does not compile, and [`Kind::ALL`] is
/// complete.
macro_rules! kinds {
    ($($(#[$about:meta])* $variant:ident = $exit_code:literal, $name:literal;)*) => {
        /// Category of an error; it decides the exit code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$about])* $variant,)*
        }

        impl Kind {
            /// Every kind, in the order of the exit-code table in README.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The process exit code of this kind. 0 is success.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit_code,)* }
            }

            /// The stable lower-case name, used in JSON output.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// A bug in dsr1, or an unexpected error.
    Internal = 1, "internal";
    /// The command line, a profile or a stack file is wrong.
    Usage = 2, "usage";
    /// This host is not ready: disk, memory, Python, ports, GPUs, driver.
    Host = 3, "host";
    /// The Docker daemon is absent or refused a request, or a build failed.
    Docker = 4, "docker";
    /// The hub, a package index, the network or the authentication failed.
    Hub = 5, "hub";
    /// Bytes do not match their hash or their size.
    Integrity = 6, "integrity";
    /// The engine died, stalled, or answered wrongly.
    Server = 7, "server";
    /// A check ran and its threshold was missed.
    Gate = 8, "gate";
    /// A measurement ran but must not be trusted.
    Untrusted = 9, "untrusted";
    /// The user interrupted the command: 128 + SIGINT.
    Interrupted = 130, "interrupted";
}

/// An error as a user reads it: the failure, its causes, and hints about what to do.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: anyhow::Error,
    hints: Vec<String>,
    log: Vec<String>,
    reported: bool,
}

/// The result type of every fallible function of dsr1.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Returns an error without a cause. `message` is a lower-case fragment: what failed, on what.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            source: anyhow::Error::msg(message.into()),
            hints: Vec::new(),
            log: Vec::new(),
            reported: false,
        }
    }

    /// Appends `cause` to the chain of causes, as text.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        let above: Vec<String> = self.source.chain().map(ToString::to_string).collect();
        let cause = anyhow::Error::msg(cause.into());
        self.source = above.into_iter().rev().fold(cause, anyhow::Error::context);
        self
    }

    /// Adds a consequence to the message, after a semicolon.
    #[must_use]
    pub fn also(mut self, consequence: impl fmt::Display) -> Self {
        let mut texts: Vec<String> = self.source.chain().map(ToString::to_string).collect();
        if let Some(message) = texts.first_mut() {
            *message = format!("{message}; {consequence}");
        }
        let mut texts = texts.into_iter().rev();
        let innermost = anyhow::Error::msg(texts.next().unwrap_or_default());
        self.source = texts.fold(innermost, anyhow::Error::context);
        self
    }

    /// Adds one hint: a command to paste, or a fact. A repeated hint is kept once.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// Replaces the hints.
    #[must_use]
    pub fn with_hints(mut self, hints: Vec<String>) -> Self {
        self.hints = hints;
        self
    }

    /// Attaches the last lines of a log that show the failure.
    #[must_use]
    pub fn log(mut self, lines: Vec<String>) -> Self {
        self.log = lines;
        self
    }

    /// Replaces the kind, for a caller that knows more about the failure than the code that met it.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Marks an error that the command's result already states, so that only the exit code is still needed.
    #[must_use]
    pub fn reported(mut self) -> Self {
        self.reported = true;
        self
    }

    /// Marks the error as [`Error::reported`] if `reported` is true: in JSON the result is the whole answer.
    #[must_use]
    pub fn reported_if(mut self, reported: bool) -> Self {
        self.reported |= reported;
        self
    }

    /// Returns whether the command's result already states the error.
    #[must_use]
    pub const fn is_reported(&self) -> bool {
        self.reported
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

    /// The innermost cause, or the message without one.
    #[must_use]
    pub fn innermost(&self) -> String {
        self.source.root_cause().to_string()
    }

    /// The hints, in the order in which they were added.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The attached log lines; empty without a log.
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

/// Converts an error of another crate into [`Error`] where it enters dsr1.
pub trait At<T> {
    /// Wraps the error with a kind and a message that says what failed.
    ///
    /// # Errors
    /// [`Error`] of `kind` if `self` is an error; its chain becomes the causes.
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
            reported: false,
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
        let io: std::result::Result<(), _> = Err(std::io::Error::other("input/output error"));
        let error = io
            .at(Kind::Host, || "cannot write `x`".to_owned())
            .unwrap_err()
            .cause("the disk failed")
            .hint("replace the disk")
            .hint("replace the disk");
        assert_eq!(error.message(), "cannot write `x`");
        assert_eq!(error.causes(), ["input/output error", "the disk failed"]);
        assert_eq!(error.hints(), ["replace the disk"]);
    }
}
