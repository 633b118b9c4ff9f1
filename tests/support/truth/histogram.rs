//! A histogram of nanoseconds with 128 buckets per power of two. A quantile is the mean of its bucket: exact where all
//! values are one, otherwise within 0.8 %.

use serde_json::{Value, json};

use super::clock::ms;

/// The buckets per power of two, as a power of two.
const FINE: u32 = 7;

#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<(u64, u128)>,
    count: u64,
    sum: u128,
    max: u64,
}

fn bucket(value: u64) -> usize {
    let exponent = (value | 1).ilog2();
    if exponent < FINE {
        return value as usize;
    }
    let shift = exponent - FINE;
    (((shift + 1) << FINE) as usize) + ((value >> shift) as usize & ((1 << FINE) - 1))
}

impl Histogram {
    /// Adds a value `weight` times.
    pub fn add(&mut self, value: u64, weight: u64) {
        let at = bucket(value);
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, (0, 0));
        }
        let sum = u128::from(value) * u128::from(weight);
        self.buckets[at].0 += weight;
        self.buckets[at].1 += sum;
        self.count += weight;
        self.sum += sum;
        self.max = self.max.max(value);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn mean(&self) -> u64 {
        (self.sum / u128::from(self.count.max(1))) as u64
    }

    /// Returns the value at a quantile by nearest rank, zero of nothing.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for &(count, sum) in &self.buckets {
            seen += count;
            if count > 0 && seen >= rank {
                return (sum / u128::from(count)) as u64;
            }
        }
        0
    }

    /// Returns the count, and the mean, p50, p99 and max in milliseconds.
    pub fn json(&self) -> Value {
        json!({
            "count": self.count,
            "mean_ms": ms(self.mean()),
            "p50_ms": ms(self.quantile(0.5)),
            "p99_ms": ms(self.quantile(0.99)),
            "max_ms": ms(self.max),
        })
    }
}

/// Returns the count, and the mean, p50, p99 and max in milliseconds of values that are all known.
pub fn exact(mut values: Vec<u64>) -> Value {
    values.sort_unstable();
    let at = |quantile: f64| {
        let rank = ((values.len() as f64 * quantile).ceil() as usize).max(1);
        values.get(rank - 1).map(|value| ms(*value))
    };
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    let mean = (!values.is_empty()).then(|| sum as f64 / values.len() as f64 / 1e6);
    json!({
        "count": values.len(),
        "mean_ms": mean,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "max_ms": values.last().map(|value| ms(*value)),
    })
}
