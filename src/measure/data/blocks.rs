//! Prompts of random tokens that share their beginnings as a trace says.

use super::trace::{BLOCK, TraceRow};
use crate::measure::prompt::usable_ids;
use crate::measure::random::Random;

/// The stream of the prompts of requests without blocks.
const OWN: u64 = 6;
/// The stream of blocks: each block has a seed of its own.
const BLOCKS: u64 = 7;

/// A maker of prompts for the requests of a trace.
#[derive(Debug, Clone)]
pub struct BlockPrompts {
    ids: std::ops::Range<u32>,
    seed: u64,
    own: Random,
}

impl BlockPrompts {
    /// Returns the maker of a seed, for a model with that many ids.
    #[must_use]
    pub fn new(vocabulary: u32, seed: u64) -> Self {
        Self {
            ids: usable_ids(vocabulary),
            seed,
            own: Random::new(seed, OWN),
        }
    }

    /// Returns the ids of the prompt of a request. A block of one name has the same tokens in all requests of a seed; a request
    /// without blocks shares nothing.
    pub fn ids(&mut self, row: &TraceRow) -> Vec<u32> {
        let length = row.input as usize;
        let mut ids = Vec::with_capacity(length);
        for name in &row.hashes {
            let mut block = Random::new(self.seed ^ Random::new(*name, BLOCKS).next(), BLOCKS);
            let count = (length - ids.len()).min(BLOCK as usize);
            ids.extend((0..count).map(|_| block.within(self.ids.start, self.ids.end)));
            if ids.len() == length {
                break;
            }
        }
        let own = &mut self.own;
        let left = length - ids.len();
        ids.extend((0..left).map(|_| own.within(self.ids.start, self.ids.end)));
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(input: u32, hashes: &[u64]) -> TraceRow {
        TraceRow {
            at_ns: 0,
            input,
            output: 1,
            hashes: hashes.to_vec(),
        }
    }

    #[test]
    fn requests_share_the_blocks_that_have_one_name() {
        let mut prompts = BlockPrompts::new(129_280, 7);
        let one = prompts.ids(&row(1100, &[1, 2, 3]));
        let other = prompts.ids(&row(1400, &[1, 2, 4]));
        assert_eq!((one.len(), other.len()), (1100, 1400));
        assert_eq!(one[..1024], other[..1024]);
        assert_ne!(one[1024..1034], other[1024..1034]);
        // The same block at another place has the same tokens; another seed has others.
        assert_eq!(prompts.ids(&row(512, &[2])), one[512..1024]);
        assert_ne!(BlockPrompts::new(129_280, 8).ids(&row(512, &[2])), one[512..1024]);
        let alone = prompts.ids(&row(100, &[]));
        assert_ne!(alone, prompts.ids(&row(100, &[])));
        assert!(one.iter().all(|id| (8080..121_200).contains(id)));
    }
}
