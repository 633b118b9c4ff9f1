//! The record of one request: when its parts arrived, and what the server counted.

use std::time::Duration;

use super::shortage::Shortage;

/// A moment of a run, in nanoseconds since the run began, by a clock that never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Returns the time from `earlier` to this moment; zero if this one is before it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment `time` later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Returns the seconds since the run began.
    #[must_use]
    pub fn seconds(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }
}

/// The part of a run that a request belongs to. Only measured requests are in the figures of requests; the others hold the
/// load at its height before and after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before the load had its full height and was in its later waves.
    WarmUp,
    /// Measured.
    Measured,
    /// After the last measured request was issued, until all measured ones ended.
    Tail,
}

/// The channel of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The answer, or text of a server that does not tell apart.
    Answer,
    /// The reasoning of a model, as the server tells it apart.
    Reasoning,
    /// No text: the detokenizer held bytes back, or the chunk has only counts.
    Silent,
}

/// One chunk of a stream that carries tokens or text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Microseconds from the sending of the request to the arrival of the chunk.
    pub after_us: u32,
    /// Tokens that the server counts more than at the chunk before; 0 if it does not say so.
    pub tokens: u16,
    /// The channel of its text.
    pub channel: Channel,
}

impl Chunk {
    /// Returns the time from the sending of the request.
    #[must_use]
    pub fn after(&self) -> Duration {
        Duration::from_micros(u64::from(self.after_us))
    }
}

/// The server's own counts for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Generated tokens, reasoning included.
    pub completion: u64,
    /// Tokens of the prompt that came from the prefix cache, if the server says so.
    pub cached: Option<u64>,
    /// Generated tokens of the reasoning, if the server says so.
    pub reasoning: Option<u64>,
}

/// The text of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerText {
    /// The reasoning, as the server tells it apart; empty without any.
    pub reasoning: String,
    /// The answer.
    pub answer: String,
    /// The ids of its tokens; empty unless the run keeps them.
    pub ids: Vec<u32>,
}

/// The place of a request in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationTurn {
    /// Number of the conversation in the order of issue, from 0.
    pub conversation: u32,
    /// The turn, from 1.
    pub turn: u32,
    /// Tokens of its prompt that no turn before it had; 0 if they are not known.
    pub new_tokens: u32,
}

/// The reason for the end of a generation, as the server names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The limit of tokens was reached.
    Length,
    /// The model ended its answer.
    Stop,
    /// Another name.
    Other(String),
}

impl Finish {
    /// Returns the reason of that name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "length" => Self::Length,
            "stop" => Self::Stop,
            other => Self::Other(other.chars().take(40).collect()),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
            Self::Other(name) => name,
        }
    }
}

/// The kind of a failure of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// No connection, because this host lacked this for one.
    OwnLimit(Shortage),
    /// The connection broke before the answer was complete.
    Reset,
    /// The connection was closed before the answer was complete.
    Truncated,
    /// Nothing arrived for the allowed time.
    Stalled,
    /// The server answered with this HTTP status.
    Status(u16),
    /// The answer is no HTTP, no stream of events, or no JSON.
    Garbage,
    /// A text of the answer is no UTF-8.
    Utf8,
    /// The server sent an error inside the stream.
    ErrorEvent,
    /// The server ended the generation itself (`finish_reason` `abort`).
    Aborted,
    /// The answer ended without the server's count of tokens.
    NoUsage,
    /// The server generated nothing.
    NoTokens,
    /// The answer does not have the ids of its tokens, which the next turn of a conversation needs.
    NoIds,
}

impl FailureKind {
    /// Returns the kind in words that stand behind "N requests: ".
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Connect => "no connection".to_owned(),
            Self::OwnLimit(shortage) => {
                format!("no room for a connection on this host: {}", shortage.describe())
            }
            Self::Reset => "the connection was reset".to_owned(),
            Self::Truncated => "the answer was cut off".to_owned(),
            Self::Stalled => "nothing arrived within --timeout".to_owned(),
            Self::Status(429) => "HTTP 429 (too many requests)".to_owned(),
            Self::Status(status) => format!("HTTP {status}"),
            Self::Garbage => "the answer cannot be read".to_owned(),
            Self::Utf8 => "the answer is not UTF-8".to_owned(),
            Self::ErrorEvent => "an error inside the stream".to_owned(),
            Self::Aborted => "finish_reason abort".to_owned(),
            Self::NoUsage => "no count of tokens at the end".to_owned(),
            Self::NoTokens => "no token was generated".to_owned(),
            Self::NoIds => "the answer does not have the ids of its tokens (output_ids)".to_owned(),
        }
    }
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// The server's words or the system's, untrusted and cut to a line.
    pub text: String,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The answer is complete.
    Complete(Finish),
    /// The request failed. It is in no mean.
    Failed(Failure),
    /// The client cut it at the end of the run: it belonged to the tail.
    Cut,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Number in the order of issue, from 0.
    pub number: u32,
    /// Its part of the run.
    pub phase: Phase,
    /// The moment at which the schedule had it; the moment of sending in a closed loop.
    pub due: Moment,
    /// The moment before its first byte was written.
    pub sent: Moment,
    /// The moment of its end.
    pub ended: Moment,
    /// True if it opened a connection of its own; the time for that is before `sent`.
    pub is_first_of_connection: bool,
    /// Its place in a conversation; `None` for a request that has nothing to do with others.
    pub turn: Option<ConversationTurn>,
    /// Tokens of its prompt, as they were chosen.
    pub prompt_tokens: u32,
    /// Tokens that it asked for.
    pub asked_tokens: u32,
    /// Chunks with tokens or text, in the order of arrival.
    pub chunks: Vec<Chunk>,
    /// The server's counts, if it sent them.
    pub usage: Option<Usage>,
    /// Its end.
    pub end: End,
    /// The text or the ids of a complete answer; `None` unless the run keeps them.
    pub text: Option<Box<AnswerText>>,
}

impl Record {
    /// Returns true if the answer is complete.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.end, End::Complete(_))
    }

    /// Returns the tokens that have come, by the server's count where it counts each chunk, else by the number of chunks.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let counted: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.tokens)).sum();
        if counted > 0 {
            counted
        } else {
            self.chunks.len() as u64
        }
    }

    /// Returns true if this host had no room for its connection: it says nothing about the server.
    #[must_use]
    pub const fn is_own_fault(&self) -> bool {
        self.shortage().is_some()
    }

    /// Returns the thing that this host lacked for its connection.
    #[must_use]
    pub const fn shortage(&self) -> Option<Shortage> {
        match &self.end {
            End::Failed(Failure {
                kind: FailureKind::OwnLimit(shortage),
                ..
            }) => Some(*shortage),
            _ => None,
        }
    }

    /// Counts its moments from `origin`, which is none of them or before them.
    pub fn rebase(&mut self, origin: Moment) {
        for moment in [&mut self.due, &mut self.sent, &mut self.ended] {
            *moment = Moment(moment.0.saturating_sub(origin.0));
        }
    }

    /// Returns the moment of arrival of a chunk of this request.
    #[must_use]
    pub fn arrival(&self, chunk: &Chunk) -> Moment {
        self.sent.after(chunk.after())
    }

    /// Returns true if each chunk says how many tokens it carries.
    #[must_use]
    pub fn has_growth(&self) -> bool {
        !self.chunks.is_empty()
            && self
                .chunks
                .iter()
                .all(|chunk| chunk.tokens > 0 || chunk.channel == Channel::Silent)
    }
}

/// Returns a request as JSON, for a file of all requests: times in seconds since the run began, chunks as arrays of microseconds
/// since the sending, tokens and channel.
#[must_use]
pub fn describe_record(record: &Record) -> serde_json::Value {
    let channel = |channel: Channel| match channel {
        Channel::Answer => "answer",
        Channel::Reasoning => "reasoning",
        Channel::Silent => "silent",
    };
    let chunks: Vec<serde_json::Value> = record
        .chunks
        .iter()
        .map(|chunk| serde_json::json!([chunk.after_us, chunk.tokens, channel(chunk.channel)]))
        .collect();
    let (end, text) = match &record.end {
        End::Complete(finish) => (finish.name().to_owned(), String::new()),
        End::Failed(failure) => (failure.kind.describe(), failure.text.clone()),
        End::Cut => ("cut at the end of the run".to_owned(), String::new()),
    };
    let mut described = serde_json::json!({
        "number": record.number,
        "phase": match record.phase {
            Phase::WarmUp => "warm_up",
            Phase::Measured => "measured",
            Phase::Tail => "tail",
        },
        "due_s": record.due.seconds(),
        "sent_s": record.sent.seconds(),
        "ended_s": record.ended.seconds(),
        "is_complete": record.is_complete(),
        "end": end,
        "error": text,
        "prompt_tokens_asked": record.prompt_tokens,
        "output_tokens_asked": record.asked_tokens,
        "prompt_tokens": record.usage.map(|usage| usage.prompt),
        "output_tokens": record.usage.map(|usage| usage.completion),
        "cached_tokens": record.usage.and_then(|usage| usage.cached),
        "reasoning_tokens": record.usage.and_then(|usage| usage.reasoning),
        "chunks": chunks,
    });
    if let Some(turn) = &record.turn {
        described["conversation"] = turn.conversation.into();
        described["turn"] = turn.turn.into();
    }
    described
}
