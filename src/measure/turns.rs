//! The turns of a conversation: their number, and the time between them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most turns of a conversation.
pub const MOST_TURNS: u64 = 1000;

/// The turns of the conversations of a load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Turns {
    /// Their number; 1 for requests that have nothing to do with each other.
    pub count: u32,
    /// Seconds from the end of an answer to the next request of the conversation.
    #[serde(default)]
    pub think_s: f64,
}

impl Turns {
    /// Requests that have nothing to do with each other.
    pub const SINGLE: Self = Self {
        count: 1,
        think_s: 0.0,
    };

    /// Returns true for requests that have nothing to do with each other.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.count <= 1
    }

    /// Returns the time from the end of an answer to the next request.
    #[must_use]
    pub fn think_time(&self) -> Duration {
        Duration::try_from_secs_f64(self.think_s).unwrap_or_default()
    }

    /// Returns the turns of the first conversation of a slot, which has a share of them. All slots start at once: with whole
    /// conversations, all of them would be in the same turn for ever.
    #[must_use]
    pub fn of_first(&self, slot: u32, slots: u32) -> u32 {
        let share = u64::from(self.count) * u64::from(slot + 1);
        u32::try_from(share.div_ceil(u64::from(slots.max(1)))).unwrap_or(self.count)
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::SINGLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_conversations_have_all_shares_of_the_turns() {
        let first = |count, slots| -> Vec<u32> {
            let turns = Turns {
                count,
                ..Turns::SINGLE
            };
            (0..slots).map(|slot| turns.of_first(slot, slots)).collect()
        };
        assert_eq!(first(4, 4), [1, 2, 3, 4]);
        assert_eq!(first(3, 6), [1, 1, 2, 2, 3, 3]);
        assert_eq!(first(5, 2), [3, 5]);
        assert_eq!(first(5, 1), [5]);
        assert_eq!(first(1, 3), [1, 1, 1]);
    }

    #[test]
    fn a_time_that_is_none_is_no_time() {
        let turns = |think_s| Turns { count: 2, think_s };
        assert_eq!(turns(1.5).think_time(), Duration::from_millis(1500));
        assert_eq!(turns(-1.0).think_time(), Duration::ZERO);
        assert_eq!(turns(f64::NAN).think_time(), Duration::ZERO);
    }
}
