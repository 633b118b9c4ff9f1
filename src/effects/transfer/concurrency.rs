//! How many streams a pull has: a few at first, more as long as that brings more.
//!
//! One connection of a content network brings 9 to 70 MB/s (hub.md 4.4), and a mirror in the same rack fills a network
//! card with four: what helps is not known beforehand. Not in this module: the streams (`workers`).

use std::time::{Duration, Instant};

/// Streams at first, unless the user allows fewer: half as many as there are processors, and at least what saturates two
/// on loopback. At most what no hub minds.
const FIRST: std::ops::RangeInclusive<usize> = 4..=16;
/// Time over which a rate is taken.
const WINDOW: Duration = Duration::from_secs(3);
/// A step that brings less than this much more was one too many.
const GAIN: f64 = 1.1;
/// Part of all processors' time from which on they, and not the network, are what a pull waits for: more streams would
/// only take memory.
const BUSY: f64 = 0.7;
/// Windows after which it is tried again: networks change.
const AGAIN: u32 = 10;

/// What a pull has taken so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// Bytes that came over the network.
    pub(super) fetched: u64,
    /// Processor time of this process.
    pub(super) cpu: Duration,
}

/// Decides how many streams there are.
pub(super) struct Growth {
    workers: usize,
    most: usize,
    limit_rate: Option<u64>,
    processors: usize,
    window: Option<(Instant, Used)>,
    /// The rate before the last step.
    before: f64,
    /// Windows to wait until the next step.
    rest: u32,
}

impl Growth {
    /// At most so many streams, and so many bytes a second.
    pub(super) fn new(most: usize, limit_rate: Option<u64>, processors: usize) -> Self {
        Self {
            workers: (processors / 2)
                .clamp(*FIRST.start(), *FIRST.end())
                .min(most.max(1)),
            most: most.max(1),
            limit_rate,
            processors,
            window: None,
            before: 0.0,
            rest: 0,
        }
    }

    /// Streams now.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Streams to add, with what was taken until `now`.
    pub(super) fn more(&mut self, used: Used, now: Instant) -> usize {
        let (since, before) = *self.window.get_or_insert((now, used));
        let elapsed = now.saturating_duration_since(since);
        if elapsed < WINDOW {
            return 0;
        }
        self.window = Some((now, used));
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let rate = used.fetched.saturating_sub(before.fetched) as f64 / elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "processors are few")]
        let all = elapsed.as_secs_f64() * self.processors as f64;
        let is_busy = used.cpu.saturating_sub(before.cpu).as_secs_f64() > all * BUSY;
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let is_limited = self.limit_rate.is_some_and(|limit| rate > limit as f64 * 0.9);
        self.rest = self.rest.saturating_sub(1);
        if self.workers >= self.most || is_limited || is_busy || rate <= 0.0 || self.rest > 0 {
            return 0;
        }
        if self.before > 0.0 && rate < self.before * GAIN {
            // The last step brought nothing.
            (self.before, self.rest) = (0.0, AGAIN);
            return 0;
        }
        self.before = rate;
        let more = (self.workers / 2).max(1).min(self.most - self.workers);
        self.workers += more;
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(fetched: u64) -> Used {
        Used {
            fetched,
            cpu: Duration::ZERO,
        }
    }

    /// Streams after so many windows on a network with a rate for a stream and one for all.
    fn settled(windows: u32, each: u64, all: u64) -> usize {
        let (begun, mut fetched) = (Instant::now(), 0);
        let mut growth = Growth::new(64, None, 8);
        growth.more(used(0), begun);
        for window in 1..=windows {
            fetched += (each * growth.workers() as u64).min(all) * WINDOW.as_secs();
            growth.more(used(fetched), begun + WINDOW * window);
        }
        growth.workers()
    }

    #[test]
    fn streams_are_added_as_long_as_they_bring_more() {
        assert_eq!(settled(20, 10, 1_000_000), 64);
        // Four fill it: one step too many, and one more each half minute.
        assert!(settled(9, 25, 100) <= 6, "{}", settled(9, 25, 100));
        let few = settled(9, 10, 200);
        assert!((20..=28).contains(&few), "{few}");
    }

    #[test]
    fn a_limit_and_a_maximum_are_kept() {
        let mut growth = Growth::new(2, None, 8);
        assert_eq!(growth.workers(), 2);
        let begun = Instant::now();
        growth.more(used(0), begun);
        assert_eq!(growth.more(used(1 << 30), begun + WINDOW), 0);
        let mut growth = Growth::new(64, Some(1000), 8);
        growth.more(used(0), begun);
        assert_eq!(growth.more(used(2950), begun + WINDOW), 0);
    }

    #[test]
    fn nothing_is_added_where_the_processors_are_busy() {
        let (mut growth, begun) = (Growth::new(64, None, 2), Instant::now());
        growth.more(used(0), begun);
        let busy = Used {
            fetched: 1 << 30,
            cpu: WINDOW * 2,
        };
        assert_eq!(growth.more(busy, begun + WINDOW), 0);
        let idle = Used {
            fetched: 2 << 30,
            ..busy
        };
        assert_eq!(growth.more(idle, begun + WINDOW * 2), 2);
    }
}
