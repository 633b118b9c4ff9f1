//! The rise of a load to its height.

use std::time::Duration;

use crate::measure::record::Moment;

/// A ramp: a time in which a load rises evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ramp {
    begin: Moment,
    length: Duration,
}

impl Ramp {
    /// Returns a ramp of so many seconds from a moment on; `None` for no seconds.
    pub(super) fn new(begin: Moment, seconds: u32) -> Option<Self> {
        let length = Duration::from_secs(u64::from(seconds));
        (seconds > 0).then_some(Self { begin, length })
    }

    /// Returns the moment at which the load has its height.
    pub(super) fn end(&self) -> Moment {
        self.begin.after(self.length)
    }

    /// Returns the slots of a closed loop of `target` that are open at a moment: the first one at once, and each further one a
    /// part of the ramp later.
    pub(super) fn slots_at(&self, target: u32, now: Moment) -> u32 {
        let passed = now.since(self.begin).as_nanos() * u128::from(target);
        let further = passed / self.length.as_nanos().max(1);
        u32::try_from(further.saturating_add(1)).map_or(target, |slots| slots.min(target))
    }

    /// Returns the moment at which one more than `open` slots are open.
    pub(super) fn opening_after(&self, open: u32, target: u32) -> Moment {
        let after = self.length.as_nanos() * u128::from(open);
        let nanos = after.div_ceil(u128::from(target.max(1)));
        self.begin
            .after(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// Returns the seconds after which a rate that rises evenly over `ramp` seconds has sent as many requests as its full rate sends
/// in `full` seconds.
pub(super) fn stretch(full: f64, ramp: f64) -> f64 {
    if full < ramp / 2.0 {
        (2.0 * full * ramp).sqrt()
    } else {
        full + ramp / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_open_evenly() {
        let second = |seconds: f64| Moment(0).after(Duration::from_secs_f64(seconds));
        let ramp = Ramp::new(second(10.0), 8).unwrap();
        assert_eq!(Ramp::new(Moment(0), 0), None);
        let open: Vec<u32> = [0.0, 10.0, 11.9, 12.0, 15.0, 17.9, 18.0, 99.0]
            .map(|seconds| ramp.slots_at(4, second(seconds)))
            .to_vec();
        assert_eq!(open, [1, 1, 1, 2, 3, 4, 4, 4]);
        assert_eq!(ramp.opening_after(1, 4), second(12.0));
        assert_eq!(ramp.end(), second(18.0));
        for open in 1..7 {
            let opening = ramp.opening_after(open, 7);
            assert_eq!(ramp.slots_at(7, opening), open + 1);
            assert_eq!(ramp.slots_at(7, Moment(opening.0 - 1)), open);
        }
    }

    #[test]
    fn a_rate_rises_evenly() {
        // After half of the ramp a quarter of its requests were sent, which the full rate sends in an eighth of it.
        for (full, expected) in [(0.0, 0.0), (1.25, 5.0), (5.0, 10.0), (7.0, 12.0)] {
            let found = stretch(full, 10.0);
            assert!((found - expected).abs() < 1e-9, "{full}: {found}");
        }
        assert!((stretch(3.0, 0.0) - 3.0).abs() < 1e-9);
    }
}
