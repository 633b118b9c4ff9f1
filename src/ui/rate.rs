//! The rate of a transfer and the time left, both from the last ten seconds, so that a stall shows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units;

/// Time over which a rate is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// Amounts at recent times. Counting begins with the first: a resumed pull did not fetch in this run the bytes it has.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Records `done` bytes at `now`; returns bytes a second, `None` while unknown.
    pub(super) fn record(&mut self, now: Duration, done: u64) -> Option<u64> {
        if self.samples.back().is_some_and(|(_, last)| done < *last) {
            // A part was wrong and is fetched again.
            self.samples.clear();
        }
        self.samples.push_back((now, done));
        // The last sample before the window stays, as the beginning of the measurement.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let millis = now.saturating_sub(since).as_millis();
        let speed = (u128::from(done - before) * 1000).checked_div(millis)?;
        u64::try_from(speed).ok().filter(|speed| *speed > 0)
    }
}

/// Longest time left that is shown: a transfer that would take longer has stalled.
const LONGEST: Duration = Duration::from_hours(100);

/// Returns the time until `total` is reached at `speed` bytes a second; `None` if it is unknown, or nothing is left.
pub(super) fn time_left(done: u64, total: Option<u64>, speed: Option<u64>) -> Option<Duration> {
    let left = total?.checked_sub(done).filter(|left| *left > 0)?;
    let time = left.checked_div(speed?).map(Duration::from_secs);
    time.filter(|time| *time <= LONGEST)
}

/// Returns a running time without tenths, which would flicker.
pub(super) fn clock(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..10 => format!("{seconds}s"),
        _ => units::duration(time),
    }
}

/// Returns milliseconds in words.
pub(super) fn time(elapsed_ms: u64) -> String {
    units::duration(Duration::from_millis(elapsed_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_covers_the_last_ten_seconds() {
        let mut rate = Rate::default();
        let mut at = |seconds, done| rate.record(Duration::from_secs(seconds), done);
        assert_eq!(at(0, 1000), None);
        assert_eq!(at(10, 2000), Some(100));
        assert_eq!(at(20, 2000), None, "it stalled for the whole window");
        assert_eq!(at(25, 3500), Some(100));
        assert_eq!(at(26, 10), None, "it began anew");
        assert_eq!(at(28, 30), Some(10));
    }

    #[test]
    fn the_time_left_is_shown_if_it_is_known() {
        assert_eq!(time_left(10, Some(30), Some(5)), Some(Duration::from_secs(4)));
        assert_eq!(time_left(0, Some(689_000_000_000), Some(1_000_000)), None);
        assert_eq!(time_left(30, Some(30), Some(5)), None);
        assert_eq!(time_left(10, None, Some(5)), None);
        assert_eq!(time_left(10, Some(30), None), None);
    }

    #[test]
    fn a_clock_does_not_flicker() {
        assert_eq!(clock(Duration::from_millis(9_870)), "9s");
        assert_eq!(clock(Duration::from_secs(250)), "4m10s");
    }
}
