//! Nanoseconds since the start of a server, and sums with them.

use std::time::{Duration, Instant, SystemTime};

/// The clock of a server: `CLOCK_MONOTONIC`, which `Instant` reads and Python's `time.perf_counter`, too.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The start, which is zero.
    pub origin: Instant,
    /// The start in nanoseconds of `CLOCK_MONOTONIC`, so that another process can compare its own times.
    pub monotonic_ns: u64,
    /// The start in nanoseconds of the epoch.
    pub unix_ns: u64,
}

impl Clock {
    pub fn start() -> Self {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let origin = Instant::now();
        Self {
            origin,
            monotonic_ns: monotonic.tv_sec as u64 * 1_000_000_000 + monotonic.tv_nsec as u64,
            unix_ns: ns(SystemTime::UNIX_EPOCH.elapsed().unwrap()),
        }
    }

    pub fn now(&self) -> u64 {
        ns(self.origin.elapsed())
    }

    /// Returns a time of this server as an `Instant`.
    pub fn instant(&self, at: u64) -> Instant {
        self.origin + Duration::from_nanos(at)
    }

    /// Returns the seconds since the epoch, as `created` has them.
    pub fn unix_seconds(&self, at: u64) -> u64 {
        (self.unix_ns + at) / 1_000_000_000
    }
}

pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a time multiplied by a factor, rounded.
pub fn scaled(ns: u64, factor: f64) -> u64 {
    // Exact for the usual factor of one.
    if (factor - 1.0).abs() < f64::EPSILON {
        ns
    } else {
        (ns as f64 * factor).round() as u64
    }
}

pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Returns a number in [0, 1) that depends on a seed, a purpose and a request only (splitmix64, Steele et al. 2014), so
/// that the order of arrival changes no request's draw.
pub fn draw(seed: u64, purpose: u64, number: u64) -> f64 {
    let mut z = seed
        .wrapping_add(purpose.wrapping_mul(0xd1b5_4a32_d192_ed03))
        .wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
