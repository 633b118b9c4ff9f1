//! One answer on its way: what it writes at each planned time, and what follows.

use super::answer::{Answer, DONE, Finish, Marks, error};
use super::asked::Api;
use super::end::{End, Next, Step};
use super::fault::Fault;
use super::plan::Plan;
use super::wire::{EVENTS, JSON, Wire, push_answer, push_head};

#[derive(Debug, Clone, Copy)]
enum Trip {
    Silence,
    Reset,
    Cut,
    Quit,
    Error { is_named: bool },
    Abort,
}

/// One answer on its way.
#[derive(Debug)]
pub struct Stream {
    pub answer: Answer,
    pub plan: Plan,
    streams: bool,
    sent: u32,
    /// The planned time of the last token that was sent.
    at: u64,
    has_head: bool,
    finish: Finish,
    trip: Option<(u32, Trip)>,
    garbage: Option<u32>,
    bad_byte: Option<u32>,
    long_line: Option<(u32, u32)>,
    pieces: u32,
    is_misaligned: bool,
    splits_character: bool,
    closes: bool,
    /// The head said that the connection ends with the answer.
    pub head_extra: &'static str,
}

impl Stream {
    pub fn new(answer: Answer, plan: Plan, streams: bool, ends_itself: bool, faults: &[Fault]) -> Self {
        let mut stream = Self {
            answer,
            plan,
            streams,
            sent: 0,
            at: 0,
            has_head: false,
            finish: if ends_itself { Finish::Stop } else { Finish::Length },
            trip: None,
            garbage: None,
            bad_byte: None,
            long_line: None,
            pieces: 1,
            is_misaligned: false,
            splits_character: false,
            closes: false,
            head_extra: "",
        };
        for fault in faults {
            stream.dress(fault);
        }
        stream
    }

    fn dress(&mut self, fault: &Fault) {
        let trip = match *fault {
            Fault::Stall { after, time: None } => Some((after, Trip::Silence)),
            Fault::Reset { after } => Some((after, Trip::Reset)),
            Fault::Cut { after } => Some((after, Trip::Cut)),
            Fault::Quit { after } => Some((after, Trip::Quit)),
            Fault::ErrorEvent { after, named } => Some((after, Trip::Error { is_named: named })),
            Fault::Abort { after } => Some((after, Trip::Abort)),
            _ => None,
        };
        // The earliest one counts.
        if let Some((after, _)) = trip
            && self.trip.is_none_or(|(known, _)| after < known)
        {
            self.trip = trip;
        }
        match *fault {
            Fault::Garbage { after } => self.garbage = Some(after),
            Fault::BadByte { after } => self.bad_byte = Some(after),
            Fault::LongLine { after, bytes } => self.long_line = Some((after, bytes)),
            Fault::NoUsage => {
                self.answer.has_usage = false;
                self.answer.has_continuous_usage = false;
            }
            Fault::Pieces { pieces } => self.pieces = pieces.max(1),
            Fault::Misaligned => self.is_misaligned = true,
            Fault::SplitCharacter => self.splits_character = true,
            Fault::Close => {
                self.closes = true;
                self.head_extra = "connection: close\r\n";
            }
            _ => {}
        }
    }

    /// Returns the tokens that were sent.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Returns the time between two pieces of a write, and the number of pieces that a write is expected to have. The
    /// pieces before the last come before the planned time, within half of the time of a token.
    pub fn cutting(&self, itl: u64) -> (u64, u32) {
        let pieces = if self.is_misaligned || self.splits_character {
            self.pieces.max(2)
        } else {
            self.pieces
        };
        ((itl / 2 / u64::from(pieces)).min(500_000), pieces)
    }

    /// Returns the planned time of the next write.
    pub fn due(&self) -> u64 {
        if !self.streams {
            return match self.trip {
                Some((after, _)) if after < self.plan.tokens => self.plan.walk(0, 0, after + 1),
                _ => self.plan.last(),
            };
        }
        let end = self.chunk_end().max(self.sent + 1).min(self.plan.tokens);
        self.plan
            .walk(self.at, self.sent, end)
            .max(if self.sent == 0 { self.plan.first } else { self.at })
    }

    fn chunk_end(&self) -> u32 {
        let end = self.plan.chunk_end(self.sent);
        match self.trip {
            Some((after, _)) if after > self.sent => end.min(after),
            // The trip comes at the time of the next token, not of a chunk.
            Some((after, _)) if after == self.sent => (self.sent + 1).min(self.plan.tokens),
            _ => end,
        }
    }

    /// Adds what is written as soon as the request has arrived: SGLang sends the head of `/generate` then, and that of
    /// the other streams with the first event.
    pub fn open(&mut self, wire: &mut Wire, early_role: bool) {
        let is_early = early_role && self.answer.api == Api::Chat;
        if self.streams && (self.answer.api == Api::Generate || is_early) {
            self.push_head(wire);
            if is_early {
                self.answer.push_role(&mut wire.event);
                wire.frame(None);
            }
        }
    }

    fn push_head(&mut self, wire: &mut Wire) {
        if !self.has_head {
            self.has_head = true;
            push_head(&mut wire.raw, 200, EVENTS, None, self.head_extra);
        }
    }

    /// Adds what is written at the planned time.
    pub fn step(&mut self, wire: &mut Wire) -> Step {
        let due = self.due();
        if !self.streams {
            return self.step_whole(wire, due);
        }
        if let Some((after, trip)) = self.trip
            && after == self.sent
        {
            let next = self.trip(wire, trip, due);
            return Step { due, tokens: 0, next };
        }
        let had_head = self.has_head;
        self.push_head(wire);
        // A role that came early came with the head.
        if self.sent == 0 && self.answer.api == Api::Chat && !had_head {
            self.answer.push_role(&mut wire.event);
            wire.frame(None);
        }
        let end = self.chunk_end();
        if self.plan.is_even {
            // Several events in one chunk.
            for token in self.sent..end {
                let _ = self.push_events(wire, (token, token + 1), due);
            }
            wire.frame(None);
        } else {
            let middle = self.answer.reasoning;
            if self.answer.api == Api::Chat && self.sent < middle && middle < end {
                let cut = self.push_events(wire, (self.sent, middle), due);
                wire.frame(cut);
                let cut = self.push_events(wire, (middle, end), due);
                wire.frame(cut);
            } else {
                let cut = self.push_events(wire, (self.sent, end), due);
                wire.frame(cut);
            }
        }
        let tokens = end - self.sent;
        self.sent = end;
        self.at = due;
        let next = if end == self.plan.tokens {
            self.push_end(wire);
            self.done()
        } else {
            Next::At(self.due())
        };
        if self.pieces > 1 {
            wire.cut_evenly(self.pieces);
        }
        Step { due, tokens, next }
    }

    fn done(&self) -> Next {
        let end = if self.garbage.is_some_and(|after| after < self.plan.tokens)
            || self.bad_byte.is_some_and(|after| after < self.plan.tokens)
        {
            End::Illegal
        } else if self.plan.tokens == 0 {
            End::NoTokens
        } else if self.finish == Finish::Stop {
            End::Short
        } else {
            End::Complete
        };
        if self.closes {
            Next::Close(end)
        } else {
            Next::Done(end)
        }
    }

    /// Adds the event of some tokens, and returns the place of a cut in the chunk.
    fn push_events(&self, wire: &mut Wire, (from, to): (u32, u32), due: u64) -> Option<usize> {
        let is_in = |after: Option<u32>| after.is_some_and(|after| from <= after && after < to);
        if is_in(self.garbage) {
            wire.event.extend_from_slice(b"data: {\"choices\": [}\n\n");
        }
        let marks = Marks {
            has_split_character: self.splits_character,
            has_bad_byte: is_in(self.bad_byte),
            padding: self
                .long_line
                .filter(|(after, _)| is_in(Some(*after)))
                .map_or(0, |(_, bytes)| bytes),
        };
        let is_last = to == self.plan.tokens;
        let seconds = due.saturating_sub(self.plan.arrival) as f64 / 1e9;
        let finish = is_last.then_some((self.finish, seconds));
        let start = wire.event.len();
        let cut = self
            .answer
            .push_tokens(&mut wire.event, (from, to), marks, finish);
        cut.or_else(|| {
            self.is_misaligned
                .then(|| usize::midpoint(start, wire.event.len()))
        })
    }

    fn push_end(&self, wire: &mut Wire) {
        self.answer.push_finish(&mut wire.event, self.finish);
        if !wire.event.is_empty() {
            wire.frame(None);
        }
        self.push_tail(wire);
    }

    fn push_tail(&self, wire: &mut Wire) {
        self.answer.push_usage(&mut wire.event, self.sent);
        if !wire.event.is_empty() {
            wire.frame(None);
        }
        wire.event.extend_from_slice(DONE);
        wire.frame(None);
        wire.end();
    }

    fn trip(&mut self, wire: &mut Wire, trip: Trip, due: u64) -> Next {
        let next = |end| {
            if self.closes {
                Next::Close(end)
            } else {
                Next::Done(end)
            }
        };
        match trip {
            Trip::Silence => Next::Silence,
            Trip::Reset => Next::Reset,
            Trip::Cut => Next::Close(End::Cut),
            Trip::Quit => {
                let next = next(End::Quit);
                self.push_head(wire);
                wire.end();
                next
            }
            Trip::Error { is_named } => {
                let next = next(End::ErrorEvent);
                self.push_head(wire);
                if is_named {
                    wire.event.extend_from_slice(b"event: error\n");
                }
                let error = error(500, "The scheduler ended.");
                wire.event
                    .extend_from_slice(format!("data: {{\"error\":{error}}}\n\n").as_bytes());
                wire.frame(None);
                // SGLang ends the stream of an error with the usual mark.
                wire.event.extend_from_slice(DONE);
                wire.frame(None);
                wire.end();
                next
            }
            Trip::Abort => {
                let next = next(End::Aborted);
                self.push_head(wire);
                self.finish = Finish::Abort;
                let seconds = due.saturating_sub(self.plan.arrival) as f64 / 1e9;
                if self.answer.api == Api::Chat {
                    self.answer.push_finish(&mut wire.event, Finish::Abort);
                } else {
                    let none = (self.sent, self.sent);
                    let finish = Some((Finish::Abort, seconds));
                    self.answer
                        .push_tokens(&mut wire.event, none, Marks::default(), finish);
                }
                wire.frame(None);
                self.push_tail(wire);
                next
            }
        }
    }

    /// Adds the answer to a request without a stream.
    fn step_whole(&mut self, wire: &mut Wire, due: u64) -> Step {
        let seconds = due.saturating_sub(self.plan.arrival) as f64 / 1e9;
        let trip = self.trip.filter(|(after, _)| *after < self.plan.tokens);
        let next = match trip {
            None => {
                self.sent = self.plan.tokens;
                let body = self.answer.whole(self.sent, self.finish, seconds);
                push_answer(&mut wire.raw, 200, JSON, body.as_bytes(), self.head_extra);
                self.done()
            }
            Some((_, Trip::Silence)) => Next::Silence,
            Some((_, Trip::Reset)) => Next::Reset,
            Some((after, Trip::Cut | Trip::Quit)) => {
                let body = self.answer.whole(after, self.finish, seconds);
                push_answer(&mut wire.raw, 200, JSON, body.as_bytes(), self.head_extra);
                wire.raw.truncate(wire.raw.len() - body.len() / 2);
                Next::Close(End::Cut)
            }
            Some((_, Trip::Error { .. })) => {
                let body = error(500, "The scheduler ended.");
                push_answer(&mut wire.raw, 500, JSON, body.as_bytes(), self.head_extra);
                Next::Done(End::ErrorEvent)
            }
            Some((after, Trip::Abort)) => {
                let body = self.answer.whole(after, Finish::Abort, seconds);
                push_answer(&mut wire.raw, 200, JSON, body.as_bytes(), self.head_extra);
                Next::Done(End::Aborted)
            }
        };
        Step {
            due,
            tokens: self.sent,
            next,
        }
    }
}

/// Returns the tokens of an answer after the faults that change their number, and whether it ends by itself.
pub fn shortened(tokens: u32, ends_itself: bool, faults: &[Fault]) -> (u32, bool) {
    faults
        .iter()
        .fold((tokens, ends_itself), |found, fault| match *fault {
            Fault::NoTokens => (0, true),
            Fault::Short { share } => (((f64::from(found.0) * share).round() as u32).max(1), true),
            _ => found,
        })
}
