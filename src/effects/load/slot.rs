//! A place for one request at a time, with its connection.

use std::io;
use std::time::Duration;

use super::clock::Clock;
use super::connection::{Closing, Connection};
use super::explain::describe;
use super::response::{Malformed, ResponseReader};
use super::room::shortage_of;
use super::source::Prepared;
use crate::measure::{
    AnswerRead, AnswerReader, Api, Conversation, End, Failure, FailureKind, Kept, Moment, Phase, Record,
    describe_failure,
};

/// Most bytes that are kept of an answer that is an error.
const ERROR_BODY: usize = 2 << 10;

/// A request in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) number: u32,
    pub(super) phase: Phase,
    due: Moment,
    request: Prepared,
    /// Bytes of it that were written.
    written: usize,
    sent: Option<Moment>,
    /// The last moment at which something was written or arrived.
    last: Moment,
    is_first_of_connection: bool,
    was_sent_again: bool,
}

impl Flight {
    pub(super) const fn new(number: u32, phase: Phase, due: Moment, request: Prepared, now: Moment) -> Self {
        Self {
            number,
            phase,
            due,
            request,
            written: 0,
            sent: None,
            last: now,
            is_first_of_connection: false,
            was_sent_again: false,
        }
    }
}

/// The outcome of writing or of reading.
#[derive(Debug)]
pub(super) enum Turn {
    /// The request goes on.
    Going,
    /// All of it is written: only the answer is waited for.
    Written,
    /// It has ended.
    Ended(Box<Record>),
    /// The server had closed the idle connection before the request came: it goes out again on a new one.
    Again,
}

/// A slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Option<Connection>,
    pub(super) flight: Option<Flight>,
    /// The conversation whose turn is in flight, or waits to be sent.
    pub(super) conversation: Option<Box<Conversation>>,
    /// The moment at which the connection became idle.
    pub(super) idle_since: Moment,
    is_connecting: bool,
    is_new: bool,
    response: ResponseReader,
    answer: AnswerReader,
    error_body: Vec<u8>,
}

impl Slot {
    pub(super) fn new(api: Api, keeps: Kept) -> Self {
        Self {
            connection: None,
            flight: None,
            conversation: None,
            idle_since: Moment(0),
            is_connecting: false,
            is_new: true,
            response: ResponseReader::default(),
            answer: AnswerReader::new(api, keeps),
            error_body: Vec::new(),
        }
    }

    /// Takes a connection that is open, or that is being opened.
    pub(super) fn take_connection(&mut self, connection: Connection, is_connecting: bool) {
        self.connection = Some(connection);
        self.is_connecting = is_connecting;
        // That of a request which is sent again is not new to the one behind it.
        self.is_new = self.flight.is_none();
    }

    /// Returns true if a connection is being opened, or a part of the request is not written.
    pub(super) fn is_writing(&self) -> bool {
        let is_left = |flight: &Flight| flight.written < flight.request.bytes.len();
        self.is_connecting
            || self.flight.as_ref().is_some_and(is_left)
            || self.connection.as_ref().is_some_and(Connection::has_unwritten)
    }

    /// Returns true if nothing can be written before the server has sent its part of a handshake.
    pub(super) fn waits_for_handshake(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(Connection::waits_for_handshake)
    }

    /// Returns the tokens that the request in flight asks for; `None` without one.
    pub(super) fn asked_tokens(&self) -> Option<u32> {
        Some(self.flight.as_ref()?.request.output_tokens)
    }

    /// Takes a request, which [`Self::write`] writes, and the conversation that it begins.
    pub(super) fn take_request(&mut self, mut flight: Flight) {
        if let Some(conversation) = flight.request.conversation.take() {
            self.conversation = Some(conversation);
        }
        flight.is_first_of_connection = self.is_new;
        self.is_new = false;
        self.response.clear();
        self.error_body.clear();
        self.flight = Some(flight);
    }

    /// Writes what the connection takes of the request.
    pub(super) fn write(&mut self, clock: &Clock) -> Turn {
        let Some(connection) = &mut self.connection else {
            return Turn::Going;
        };
        let Some(flight) = &mut self.flight else {
            // A message of TLS itself.
            return match connection.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::Going,
                flushed => {
                    self.connection = self.connection.take().filter(|_| flushed.is_ok());
                    Turn::Written
                }
            };
        };
        if self.is_connecting
            && let Err(error) = connection.socket.check_open()
        {
            return self.fail_to_connect(&error, clock.now());
        }
        while flight.written < flight.request.bytes.len() {
            let now = clock.now();
            match connection.write(&flight.request.bytes[flight.written..]) {
                Ok(count) => {
                    self.is_connecting = false;
                    flight.sent.get_or_insert(now);
                    flight.written += count;
                    flight.last = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Going,
                Err(error) if self.is_connecting => return self.fail_to_connect(&error, clock.now()),
                Err(error) => return self.break_off(&error, clock.now()),
            }
        }
        match connection.flush() {
            Ok(()) => Turn::Written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::Going,
            Err(error) => self.break_off(&error, clock.now()),
        }
    }

    /// Takes data that arrived at that moment. Returns the outcome, and the tokens that it brought.
    pub(super) fn receive(&mut self, bytes: &[u8], arrived: Moment) -> (Turn, u64) {
        let Self {
            response,
            answer,
            error_body,
            ..
        } = self;
        let Some(flight) = &mut self.flight else {
            // Nothing was asked for: the connection is of no use.
            self.connection = None;
            return (Turn::Going, 0);
        };
        flight.last = flight.last.max(arrived);
        let after_us = micros_between(flight.sent.unwrap_or(flight.last), flight.last);
        let mut tokens = 0;
        let pushed = response.push(bytes, &mut |status, body| {
            if status == 200 {
                tokens += answer.push(body, after_us);
            } else {
                let room = ERROR_BODY.saturating_sub(error_body.len());
                error_body.extend_from_slice(&body[..body.len().min(room)]);
            }
        });
        let now = flight.last;
        let turn = match pushed {
            Err(Malformed(cause)) => self.fail(describe_failure(FailureKind::Garbage, cause.as_bytes()), now),
            Ok(()) if self.response.is_complete() => self.complete(now),
            // An error in the stream: what may follow does not matter.
            Ok(()) if self.answer.has_failed() => self.complete_broken(now),
            Ok(()) => Turn::Going,
        };
        (turn, tokens)
    }

    /// Takes the end of the connection.
    pub(super) fn receive_end(&mut self, end: Closing, now: Moment) -> Turn {
        if self.flight.is_none() {
            self.connection = None;
            return Turn::Going;
        }
        if end == Closing::Closed && self.response.close() {
            return self.complete(now);
        }
        let text = match end {
            Closing::Closed => "the connection was closed",
            Closing::CutOff => "the connection was closed, and TLS had not ended",
        };
        let gone = io::Error::new(io::ErrorKind::UnexpectedEof, text);
        self.break_off(&gone, now)
    }

    /// Ends the request because its connection broke, or sends it again if the server had not seen it.
    pub(super) fn break_off(&mut self, error: &io::Error, now: Moment) -> Turn {
        if self.is_connecting {
            return self.fail_to_connect(error, now);
        }
        self.connection = None;
        if let Some(flight) = &mut self.flight
            && self.response.is_untouched()
            && !flight.is_first_of_connection
            && !flight.was_sent_again
        {
            flight.was_sent_again = true;
            flight.written = 0;
            flight.sent = None;
            return Turn::Again;
        }
        let kind = match error.kind() {
            io::ErrorKind::UnexpectedEof => FailureKind::Truncated,
            _ => FailureKind::Reset,
        };
        self.fail(describe_failure(kind, describe(error).as_bytes()), now)
    }

    /// Ends the request if nothing was written or arrived for `stall`.
    pub(super) fn check_stall(&mut self, now: Moment, stall: Duration) -> Turn {
        match &self.flight {
            Some(flight) if now.since(flight.last) > stall => {
                self.fail(describe_failure(FailureKind::Stalled, b""), now)
            }
            _ => Turn::Going,
        }
    }

    /// Drops the request in flight with its connection, without a record. Returns false without a request.
    pub(super) fn drop_request(&mut self) -> bool {
        if self.flight.take().is_none() {
            return false;
        }
        let _ = self.answer.abandon();
        self.connection = None;
        self.conversation = None;
        true
    }

    /// Gives the request in flight, and its conversation, to the next stage, under that number. Returns the moment at which it
    /// was due or sent, whichever is earlier; `None` without a request.
    pub(super) fn carry_over(&mut self, number: u32) -> Option<Moment> {
        if let Some(conversation) = &mut self.conversation {
            conversation.set_number(number);
        }
        let flight = self.flight.as_mut()?;
        (flight.number, flight.phase) = (number, Phase::WarmUp);
        if let Some(turn) = &mut flight.request.turn {
            turn.conversation = number;
        }
        Some(flight.sent.unwrap_or(flight.due).min(flight.due))
    }

    /// Returns the record of the request so far. It goes on.
    pub(super) fn record_so_far(&self, now: Moment) -> Option<Record> {
        let (chunks, usage) = self.answer.so_far();
        let record = record_of(self.flight.as_ref()?, now, End::Cut);
        // One that would have been measured, had the stage gone on, is in no figure of requests.
        let phase = match record.phase {
            Phase::WarmUp => Phase::WarmUp,
            Phase::Measured | Phase::Tail => Phase::Tail,
        };
        Some(Record {
            phase,
            chunks: chunks.to_vec(),
            usage,
            ..record
        })
    }

    /// Ends the request with a failure and closes its connection.
    pub(super) fn fail(&mut self, failure: Failure, now: Moment) -> Turn {
        self.connection = None;
        self.end(now, End::Failed(failure))
            .map_or(Turn::Going, Turn::Ended)
    }

    /// Ends the request, for which no connection comes about.
    pub(super) fn fail_to_connect(&mut self, error: &io::Error, now: Moment) -> Turn {
        self.is_connecting = false;
        let kind = shortage_of(error).map_or(FailureKind::Connect, FailureKind::OwnLimit);
        self.fail(describe_failure(kind, describe(error).as_bytes()), now)
    }

    fn complete_broken(&mut self, now: Moment) -> Turn {
        self.connection = None;
        self.complete(now)
    }

    fn complete(&mut self, now: Moment) -> Turn {
        if !self.response.keeps_alive {
            self.connection = None;
        }
        self.idle_since = now;
        let status = self.response.status;
        if status != 200 {
            let failure = describe_failure(FailureKind::Status(status), &self.error_body);
            return self
                .end(now, End::Failed(failure))
                .map_or(Turn::Going, Turn::Ended);
        }
        let AnswerRead {
            chunks,
            usage,
            end,
            text,
        } = self.answer.finish();
        let end = end.map_or_else(End::Failed, End::Complete);
        let record = self.flight.take().map(|flight| Record {
            chunks,
            usage,
            text,
            ..record_of(&flight, now, end)
        });
        record.map_or(Turn::Going, |record| Turn::Ended(Box::new(record)))
    }

    /// Returns the record of a request whose answer is not complete.
    fn end(&mut self, now: Moment, end: End) -> Option<Box<Record>> {
        let (chunks, usage) = self.answer.abandon();
        let flight = self.flight.take()?;
        Some(Box::new(Record {
            chunks,
            usage,
            ..record_of(&flight, now, end)
        }))
    }
}

fn record_of(flight: &Flight, now: Moment, end: End) -> Record {
    Record {
        number: flight.number,
        phase: flight.phase,
        due: flight.due,
        sent: flight.sent.unwrap_or(now),
        ended: now,
        is_first_of_connection: flight.is_first_of_connection,
        turn: flight.request.turn,
        prompt_tokens: flight.request.prompt_tokens,
        asked_tokens: flight.request.output_tokens,
        chunks: Vec::new(),
        usage: None,
        end,
        text: None,
    }
}

fn micros_between(from: Moment, to: Moment) -> u32 {
    u32::try_from(to.since(from).as_micros()).unwrap_or(u32::MAX)
}
