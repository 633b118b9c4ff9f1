//! A run: the numbers of its requests, its capacity and its record. A reset starts a new one.

use std::collections::HashSet;
use std::time::Duration;

use super::answer::{Answer, MOST_TOKENS};
use super::asked::{Api, Asked};
use super::capacity::Capacity;
use super::clock::{Clock, ns, scaled};
use super::counters::Counters;
use super::end::{End, Step};
use super::fault::Fault;
use super::ledger::{Record, Served};
use super::plan::{Pace, Plan};
use super::radix::Radix;
use super::shape::Shape;
use super::stream::{Stream, shortened};

/// The place of a request in the record of a run.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    run: u32,
    index: usize,
}

/// The answer to a request that is admitted.
pub enum Admitted {
    Answer {
        stream: Box<Stream>,
        has_early_role: bool,
    },
    /// An error status.
    Refused { code: u16, retry_after: Option<u32> },
}

pub struct Run {
    pub served: Served,
    pub counters: Counters,
    /// The counters are those of the changed server.
    pub has_changed: bool,
    number: u32,
    begun: Option<u64>,
    capacity: Capacity,
    seen: HashSet<u64>,
    radix: Radix,
}

impl Run {
    pub fn new(clock: Clock) -> Self {
        Self {
            served: Served::new(clock),
            counters: Counters::default(),
            has_changed: false,
            number: 0,
            begun: None,
            capacity: Capacity::default(),
            seen: HashSet::new(),
            radix: Radix::default(),
        }
    }

    /// Starts a new run. The counters and the prefix cache stay, as those of a server do.
    pub fn reset(&mut self) {
        let (clock, is_realtime) = (self.served.clock, self.served.is_realtime);
        self.served = Served::new(clock);
        self.served.is_realtime = is_realtime;
        self.number += 1;
        self.begun = None;
        self.capacity = Capacity::default();
    }

    /// Forgets the prompts of the prefix cache.
    pub fn flush(&mut self) {
        self.seen.clear();
        self.radix.flush();
    }

    /// Returns the time of the run, zero before its first request.
    pub fn time(&self, now: u64) -> Duration {
        Duration::from_nanos(self.begun.map_or(0, |begun| now.saturating_sub(begun)))
    }

    /// Plans the answer to a request.
    pub fn admit(&mut self, shape: &Shape, asked: &Asked, arrival: u64) -> (Ticket, Admitted) {
        let mut asked = asked.clone();
        if asked.api == Api::Chat {
            asked.prompt_tokens += shape.template_tokens;
        }
        let asked = &asked;
        let number = self.served.requests.len() as u64;
        let begun = *self.begun.get_or_insert(arrival);
        let faults = shape.faults(number, self.time(arrival));
        let status = faults.iter().find_map(|fault| match *fault {
            Fault::Status { code, retry_after } => Some((code, retry_after)),
            _ => None,
        });
        let was_seen = !self.seen.insert(asked.prompt);
        let known = match shape.prefill_token {
            Some(_) if status.is_none() => self.radix.admit(&asked.prefixes),
            _ => 0,
        };
        let cached_tokens = cached(shape, asked, was_seen, &faults).max(known);
        let pace = Pace::new(ns(shape.itl), begun, &faults);
        let (tokens, ends_itself) = shape.tokens(number, asked.tokens);
        let (tokens, ends_itself) = shortened(tokens.min(MOST_TOKENS), ends_itself, &faults);
        let together = faults.iter().find_map(|fault| match *fault {
            Fault::Together { events } => Some(events.max(1)),
            _ => None,
        });
        let mut plan = Plan {
            arrival,
            start: arrival,
            first: arrival,
            tokens,
            interval: together.unwrap_or(shape.interval).max(1),
            is_even: together.is_some(),
            pace,
        };
        if status.is_none() {
            let serial = ns(shape.prefill_serial);
            plan.start = self.capacity.admit(arrival, shape.max_running, serial);
            let warm = shape.prefix_cache.filter(|_| was_seen).unwrap_or(1.0);
            let new = asked.prompt_tokens.saturating_sub(cached_tokens);
            let prefill = shape.prefill_token.map_or(0, |time| ns(time) * new);
            let ttft = scaled(shape.ttft_ns(number), warm).max(serial) + prefill;
            plan.first = Plan::first_token(&pace, plan.start, ttft, &faults);
            self.capacity.occupy(plan.last(), shape.max_running);
        }
        let reasoning = (f64::from(tokens) * shape.reasoning_share).round() as u32;
        let ticket = self.record(Record {
            number,
            api: asked.api,
            streams: asked.streams,
            prompt_tokens: asked.prompt_tokens,
            cached_tokens,
            asked: asked.tokens,
            reasoning_tokens: reasoning,
            faults: faults.iter().map(Fault::name).collect(),
            plan,
            tokens: 0,
            chunks: 0,
            first_write: None,
            last_write: None,
            worst_lateness: 0,
            blocked: 0,
            end: End::Open,
            prompt_end: asked.prefixes.end(),
            ended: None,
        });
        if let Some((code, retry_after)) = status {
            return (ticket, Admitted::Refused { code, retry_after });
        }
        let answer = Answer {
            api: asked.api,
            id: format!("{:08x}{number:024x}", self.number),
            created: self.served.clock.unix_seconds(arrival),
            model: serde_json::Value::from(asked.model.as_deref().unwrap_or(&shape.model)).to_string(),
            prompt_tokens: asked.prompt_tokens,
            cached_tokens,
            reasoning,
            has_usage: asked.has_usage,
            has_continuous_usage: asked.has_continuous_usage,
            has_cache_report: shape.cache_report,
        };
        let stream = Stream::new(answer, plan, asked.streams, ends_itself, &faults);
        let admitted = Admitted::Answer {
            stream: Box::new(stream),
            has_early_role: faults.contains(&Fault::EarlyRole),
        };
        (ticket, admitted)
    }

    fn record(&mut self, record: Record) -> Ticket {
        let index = self.served.requests.len();
        self.served.requests.push(record);
        self.served.in_flight += 1;
        self.served.peak_in_flight = self.served.peak_in_flight.max(self.served.in_flight);
        Ticket {
            run: self.number,
            index,
        }
    }

    /// Records a write of tokens; `written` is nothing if the socket did not take it at once.
    pub fn wrote(&mut self, ticket: Ticket, step: Step, written: Option<u64>, now: u64) {
        if ticket.run != self.number || step.tokens == 0 {
            return;
        }
        let record = &mut self.served.requests[ticket.index];
        if let (Some(before), true) = (record.last_write, record.streams) {
            let tokens = u64::from(step.tokens);
            self.served
                .written_itl
                .add(now.saturating_sub(before) / tokens, tokens);
        }
        record.tokens += step.tokens;
        record.chunks += 1;
        if record.first_write.is_none() {
            self.counters
                .first_token(now.saturating_sub(record.plan.arrival), record.streams);
        }
        record.first_write.get_or_insert(now);
        record.last_write = Some(now);
        match written {
            Some(at) => {
                let late = at.saturating_sub(step.due);
                record.worst_lateness = record.worst_lateness.max(late);
                self.served.lateness.add(late, 1);
            }
            None => record.blocked += 1,
        }
    }

    /// Records that nothing more comes for a request, which stays in flight.
    pub fn stalled(&mut self, ticket: Ticket) {
        if ticket.run == self.number {
            self.served.requests[ticket.index].end = End::Stalled;
        }
    }

    /// Records the end of a request.
    pub fn ended(&mut self, ticket: Ticket, end: End, now: u64) {
        if ticket.run != self.number {
            return;
        }
        let record = &mut self.served.requests[ticket.index];
        // A client leaves a stall some time.
        if record.end != End::Stalled {
            record.end = end;
        }
        record.ended = Some(now);
        if end == End::Complete {
            // The template of a chat leaves the reasoning out of later turns.
            let from = if record.api == Api::Chat {
                record.reasoning_tokens
            } else {
                0
            };
            self.radix.add_answer(record.prompt_end, (from, record.tokens));
        }
        self.counters.finished(record);
        if now < record.plan.last() && !matches!(end, End::Status(_)) {
            self.capacity.release(record.plan.last());
        }
        self.served.in_flight -= 1;
    }

    /// Returns how many requests run and how many wait.
    pub fn load(&self, now: u64) -> (usize, usize) {
        let open = self
            .served
            .requests
            .iter()
            .filter(|record| record.ended.is_none());
        let (running, waiting): (Vec<&Record>, Vec<&Record>) =
            open.partition(|record| record.plan.start <= now);
        (running.len(), waiting.len())
    }
}

/// Returns the tokens of a prompt that are reported as cached.
fn cached(shape: &Shape, asked: &Asked, was_seen: bool, faults: &[Fault]) -> u64 {
    let part = faults.iter().find_map(|fault| match *fault {
        Fault::Cached { share } => Some(share),
        _ => None,
    });
    match part {
        Some(part) => scaled(asked.prompt_tokens, part).min(asked.prompt_tokens),
        // The last token of a prompt is always computed.
        None if was_seen && shape.prefix_cache.is_some() => asked.prompt_tokens.saturating_sub(1),
        None => 0,
    }
}
