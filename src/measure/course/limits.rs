//! Limits of times, and the outcome of a point beside them.

use serde::{Deserialize, Serialize};

use crate::choice::choices;
use crate::measure::course::visit::PointOutcome;
use crate::measure::record::{Phase, Record};
use crate::measure::request::RequestTimes;
use crate::measure::statistics::minimum_samples;
use crate::report::{Measurement, Times, Trust, Verdict};

choices! {
    /// The percentile of requests that keep the limits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Percentile {
        /// Half of the requests.
        P50 = "p50", "half of the requests: 11 are enough to claim it";
        /// Nine of ten.
        P90 = "p90", "nine of ten requests: 64 are enough to claim it";
        /// Nineteen of twenty.
        P95 = "p95", "nineteen of twenty: 130 are enough";
        /// Ninety-nine of a hundred.
        P99 = "p99", "ninety-nine of a hundred: 662 are enough";
    }
}

impl Percentile {
    /// Returns it as a number of percent.
    #[must_use]
    pub const fn percent(self) -> f64 {
        match self {
            Self::P50 => 50.0,
            Self::P90 => 90.0,
            Self::P95 => 95.0,
            Self::P99 => 99.0,
        }
    }

    /// Returns the fewest requests that claim it.
    #[must_use]
    pub fn fewest_requests(self) -> u32 {
        let fewest = minimum_samples(self.percent()).unwrap_or(usize::MAX);
        u32::try_from(fewest).unwrap_or(u32::MAX)
    }

    pub(super) const fn of(self, times: &Times) -> Option<f64> {
        match self {
            Self::P50 => times.p50_ms,
            Self::P90 => times.p90_ms,
            Self::P95 => times.p95_ms,
            Self::P99 => times.p99_ms,
        }
    }
}

/// Limits of times, in milliseconds. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Of the time to the first token.
    pub ttft_ms: Option<f64>,
    /// Of the time per output token of a request.
    pub tpot_ms: Option<f64>,
    /// Of the time to the last token.
    pub e2e_ms: Option<f64>,
    /// The percentile that keeps them.
    pub percentile: Percentile,
}

impl Limits {
    /// Returns true if a request that has ended keeps all limits. One that failed keeps none.
    #[must_use]
    pub fn are_kept_by(&self, record: &Record) -> bool {
        let Some(times) = RequestTimes::of(record) else {
            return false;
        };
        let keeps = |limit: Option<f64>, time: Option<f64>| match (limit, time) {
            (Some(limit), Some(seconds)) => seconds * 1000.0 <= limit,
            // A request of one token has no time per output token.
            _ => true,
        };
        keeps(self.ttft_ms, Some(times.ttft()))
            && keeps(self.tpot_ms, times.tpot())
            && keeps(self.e2e_ms, Some(times.e2e()))
    }

    /// Returns the number of requests that may miss them, of so many.
    #[must_use]
    pub fn tolerated(&self, requests: u32) -> f64 {
        (100.0 - self.percentile.percent()) * f64::from(requests) / 100.0
    }
}

/// The measured requests of a point beside the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attained {
    /// Those that have ended.
    pub ended: u32,
    /// Those of them that miss a limit, or that failed.
    pub missed: u32,
}

impl Attained {
    /// Counts the measured requests of a run, but for those that this host had no room for.
    #[must_use]
    pub fn of(limits: &Limits, records: &[Record]) -> Self {
        let measured = records
            .iter()
            .filter(|record| record.phase == Phase::Measured && !record.is_own_fault());
        let mut attained = Self::default();
        for record in measured {
            attained.ended += 1;
            attained.missed += u32::from(!limits.are_kept_by(record));
        }
        attained
    }
}

/// Subjects of verdicts on the measurement itself: a point that they speak against says nothing about the server.
const OF_CLIENT: [&str; 5] = ["client", "ceiling", "host", "clock", "chunks"];
/// Subjects of verdicts on the server at that load.
const OF_SERVER: [&str; 3] = ["limits", "saturation", "requests"];

/// Returns the outcome of a point beside the limits: its percentile is the part of the requests that keeps all of them.
#[must_use]
pub fn judge_point(limits: &Limits, attained: Attained, run: &Measurement) -> PointOutcome {
    let untrusted = |subjects: &[&str]| {
        let mut verdicts = run.verdicts.iter();
        verdicts
            .find(|verdict| subjects.contains(&verdict.about.as_str()) && verdict.trust == Trust::Untrusted)
    };
    let undecided =
        |verdict: &Verdict| PointOutcome::Undecided(format!("{}: {}", verdict.about, verdict.text));
    if let Some(verdict) = untrusted(&OF_CLIENT) {
        return undecided(verdict);
    }
    if let Some(verdict) = untrusted(&OF_SERVER) {
        return PointOutcome::Misses(verdict.text.clone());
    }
    if let Some(verdict) = run
        .verdicts
        .iter()
        .find(|verdict| verdict.trust == Trust::Untrusted)
    {
        return undecided(verdict);
    }
    let Attained { ended, missed } = attained;
    let name = limits.percentile.name();
    if ended < limits.percentile.fewest_requests() {
        return PointOutcome::Undecided(format!("{ended} requests are too few for {name}"));
    }
    if f64::from(missed) > limits.tolerated(ended) {
        return PointOutcome::Misses(format!("{missed} of {ended} requests exceed a limit or failed"));
    }
    PointOutcome::Meets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;

    const LIMITS: Limits = Limits {
        ttft_ms: Some(500.0),
        tpot_ms: Some(30.0),
        e2e_ms: None,
        percentile: Percentile::P90,
    };

    fn run(verdict: Option<(&str, Trust)>) -> Measurement {
        let verdicts: Vec<Verdict> = verdict
            .map(|(about, trust)| Verdict {
                about: about.to_owned(),
                trust,
                text: "told".to_owned(),
                hint: String::new(),
            })
            .into_iter()
            .collect();
        Measurement {
            trust: crate::measure::worst_of(&verdicts),
            verdicts,
            ..crate::measure::course::fixture::measurement()
        }
    }

    #[test]
    fn a_point_meets_the_limits_if_enough_requests_keep_all_of_them() {
        let judge = |ended, missed, verdict| judge_point(&LIMITS, Attained { ended, missed }, &run(verdict));
        assert_eq!(judge(100, 10, None), PointOutcome::Meets);
        let misses = PointOutcome::Misses("11 of 100 requests exceed a limit or failed".to_owned());
        assert_eq!(judge(100, 11, None), misses);
        let few = PointOutcome::Undecided("63 requests are too few for p90".to_owned());
        assert_eq!(judge(63, 0, None), few);
        let told = PointOutcome::Undecided("client: told".to_owned());
        assert_eq!(judge(100, 50, Some(("client", Trust::Untrusted))), told);
        let saturated = Some(("saturation", Trust::Untrusted));
        assert_eq!(judge(100, 0, saturated), PointOutcome::Misses("told".to_owned()));
        let stalled = PointOutcome::Undecided("stalls: told".to_owned());
        assert_eq!(judge(100, 50, Some(("stalls", Trust::Untrusted))), stalled);
        assert_eq!(
            judge(100, 0, Some(("client", Trust::Doubtful))),
            PointOutcome::Meets
        );
    }

    #[test]
    fn the_floors_of_percentiles_are_those_of_the_statistics() {
        let floors: Vec<u32> = Percentile::table()
            .into_iter()
            .map(|(one, _, _)| one.fewest_requests())
            .collect();
        assert_eq!(floors, [11, 64, 130, 662]);
    }
}
