//! The count of the records of a file that were used, and of those that were not.

/// Broken records that are named.
const EXAMPLES: usize = 5;

/// The records of a file, as far as they were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records that became requests.
    pub used: u64,
    /// Records that cannot be read.
    pub broken: u64,
    /// Records that are longer than the context of the server.
    pub too_long: u64,
    /// The first broken ones: their place, and the reason.
    pub examples: Vec<String>,
    /// True if the last record was read and no other comes.
    pub has_ended: bool,
}

impl Tally {
    /// Counts a broken record. `place` is such as `line 7`.
    pub fn add_broken(&mut self, place: &str, reason: &str) {
        self.broken += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{place}: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_broken_records_are_named() {
        let mut tally = Tally::default();
        for line in 1..=9 {
            tally.add_broken(&format!("line {line}"), "no key");
        }
        assert_eq!(tally.broken, 9);
        assert_eq!(tally.examples.len(), EXAMPLES);
        assert_eq!(tally.examples[0], "line 1: no key");
    }
}
