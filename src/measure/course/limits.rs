//! Limits of times, and the outcome of a point beside them.

use serde::{Deserialize, Serialize};

use crate::choice::choices;
use crate::measure::course::visit::PointOutcome;
use crate::measure::record::Record;
use crate::measure::request::RequestTimes;
use crate::measure::statistics::minimum_samples;
use crate::report::{Measurement, Times, Trust};

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

/// Returns the outcome of a point beside the limits.
#[must_use]
pub fn judge_point(limits: &Limits, run: &Measurement) -> PointOutcome {
    let untrusted = |about: &str| {
        let mut verdicts = run.verdicts.iter();
        verdicts.find(|verdict| verdict.about == about && verdict.trust == Trust::Untrusted)
    };
    // These three are about the server at that load, and not about the measurement.
    for about in ["limits", "saturation", "requests"] {
        if let Some(verdict) = untrusted(about).filter(|_| run.requests.sent > 0) {
            return PointOutcome::Misses(verdict.text.clone());
        }
    }
    if let Some(verdict) = run
        .verdicts
        .iter()
        .find(|verdict| verdict.trust == Trust::Untrusted)
    {
        return PointOutcome::Undecided(format!("{}: {}", verdict.about, verdict.text));
    }
    let Some(figures) = &run.figures else {
        return PointOutcome::Undecided("it has no figures".to_owned());
    };
    let name = limits.percentile.name();
    let limited = [
        ("TTFT", limits.ttft_ms, &figures.ttft),
        ("TPOT", limits.tpot_ms, &figures.tpot),
        ("the end-to-end latency", limits.e2e_ms, &figures.e2e),
    ];
    for (what, limit, times) in limited {
        let Some(limit) = limit else {
            continue;
        };
        match limits.percentile.of(times) {
            Some(value) if value > limit => {
                return PointOutcome::Misses(format!("{name} of {what} is {value:.1} ms, over {limit:.1}"));
            }
            Some(_) => {}
            None => {
                let count = times.count;
                return PointOutcome::Undecided(format!("{count} requests are too few for {name} of {what}"));
            }
        }
    }
    PointOutcome::Meets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;
    use crate::report::{Figures, RequestCounts, Verdict};

    const LIMITS: Limits = Limits {
        ttft_ms: Some(500.0),
        tpot_ms: Some(30.0),
        e2e_ms: None,
        percentile: Percentile::P90,
    };

    fn run(ttft: Option<f64>, tpot: Option<f64>, verdict: Option<(&str, Trust)>) -> Measurement {
        let times = |value| Times {
            count: 7,
            p90_ms: value,
            ..Times::default()
        };
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
            requests: RequestCounts {
                sent: 10,
                ..RequestCounts::default()
            },
            figures: Some(Figures {
                ttft: times(ttft),
                tpot: times(tpot),
                ..Figures::default()
            }),
            ..crate::measure::course::fixture::measurement()
        }
    }

    #[test]
    fn the_outcome_of_a_point_is_that_of_its_worst_limit() {
        let judge = |ttft, tpot, verdict| judge_point(&LIMITS, &run(ttft, tpot, verdict));
        assert_eq!(judge(Some(500.0), Some(30.0), None), PointOutcome::Meets);
        let PointOutcome::Misses(reason) = judge(Some(400.0), Some(31.0), None) else {
            panic!("meets");
        };
        assert_eq!(reason, "p90 of TPOT is 31.0 ms, over 30.0");
        let PointOutcome::Undecided(reason) = judge(None, Some(31.0), None) else {
            panic!("decided");
        };
        assert_eq!(reason, "7 requests are too few for p90 of TTFT");
        let bad = Some(("client", Trust::Untrusted));
        assert_eq!(
            judge(Some(1.0), Some(1.0), bad),
            PointOutcome::Undecided("client: told".to_owned())
        );
        let saturated = Some(("saturation", Trust::Untrusted));
        assert_eq!(
            judge(Some(1.0), Some(1.0), saturated),
            PointOutcome::Misses("told".to_owned())
        );
        let doubt = Some(("client", Trust::Doubtful));
        assert_eq!(judge(Some(1.0), Some(1.0), doubt), PointOutcome::Meets);
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
