//! The loop of a server: one thread that sleeps until something is due or a socket has something. What is due goes
//! before what came, after each event.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::net::{SocketFlags, sockopt};

use super::clock::{Clock, ns};
use super::connection::{Connection, Sent};
use super::end::{End, Next, Step};
use super::place::{listen, raise_priority};
use super::run::Run;
use super::shape::Shape;
use super::timers::{Due, Timers};
use super::wire::Wire;

const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const WAKE: u64 = u64::MAX - 2;

/// The time between two wakes of a busy server, at least. A wake and its timer cost as much as a write; so at 20,000 events
/// per second this halves the CPU time, for a lateness of at most a tenth of a millisecond.
const GRAIN_NS: u64 = 100_000;

pub struct Server {
    pub(super) shape: Shape,
    pub(super) clock: Clock,
    run: Arc<Mutex<Run>>,
    stop: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
    epoll: OwnedFd,
    listener: OwnedFd,
    pub(super) timers: Timers,
    pub(super) slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    pub(super) epoch: u32,
    pub(super) wire: Wire,
    pub(super) buffer: Vec<u8>,
    /// An arrival came after this time.
    pub(super) quiet_since: u64,
    cpu_read: u64,
}

impl Server {
    /// Returns a server that listens, and its port.
    pub fn new(
        shape: Shape,
        clock: Clock,
        run: Arc<Mutex<Run>>,
        stop: Arc<AtomicBool>,
        wake: Arc<OwnedFd>,
    ) -> (Self, u16) {
        let (listener, port) = listen(shape.port);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let timers = Timers::new(clock.monotonic_ns);
        let watch = |source: &OwnedFd, data: u64, flags: EventFlags| {
            epoll::add(&epoll, source, EventData::new_u64(data), flags).unwrap();
        };
        watch(&listener, LISTENER, EventFlags::IN);
        // Edge-triggered, so that nothing need be read: arming it clears its expiry.
        watch(&timers.kernel, TIMER, EventFlags::IN | EventFlags::ET);
        watch(&wake, WAKE, EventFlags::IN);
        let server = Self {
            shape,
            clock,
            run,
            stop,
            wake,
            epoll,
            listener,
            timers,
            slots: Vec::new(),
            free: Vec::new(),
            epoch: 0,
            wire: Wire::default(),
            buffer: vec![0; 256 << 10],
            quiet_since: 0,
            cpu_read: 0,
        };
        (server, port)
    }

    pub(super) fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap()
    }

    /// Serves until the stop.
    pub fn serve(mut self) {
        let is_realtime = raise_priority();
        self.run().served.is_realtime = is_realtime;
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        while !self.stop.load(Ordering::Acquire) {
            self.write_due();
            self.timers.arm(self.quiet_since + GRAIN_NS);
            self.read_cpu();
            let before = self.clock.now();
            events.clear();
            let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None);
            if waited.is_err_and(|error| error != rustix::io::Errno::INTR) {
                break;
            }
            let after = self.clock.now();
            // A wait that slept ended with the arrival; otherwise it came at any time since the last wait.
            let slept = after - before > 20_000;
            let since = if slept { after } else { self.quiet_since };
            self.quiet_since = since;
            for event in &events {
                let (data, flags) = (event.data.u64(), event.flags);
                match data {
                    LISTENER => self.accept(),
                    TIMER => self.timers.expired(),
                    WAKE => {
                        let _ = rustix::io::read(self.wake.as_fd(), &mut [0_u8; 8]);
                    }
                    slot => self.attend(slot as u32, flags),
                }
                self.write_due();
            }
            self.quiet_since = after;
        }
    }

    /// Reads the CPU time of this thread, at most each 20 ms.
    fn read_cpu(&mut self) {
        let now = self.clock.now();
        if now - self.cpu_read > 20_000_000 {
            self.cpu_read = now;
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            self.run().served.cpu_ns = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        }
    }

    fn accept(&mut self) {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else {
                return;
            };
            let _ = sockopt::set_tcp_nodelay(&socket, true);
            self.run().served.connections += 1;
            self.epoch = self.epoch.wrapping_add(1);
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            });
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            let data = EventData::new_u64(u64::from(slot));
            if epoll::add(&self.epoll, &socket, data, flags).is_err() {
                self.free.push(slot);
                continue;
            }
            self.slots[slot as usize] = Some(Connection::new(socket, self.epoch));
            self.set_idle(slot);
            if let Some(gap) = self.shape.accept_gap {
                let _ = epoll::delete(&self.epoll, &self.listener);
                self.timers.add(self.clock.now() + ns(gap), Due::Accept);
                return;
            }
            self.write_due();
        }
    }

    pub(super) fn set_idle(&mut self, slot: u32) {
        if let (Some(time), Some(connection)) = (self.shape.keep_alive, &self.slots[slot as usize]) {
            let epoch = connection.epoch;
            self.timers
                .add(self.clock.now() + ns(time), Due::Idle { slot, epoch });
        }
    }

    /// Does all that is due.
    pub(super) fn write_due(&mut self) {
        while let Some(due) = self.timers.pop(self.clock.now()) {
            match due {
                Due::Accept => {
                    let data = EventData::new_u64(LISTENER);
                    let _ = epoll::add(&self.epoll, &self.listener, data, EventFlags::IN);
                }
                Due::Idle { slot, epoch } => {
                    let is_idle = self.slots[slot as usize].as_ref().is_some_and(|connection| {
                        connection.epoch == epoch
                            && connection.active.is_none()
                            && !connection.incoming.has_begun()
                    });
                    if is_idle {
                        self.close(slot, End::Open);
                    }
                }
                Due::Write { slot, epoch } => {
                    let is_current = self.slots[slot as usize]
                        .as_ref()
                        .is_some_and(|connection| connection.epoch == epoch);
                    if is_current {
                        self.write(slot);
                    }
                }
            }
        }
    }

    /// Writes what is planned for now.
    fn write(&mut self, slot: u32) {
        let Some(connection) = &mut self.slots[slot as usize] else {
            return;
        };
        let Some(active) = &mut connection.active else {
            return;
        };
        let itl = ns(self.shape.itl);
        let (gap, _) = active.stream.cutting(itl);
        let (step, bytes, left) = if let Some((step, pieces)) = &mut active.cut {
            (*step, pieces.pop_front().unwrap_or_default(), pieces.len())
        } else {
            self.wire.clear();
            let step = active.stream.step(&mut self.wire);
            if self.wire.cuts.is_empty() {
                (step, Vec::new(), 0)
            } else {
                let mut pieces: VecDeque<Vec<u8>> = self.wire.pieces().into();
                let first = pieces.pop_front().unwrap_or_default();
                let left = pieces.len();
                active.cut = Some((step, pieces));
                (step, first, left)
            }
        };
        let ticket = active.ticket;
        let is_cut = active.cut.is_some();
        if left == 0 {
            active.cut = None;
        }
        let (sent, epoch) = {
            let bytes = if is_cut { &bytes } else { &self.wire.raw };
            (connection.write(bytes), connection.epoch)
        };
        if sent == Sent::Gone {
            return self.close(slot, End::ClientLeft);
        }
        if left > 0 {
            let at = step.due.saturating_sub(gap * (left as u64 - 1));
            return self.timers.add(at, Due::Write { slot, epoch });
        }
        let now = self.clock.now();
        let written = (sent == Sent::Whole).then_some(now);
        self.run().wrote(ticket, step, written, now);
        self.follow(slot, step, now);
    }

    /// Does what follows a write.
    fn follow(&mut self, slot: u32, step: Step, now: u64) {
        let Some(connection) = &mut self.slots[slot as usize] else {
            return;
        };
        let Some(active) = &connection.active else {
            return;
        };
        let ticket = active.ticket;
        match step.next {
            Next::At(due) => {
                let (gap, pieces) = active.stream.cutting(ns(self.shape.itl));
                let at = due.saturating_sub(gap * u64::from(pieces - 1));
                let epoch = connection.epoch;
                self.timers.add(at, Due::Write { slot, epoch });
            }
            Next::Done(end) => {
                connection.active = None;
                self.run().ended(ticket, end, now);
                self.go_on(slot);
            }
            Next::Close(end) => {
                connection.active = None;
                connection.closes = true;
                self.run().ended(ticket, end, now);
                self.go_on(slot);
            }
            Next::Reset => {
                connection.linger_not();
                self.close(slot, End::Reset);
            }
            Next::Silence => self.run().stalled(ticket),
        }
    }

    /// Closes a connection after an answer, or takes its next request.
    pub(super) fn go_on(&mut self, slot: u32) {
        let Some(connection) = &mut self.slots[slot as usize] else {
            return;
        };
        if connection.closes {
            connection.is_ending = true;
            if !connection.has_unsent() {
                self.close(slot, End::Open);
            }
            return;
        }
        self.set_idle(slot);
        self.take(slot);
    }

    /// Closes a connection; `end` is that of the answer on its way, if there is one.
    pub(super) fn close(&mut self, slot: u32, end: End) {
        if let Some(connection) = self.slots[slot as usize].take() {
            if let Some(active) = &connection.active {
                let now = self.clock.now();
                self.run().ended(active.ticket, end, now);
            }
            let _ = epoll::delete(&self.epoll, &connection.socket);
            self.free.push(slot);
        }
    }
}
