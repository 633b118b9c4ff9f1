//! Retries of one file: pauses between tries, and the point of giving up.

use std::time::{Duration, Instant};

use crate::effects::hub::limits::Limits;
use crate::effects::hub::source::Failure;
use crate::error::Result;

/// Number of tries without progress before a refusal or a broken stream becomes an error.
const FETCH_TRIES: u32 = 6;

/// The retries of one file.
pub(super) struct Patience {
    tries: u32,
    since: Instant,
    at: u64,
    outage: Duration,
    longest_pause: Duration,
    progress: u64,
}

impl Patience {
    /// Starts with `at` bytes there.
    pub(super) fn new(at: u64, limits: &Limits) -> Self {
        Self {
            tries: 0,
            since: Instant::now(),
            at,
            outage: limits.outage,
            longest_pause: limits.longest_pause,
            progress: limits.progress,
        }
    }

    /// Returns the pause before the next try, or the error if there is none.
    pub(super) fn pause_after(&mut self, failure: Failure, at: u64) -> Result<Duration> {
        if at >= self.at + self.progress {
            (self.tries, self.since, self.at) = (0, Instant::now(), at);
        }
        self.tries += 1;
        let pause = Duration::from_millis(250) * 2_u32.saturating_pow(self.tries.min(8) - 1);
        // Streams that broke at the same time must not all come back at the same time.
        let pause = pause.min(self.longest_pause).mul_f64(0.75 + jitter() / 2.0);
        match failure {
            Failure::RetryAfter(_, wait) if self.tries <= FETCH_TRIES => Ok(wait.max(pause)),
            Failure::Unreachable(_) if self.since.elapsed() < self.outage => Ok(pause),
            Failure::Retry(_) if self.tries < FETCH_TRIES => Ok(pause),
            Failure::Slow => Ok(Duration::ZERO),
            Failure::RetryAfter(error, _)
            | Failure::Unreachable(error)
            | Failure::Retry(error)
            | Failure::Final(error)
            | Failure::WrongBytes(error) => Err(error),
        }
    }
}

/// Returns a random number from 0 to 1. It is not used for anything secret.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    /// A hub that asks for a longer pause gets it, and one that asks for none is not flooded.
    #[test]
    fn a_pause_is_as_long_as_requested_and_never_zero() {
        let asked = |seconds| {
            let error = Error::new(Kind::Hub, "busy");
            Failure::RetryAfter(error, Duration::from_secs(seconds))
        };
        let mut patience = Patience::new(0, &Limits::DEFAULT);
        let pauses = (0..FETCH_TRIES).map(|_| patience.pause_after(asked(0), 0));
        let pauses: Vec<Duration> = pauses.map(|pause| pause.unwrap()).collect();
        assert!(pauses[0] >= Duration::from_millis(150), "{pauses:?}");
        assert!(pauses.windows(2).all(|two| two[0] < two[1]), "{pauses:?}");
        assert!(patience.pause_after(asked(0), 0).is_err());
        let mut patience = Patience::new(0, &Limits::DEFAULT);
        assert_eq!(
            patience.pause_after(asked(60), 0).ok(),
            Some(Duration::from_mins(1))
        );
    }
}
