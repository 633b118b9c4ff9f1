//! The looks at one server over time: rates and latencies from the differences of its counters.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sglang::Activity;
use crate::top::latency::Latencies;

/// Time over which a rate is taken. The engine counts computed tokens with each line of its log, every second or two
/// (`decode_log_interval`, 40 batches), so that a shorter time shows gaps that are none.
const RATE: Duration = Duration::from_secs(10);
/// Time over which latencies are taken.
const MINUTE: Duration = Duration::from_mins(1);
/// Most points that are kept: a wide terminal shows about 200.
const MOST_POINTS: usize = 400;

/// Rates of about the last ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Prompt tokens per second.
    pub prompt_tokens: f64,
    /// Generated tokens per second.
    pub generated_tokens: f64,
    /// Requests that ended, per second.
    pub requests: f64,
}

/// A counter since the start of the server, and its part of the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The counter.
    pub total: u64,
    /// Its increase within the time of [`Minute::span`].
    pub recent: u64,
}

/// The latencies and the counts of about the last minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Minute {
    /// The time that it spans: less than a minute at the begin.
    pub span: Duration,
    /// The share of the prompts' tokens that the prefix cache had, 0 to 1; `None` without prompts.
    pub cached_share: Option<f64>,
    /// Time to the first token.
    pub ttft: Latencies,
    /// Time between two tokens.
    pub itl: Latencies,
    /// Time from the arrival of a request to its end.
    pub e2e: Latencies,
    /// Requests that were taken out of the batch; `None` if the server does not count them, or had none.
    pub retracted: Option<Count>,
    /// Requests that were aborted; `None` if there were none.
    pub aborted: Option<Count>,
}

/// The counters at a moment.
#[derive(Debug, Clone)]
struct Sample {
    at: Duration,
    activity: Activity,
}

/// The looks at one server.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// The oldest first; one is at least a minute old if there are some.
    samples: VecDeque<Sample>,
    /// Generated tokens per second at each look; `None` at one that shows no rate.
    points: VecDeque<Option<f64>>,
}

impl History {
    /// Adds a look: the counters and their time since any begin, if the metrics answered.
    pub(super) fn add_look(&mut self, activity: Option<(Duration, Activity)>) {
        if let Some((at, activity)) = activity {
            let is_new = self
                .samples
                .back()
                .is_some_and(|last| !activity.follows(&last.activity) || at <= last.at);
            if is_new {
                self.samples.clear();
            }
            self.samples.push_back(Sample { at, activity });
            while self
                .samples
                .get(1)
                .is_some_and(|next| at.saturating_sub(next.at) >= MINUTE)
            {
                self.samples.pop_front();
            }
            self.points
                .push_back(self.rates().map(|rates| rates.generated_tokens));
        } else {
            self.points.push_back(None);
        }
        if self.points.len() > MOST_POINTS {
            self.points.pop_front();
        }
    }

    /// Returns the counters of the last look that had some.
    pub(super) fn last(&self) -> Option<&Activity> {
        self.samples.back().map(|sample| &sample.activity)
    }

    /// Returns the generated tokens per second at each look, the oldest first.
    pub(super) fn points(&self) -> Vec<Option<f64>> {
        self.points.iter().copied().collect()
    }

    /// Returns the newest sample that is at least `age` older than the last one, else the oldest, and the last one, which is later;
    /// `None` without two.
    fn two_samples(&self, age: Duration) -> Option<(&Sample, &Sample)> {
        let last = self.samples.back()?;
        let is_old = |sample: &&Sample| last.at.saturating_sub(sample.at) >= age;
        let before = self
            .samples
            .iter()
            .rev()
            .find(is_old)
            .or(self.samples.front())
            .filter(|before| before.at < last.at)?;
        Some((before, last))
    }

    /// Returns the rates; `None` before the second look.
    pub(super) fn rates(&self) -> Option<Rates> {
        let (before, last) = self.two_samples(RATE)?;
        let seconds = last.at.saturating_sub(before.at).as_secs_f64();
        let rate = |of: fn(&Activity) -> u64| {
            as_number(of(&last.activity).saturating_sub(of(&before.activity))) / seconds
        };
        Some(Rates {
            prompt_tokens: rate(|one| one.prompt_tokens),
            generated_tokens: rate(|one| one.generated_tokens),
            requests: rate(|one| one.finished),
        })
    }

    /// Returns the latencies and the counts of about the last minute; `None` before the second look.
    pub(super) fn minute(&self) -> Option<Minute> {
        let (before, last) = self.two_samples(MINUTE)?;
        let (then, now) = (&before.activity, &last.activity);
        let count = |total: Option<u64>, earlier: Option<u64>| {
            total.map(|total| Count {
                total,
                recent: total.saturating_sub(earlier.unwrap_or(0)),
            })
        };
        let prompts = now.prompt_tokens.saturating_sub(then.prompt_tokens);
        let cached = count(now.cached_tokens, then.cached_tokens).map_or(0, |count| count.recent);
        Some(Minute {
            span: last.at.saturating_sub(before.at),
            cached_share: (prompts > 0).then(|| (as_number(cached) / as_number(prompts)).min(1.0)),
            ttft: Latencies::of(&now.ttft.since(&then.ttft)),
            itl: Latencies::of(&now.itl.since(&then.itl)),
            e2e: Latencies::of(&now.e2e.since(&then.e2e)),
            retracted: count(now.retracted, then.retracted),
            aborted: count(now.aborted, then.aborted),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a difference of counters; it does not reach 2^53"
)]
fn as_number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sglang::Histogram;
    use crate::top::latency::Latency;

    fn activity(generated: u64, ttft: u64) -> Activity {
        Activity {
            generated_tokens: generated,
            prompt_tokens: 2 * generated,
            cached_tokens: (generated > 0).then_some(generated),
            finished: ttft,
            ttft: Histogram::new(vec![(1.0, ttft), (f64::INFINITY, ttft)]),
            ..Activity::default()
        }
    }

    /// A history of looks at these seconds, with generated tokens.
    fn history(looks: &[(u64, Option<u64>)]) -> History {
        let mut history = History::default();
        for (at, generated) in looks {
            let at = Duration::from_secs(*at);
            history.add_look(generated.map(|generated| (at, activity(generated, generated / 100))));
        }
        history
    }

    fn generated(history: &History) -> Option<f64> {
        history.rates().map(|rates| rates.generated_tokens)
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        for (looks, expected) in [
            (&[][..], None),
            (&[(5, Some(100))], None),
            (&[(5, Some(100)), (6, Some(150))], Some(50.0)),
            (&[(5, Some(100)), (6, Some(100))], Some(0.0)),
            // The look of 12 seconds ago, and not the one of 20.
            (
                &[(0, Some(0)), (8, Some(100)), (15, Some(300)), (20, Some(400))],
                Some(25.0),
            ),
            // A look without an answer is left out.
            (&[(0, Some(0)), (5, None), (10, Some(400))], Some(40.0)),
            // A counter that went down is a restart: nothing before it counts.
            (&[(0, Some(900)), (1, Some(1000)), (2, Some(10))], None),
            (
                &[(0, Some(900)), (1, Some(1000)), (2, Some(10)), (4, Some(30))],
                Some(10.0),
            ),
            // A clock does not go back; if it did, nothing would be divided by zero.
            (&[(4, Some(10)), (4, Some(30))], None),
        ] {
            assert_eq!(generated(&history(looks)), expected, "{looks:?}");
        }
    }

    #[test]
    fn a_point_is_added_for_each_look() {
        let history = history(&[
            (0, Some(100)),
            (1, Some(200)),
            (2, None),
            (3, Some(5)),
            (4, Some(45)),
        ]);
        assert_eq!(history.points(), [None, Some(100.0), None, None, Some(40.0)]);
    }

    #[test]
    fn latencies_are_those_of_the_last_minute() {
        assert_eq!(history(&[(0, Some(100))]).minute(), None);
        // The values of the first 40 seconds do not count.
        let looks: Vec<(u64, Option<u64>)> = (0..100)
            .map(|second| (second, Some(1000 + 100 * second)))
            .collect();
        let of_minute = history(&looks);
        let minute = of_minute.minute().unwrap();
        assert_eq!((minute.span, minute.cached_share), (MINUTE, Some(0.5)));
        assert_eq!(minute.ttft.p50, Latency::About(0.5));
        assert_eq!(minute.e2e.p99, Latency::NoValues);
        // 61 looks are enough for a minute.
        assert_eq!(of_minute.samples.len(), 61);
        let idle = history(&[(0, Some(100)), (9, Some(100))]).minute().unwrap();
        assert_eq!((idle.span, idle.cached_share), (Duration::from_secs(9), None));
        assert_eq!(idle.ttft.p50, Latency::NoValues);
    }

    #[test]
    fn a_history_has_a_bound() {
        let mut history = History::default();
        for at in 0..10_000 {
            history.add_look(Some((Duration::from_secs(at), activity(at, at))));
        }
        assert_eq!((history.samples.len(), history.points.len()), (61, MOST_POINTS));
    }
}
