//! The clock of a run: moments by the monotonic clock, and the kernel's stamps of arrival turned into them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::measure::Moment;

/// Least difference by which the time of day has jumped. Slewing changes it by at most 500 ppm (`adjtimex(2)`), which is 50 µs
/// between two looks.
const STEP_NANOS: u64 = 2_000_000;

/// The clock of a run.
///
/// The kernel stamps data with the time of day at which it arrived (`SO_TIMESTAMPNS`, `socket(7)`), so the difference of both
/// clocks is looked at again in each turn of the loop.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// Nanoseconds of the day's clock at the origin, since the Unix epoch.
    epoch: u64,
    /// Times that the time of day jumped.
    pub(super) steps: u32,
    /// False in the turn in which a jump was seen: stamps of before it are in other terms.
    trusts_stamps: bool,
}

impl Clock {
    /// Returns a clock that starts now.
    pub(super) fn start() -> Self {
        let (origin, epoch) = read_both();
        Self {
            origin,
            epoch,
            steps: 0,
            trusts_stamps: true,
        }
    }

    /// Returns the moment of now.
    pub(super) fn now(&self) -> Moment {
        Moment(nanos(self.origin.elapsed()))
    }

    /// Compares both clocks, and returns the moment of now.
    pub(super) fn compare(&mut self) -> Moment {
        let (instant, day) = read_both();
        let now = nanos(instant.duration_since(self.origin));
        let epoch = day.saturating_sub(now);
        self.trusts_stamps = epoch.abs_diff(self.epoch) < STEP_NANOS;
        if !self.trusts_stamps {
            self.steps += 1;
        }
        self.epoch = epoch;
        Moment(now)
    }

    /// Returns the moment of a stamp; `None` if it is not to be trusted.
    pub(super) fn moment_of(&self, stamp: Duration) -> Option<Moment> {
        let since = nanos(stamp).checked_sub(self.epoch)?;
        self.trusts_stamps.then_some(Moment(since))
    }

    /// Returns the time of day of a moment, in seconds since the Unix epoch.
    pub(super) fn unix_seconds(&self, moment: Moment) -> f64 {
        Duration::from_nanos(self.epoch.saturating_add(moment.0)).as_secs_f64()
    }
}

/// Reads both clocks at nearly one moment: a thread that loses its processor in between reads them again.
fn read_both() -> (Instant, u64) {
    let mut nearest = (Duration::MAX, Instant::now(), 0);
    for _ in 0..4 {
        let before = Instant::now();
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let apart = before.elapsed();
        if apart < nearest.0 {
            nearest = (apart, before + apart / 2, nanos(day));
        }
        if apart < Duration::from_micros(5) {
            break;
        }
    }
    (nearest.1, nearest.2)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_now_is_the_moment_of_now() {
        let mut clock = Clock::start();
        let now = clock.compare();
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let stamped = clock.moment_of(day).unwrap();
        assert!(stamped.since(now) < Duration::from_secs(1) && now.since(stamped) < Duration::from_millis(1));
        assert_eq!(clock.steps, 0);
        assert!((clock.unix_seconds(now) - day.as_secs_f64()).abs() < 1.0);
    }

    #[test]
    fn a_jump_of_the_time_of_day_is_counted_and_its_stamps_are_not_used() {
        let mut clock = Clock::start();
        clock.epoch -= 3_600_000_000_000;
        let now = clock.compare();
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!((clock.steps, clock.moment_of(day)), (1, None));
        let after = clock.compare();
        assert!(clock.moment_of(day).is_some() && after >= now);
        assert_eq!(clock.steps, 1);
    }
}
