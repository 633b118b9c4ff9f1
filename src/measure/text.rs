//! Prompts as text with an exact number of tokens, by the model's own tokenizer.

use std::sync::Arc;

use crate::measure::api::Prompt;
use crate::measure::prompt::Drawn;
use crate::measure::random::Random;

/// The stream of the random numbers that lengthen a text.
const MORE: u64 = 5;
/// Most changes of a text until its length is right. Words with a space before them need none in most cases.
const TRIES: u32 = 16;

/// A tokenizer. It is not to be trusted with more than its counts: a text that it cannot read has no tokens.
pub trait TextTokens: Send + Sync {
    /// Returns the ids of a text, without tokens that a template adds.
    fn encode(&self, text: &str) -> Vec<u32>;
    /// Returns the text of ids.
    fn decode(&self, ids: &[u32]) -> String;
    /// Returns the ids of words: ordinary tokens that stay what they are beside each other.
    fn words(&self) -> &[u32];
}

/// Returns a text of as many tokens as there are ids, made of them as far as that goes, and its tokens. After a bounded number
/// of tries it is the text that came nearest.
pub fn exact_text(
    tokenizer: &dyn TextTokens,
    mut ids: Vec<u32>,
    more: &mut dyn FnMut() -> u32,
) -> (String, usize) {
    let wanted = ids.len();
    let mut nearest: Option<(String, usize)> = None;
    for _ in 0..TRIES {
        let text = tokenizer.decode(&ids);
        let found = tokenizer.encode(&text);
        let count = found.len();
        let is_nearer = nearest
            .as_ref()
            .is_none_or(|(_, known)| count.abs_diff(wanted) < known.abs_diff(wanted));
        if is_nearer {
            nearest = Some((text, count));
        }
        if count == wanted {
            break;
        }
        ids = found;
        ids.truncate(wanted);
        ids.extend((count..wanted).map(|_| more()));
    }
    nearest.unwrap_or_default()
}

/// Requests whose prompts of ids are made to texts: the ids are numbers of the tokenizer's words.
pub struct TextPrompts<I> {
    requests: I,
    tokenizer: Arc<dyn TextTokens>,
    /// Tokens that the server adds to each text.
    overhead: u32,
    random: Random,
}

impl<I> TextPrompts<I> {
    /// Returns the requests as texts. The server counts `overhead` tokens more for each than the text has.
    pub fn new(requests: I, tokenizer: Arc<dyn TextTokens>, overhead: u32, seed: u64) -> Self {
        Self {
            requests,
            tokenizer,
            overhead,
            random: Random::new(seed, MORE),
        }
    }

    fn text_of(&mut self, prompt: Prompt) -> Prompt {
        let Prompt::Ids(numbers) = prompt else {
            return prompt;
        };
        let words = self.tokenizer.words();
        let count = numbers.len().saturating_sub(self.overhead as usize).max(1);
        let word = |number: u32| words.get(number as usize).or(words.first()).copied();
        let ids: Vec<u32> = numbers.into_iter().take(count).filter_map(word).collect();
        let most = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let random = &mut self.random;
        let mut more = || word(random.within(0, most)).unwrap_or(0);
        Prompt::Text(exact_text(&*self.tokenizer, ids, &mut more).0)
    }
}

impl<I: Iterator<Item = Drawn>> Iterator for TextPrompts<I> {
    type Item = Drawn;

    fn next(&mut self) -> Option<Drawn> {
        let mut drawn = self.requests.next()?;
        drawn.prompt = self.text_of(drawn.prompt);
        for turn in drawn.later.iter_mut().flatten() {
            let prompt = std::mem::replace(&mut turn.prompt, Prompt::Ids(Vec::new()));
            turn.prompt = self.text_of(prompt);
        }
        Some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::load::Lengths;
    use crate::measure::prompt::RandomPrompts;
    use crate::measure::turns::Turns;

    /// A tokenizer of letters which joins some pairs, as one of byte pairs does: `ab` is one token.
    struct Pairs(Vec<u32>);

    impl TextTokens for Pairs {
        fn encode(&self, text: &str) -> Vec<u32> {
            let mut ids = Vec::new();
            let mut rest = text;
            while let Some(first) = rest.chars().next() {
                let pair = ["ab", "ba", "cc"].iter().position(|pair| rest.starts_with(pair));
                let (id, length) = match pair {
                    Some(at) => (26 + u32::try_from(at).unwrap(), 2),
                    None => (first as u32 - 'a' as u32, 1),
                };
                ids.push(id);
                rest = &rest[length..];
            }
            ids
        }

        fn decode(&self, ids: &[u32]) -> String {
            let text = |id: &u32| match id {
                26 => "ab".to_owned(),
                27 => "ba".to_owned(),
                28 => "cc".to_owned(),
                id => char::from(b'a' + u8::try_from(*id).unwrap()).to_string(),
            };
            ids.iter().map(text).collect()
        }

        fn words(&self) -> &[u32] {
            &self.0
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_has_exactly_its_tokens(ids in proptest::collection::vec(0_u32..29, 1..200), seed: u64) {
            let pairs = Pairs((0..29).collect());
            let mut random = Random::new(seed, 0);
            let wanted = ids.len();
            let (text, count) = exact_text(&pairs, ids, &mut || random.within(0, 29));
            proptest::prop_assert_eq!(count, wanted);
            proptest::prop_assert_eq!(pairs.encode(&text).len(), wanted);
        }
    }

    #[test]
    fn prompts_have_the_tokens_that_the_template_leaves_and_repeat_with_their_seed() {
        let lengths = Lengths {
            input: 40,
            output: 5,
            ratio: 1.0,
            shared_prefix: 20,
            turns: Turns::SINGLE,
        };
        let pairs = Arc::new(Pairs((3..26).collect()));
        let texts = |seed: u64| -> Vec<String> {
            TextPrompts::new(RandomPrompts::new(lengths, 23, seed, 0), pairs.clone(), 7, seed)
                .take(3)
                .map(|drawn| {
                    assert_eq!(drawn.prompt_tokens, 60);
                    match drawn.prompt {
                        Prompt::Text(text) => text,
                        other => panic!("{other:?}"),
                    }
                })
                .collect()
        };
        let one = texts(1);
        assert!(one.iter().all(|text| pairs.encode(text).len() == 53));
        assert_eq!(one[0][..15], one[1][..15]);
        assert_ne!(one[0], one[1]);
        assert_eq!(one, texts(1));
        assert_ne!(one, texts(2));
    }

    /// A tokenizer that reads nothing must not hang a run.
    #[test]
    fn a_tokenizer_that_fails_gives_some_text() {
        struct Mute;
        impl TextTokens for Mute {
            fn encode(&self, _: &str) -> Vec<u32> {
                Vec::new()
            }
            fn decode(&self, _: &[u32]) -> String {
                "x".to_owned()
            }
            fn words(&self) -> &[u32] {
                &[]
            }
        }
        assert_eq!(exact_text(&Mute, vec![1, 2], &mut || 0), ("x".to_owned(), 0));
    }
}
