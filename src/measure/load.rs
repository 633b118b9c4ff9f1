//! A load: how many requests of which lengths, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::choice::choices;
use crate::measure::ramp::stretch;
use crate::measure::random::Random;
use crate::measure::turns::Turns;

choices! {
    /// The distances between the requests of an open loop.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Arrivals {
        /// Exponential distances.
        Poisson = "poisson", "exponential distances, as of many independent users";
        /// Equal distances.
        Constant = "constant", "equal distances";
    }
}

/// The moments at which requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// A closed loop: this many requests are always in flight.
    Concurrency(u32),
    /// An open loop: requests are sent by a schedule, and no answer is waited for.
    Rate {
        /// Requests a second.
        per_second: f64,
        /// Their distances.
        arrivals: Arrivals,
        /// Most requests in flight; those above it are sent late, which the report counts.
        most_in_flight: Option<u32>,
    },
    /// An open loop whose requests have the times of a trace.
    Replay {
        /// Times faster than the trace was.
        speed: f64,
        /// Most requests in flight, as of a rate.
        most_in_flight: Option<u32>,
    },
}

impl Load {
    /// Returns its kind in a word, for results: `concurrency`, `poisson`, `constant`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Concurrency(_) => "concurrency",
            Self::Rate { arrivals, .. } => arrivals.name(),
            Self::Replay { .. } => "trace",
        }
    }

    /// Returns it in words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Concurrency(count) => format!("{count} in flight"),
            Self::Rate { per_second, .. } => format!("{per_second} requests/s"),
            Self::Replay { speed, .. } => format!("a trace at {speed} times its speed"),
        }
    }

    /// Returns the slots of a closed loop; `None` for an open one.
    #[must_use]
    pub const fn slots(&self) -> Option<u32> {
        match self {
            Self::Concurrency(count) => Some(*count),
            Self::Rate { .. } | Self::Replay { .. } => None,
        }
    }

    /// Returns the requests that are in flight at most; `None` without a limit.
    #[must_use]
    pub const fn most_in_flight(&self) -> Option<u32> {
        match self {
            Self::Concurrency(count) => Some(*count),
            Self::Rate { most_in_flight, .. } | Self::Replay { most_in_flight, .. } => *most_in_flight,
        }
    }

    /// Returns the requests a second that are offered; `None` for a closed loop and for a trace.
    #[must_use]
    pub const fn per_second(&self) -> Option<f64> {
        match self {
            Self::Concurrency(_) | Self::Replay { .. } => None,
            Self::Rate { per_second, .. } => Some(*per_second),
        }
    }

    /// Returns how many times faster than its trace a replay is; `None` for other loads.
    #[must_use]
    pub const fn speed(&self) -> Option<f64> {
        match self {
            Self::Concurrency(_) | Self::Rate { .. } => None,
            Self::Replay { speed, .. } => Some(*speed),
        }
    }
}

/// Most tokens of a prompt or an answer, which is more than any context.
pub const MOST_TOKENS: u64 = 1 << 20;

/// The lengths of prompts and answers, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Longest prompt, without the shared prefix.
    pub input: u32,
    /// Longest answer.
    pub output: u32,
    /// 1 for fixed lengths; r draws uniformly from `[r * length, length]`, as `--random-range-ratio` of
    /// `sglang.bench_serving`.
    pub ratio: f64,
    /// Tokens at the start of each prompt that all prompts share.
    pub shared_prefix: u32,
    /// The turns of a conversation, each of which has these lengths of its own.
    #[serde(default, skip_serializing_if = "Turns::is_single")]
    pub turns: Turns,
}

impl Lengths {
    /// Returns the length of the next prompt, without the shared prefix, and of its answer.
    pub fn draw(&self, random: &mut Random) -> (u32, u32) {
        (
            draw_length(self.input, self.ratio, random),
            draw_length(self.output, self.ratio, random),
        )
    }

    /// Returns the most tokens of a prompt and its answer together: those of all turns of a conversation.
    #[must_use]
    pub fn total(&self) -> u64 {
        let turn = u64::from(self.input) + u64::from(self.output);
        u64::from(self.shared_prefix) + turn * u64::from(self.turns.count)
    }
}

fn draw_length(most: u32, ratio: f64, random: &mut Random) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length that fits"
    )]
    let least = (f64::from(most) * ratio.clamp(0.0, 1.0)) as u32;
    random.within(least.max(1), most.saturating_add(1))
}

/// The extent of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Least number of measured requests.
    pub requests: u32,
    /// Least seconds in which measured requests are issued.
    pub least_s: u32,
    /// Most seconds in which measured requests are issued; they end the run also before `requests`.
    pub most_s: Option<u32>,
    /// Most seconds in which nothing arrives for a request.
    pub stall_s: u32,
    /// True to hand over from a warm-up; false measures from the first request on.
    pub warm_up: bool,
    /// Seconds over which the load rises to its height; all of them are warm-up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ramp_s: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

/// A part of a run with a load of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The load.
    pub load: Load,
    /// The extent.
    pub extent: Extent,
}

/// The moments at which an open loop sends, without end.
#[derive(Debug, Clone)]
pub struct Schedule {
    per_second: f64,
    arrivals: Arrivals,
    random: Random,
    /// Seconds over which the rate rises.
    ramp_s: f64,
    /// Seconds after which the full rate would have the next request.
    next: f64,
}

impl Schedule {
    /// Returns the schedule of a rate, which rises to its height over some seconds.
    #[must_use]
    pub fn new(per_second: f64, arrivals: Arrivals, random: Random, ramp_s: u32) -> Self {
        Self {
            per_second,
            arrivals,
            random,
            ramp_s: f64::from(ramp_s),
            next: 0.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let at = Duration::try_from_secs_f64(stretch(self.next, self.ramp_s)).ok()?;
        let distance = match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => -self.random.unit().ln(),
        };
        self.next += distance / self.per_second;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_within_their_range_and_reach_its_ends() {
        let lengths = Lengths {
            input: 10,
            output: 4,
            ratio: 0.5,
            shared_prefix: 3,
            turns: Turns::SINGLE,
        };
        let mut random = Random::new(1, 0);
        let drawn: Vec<_> = (0..500).map(|_| lengths.draw(&mut random)).collect();
        assert_eq!(drawn.iter().map(|pair| pair.0).min(), Some(5));
        assert_eq!(drawn.iter().map(|pair| pair.0).max(), Some(10));
        assert_eq!(drawn.iter().map(|pair| pair.1).min(), Some(2));
        assert_eq!(drawn.iter().map(|pair| pair.1).max(), Some(4));
        assert_eq!(lengths.total(), 17);
        let turns = Turns {
            count: 3,
            ..Turns::SINGLE
        };
        assert_eq!(Lengths { turns, ..lengths }.total(), 3 + 3 * 14);
        let fixed = Lengths {
            ratio: 1.0,
            ..lengths
        };
        assert!((0..50).all(|_| fixed.draw(&mut random) == (10, 4)));
        let any = Lengths {
            ratio: 0.0,
            ..lengths
        };
        assert!((0..500).all(|_| any.draw(&mut random).0 >= 1));
    }

    #[test]
    fn a_schedule_has_its_rate() {
        let constant = Schedule::new(4.0, Arrivals::Constant, Random::new(1, 0), 0);
        let times: Vec<f64> = constant.take(4).map(|at| at.as_secs_f64()).collect();
        assert_eq!(times, [0.0, 0.25, 0.5, 0.75]);
        let poisson = Schedule::new(100.0, Arrivals::Poisson, Random::new(1, 0), 0);
        let times: Vec<f64> = poisson.take(10_001).map(|at| at.as_secs_f64()).collect();
        let end = times.last().copied().unwrap_or_default();
        assert!((98.0..102.0).contains(&end), "{end}");
        let distances: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let short = distances.iter().filter(|distance| **distance < 0.01).count();
        // A share of 1 - 1/e is below the mean.
        assert!((6200..6450).contains(&short), "{short}");
    }

    #[test]
    fn a_schedule_rises_to_its_rate() {
        let rising = Schedule::new(10.0, Arrivals::Constant, Random::new(1, 0), 20);
        let times: Vec<f64> = rising.take(300).map(|at| at.as_secs_f64()).collect();
        let within = |from: f64, to: f64| times.iter().filter(|at| (from..to).contains(at)).count();
        // 10 requests a second at the end: 100 in the ramp, a quarter of them in its first half.
        assert_eq!(
            (within(0.0, 10.0), within(10.0, 20.0), within(20.0, 30.0)),
            (25, 75, 100)
        );
    }
}
