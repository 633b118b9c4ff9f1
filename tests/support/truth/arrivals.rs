//! The part of the loop that takes requests and starts their answers.

use rustix::event::epoll::EventFlags;

use super::answer::error;
use super::asked::{Api, Asked};
use super::clock::ns;
use super::connection::{Active, Came, Sent};
use super::end::End;
use super::pages::{Page, page};
use super::request::{Read, Request};
use super::run::Admitted;
use super::server::Server;
use super::timers::Due;
use super::wire::{JSON, push_answer};

impl Server {
    /// Attends to what came for a connection.
    pub(super) fn attend(&mut self, slot: u32, flags: EventFlags) {
        let Some(connection) = &mut self.slots[slot as usize] else {
            return;
        };
        if connection.has_unsent() {
            match connection.flush() {
                Sent::Gone => return self.close(slot, End::ClientLeft),
                Sent::Whole if connection.is_ending => return self.close(slot, End::Open),
                _ => {}
            }
        }
        let readable = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if !flags.intersects(readable) {
            return;
        }
        match connection.read(&mut self.buffer) {
            Came::Gone => self.close(slot, End::ClientLeft),
            Came::Some if connection.active.is_none() => self.take(slot),
            _ => {}
        }
    }

    /// Takes the next request of a connection.
    pub(super) fn take(&mut self, slot: u32) {
        let Some(connection) = &mut self.slots[slot as usize] else {
            return;
        };
        if connection.is_ending {
            return;
        }
        match connection.incoming.take() {
            Read::More { expects } => {
                if expects {
                    let _ = connection.write(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
            }
            Read::Bad(status, reason) => {
                connection.closes = true;
                let body = error(status, reason);
                self.answer_at_once(
                    slot,
                    &Page {
                        status,
                        kind: JSON,
                        body,
                    },
                    "",
                );
            }
            Read::Whole(request) => {
                let arrival = self.clock.now();
                connection.closes = request.closes;
                self.epoch = self.epoch.wrapping_add(1);
                connection.epoch = self.epoch;
                self.answer(slot, &request, arrival);
            }
        }
    }

    fn answer(&mut self, slot: u32, request: &Request, arrival: u64) {
        let api = Api::of(&request.path).filter(|_| request.method == "POST");
        let Some(api) = api else {
            let page = page(&self.shape, &mut self.run(), request, arrival);
            return self.answer_at_once(slot, &page, "");
        };
        let asked = match Asked::read(api, &request.body) {
            Ok(asked) => asked,
            Err(reason) => {
                let (status, kind, body) = (400, JSON, error(400, &reason));
                return self.answer_at_once(slot, &Page { status, kind, body }, "");
            }
        };
        let (ticket, admitted) = {
            let mut run = self.run();
            run.served
                .arrival_lag
                .add(arrival.saturating_sub(self.quiet_since), 1);
            run.admit(&self.shape, &asked, arrival)
        };
        match admitted {
            Admitted::Refused { code, retry_after } => {
                let extra = retry_after.map_or(String::new(), |after| format!("retry-after: {after}\r\n"));
                let body = error(code, "The server refuses.");
                self.run().ended(ticket, End::Status(code), arrival);
                let (status, kind) = (code, JSON);
                self.answer_at_once(slot, &Page { status, kind, body }, &extra);
            }
            Admitted::Answer {
                mut stream,
                has_early_role,
            } => {
                self.wire.clear();
                stream.open(&mut self.wire, has_early_role);
                let (gap, pieces) = stream.cutting(ns(self.shape.itl));
                let due = stream.due().saturating_sub(gap * u64::from(pieces - 1));
                let Some(connection) = &mut self.slots[slot as usize] else {
                    return;
                };
                let epoch = connection.epoch;
                connection.active = Some(Active {
                    stream,
                    ticket,
                    cut: None,
                });
                if !self.wire.raw.is_empty() && connection.write(&self.wire.raw) == Sent::Gone {
                    return self.close(slot, End::ClientLeft);
                }
                self.timers.add(due, Due::Write { slot, epoch });
            }
        }
    }

    /// Writes an answer that is ready.
    fn answer_at_once(&mut self, slot: u32, page: &Page, extra: &str) {
        self.wire.clear();
        let body = page.body.as_bytes();
        push_answer(&mut self.wire.raw, page.status, page.kind, body, extra);
        let Some(connection) = &mut self.slots[slot as usize] else {
            return;
        };
        if connection.write(&self.wire.raw) == Sent::Gone {
            return self.close(slot, End::ClientLeft);
        }
        self.go_on(slot);
    }
}
