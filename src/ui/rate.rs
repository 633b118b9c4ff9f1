//! How fast bytes come, and how long the rest will take: of the last ten seconds, so that a stall shows.
//!
//! Not in this module: where it is shown (`plain`, `json`, `tty`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::units;

/// Time over which a rate is taken.
const WINDOW: Duration = Duration::from_secs(10);

/// Amounts at recent times. The first is where counting begins: a pull that goes on did not fetch just now what it has.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Takes note of `done` bytes at `now`; returns bytes a second, `None` while nothing can be said.
    pub(super) fn at(&mut self, now: Duration, done: u64) -> Option<u64> {
        if self.samples.back().is_some_and(|(_, last)| done < *last) {
            // Something came wrong and begins anew.
            self.samples.clear();
        }
        self.samples.push_back((now, done));
        // One older than the window stays: from there on it is counted.
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

/// Longest time that is still foretold: what takes longer at the rate of ten seconds has stalled.
const LONGEST: Duration = Duration::from_hours(100);

/// Time until `total` is reached at `speed` bytes a second; `None` when that is unknown, or nothing is left.
pub(super) fn left(done: u64, total: Option<u64>, speed: Option<u64>) -> Option<Duration> {
    let left = total?.checked_sub(done).filter(|left| *left > 0)?;
    let time = left.checked_div(speed?).map(Duration::from_secs);
    time.filter(|time| *time <= LONGEST)
}

/// A time that runs: it does not show tenths, which would only flicker.
pub(super) fn clock(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..10 => format!("{seconds}s"),
        _ => units::duration(time),
    }
}

/// Milliseconds as people say them.
pub(super) fn time(elapsed_ms: u64) -> String {
    units::duration(Duration::from_millis(elapsed_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_ten_seconds() {
        let mut rate = Rate::default();
        let mut at = |seconds, done| rate.at(Duration::from_secs(seconds), done);
        assert_eq!(at(0, 1000), None);
        assert_eq!(at(10, 2000), Some(100));
        assert_eq!(at(20, 2000), None, "it stalled for the whole window");
        assert_eq!(at(25, 3500), Some(100));
        assert_eq!(at(26, 10), None, "it began anew");
        assert_eq!(at(28, 30), Some(10));
    }

    #[test]
    fn what_is_left_is_said_when_it_is_known() {
        assert_eq!(left(10, Some(30), Some(5)), Some(Duration::from_secs(4)));
        assert_eq!(left(0, Some(689_000_000_000), Some(1_000_000)), None);
        assert_eq!(left(30, Some(30), Some(5)), None);
        assert_eq!(left(10, None, Some(5)), None);
        assert_eq!(left(10, Some(30), None), None);
    }

    #[test]
    fn a_clock_does_not_flicker() {
        assert_eq!(clock(Duration::from_millis(9_870)), "9s");
        assert_eq!(clock(Duration::from_secs(250)), "4m10s");
    }
}
