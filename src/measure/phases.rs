//! The phases of a run: the moment at which measuring begins, and the one at which nothing is left to measure.

use std::time::Duration;

use crate::measure::load::{Extent, Load};
use crate::measure::record::{Moment, Phase};

/// Failures without a single answer after which a run ends, beside two for each slot: the server is not there.
const HOPELESS: u32 = 20;

/// The state of a run.
///
/// The warm-up ends when all requests of its first wave have ended: of a closed loop, the first request of each slot; of an open
/// loop, those that were sent before the first answer was complete. Slots are never drained in between: requests that follow are
/// measured, and those that follow the last measured one keep the load at its height until that one has ended.
#[derive(Debug)]
pub struct Phases {
    extent: Extent,
    /// Requests of the first wave: those with a number below this. `None` before the first answer of an open loop.
    wave: Option<u32>,
    /// Requests of the first wave that have not ended.
    wave_open: u32,
    issued: u32,
    measured_issued: u32,
    measured_open: u32,
    completed: u32,
    failed: u32,
    slots: u32,
    hand_over: Option<Moment>,
    last_issue: Option<Moment>,
    over: Option<Moment>,
}

impl Phases {
    /// Returns the state before the first request.
    #[must_use]
    pub fn new(load: &Load, extent: Extent) -> Self {
        let wave = match load {
            Load::Concurrency(count) => Some(*count),
            Load::Rate { .. } => None,
        };
        Self {
            extent,
            wave,
            wave_open: wave.unwrap_or(0),
            issued: 0,
            measured_issued: 0,
            measured_open: 0,
            completed: 0,
            failed: 0,
            slots: load.most_in_flight().unwrap_or(0),
            hand_over: (!extent.warm_up).then_some(Moment(0)),
            last_issue: None,
            over: None,
        }
    }

    /// Returns the number and the phase of the request that is issued now.
    pub fn issue(&mut self, now: Moment) -> (u32, Phase) {
        let number = self.issued;
        self.issued += 1;
        let Some(begin) = self.hand_over else {
            return (number, Phase::WarmUp);
        };
        let spent = now.since(begin);
        let is_enough = self.measured_issued >= self.extent.requests && spent >= seconds(self.extent.least_s);
        let is_late = self.extent.most_s.is_some_and(|most| spent >= seconds(most));
        if self.last_issue.is_some() || is_enough || is_late {
            self.last_issue.get_or_insert(now);
            // A request is issued although nothing is left to measure: the load ends here.
            self.end_if_done(now);
            return (number, Phase::Tail);
        }
        self.measured_issued += 1;
        self.measured_open += 1;
        (number, Phase::Measured)
    }

    /// Takes the end of a request.
    pub fn end(&mut self, number: u32, phase: Phase, is_complete: bool, now: Moment) {
        if is_complete {
            self.completed += 1;
        } else {
            self.failed += 1;
        }
        match phase {
            Phase::WarmUp => self.end_of_warm_up(number, now),
            Phase::Measured => self.measured_open -= 1,
            Phase::Tail => {}
        }
        self.end_if_done(now);
    }

    fn end_of_warm_up(&mut self, number: u32, now: Moment) {
        let wave = *self.wave.get_or_insert_with(|| {
            self.wave_open = self.issued;
            self.issued
        });
        if number < wave {
            self.wave_open = self.wave_open.saturating_sub(1);
        }
        if self.wave_open == 0 {
            self.hand_over.get_or_insert(now);
        }
    }

    fn end_if_done(&mut self, now: Moment) {
        let is_hopeless = self.completed == 0 && self.failed >= HOPELESS + 2 * self.slots;
        let is_done = self.last_issue.is_some() && self.measured_open == 0;
        if is_hopeless || is_done {
            self.over.get_or_insert(now);
        }
    }

    /// Takes the passing of time: the longest time of a run also ends when no request is issued.
    pub fn tick(&mut self, now: Moment) {
        if let (Some(begin), Some(most)) = (self.hand_over, self.extent.most_s)
            && now.since(begin) >= seconds(most)
        {
            self.last_issue.get_or_insert(now);
            self.end_if_done(now);
        }
    }

    /// Takes the end of the data: there is no further request.
    pub fn exhaust(&mut self, now: Moment) {
        self.last_issue.get_or_insert(now);
        self.end_if_done(now);
    }

    /// Returns the moment at which measuring began.
    #[must_use]
    pub const fn hand_over(&self) -> Option<Moment> {
        self.hand_over
    }

    /// Returns true when nothing is left to measure.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Returns the time in which all slots were full with requests of later waves: from the hand-over to the end of the last
    /// measured request. `None` if it did not come to that.
    #[must_use]
    pub fn window(&self) -> Option<(Moment, Moment)> {
        Some((self.hand_over?, self.over?)).filter(|(from, to)| from < to)
    }

    /// Returns the share of the run that is done, 0 to 1, and the current phase.
    #[must_use]
    pub fn progress(&self, now: Moment) -> (f64, Phase) {
        let Some(begin) = self.hand_over else {
            return (0.0, Phase::WarmUp);
        };
        let ended = self.measured_issued - self.measured_open;
        let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 1.0 };
        let of_requests = share(
            f64::from(ended),
            f64::from(self.extent.requests.max(self.measured_issued)),
        );
        let of_time = share(
            now.since(begin).as_secs_f64(),
            f64::from(self.extent.least_s.max(1)),
        );
        let phase = if self.last_issue.is_some() {
            Phase::Tail
        } else {
            Phase::Measured
        };
        (of_requests.min(of_time), phase)
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(requests: u32, least_s: u32) -> Extent {
        Extent {
            requests,
            least_s,
            most_s: None,
            stall_s: 1,
            warm_up: true,
        }
    }

    const fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000_000)
    }

    #[test]
    fn a_closed_loop_measures_from_the_second_wave_to_the_last_measured_end() {
        let mut phases = Phases::new(&Load::Concurrency(2), extent(2, 0));
        assert_eq!(phases.issue(at(0)), (0, Phase::WarmUp));
        assert_eq!(phases.issue(at(0)), (1, Phase::WarmUp));
        phases.end(0, Phase::WarmUp, true, at(1));
        // One slot is in its second wave while the other one is in its first.
        assert_eq!(phases.issue(at(1)), (2, Phase::WarmUp));
        assert_eq!(phases.window(), None);
        phases.end(1, Phase::WarmUp, true, at(2));
        assert_eq!(phases.issue(at(2)), (3, Phase::Measured));
        phases.end(2, Phase::WarmUp, true, at(3));
        assert_eq!(phases.issue(at(3)), (4, Phase::Measured));
        phases.end(3, Phase::Measured, true, at(4));
        // The load stays at its height while the last measured request runs.
        assert_eq!(phases.issue(at(4)), (5, Phase::Tail));
        assert!(!phases.is_over());
        phases.end(4, Phase::Measured, false, at(5));
        assert!(phases.is_over());
        assert_eq!(phases.window(), Some((at(2), at(5))));
    }

    #[test]
    fn a_run_goes_on_until_its_least_time_is_over() {
        let mut phases = Phases::new(&Load::Concurrency(1), extent(1, 10));
        phases.issue(at(0));
        phases.end(0, Phase::WarmUp, true, at(1));
        for second in 1..11 {
            let (number, phase) = phases.issue(at(second));
            assert_eq!(phase, Phase::Measured, "{second}");
            phases.end(number, phase, true, at(second));
        }
        assert_eq!(phases.issue(at(11)).1, Phase::Tail);
        assert!(phases.is_over());
    }

    #[test]
    fn the_longest_time_ends_a_run_before_its_requests() {
        let long = Extent {
            most_s: Some(3),
            ..extent(100, 0)
        };
        let mut phases = Phases::new(&Load::Concurrency(1), long);
        phases.issue(at(0));
        phases.end(0, Phase::WarmUp, true, at(1));
        let (number, phase) = phases.issue(at(1));
        phases.tick(at(4));
        assert!(!phases.is_over());
        phases.end(number, phase, true, at(9));
        assert!(phases.is_over());
    }

    #[test]
    fn an_open_loop_is_warm_when_those_before_the_first_answer_have_ended() {
        let load = Load::Rate {
            per_second: 1.0,
            arrivals: crate::measure::Arrivals::Constant,
            most_in_flight: None,
        };
        let mut phases = Phases::new(&load, extent(1, 0));
        for second in 0..3 {
            assert_eq!(phases.issue(at(second)).1, Phase::WarmUp);
        }
        phases.end(1, Phase::WarmUp, true, at(3));
        assert_eq!(phases.issue(at(3)).1, Phase::WarmUp);
        phases.end(0, Phase::WarmUp, true, at(4));
        assert_eq!(phases.issue(at(4)).1, Phase::WarmUp);
        phases.end(3, Phase::WarmUp, true, at(4));
        phases.end(2, Phase::WarmUp, true, at(5));
        assert_eq!(phases.issue(at(5)).1, Phase::Measured);
    }

    #[test]
    fn a_server_that_is_not_there_ends_the_run() {
        let mut phases = Phases::new(&Load::Concurrency(1), extent(1000, 10));
        for _ in 0..22 {
            assert!(!phases.is_over());
            let (number, phase) = phases.issue(at(0));
            phases.end(number, phase, false, at(0));
        }
        assert!(phases.is_over());
    }

    #[test]
    fn progress_reaches_one_when_requests_and_time_are_done() {
        let mut phases = Phases::new(&Load::Concurrency(1), extent(2, 10));
        phases.issue(at(0));
        assert_eq!(phases.progress(at(0)), (0.0, Phase::WarmUp));
        phases.end(0, Phase::WarmUp, true, at(1));
        let (number, phase) = phases.issue(at(1));
        phases.end(number, phase, true, at(6));
        assert_eq!(phases.progress(at(6)), (0.5, Phase::Measured));
    }
}
