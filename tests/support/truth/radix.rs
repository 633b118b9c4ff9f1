//! A prefix cache that knows each prompt and each answer by their tokens, as the radix cache of SGLang does without a limit of its
//! memory. A prefix is a hash that follows from the one of the prefix before it and from one more token.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::answer::{answer_ids, answer_words};

/// The prefixes of a prompt, one for each of its tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prefixes {
    hashes: Vec<u64>,
    /// The tokens are ids and not words.
    are_ids: bool,
}

/// The end of a prompt, which its answer follows.
#[derive(Debug, Clone, Copy, Default)]
pub struct PromptEnd {
    last: u64,
    are_ids: bool,
}

impl Prefixes {
    pub fn add_id(&mut self, id: u64) {
        self.are_ids = true;
        self.hashes.push(next(self.last(), id));
    }

    pub fn add_words(&mut self, text: &str) {
        for word in text.split_ascii_whitespace() {
            self.hashes.push(next(self.last(), hash_of(word)));
        }
    }

    fn last(&self) -> u64 {
        self.hashes.last().copied().unwrap_or(0)
    }

    pub fn end(&self) -> PromptEnd {
        PromptEnd {
            last: self.last(),
            are_ids: self.are_ids,
        }
    }
}

/// The known prefixes.
#[derive(Debug, Default)]
pub struct Radix {
    known: HashSet<u64>,
}

impl Radix {
    /// Returns the tokens of a prompt that are known, and knows all of them from now on. The last one is always computed.
    pub fn admit(&mut self, prompt: &Prefixes) -> u64 {
        let known = prompt.hashes.iter().take_while(|hash| self.known.contains(hash));
        let count = known.count().min(prompt.hashes.len().saturating_sub(1));
        self.known.extend(&prompt.hashes);
        count as u64
    }

    /// Takes the tokens of an answer from one number to another, behind its prompt.
    pub fn add_answer(&mut self, prompt: PromptEnd, (from, to): (u32, u32)) {
        let mut last = prompt.last;
        for token in from..to {
            let token = if prompt.are_ids {
                answer_ids(token)
            } else {
                hash_of(answer_words(token))
            };
            last = next(last, token);
            self.known.insert(last);
        }
    }

    pub fn flush(&mut self) {
        self.known.clear();
    }
}

fn hash_of(word: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(word)
}

fn next(before: u64, token: u64) -> u64 {
    (before ^ token.wrapping_add(0x9e37_79b9_7f4a_7c15))
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
        .rotate_left(29)
}
