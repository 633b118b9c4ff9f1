//! Random numbers from a seed that is printed.
#![allow(
    clippy::print_stderr,
    reason = "a randomized test prints the seed that repeats it"
)]

use std::time::Duration;

/// A generator of random numbers: the same seed gives the same numbers.
pub struct Random(u64);

impl Random {
    /// Returns the generator of a test, seeded from `SEED` if it is set (`tests/run` sets it to the commit), otherwise
    /// from the clock.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("SEED")
            .ok()
            .map(|seed| seed.parse().expect("SEED is a number"));
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            u64::from(now.subsec_nanos())
        });
        eprintln!("{test}: SEED={seed}");
        Self::of_seed(seed)
    }

    pub fn of_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub fn time(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(bound.as_micros()).unwrap()))
    }

    /// Returns one of `items`.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.index(items.len())]
    }
}

/// Returns the number of rounds of a test: all in `tests/run --all`, which sets `SOAK`, otherwise a sample.
pub fn rounds(all: usize, sampled: usize) -> usize {
    if std::env::var_os("SOAK").is_some() {
        all
    } else {
        sampled
    }
}
