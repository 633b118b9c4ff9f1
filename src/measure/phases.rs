//! The phases of a run: the moment at which measuring begins, and the one at which nothing is left to measure.

use std::time::Duration;

use crate::measure::load::{Extent, Load};
use crate::measure::ramp::Ramp;
use crate::measure::record::{Moment, Phase};

/// Failures without a single answer after which a run ends, beside two for each slot: the server is not there.
const HOPELESS: u32 = 20;

/// Longest warm-up of any load, and time that each token of the longest answer adds: far more than a server of use needs. The first
/// answers of 32,768 tokens may take five hours.
const WARM_UP: Duration = Duration::from_mins(30);
const WARM_UP_OF_TOKEN: Duration = Duration::from_millis(500);

/// Further slots that a closed loop opens at the end of one request, at most, when it grows.
const GROWTH: u32 = 3;

/// The longest of the answers, or of the conversations, that a run waits for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Longest {
    /// Tokens of the answers.
    pub tokens: u32,
    /// Pauses between the turns.
    pub pauses: Duration,
}

/// The state of a stage of a run: of one load.
///
/// The warm-up ends when all requests have ended that were issued before the load had its full height: of a closed loop that
/// starts, the first request of each slot; of an open loop, those that were sent before the first answer was complete. Slots are
/// never drained in between: requests that follow are measured, and those that follow the last measured one keep the load at its
/// height until that one has ended, or until a next stage takes it over.
///
/// A conversation has its slot from the sending of its first request to the end of its last one, and what is said here of the
/// requests of a warm-up holds for conversations: measuring begins when the first conversation of each slot has ended. A request
/// that has nothing to do with others is a conversation of one turn.
///
/// A stage that follows another one begins with the requests that are in flight. A closed loop that is to grow opens its further
/// slots when requests end: opened all at once, their answers would end together, wave after wave.
#[derive(Debug)]
pub struct Phases {
    extent: Extent,
    /// Slots of a closed loop; `None` of an open one.
    target: Option<u32>,
    /// The moment at which the stage began.
    since: Moment,
    /// Slots that may be in use.
    allowed: u32,
    /// Conversations that were going on at the beginning: their numbers are below this.
    carried: u32,
    /// The rise of the load by time, in place of that by answers.
    ramp: Option<Ramp>,
    /// Conversations of the first wave: those with a number below this. `None` while the load grows.
    wave: Option<u32>,
    /// Conversations of the warm-up that have ended, and that may be of the first wave.
    wave_ended: u32,
    /// Conversations that were begun.
    begun: u32,
    /// Conversations that have ended.
    ended: u32,
    /// Requests that were issued.
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
        Self::after(0, Moment(0), load, extent)
    }

    /// Returns the state of a stage that begins at `now` with `carried` conversations going on. They have the numbers from 0 on,
    /// as their requests in flight have.
    #[must_use]
    pub fn after(carried: u32, now: Moment, load: &Load, extent: Extent) -> Self {
        let target = load.slots();
        let slots = load.most_in_flight().unwrap_or(0);
        let mut phases = Self {
            extent,
            target,
            since: now,
            allowed: match target {
                Some(target) if carried > 0 => carried.min(target),
                Some(_) if extent.ramp_s > 0 => 1,
                _ => load.most_in_flight().unwrap_or(u32::MAX),
            },
            carried,
            ramp: Ramp::new(now, extent.ramp_s),
            wave: None,
            wave_ended: 0,
            begun: carried,
            ended: 0,
            issued: carried,
            measured_issued: 0,
            measured_open: 0,
            completed: 0,
            failed: 0,
            slots,
            hand_over: (!extent.warm_up).then_some(now),
            last_issue: None,
            over: None,
        };
        if phases.ramp.is_none() {
            phases.close_wave_at_height();
        }
        phases
    }

    /// Takes the passing of time while a load rises: more slots open, and at its height the first wave is all that was issued.
    pub fn grow(&mut self, now: Moment) {
        let Some(ramp) = self.ramp.filter(|_| self.wave.is_none()) else {
            return;
        };
        if let Some(target) = self.target {
            self.allowed = self.allowed.max(ramp.slots_at(target, now));
        }
        if now >= ramp.end() {
            match self.target {
                Some(_) => self.close_wave_at_height(),
                None => self.wave = Some(self.begun),
            }
            self.hand_over_after_wave(now);
        }
    }

    /// Returns the moment at which [`Self::grow`] opens a further slot; `None` if none opens by time.
    #[must_use]
    pub fn next_growth(&self) -> Option<Moment> {
        let ramp = self.ramp.filter(|_| self.wave.is_none())?;
        Some(
            self.target
                .map_or(ramp.end(), |target| ramp.opening_after(self.allowed, target)),
        )
    }

    /// Returns the number of conversations that may go on now.
    #[must_use]
    pub const fn allowed(&self) -> u32 {
        self.allowed
    }

    /// Notes the last number of the first wave when a closed loop may use all of its slots.
    fn close_wave_at_height(&mut self) {
        if let Some(target) = self.target.filter(|target| self.allowed >= *target) {
            let vacant = target.saturating_sub(self.begun - self.ended);
            self.wave.get_or_insert(self.begun + vacant);
        }
    }

    /// Begins a conversation: the number of the next one is one higher. Returns the number and the phase of its first request,
    /// which is issued now.
    pub fn issue(&mut self, now: Moment) -> (u32, Phase) {
        self.begun += 1;
        self.issue_turn(now)
    }

    /// Returns the conversations that were begun.
    #[must_use]
    pub const fn begun(&self) -> u32 {
        self.begun
    }

    /// Returns the number and the phase of a later request of a conversation, which is issued now.
    pub fn issue_turn(&mut self, now: Moment) -> (u32, Phase) {
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

    /// Takes the end of a request that another one of its conversation follows.
    pub fn end_turn(&mut self, phase: Phase, now: Moment) {
        self.completed += 1;
        if phase == Phase::Measured {
            self.measured_open -= 1;
        }
        self.end_if_done(now);
    }

    /// Takes the end of the last request of a conversation.
    pub fn end(&mut self, conversation: u32, phase: Phase, is_complete: bool, now: Moment) {
        if is_complete {
            self.completed += 1;
        } else {
            self.failed += 1;
        }
        self.ended += 1;
        match phase {
            Phase::WarmUp => self.end_of_warm_up(conversation, now),
            Phase::Measured => self.measured_open -= 1,
            Phase::Tail => {}
        }
        self.end_if_done(now);
    }

    fn end_of_warm_up(&mut self, conversation: u32, now: Moment) {
        if self.wave.is_none_or(|wave| conversation < wave) {
            self.wave_ended += 1;
        }
        match self.target {
            // Time opens slots.
            _ if self.ramp.is_some() => {}
            Some(target) if self.wave.is_none() => {
                let further = (target - self.carried).div_ceil(self.carried.max(1)).min(GROWTH);
                self.allowed = self.allowed.saturating_add(further).min(target);
                self.close_wave_at_height();
            }
            // The first answer to a request of this stage.
            None if conversation >= self.carried => {
                self.wave.get_or_insert(self.begun);
            }
            _ => {}
        }
        self.hand_over_after_wave(now);
    }

    fn hand_over_after_wave(&mut self, now: Moment) {
        if self.wave == Some(self.wave_ended) {
            self.hand_over.get_or_insert(now);
        }
    }

    fn end_if_done(&mut self, now: Moment) {
        let is_hopeless =
            self.completed == 0 && self.failed >= HOPELESS.saturating_add(self.slots.saturating_mul(2));
        let is_done = self.last_issue.is_some() && self.measured_open == 0;
        if is_hopeless || is_done {
            self.over.get_or_insert(now);
        }
    }

    /// Takes the passing of time: the longest time of a run also ends when no request is issued. A warm-up ends the stage when it
    /// lasts longer than half an hour and half a second for each token of the longest answer or conversation that is waited for and its
    /// pauses, or than the longest time of measuring if that is more; the time of a ramp is added.
    pub fn tick(&mut self, now: Moment, longest: Longest) {
        if self.hand_over.is_none() && now.since(self.since) > self.longest_warm_up(longest) {
            self.over.get_or_insert(now);
        }
        if let (Some(begin), Some(most)) = (self.hand_over, self.extent.most_s)
            && now.since(begin) >= seconds(most)
        {
            self.last_issue.get_or_insert(now);
            self.end_if_done(now);
        }
    }

    fn longest_warm_up(&self, longest: Longest) -> Duration {
        let usual = WARM_UP
            .saturating_add(WARM_UP_OF_TOKEN.saturating_mul(longest.tokens))
            .saturating_add(longest.pauses);
        usual.max(seconds(self.extent.most_s.unwrap_or(0))) + seconds(self.extent.ramp_s)
    }

    /// Ends the stage now, before its extent is reached. The measured requests that are in flight are not complete.
    pub fn break_off(&mut self, now: Moment) {
        self.last_issue.get_or_insert(now);
        self.over.get_or_insert(now);
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
            ramp_s: 0,
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
    fn measuring_begins_when_the_first_conversation_of_each_slot_has_ended() {
        let mut phases = Phases::new(&Load::Concurrency(2), extent(2, 0));
        // The first conversation of the first slot has one turn, that of the second one has two.
        assert_eq!(phases.issue(at(0)), (0, Phase::WarmUp));
        assert_eq!(phases.issue(at(0)), (1, Phase::WarmUp));
        assert_eq!(phases.begun(), 2);
        phases.end(0, Phase::WarmUp, true, at(1));
        assert_eq!(phases.issue(at(1)), (2, Phase::WarmUp));
        phases.end_turn(Phase::WarmUp, at(1));
        assert_eq!(phases.issue_turn(at(1)), (3, Phase::WarmUp));
        // Its second request would have been a later wave.
        assert_eq!(phases.hand_over(), None);
        phases.end(1, Phase::WarmUp, true, at(2));
        assert_eq!(phases.hand_over(), Some(at(2)));
        // A conversation that began in the warm-up goes on, and its later turns are measured.
        phases.end_turn(Phase::WarmUp, at(3));
        assert_eq!(phases.issue_turn(at(3)), (4, Phase::Measured));
        assert_eq!(phases.issue(at(3)), (5, Phase::Measured));
        phases.end(2, Phase::Measured, true, at(4));
        phases.end_turn(Phase::Measured, at(4));
        assert_eq!(phases.issue_turn(at(4)).1, Phase::Tail);
        assert!(phases.is_over());
    }

    const fn answer_of(tokens: u32) -> Longest {
        Longest {
            tokens,
            pauses: Duration::ZERO,
        }
    }

    #[test]
    fn a_failed_first_conversation_does_not_hold_the_warm_up_up() {
        let mut phases = Phases::new(&Load::Concurrency(1), extent(1, 0));
        phases.issue(at(0));
        phases.end_turn(Phase::WarmUp, at(1));
        let (_, phase) = phases.issue_turn(at(1));
        phases.end(0, phase, false, at(2));
        assert_eq!(phases.hand_over(), Some(at(2)));
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
        phases.tick(at(4), answer_of(100));
        assert!(!phases.is_over());
        phases.end(number, phase, true, at(9));
        assert!(phases.is_over());
    }

    #[test]
    fn a_warm_up_has_an_end() {
        let patient = Extent {
            most_s: Some(7200),
            ..extent(100, 0)
        };
        // Half an hour, and half a second for each token of the longest answer; or the longest time of measuring.
        for (extent, tokens, limit) in [
            (extent(100, 0), 0, 1800),
            (extent(100, 0), 1000, 2300),
            (patient, 1000, 7200),
        ] {
            let mut phases = Phases::after(0, at(100), &Load::Concurrency(1), extent);
            phases.issue(at(100));
            phases.tick(at(100 + limit), answer_of(tokens));
            assert!(!phases.is_over(), "{tokens}");
            phases.tick(at(101 + limit), answer_of(tokens));
            assert!(phases.is_over() && phases.window().is_none(), "{tokens}");
        }
        // Once it is over, answers may take their time.
        let mut phases = Phases::new(&Load::Concurrency(1), extent(100, 0));
        phases.issue(at(0));
        phases.end(0, Phase::WarmUp, true, at(1));
        phases.tick(at(100_000), answer_of(0));
        assert!(!phases.is_over());
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

    /// Runs a stage of a closed loop whose carried requests end in seconds 1 to 7 and whose further ones last 7, and returns the
    /// second of its hand-over with the most requests in flight until then.
    fn grow(carried: u32, target: u32) -> (u64, usize) {
        let mut phases = Phases::after(carried, at(0), &Load::Concurrency(target), extent(1, 0));
        let mut open: Vec<(u64, u32, Phase)> = (0..carried)
            .map(|number| (1 + u64::from(number) % 7, number, Phase::WarmUp))
            .collect();
        let mut most = open.len();
        for second in 0..100 {
            let (ended, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|(end, _, _)| *end <= second);
            open = rest;
            for (_, number, phase) in ended {
                phases.end(number, phase, true, at(second));
                if let Some(moment) = phases.hand_over() {
                    assert!(open.len() < usize::try_from(target).unwrap() + 1);
                    return (moment.0 / 1_000_000_000, most);
                }
                while open.len() < usize::try_from(phases.allowed()).unwrap() {
                    let (number, phase) = phases.issue(at(second));
                    open.push((second + 7, number, phase));
                }
            }
            most = most.max(open.len());
        }
        panic!("no hand-over");
    }

    #[test]
    fn a_stage_takes_the_load_over_from_the_last_one_at_its_own_height() {
        // The same height: what was in flight ends.
        assert_eq!(grow(8, 8), (7, 8));
        // Half of it: nothing is issued until the other half has ended, and all of them must end.
        assert_eq!(grow(8, 4), (7, 8));
        // Twice as high: one wave to grow, and one until all have ended that were issued meanwhile.
        assert_eq!(grow(8, 16), (14, 16));
        // A leap grows by at most four times in a wave.
        let (second, most) = grow(1, 64);
        assert!((21..36).contains(&second), "{second}");
        assert_eq!(most, 64);
    }

    #[test]
    fn an_open_loop_that_follows_another_load_waits_for_an_answer_of_its_own() {
        let load = Load::Rate {
            per_second: 1.0,
            arrivals: crate::measure::Arrivals::Constant,
            most_in_flight: None,
        };
        let mut phases = Phases::after(2, at(10), &load, extent(1, 0));
        phases.end(0, Phase::WarmUp, true, at(11));
        assert_eq!(phases.issue(at(11)), (2, Phase::WarmUp));
        phases.end(1, Phase::WarmUp, true, at(12));
        assert_eq!(phases.issue(at(12)), (3, Phase::WarmUp));
        phases.end(2, Phase::WarmUp, true, at(13));
        assert_eq!(phases.hand_over(), None);
        phases.end(3, Phase::WarmUp, true, at(14));
        assert_eq!(phases.hand_over(), Some(at(14)));
        assert_eq!(phases.issue(at(14)), (4, Phase::Measured));
    }

    #[test]
    fn all_of_a_ramp_is_warm_up_and_slots_open_by_time() {
        let rising = Extent {
            ramp_s: 4,
            ..extent(1, 0)
        };
        let mut phases = Phases::new(&Load::Concurrency(4), rising);
        let mut open = Vec::new();
        for second in 0..4 {
            phases.grow(at(second));
            assert_eq!(u64::from(phases.allowed()), second + 1);
            assert_eq!(phases.next_growth(), Some(at(second + 1)));
            // The request of the first slot ends in each second.
            if let Some((number, phase)) = (second > 0).then(|| open.remove(0)) {
                phases.end(number, phase, true, at(second));
                open.insert(0, phases.issue(at(second)));
            }
            open.push(phases.issue(at(second)));
        }
        assert_eq!(phases.hand_over(), None);
        phases.grow(at(4));
        assert_eq!(phases.next_growth(), None);
        for (number, phase) in open.drain(..) {
            assert_eq!(phases.hand_over(), None);
            phases.end(number, phase, true, at(5));
        }
        assert_eq!(phases.hand_over(), Some(at(5)));
        assert_eq!(phases.issue(at(5)).1, Phase::Measured);
    }

    #[test]
    fn a_rate_that_rises_is_warm_when_its_requests_have_ended() {
        let load = Load::Rate {
            per_second: 1.0,
            arrivals: crate::measure::Arrivals::Constant,
            most_in_flight: None,
        };
        let rising = Extent {
            ramp_s: 4,
            ..extent(1, 0)
        };
        let mut phases = Phases::new(&load, rising);
        let (first, second) = (phases.issue(at(1)).0, phases.issue(at(2)).0);
        phases.end(first, Phase::WarmUp, true, at(3));
        phases.grow(at(3));
        assert_eq!(phases.hand_over(), None);
        phases.grow(at(4));
        assert_eq!(phases.issue(at(4)).1, Phase::WarmUp);
        phases.end(second, Phase::WarmUp, true, at(5));
        assert_eq!(phases.hand_over(), Some(at(5)));
        // With nothing in flight at its height it is warm at once.
        let mut idle = Phases::new(&load, rising);
        let only = idle.issue(at(1)).0;
        idle.end(only, Phase::WarmUp, true, at(2));
        idle.grow(at(4));
        assert_eq!(idle.hand_over(), Some(at(4)));
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
