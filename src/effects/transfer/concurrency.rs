//! The number of workers of a pull: a few at first, more as long as the rate grows.
//!
//! One connection to a content network reaches 9 to 70 MB/s, and four connections to a mirror in the same rack
//! fill a network card, so that the best number is not known in advance.

use std::time::{Duration, Instant};

/// Initial number of workers, unless the user allows fewer: half the number of processors, but at least enough
/// to saturate two processors on loopback, and at most what every hub accepts.
const FIRST_WORKERS: std::ops::RangeInclusive<usize> = 4..=16;
/// Time over which a rate is measured.
const GROWTH_WINDOW: Duration = Duration::from_secs(3);
/// Smallest factor by which the rate must grow after workers were added.
const LEAST_GAIN: f64 = 1.1;
/// Share of all processors' time above which the processors limit the pull. More workers would only take
/// memory.
const BUSY: f64 = 0.7;
/// Number of windows after which growth is tried again, because networks change.
const RETRY_WINDOWS: u32 = 10;

/// The resources that a pull has used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Bytes received from the network.
    pub(super) fetched: u64,
    /// Processor time of this process.
    pub(super) cpu: Duration,
}

/// Decides how many workers run.
pub(super) struct Concurrency {
    workers: usize,
    most: usize,
    limit_rate: Option<u64>,
    processors: usize,
    window: Option<(Instant, Usage)>,
    /// The rate before workers were last added.
    before: f64,
    /// Number of windows before the next attempt to grow.
    rest: u32,
}

impl Concurrency {
    /// Creates a policy with a largest number of workers and a rate limit in bytes a second.
    pub(super) fn new(most: usize, limit_rate: Option<u64>, processors: usize) -> Self {
        Self {
            workers: (processors / 2)
                .clamp(*FIRST_WORKERS.start(), *FIRST_WORKERS.end())
                .min(most.max(1)),
            most: most.max(1),
            limit_rate,
            processors,
            window: None,
            before: 0.0,
            rest: 0,
        }
    }

    /// Returns the current number of workers.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the number of workers to add, given the usage until `now`.
    pub(super) fn workers_to_add(&mut self, used: Usage, now: Instant) -> usize {
        let (since, before) = *self.window.get_or_insert((now, used));
        let elapsed = now.saturating_duration_since(since);
        if elapsed < GROWTH_WINDOW {
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
        if self.before > 0.0 && rate < self.before * LEAST_GAIN {
            // The workers that were added last did not raise the rate.
            (self.before, self.rest) = (0.0, RETRY_WINDOWS);
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

    fn used(fetched: u64) -> Usage {
        Usage {
            fetched,
            cpu: Duration::ZERO,
        }
    }

    /// Returns the number of workers after so many windows, on a network with one rate per stream and one for
    /// all.
    fn workers_after(windows: u32, each: u64, all: u64) -> usize {
        let (begun, mut fetched) = (Instant::now(), 0);
        let mut concurrency = Concurrency::new(64, None, 8);
        concurrency.workers_to_add(used(0), begun);
        for window in 1..=windows {
            fetched += (each * concurrency.workers() as u64).min(all) * GROWTH_WINDOW.as_secs();
            concurrency.workers_to_add(used(fetched), begun + GROWTH_WINDOW * window);
        }
        concurrency.workers()
    }

    #[test]
    fn workers_are_added_as_long_as_the_rate_grows() {
        assert_eq!(workers_after(20, 10, 1_000_000), 64);
        // Four workers fill the network: one step too many, and one more every half minute.
        assert!(workers_after(9, 25, 100) <= 6, "{}", workers_after(9, 25, 100));
        let few = workers_after(9, 10, 200);
        assert!((20..=28).contains(&few), "{few}");
    }

    #[test]
    fn the_rate_limit_and_the_largest_number_of_workers_are_kept() {
        let mut concurrency = Concurrency::new(2, None, 8);
        assert_eq!(concurrency.workers(), 2);
        let begun = Instant::now();
        concurrency.workers_to_add(used(0), begun);
        assert_eq!(
            concurrency.workers_to_add(used(1 << 30), begun + GROWTH_WINDOW),
            0
        );
        let mut concurrency = Concurrency::new(64, Some(1000), 8);
        concurrency.workers_to_add(used(0), begun);
        assert_eq!(concurrency.workers_to_add(used(2950), begun + GROWTH_WINDOW), 0);
    }

    #[test]
    fn no_workers_are_added_while_the_processors_are_busy() {
        let (mut concurrency, begun) = (Concurrency::new(64, None, 2), Instant::now());
        concurrency.workers_to_add(used(0), begun);
        let busy = Usage {
            fetched: 1 << 30,
            cpu: GROWTH_WINDOW * 2,
        };
        assert_eq!(concurrency.workers_to_add(busy, begun + GROWTH_WINDOW), 0);
        let idle = Usage {
            fetched: 2 << 30,
            ..busy
        };
        assert_eq!(concurrency.workers_to_add(idle, begun + GROWTH_WINDOW * 2), 2);
    }
}
