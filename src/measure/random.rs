//! The random numbers of a load. A seed in a report gives the same prompts in every later version of dsr1, which no crate
//! promises.

/// A generator of random numbers: `SplitMix64` (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Returns the generator of a seed. Each `stream` of a seed is another sequence.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        // Seeds that differ in one bit give unlike states.
        random.0 = random.next();
        random
    }

    /// Returns 64 random bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number of `low..high`; `low` if that range is empty.
    pub fn within(&mut self, low: u32, high: u32) -> u32 {
        let width = u64::from(high.saturating_sub(low));
        // The high half of the product is uniform up to 2^-32.
        let offset = ((self.next() >> 32) * width) >> 32;
        low + u32::try_from(offset).unwrap_or(0)
    }

    /// Puts values into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
            values.swap(last, self.within(0, bound) as usize);
        }
    }

    /// Returns a number of (0, 1].
    pub fn unit(&mut self) -> f64 {
        // 53 bits are exact in an f64.
        #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
        let value = ((self.next() >> 11) + 1) as f64;
        value / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for the state 1234567, as published with the reference code (`splitmix64.c`, S. Vigna).
    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }

    #[test]
    fn the_numbers_of_a_seed_stay_the_same() {
        let mut random = Random::new(42, 1);
        let drawn: Vec<u32> = (0..5).map(|_| random.within(1000, 2000)).collect();
        insta::assert_debug_snapshot!(drawn);
        assert_ne!(Random::new(42, 1).next(), Random::new(42, 2).next());
        assert_ne!(Random::new(42, 1).next(), Random::new(43, 1).next());
    }

    #[test]
    fn ranges_and_their_ends_are_kept() {
        let mut random = Random::new(7, 0);
        let mut seen = [0_u32; 4];
        for _ in 0..4000 {
            seen[random.within(0, 4) as usize] += 1;
            let unit = random.unit();
            assert!(unit > 0.0 && unit <= 1.0);
        }
        assert!(seen.iter().all(|count| (900..1100).contains(count)), "{seen:?}");
        assert_eq!((random.within(5, 5), random.within(5, 3)), (5, 5));
    }
}
