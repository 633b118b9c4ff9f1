//! The times of an answer, as the statistics of a turn.

use std::time::Duration;

/// Shortest time that gives a rate; an answer that arrives whole has none.
const SHORTEST: Duration = Duration::from_millis(1);

/// The times of an answer, from the moment at which its question was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Time of the first token.
    pub first: Option<Duration>,
    /// Time of the last one.
    pub last: Duration,
    /// Time of the last token of the reasoning.
    pub reasoned: Option<Duration>,
}

impl Timing {
    /// Notes that a piece came.
    pub fn add(&mut self, at: Duration, is_reasoning: bool) {
        self.first.get_or_insert(at);
        self.last = at;
        if is_reasoning {
            self.reasoned = Some(at);
        }
    }

    /// Returns the time to the first token in milliseconds; `None` if none came.
    #[must_use]
    pub fn ttft_ms(&self) -> Option<u64> {
        u64::try_from(self.first?.as_millis()).ok()
    }

    /// Returns the tokens per second after the first one; `None` if there are too few for a rate.
    #[must_use]
    pub fn rate(&self, tokens: u64) -> Option<f64> {
        let took = self.last.checked_sub(self.first?)?;
        if tokens < 2 || took < SHORTEST {
            return None;
        }
        let later = u32::try_from(tokens - 1).ok()?;
        // Hundredths are more than such a rate is worth.
        Some((f64::from(later) / took.as_secs_f64() * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_the_tokens_after_the_first() {
        let mut timing = Timing::default();
        assert_eq!((timing.ttft_ms(), timing.rate(10)), (None, None));
        timing.add(Duration::from_millis(250), true);
        assert_eq!((timing.ttft_ms(), timing.rate(10)), (Some(250), None));
        timing.add(Duration::from_millis(1250), false);
        assert_eq!(timing.rate(11), Some(10.0));
        assert_eq!(timing.rate(1), None);
        assert_eq!(timing.reasoned, Some(Duration::from_millis(250)));
    }
}
