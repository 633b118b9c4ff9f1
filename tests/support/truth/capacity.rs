//! The places and the prefill that requests wait for, in the order of their arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The planned occupation of a server.
#[derive(Debug, Default)]
pub struct Capacity {
    prefill_free: u64,
    ends: BinaryHeap<Reverse<u64>>,
}

impl Capacity {
    /// Returns the time at which the prefill of a request starts, which has its place then.
    pub fn admit(&mut self, arrival: u64, max_running: Option<usize>, prefill_serial: u64) -> u64 {
        let mut start = arrival;
        if let Some(most) = max_running {
            while self.ends.peek().is_some_and(|end| end.0 <= arrival) {
                self.ends.pop();
            }
            if self.ends.len() >= most.max(1)
                && let Some(Reverse(end)) = self.ends.pop()
            {
                start = end;
            }
        }
        if prefill_serial > 0 {
            start = start.max(self.prefill_free);
            self.prefill_free = start + prefill_serial;
        }
        start
    }

    /// Occupies the place of a request until its planned end.
    pub fn occupy(&mut self, end: u64, max_running: Option<usize>) {
        if max_running.is_some() {
            self.ends.push(Reverse(end));
        }
    }

    /// Frees the place of a request that ended before its plan. The requests that wait already keep their plan.
    pub fn release(&mut self, end: u64) {
        let mut found = false;
        self.ends.retain(|known| {
            let is_this = !found && known.0 == end;
            found |= is_this;
            !is_this
        });
    }
}
