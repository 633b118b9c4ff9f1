//! The end of a point before its extent, when its outcome is certain.

use std::time::Duration;

use crate::measure::course::limits::Limits;
use crate::measure::statistics::mean;

/// Growth of the requests in flight that shows that a server does not keep up.
const GROWTH: f64 = 0.3;
/// Deviations by which it is no chance.
const DEVIATIONS: f64 = 4.0;
/// Shortest time of looks at the requests in flight that shows a growth.
const SHORTEST: Duration = Duration::from_secs(6);

/// Returns true if requests pile up: the numbers of those in flight, at even distances, grow by more than chance.
///
/// The number of requests in flight of a server that keeps up scatters around its mean with the square root of it, as in a queue
/// with as many servers as requests. A line through the numbers is no better judge: its residuals depend on each other as much as
/// the numbers do.
#[must_use]
pub fn is_piling_up(counts: &[f64]) -> bool {
    let third = counts.len() / 3;
    let ends = mean(&counts[..third]).zip(mean(&counts[counts.len() - third..]));
    ends.is_some_and(|(begin, end)| {
        let growth = end / begin.max(1.0) - 1.0;
        end - begin > DEVIATIONS * begin.max(1.0).sqrt() && growth > GROWTH
    })
}

/// The state of a point that is being measured, as far as it can end it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Early<'a> {
    /// Measured requests that the point is to have, at least.
    pub planned: u32,
    /// Seconds of measuring that it is to have, at least.
    pub least_s: u32,
    /// Measured requests that have ended.
    pub ended: u32,
    /// Those of them that miss a limit.
    pub missed: u32,
    /// Requests in flight since measuring began, at even distances.
    pub in_flight: &'a [f64],
    /// The distance of two looks at them.
    pub distance: Duration,
    /// True for an open loop.
    pub is_open: bool,
}

impl Early<'_> {
    /// Returns the time since measuring began.
    fn spent(&self) -> Duration {
        let looks = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        self.distance.saturating_mul(looks)
    }

    /// Returns the measured requests to which the least time will bring it, at the rate so far.
    fn expected(&self) -> u32 {
        let spent = self.spent().max(self.distance).as_secs_f64();
        let times = (f64::from(self.least_s) / spent).max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast of a float saturates"
        )]
        let expected = (f64::from(self.ended) * times).ceil() as u32;
        expected
    }

    /// Returns the reason to end the point; `None` to go on.
    #[must_use]
    pub fn reason(&self, limits: &Limits) -> Option<String> {
        let all = self.planned.max(self.expected());
        if f64::from(self.missed) > limits.tolerated(all) {
            let (missed, ended) = (self.missed, self.ended);
            let name = limits.percentile.name();
            return Some(format!(
                "ended early: {missed} of {ended} requests exceed a limit or failed, so {name} can no longer be kept"
            ));
        }
        if self.is_open && self.spent() >= SHORTEST && is_piling_up(self.in_flight) {
            let last = self.in_flight.last().copied().unwrap_or_default();
            return Some(format!("ended early: requests pile up, {last:.0} are in flight"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::course::limits::Percentile;

    const DISTANCE: Duration = Duration::from_millis(100);
    const LIMITS: Limits = Limits {
        ttft_ms: Some(100.0),
        tpot_ms: None,
        e2e_ms: None,
        percentile: Percentile::P90,
    };

    #[test]
    fn a_point_ends_when_its_limits_cannot_be_kept_any_more() {
        let looks = [4.0; 20];
        let early = |planned, least_s, ended, missed| {
            let state = Early {
                planned,
                least_s,
                ended,
                missed,
                in_flight: &looks,
                distance: DISTANCE,
                is_open: false,
            };
            state.reason(&LIMITS)
        };
        assert_eq!(early(100, 0, 20, 10), None);
        let reason = early(100, 0, 20, 11).unwrap();
        assert!(
            reason.contains("11 of 20 requests exceed a limit or failed"),
            "{reason}"
        );
        // Two of ten seconds are over: five times as many requests will come.
        assert_eq!(early(100, 10, 40, 20), None);
        assert!(early(100, 10, 40, 21).is_some());
        assert!(early(10, 1, 40, 5).is_some());
    }

    #[test]
    fn an_open_loop_ends_when_requests_pile_up() {
        let growing: Vec<f64> = (0..90).map(f64::from).collect();
        let steady = vec![30.0; 90];
        let early = |in_flight, is_open| Early {
            planned: 100,
            least_s: 0,
            ended: 0,
            missed: 0,
            in_flight,
            distance: DISTANCE,
            is_open,
        };
        assert!(early(&growing, true).reason(&LIMITS).is_some());
        assert_eq!(early(&growing, false).reason(&LIMITS), None);
        assert_eq!(early(&growing[..50], true).reason(&LIMITS), None);
        assert_eq!(early(&steady, true).reason(&LIMITS), None);
        assert!(!is_piling_up(&[]) && !is_piling_up(&[1.0]));
    }
}
