//! The faults that a request can have, and the requests that have them.

use std::time::Duration;

use super::clock::draw;

/// A fault, or an oddity that is legal, of one answer. `after` counts tokens: the fault comes in place of the token
/// that would be next, at that token's time, so the client certainly gets the tokens before it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing comes after `after` tokens, for a time or for ever.
    Stall { after: u32, time: Option<Duration> },
    /// The connection is reset (RST).
    Reset { after: u32 },
    /// The connection is closed without the last chunk of the transfer encoding.
    Cut { after: u32 },
    /// The transfer ends well after `after` tokens, without a finish reason, usage or `[DONE]`.
    Quit { after: u32 },
    /// An event whose data is no JSON comes before the next token; all tokens follow.
    Garbage { after: u32 },
    /// A byte that is no UTF-8 is in the text of the next token.
    BadByte { after: u32 },
    /// An error in the stream, as SGLang 0.5.23 sends it (`create_streaming_error_response`), with `event: error` before
    /// it or without.
    ErrorEvent { after: u32, named: bool },
    /// The finish reason `abort`.
    Abort { after: u32 },
    /// The answer is an error status.
    Status { code: u16, retry_after: Option<u32> },
    /// No usage in any event.
    NoUsage,
    /// The answer ends without a token, with the finish reason `stop`.
    NoTokens,
    /// The answer ends after this share of the tokens with the finish reason `stop`.
    Short { share: f64 },
    /// The times of this request are multiplied: what a compilation, a cold cache or a slow worker does.
    Slow { ttft: f64, itl: f64 },
    /// The ITL grows linearly with the time of the run, to this factor after `over` and on.
    Drift { factor: f64, over: Duration },
    /// From this time of the run on, the times are multiplied: a dead worker.
    Step { at: Duration, factor: f64 },
    /// This share of the prompt's tokens is reported as cached.
    Cached { share: f64 },
    /// The role chunk of a chat comes at once, long before the first token.
    EarlyRole,
    /// Each write is cut into pieces, of which the last is in time and the others come before.
    Pieces { pieces: u32 },
    /// Each event is cut into two chunks of the transfer encoding, in the middle.
    Misaligned,
    /// Each text has a character of two bytes, of which each is in a chunk of its own.
    SplitCharacter,
    /// The events of this number of tokens come together in one chunk, at the time of the last one.
    Together { events: u32 },
    /// The event of the token after `after` tokens has a line of this length.
    LongLine { after: u32, bytes: u32 },
    /// The connection is closed after the answer, as its header says.
    Close,
}

/// The requests that have a fault. Requests for tokens are numbered from zero in the order of their arrival; the time of a
/// run starts with the first of them.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    Always,
    /// The request of this number.
    Request(u64),
    /// The requests below this number.
    First(u64),
    /// The requests from this number on.
    From(u64),
    /// The requests whose number is a multiple of this one, less one: the last of each group.
    Every(u64),
    /// This share of the requests, drawn from the seed.
    Share(f64),
    /// The requests that arrive from this time of the run on.
    After(Duration),
    /// The requests that arrive before this time of the run.
    Before(Duration),
}

impl When {
    /// Returns whether a request that arrives at this time of the run has the fault; `rule` keeps the draws of two rules
    /// apart.
    pub fn covers(&self, number: u64, time: Duration, seed: u64, rule: u64) -> bool {
        match *self {
            Self::Always => true,
            Self::Request(one) => number == one,
            Self::First(end) => number < end,
            Self::From(start) => number >= start,
            Self::Every(group) => (number + 1).is_multiple_of(group),
            Self::Share(share) => draw(seed, 100 + rule, number) < share,
            Self::After(start) => time >= start,
            Self::Before(end) => time < end,
        }
    }
}

/// A fault of some requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub fault: Fault,
    pub when: When,
}

impl Fault {
    /// Returns the word for the report, which is the word of a rule that is typed, too.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stall { .. } => "stall",
            Self::Reset { .. } => "reset",
            Self::Cut { .. } => "cut",
            Self::Quit { .. } => "quit",
            Self::Garbage { .. } => "garbage",
            Self::BadByte { .. } => "bad-byte",
            Self::ErrorEvent { .. } => "error",
            Self::Abort { .. } => "abort",
            Self::Status { .. } => "status",
            Self::NoUsage => "no-usage",
            Self::NoTokens => "no-tokens",
            Self::Short { .. } => "short",
            Self::Slow { .. } => "slow",
            Self::Drift { .. } => "drift",
            Self::Step { .. } => "step",
            Self::Cached { .. } => "cached",
            Self::EarlyRole => "early-role",
            Self::Pieces { .. } => "pieces",
            Self::Misaligned => "misaligned",
            Self::SplitCharacter => "split-character",
            Self::Together { .. } => "together",
            Self::LongLine { .. } => "long-line",
            Self::Close => "close",
        }
    }
}
