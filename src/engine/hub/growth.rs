//! How many streams a pull has: a few at first, more as long as that brings more.
//!
//! One connection of a content network brings 9 to 70 MB/s (hub.md 4.4), and a mirror in the same rack fills a network
//! card with four: what helps is not known beforehand. Not in this module: the streams (`workers`).

use std::time::{Duration, Instant};

/// Streams at first, unless the user allows fewer: what saturates two processors on loopback (hub.md 4.4).
const FIRST: usize = 4;
/// Time over which a rate is taken.
const WINDOW: Duration = Duration::from_secs(3);
/// A step that brings less than this much more was one too many.
const GAIN: f64 = 1.1;
/// Windows after which it is tried again: networks change.
const AGAIN: u32 = 10;

/// Decides how many streams there are.
pub(super) struct Growth {
    workers: usize,
    most: usize,
    limit_rate: Option<u64>,
    window: Option<(Instant, u64)>,
    /// The rate before the last step.
    before: f64,
    /// Windows to wait until the next step.
    rest: u32,
}

impl Growth {
    /// At most so many streams, and so many bytes a second.
    pub(super) fn new(most: usize, limit_rate: Option<u64>) -> Self {
        Self {
            workers: FIRST.min(most.max(1)),
            most: most.max(1),
            limit_rate,
            window: None,
            before: 0.0,
            rest: 0,
        }
    }

    /// Streams now.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Streams to add, when `fetched` bytes came until `now`.
    pub(super) fn more(&mut self, fetched: u64, now: Instant) -> usize {
        let (since, from) = *self.window.get_or_insert((now, fetched));
        let elapsed = now.saturating_duration_since(since);
        if elapsed < WINDOW {
            return 0;
        }
        self.window = Some((now, fetched));
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let rate = fetched.saturating_sub(from) as f64 / elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let is_limited = self.limit_rate.is_some_and(|limit| rate > limit as f64 * 0.9);
        self.rest = self.rest.saturating_sub(1);
        if self.workers >= self.most || is_limited || rate <= 0.0 || self.rest > 0 {
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

    /// Streams after so many windows on a network with a rate for a stream and one for all.
    fn settled(windows: u32, each: u64, all: u64) -> usize {
        let (begun, mut fetched) = (Instant::now(), 0);
        let mut growth = Growth::new(64, None);
        growth.more(0, begun);
        for window in 1..=windows {
            fetched += (each * growth.workers() as u64).min(all) * WINDOW.as_secs();
            growth.more(fetched, begun + WINDOW * window);
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
        let mut growth = Growth::new(2, None);
        assert_eq!(growth.workers(), 2);
        let begun = Instant::now();
        growth.more(0, begun);
        assert_eq!(growth.more(1 << 30, begun + WINDOW), 0);
        let mut growth = Growth::new(64, Some(1000));
        growth.more(0, begun);
        assert_eq!(growth.more(2950, begun + WINDOW), 0);
    }
}
