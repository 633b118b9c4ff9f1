//! The end of an answer, and the consequence of a write.

/// The consequence of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next write is planned for this time.
    At(u64),
    /// The answer is complete, and the connection takes the next request.
    Done(End),
    /// The connection is closed.
    Close(End),
    /// The connection is reset.
    Reset,
    /// Nothing comes any more.
    Silence,
}

/// The end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It is on its way.
    Open,
    Complete,
    Short,
    Stalled,
    Reset,
    Cut,
    Quit,
    ErrorEvent,
    Aborted,
    NoTokens,
    Status(u16),
    /// The client closed its side first.
    ClientLeft,
    /// A byte of a text was no UTF-8, or an event no JSON.
    Illegal,
}

impl End {
    pub fn word(self) -> String {
        match self {
            Self::Open => "open".to_owned(),
            Self::Complete => "complete".to_owned(),
            Self::Short => "short".to_owned(),
            Self::Stalled => "stalled".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::Cut => "cut".to_owned(),
            Self::Quit => "quit".to_owned(),
            Self::ErrorEvent => "error".to_owned(),
            Self::Aborted => "aborted".to_owned(),
            Self::NoTokens => "no-tokens".to_owned(),
            Self::Status(code) => format!("status-{code}"),
            Self::ClientLeft => "client-left".to_owned(),
            Self::Illegal => "illegal".to_owned(),
        }
    }

    /// Returns whether the answer has all tokens and a regular end, so that its times count.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Complete | Self::Short)
    }
}

/// A write, when it is done.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub due: u64,
    /// The tokens in it.
    pub tokens: u32,
    pub next: Next,
}
