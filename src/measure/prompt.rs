//! Prompts of random tokens: no two share a beginning, in a run or between runs, so that no prefix cache knows them.

use std::time::Duration;

use crate::measure::api::Prompt;
use crate::measure::load::Lengths;
use crate::measure::random::Random;
use crate::measure::turns::Turns;

/// Streams of the random numbers of a seed: each use has its own, so that one does not shift the other.
const LENGTHS: u64 = 1;
const TOKENS: u64 = 2;
const PREFIX: u64 = 3;
/// The stream of a schedule.
pub const ARRIVALS: u64 = 4;

/// A request before its body is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// The prompt.
    pub prompt: Prompt,
    /// Its tokens by the server's count; 0 if that is not known.
    pub prompt_tokens: u32,
    /// Tokens to be generated.
    pub output_tokens: u32,
    /// The time from the beginning of the run at which it is due, of a trace; `None` without one.
    pub at: Option<Duration>,
    /// The turns of its conversation that follow this one; `None` for a request that has nothing to do with others.
    pub later: Option<Vec<LaterTurn>>,
}

/// A later turn of a conversation, before the answer to the turn before it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterTurn {
    /// The text or the ids that the user adds.
    pub prompt: Prompt,
    /// Its tokens; 0 if they are not known.
    pub tokens: u32,
    /// Tokens to be generated.
    pub output_tokens: u32,
}

impl LaterTurn {
    /// Returns its size in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.prompt {
            Prompt::Ids(ids) => size_of_val(&ids[..]),
            Prompt::Text(text) => text.len(),
            Prompt::Messages(messages) => messages.iter().map(|message| message.content.len()).sum(),
        }
    }
}

/// Requests with random prompts, without end.
#[derive(Debug, Clone)]
pub struct RandomPrompts {
    lengths: Lengths,
    ids: std::ops::Range<u32>,
    prefix: Vec<u32>,
    draws: Random,
    tokens: Random,
    slots: u32,
    number: u32,
}

impl RandomPrompts {
    /// Returns the requests of a seed, for a model with that many ids. The first `slots` ones are those of the warm-up of a
    /// closed loop: their answers have lengths of all shares, so that later requests do not end together. A conversation has its
    /// later turns; the first ones have all shares of them.
    #[must_use]
    pub fn new(lengths: Lengths, vocabulary: u32, seed: u64, slots: u32) -> Self {
        let ids = usable_ids(vocabulary);
        let mut prefix = Random::new(seed, PREFIX);
        Self {
            lengths,
            prefix: (0..lengths.shared_prefix)
                .map(|_| prefix.within(ids.start, ids.end))
                .collect(),
            ids,
            draws: Random::new(seed, LENGTHS),
            tokens: Random::new(seed, TOKENS),
            slots,
            number: 0,
        }
    }

    fn draw_ids(&mut self, count: u32) -> Vec<u32> {
        let (start, end) = (self.ids.start, self.ids.end);
        (0..count).map(|_| self.tokens.within(start, end)).collect()
    }

    fn draw_turn(&mut self) -> LaterTurn {
        let (input, output) = self.lengths.draw(&mut self.draws);
        LaterTurn {
            prompt: Prompt::Ids(self.draw_ids(input)),
            tokens: input,
            output_tokens: output,
        }
    }
}

impl Iterator for RandomPrompts {
    type Item = Drawn;

    fn next(&mut self) -> Option<Drawn> {
        let (input, output) = self.lengths.draw(&mut self.draws);
        let turns = self.lengths.turns;
        let (output_tokens, count) = if self.number < self.slots {
            (
                staggered(output, self.number, self.slots),
                turns.of_first(self.number, self.slots),
            )
        } else {
            (output, turns.count)
        };
        self.number = self.number.saturating_add(1);
        let mut ids = self.prefix.clone();
        ids.extend(self.draw_ids(input));
        let later = (!turns.is_single()).then(|| (1..count).map(|_| self.draw_turn()).collect());
        Some(Drawn {
            prompt_tokens: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            prompt: Prompt::Ids(ids),
            output_tokens,
            at: None,
            later,
        })
    }
}

/// Returns requests whose first `slots` conversations have all shares of the turns, as those of [`RandomPrompts`].
pub fn shorten_first(
    requests: impl Iterator<Item = Drawn>,
    turns: Turns,
    slots: u32,
) -> impl Iterator<Item = Drawn> {
    (0..).zip(requests).map(move |(number, mut drawn)| {
        if let Some(later) = drawn.later.as_mut().filter(|_| number < slots) {
            later.truncate(turns.of_first(number, slots).saturating_sub(1) as usize);
        }
        drawn
    })
}

/// Returns the length of the warm-up answer of a slot. All requests of a closed loop start at once; with equal lengths they
/// would end at once, too, wave after wave. A single slot has no waves, and needs to see each kernel once only.
fn staggered(output: u32, slot: u32, slots: u32) -> u32 {
    const ALONE: u32 = 128;
    if slots == 1 {
        return output.min(ALONE);
    }
    let share = u64::from(output) * u64::from(slot + 1);
    u32::try_from(share.div_ceil(u64::from(slots))).unwrap_or(output)
}

/// Returns the ids from which prompts are drawn. Special tokens are at the ends of a vocabulary: 0 to 2 and 128000 and up of
/// the 129280 of DeepSeek-R1, 151643 and up of the 151936 of Qwen2 (their `tokenizer.json`).
pub(super) fn usable_ids(vocabulary: u32) -> std::ops::Range<u32> {
    let margin = vocabulary / 16;
    margin..(vocabulary - margin).max(margin + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: Lengths = Lengths {
        input: 8,
        output: 100,
        ratio: 1.0,
        shared_prefix: 4,
        turns: Turns::SINGLE,
    };

    fn ids(drawn: &Drawn) -> &[u32] {
        match &drawn.prompt {
            Prompt::Ids(ids) => ids,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn prompts_are_exact_in_tokens_and_share_only_the_prefix() {
        let drawn: Vec<Drawn> = RandomPrompts::new(LENGTHS, 129_280, 9, 1).take(50).collect();
        for pair in drawn.windows(2) {
            let (one, other) = (ids(&pair[0]), ids(&pair[1]));
            assert_eq!((one.len(), pair[0].prompt_tokens), (12, 12));
            assert_eq!(one[..4], other[..4]);
            assert_ne!(one[4], other[4]);
        }
        assert!(drawn.iter().flat_map(ids).all(|id| (8080..121_200).contains(id)));
    }

    #[test]
    fn a_seed_repeats_itself_and_no_other_one_has_its_prompts() {
        let first = |seed| RandomPrompts::new(LENGTHS, 129_280, seed, 1).nth(3);
        assert_eq!(first(5), first(5));
        assert_ne!(first(5), first(6));
    }

    #[test]
    fn the_warm_up_has_answers_of_all_lengths() {
        let outputs = |slots| {
            RandomPrompts::new(LENGTHS, 1000, 1, slots)
                .map(|drawn| drawn.output_tokens)
                .take(5)
                .collect::<Vec<_>>()
        };
        assert_eq!(outputs(4), [25, 50, 75, 100, 100]);
        assert_eq!(outputs(1), [100, 100, 100, 100, 100]);
        assert_eq!(staggered(8192, 0, 1), 128);
    }

    #[test]
    fn a_conversation_has_its_turns_and_the_first_ones_have_all_shares_of_them() {
        let lengths = Lengths {
            turns: Turns {
                count: 3,
                think_s: 0.0,
            },
            ..LENGTHS
        };
        let drawn: Vec<Drawn> = RandomPrompts::new(lengths, 1000, 1, 3).take(5).collect();
        let later = |drawn: &Drawn| drawn.later.as_ref().unwrap().len();
        assert_eq!(drawn.iter().map(later).collect::<Vec<_>>(), [0, 1, 2, 2, 2]);
        for turn in drawn.iter().flat_map(|drawn| drawn.later.as_ref().unwrap()) {
            // The shared tokens are those of the first turn.
            assert!(matches!(&turn.prompt, Prompt::Ids(ids) if ids.len() == 8 && turn.tokens == 8));
            assert_eq!(turn.output_tokens, 100);
        }
        assert_eq!(
            RandomPrompts::new(LENGTHS, 1000, 1, 3).next().unwrap().later,
            None
        );
    }

    #[test]
    fn a_small_vocabulary_has_ids() {
        for vocabulary in [1, 2, 15, 16, 300] {
            let ids = usable_ids(vocabulary);
            assert!(
                ids.start < ids.end && ids.end <= vocabulary,
                "{vocabulary} {ids:?}"
            );
        }
    }
}
