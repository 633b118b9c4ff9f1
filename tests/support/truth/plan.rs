//! The times of one request, which are planned when the whole request has arrived. Each time follows from the planned
//! time before it, never from a real one, so that no error adds up.

use super::clock::{ns, scaled};
use super::fault::Fault;

/// The time between tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    itl: u64,
    factor: f64,
    /// The start of the run, from which a drift and a step count.
    begun: u64,
    drift: Option<(f64, u64)>,
    step: Option<(u64, f64)>,
    stall: Option<(u32, u64)>,
}

impl Pace {
    pub fn new(itl: u64, begun: u64, faults: &[Fault]) -> Self {
        let mut pace = Self {
            itl,
            factor: 1.0,
            begun,
            drift: None,
            step: None,
            stall: None,
        };
        for fault in faults {
            match *fault {
                Fault::Slow { itl, .. } => pace.factor *= itl,
                Fault::Drift { factor, over } => pace.drift = Some((factor, ns(over).max(1))),
                Fault::Step { at, factor } => pace.step = Some((begun + ns(at), factor)),
                Fault::Stall {
                    after,
                    time: Some(time),
                } => pace.stall = Some((after, ns(time))),
                _ => {}
            }
        }
        pace
    }

    /// Returns the factor of the times at a time.
    pub fn factor_at(&self, at: u64) -> f64 {
        let drift = self.drift.map_or(1.0, |(factor, over)| {
            let share = (at.saturating_sub(self.begun) as f64 / over as f64).min(1.0);
            1.0 + (factor - 1.0) * share
        });
        let step = self
            .step
            .map_or(1.0, |(from, factor)| if at >= from { factor } else { 1.0 });
        self.factor * drift * step
    }

    /// Returns the time of the token after `sent` tokens, of which the last is at `at`.
    pub fn next(&self, at: u64, sent: u32) -> u64 {
        at + scaled(self.itl, self.factor_at(at)) + self.stall_after(sent)
    }

    /// Returns the time between tokens if it is always the same.
    fn constant(&self) -> Option<u64> {
        let is_constant = self.drift.is_none() && self.step.is_none() && self.stall.is_none();
        is_constant.then(|| scaled(self.itl, self.factor))
    }

    fn stall_after(&self, sent: u32) -> u64 {
        self.stall
            .map_or(0, |(after, time)| if after == sent { time } else { 0 })
    }
}

/// The plan of one request, in nanoseconds of the server's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub arrival: u64,
    /// The time at which it stops waiting for its place and its prefill starts.
    pub start: u64,
    /// The time of the first token.
    pub first: u64,
    pub tokens: u32,
    pub interval: u32,
    /// The first chunk has as many tokens as the others.
    pub is_even: bool,
    pub pace: Pace,
}

impl Plan {
    /// Returns the time of the first token of a request whose prefill starts at `start`.
    pub fn first_token(pace: &Pace, start: u64, ttft: u64, faults: &[Fault]) -> u64 {
        let slow: f64 = faults
            .iter()
            .map(|fault| match fault {
                Fault::Slow { ttft, .. } => *ttft,
                _ => 1.0,
            })
            .product();
        let stepped = pace
            .step
            .map_or(1.0, |(from, factor)| if start >= from { factor } else { 1.0 });
        start + scaled(ttft, slow * stepped) + pace.stall_after(0)
    }

    /// Returns the number of tokens after the chunk that follows `sent` tokens.
    pub fn chunk_end(&self, sent: u32) -> u32 {
        let size = if sent == 0 && !self.is_even {
            1
        } else {
            self.interval
        };
        sent.saturating_add(size).min(self.tokens)
    }

    /// Returns the time of the token before `end` tokens, from that of the token before `sent` tokens.
    pub fn walk(&self, at: u64, sent: u32, end: u32) -> u64 {
        if let Some(itl) = self.pace.constant() {
            return if end > 0 {
                self.first + u64::from(end - 1) * itl
            } else {
                at
            };
        }
        (sent..end).fold(at, |at, sent| {
            if sent == 0 {
                self.first
            } else {
                self.pace.next(at, sent)
            }
        })
    }

    /// Returns the planned time of each token.
    pub fn token_times(&self) -> Vec<u64> {
        let mut at = 0;
        (0..self.tokens)
            .map(|sent| {
                at = self.walk(at, sent, sent + 1);
                at
            })
            .collect()
    }

    /// Returns the planned times of the chunks, with the tokens of each.
    pub fn chunk_times(&self) -> Vec<(u64, u32)> {
        let (mut at, mut sent) = (0, 0);
        let mut chunks = Vec::new();
        while sent < self.tokens {
            let end = self.chunk_end(sent);
            at = self.walk(at, sent, end);
            chunks.push((at, end - sent));
            sent = end;
        }
        chunks
    }

    /// Returns the time of the first chunk, which is that of the first token unless several come together.
    pub fn first_chunk(&self) -> u64 {
        self.walk(self.first, 0, self.chunk_end(0)).max(self.first)
    }

    /// Returns the time of the last token, or of the end of an answer without tokens.
    pub fn last(&self) -> u64 {
        self.walk(self.first, 0, self.tokens).max(self.first)
    }
}
