//! The times at which a server has something to do: a heap, and one timer of the kernel for its earliest time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A write of the connection in a slot, if its epoch is still this one.
    Write { slot: u32, epoch: u32 },
    /// The end of an idle connection.
    Idle { slot: u32, epoch: u32 },
    /// The next connection may be accepted.
    Accept,
}

pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, Due)>>,
    pub kernel: OwnedFd,
    /// The start of the server's clock in nanoseconds of `CLOCK_MONOTONIC`.
    origin: u64,
    armed: Option<u64>,
}

impl Timers {
    pub fn new(origin: u64) -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Self {
            heap: BinaryHeap::new(),
            kernel: timerfd_create(TimerfdClockId::Monotonic, flags).unwrap(),
            origin,
            armed: None,
        }
    }

    pub fn add(&mut self, at: u64, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    /// Returns what is due at a time, earliest first.
    pub fn pop(&mut self, now: u64) -> Option<Due> {
        let Reverse((at, due)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some(due)
    }

    /// Arms the timer of the kernel for the earliest time, but for no time before `soonest`.
    pub fn arm(&mut self, soonest: u64) {
        let earliest = self.heap.peek().map(|Reverse((at, _))| soonest.max(*at));
        if earliest == self.armed {
            return;
        }
        self.armed = earliest;
        let at = earliest.map_or(0, |at| self.origin + at);
        let time = |ns: u64| Timespec {
            tv_sec: (ns / 1_000_000_000).cast_signed(),
            tv_nsec: (ns % 1_000_000_000).cast_signed(),
        };
        let value = Itimerspec {
            it_interval: time(0),
            it_value: time(at),
        };
        timerfd_settime(&self.kernel, TimerfdTimerFlags::ABSTIME, &value).unwrap();
    }

    /// Takes the expiry of the timer of the kernel.
    pub fn expired(&mut self) {
        self.armed = None;
    }
}
