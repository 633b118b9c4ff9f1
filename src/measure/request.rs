//! The times of one complete request, in seconds.

use crate::measure::record::{Channel, Chunk, Record};

/// The times of a complete request with at least one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RequestTimes<'a> {
    record: &'a Record,
    /// The chunk with the first token.
    first: &'a Chunk,
    /// The chunk with the last token.
    last: &'a Chunk,
    /// Generated tokens, by the server.
    pub(super) tokens: u64,
}

impl<'a> RequestTimes<'a> {
    /// Returns the times of a record; `None` unless it is complete and has tokens.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let is_token = |chunk: &&Chunk| chunk.tokens > 0 || chunk.channel != Channel::Silent;
        Some(Self {
            record,
            first: record.chunks.iter().find(is_token)?,
            last: record.chunks.iter().rfind(is_token)?,
            tokens: record.usage.filter(|_| record.is_complete())?.completion,
        })
    }

    /// Time to the first token, of either channel.
    pub(super) fn ttft(&self) -> f64 {
        seconds(*self.first)
    }

    /// Time to the last token.
    pub(super) fn e2e(&self) -> f64 {
        seconds(*self.last)
    }

    /// Time to the end of the response.
    pub(super) fn response(&self) -> f64 {
        self.record.ended.since(self.record.sent).as_secs_f64()
    }

    /// Time to the first token of the answer.
    pub(super) fn answer_ttft(&self) -> Option<f64> {
        self.first_of(Channel::Answer).copied().map(seconds)
    }

    fn first_of(&self, channel: Channel) -> Option<&'a Chunk> {
        self.record.chunks.iter().find(|chunk| chunk.channel == channel)
    }

    /// True if the server told reasoning apart.
    pub(super) fn has_reasoning(&self) -> bool {
        self.first_of(Channel::Reasoning).is_some()
    }

    /// Time per token after the first chunk. A chunk of several tokens is one arrival: only tokens behind it took the time
    /// between the two ends.
    pub(super) fn tpot(&self) -> Option<f64> {
        let later = self.tokens.checked_sub(u64::from(self.first.tokens.max(1)))?;
        per(self.e2e() - self.ttft(), later)
    }

    /// Gaps between the chunks, with the tokens of the later one.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (f64, u16)> {
        self.record.chunks.windows(2).map(|pair| {
            let gap = pair[1].after_us.saturating_sub(pair[0].after_us);
            (f64::from(gap) / 1e6, pair[1].tokens)
        })
    }

    /// Tokens of the reasoning and of the answer, and the seconds that each took.
    pub(super) fn reasoning(&self) -> Option<ReasoningTimes> {
        let thought = self.first_of(Channel::Reasoning)?;
        let counted = |channel: Channel| -> u64 {
            let chunks = self.record.chunks.iter().filter(|chunk| chunk.channel == channel);
            chunks.map(|chunk| u64::from(chunk.tokens)).sum()
        };
        let tokens = match self
            .record
            .usage
            .and_then(|usage| usage.reasoning)
            .filter(|tokens| *tokens > 0)
        {
            Some(tokens) => tokens,
            None if self.record.has_growth() => counted(Channel::Reasoning),
            None => return None,
        };
        let answered = self.first_of(Channel::Answer);
        let until = answered.unwrap_or(self.last);
        Some(ReasoningTimes {
            tokens,
            answer_tokens: self.tokens.saturating_sub(tokens),
            seconds: seconds(*until) - seconds(*thought),
            answer_seconds: answered.map_or(0.0, |first| self.e2e() - seconds(*first)),
        })
    }
}

/// Reasoning and answer of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ReasoningTimes {
    pub(super) tokens: u64,
    pub(super) answer_tokens: u64,
    pub(super) seconds: f64,
    pub(super) answer_seconds: f64,
}

fn seconds(chunk: Chunk) -> f64 {
    f64::from(chunk.after_us) / 1e6
}

/// Returns the share of a time that each of `count` has.
pub(super) fn per(time: f64, count: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
    let count = count as f64;
    (count > 0.0).then(|| time / count)
}
