//! A histogram of times whose buckets grow with the value.

use std::time::Duration;

/// Buckets of each power of two: a value is known within 1/64.
const SUB: u32 = 64;

/// Counts of times, each within 1.6 % of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            // 64 powers of two.
            buckets: vec![0; 60 * SUB as usize],
            count: 0,
            most: 0,
        }
    }
}

impl Histogram {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let index = bucket(nanos).min(self.buckets.len() - 1);
        self.buckets[index] += 1;
        self.count += 1;
        self.most = self.most.max(nanos);
    }

    /// Returns the number of times.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the longest time.
    #[must_use]
    pub const fn most(&self) -> Duration {
        Duration::from_nanos(self.most)
    }

    /// Returns the time that a share of all times does not exceed; `None` without any.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank below the count"
        )]
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_nanos(upper_end(index).min(self.most)));
            }
        }
        Some(self.most())
    }
}

/// Returns the bucket of a value: itself below 64, then 64 for each power of two.
fn bucket(nanos: u64) -> usize {
    let shift = nanos.checked_ilog2().unwrap_or(0).saturating_sub(SUB.ilog2());
    // Below 128, whatever the value.
    let within = usize::try_from(nanos >> shift).unwrap_or(0);
    within + (shift * SUB) as usize
}

/// Returns the largest value of a bucket.
fn upper_end(index: usize) -> u64 {
    let sub = SUB as usize;
    if index < 2 * sub {
        return index as u64;
    }
    let shift = index / sub - 1;
    let within = (index - shift * sub) as u64;
    ((within + 1) << shift).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_width_of_a_bucket() {
        let mut histogram = Histogram::default();
        for nanos in 1..=100_000_u64 {
            histogram.add(Duration::from_nanos(nanos));
        }
        for (share, exact) in [(0.0, 1), (0.5, 50_000), (0.99, 99_000), (1.0, 100_000_u64)] {
            let found = histogram.quantile(share).unwrap().as_nanos();
            let within = u128::from(exact / 64 + 1);
            assert!(found.abs_diff(u128::from(exact)) <= within, "{share}: {found}");
        }
        assert_eq!(
            (histogram.count(), histogram.most()),
            (100_000, Duration::from_micros(100))
        );
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest::proptest! {
        #[test]
        fn a_value_is_in_a_bucket_that_ends_at_or_above_it(nanos in 0_u64..u64::MAX / 4) {
            let end = upper_end(bucket(nanos));
            proptest::prop_assert!(end >= nanos && end - nanos <= nanos / 64 + 1, "{} {}", nanos, end);
        }

        #[test]
        fn any_value_is_counted(nanos in proptest::num::u64::ANY) {
            let mut histogram = Histogram::default();
            histogram.add(Duration::from_nanos(nanos));
            proptest::prop_assert!(histogram.quantile(0.5).unwrap() <= Duration::from_nanos(nanos));
        }
    }
}
