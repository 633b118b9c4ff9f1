//! The tokenizer of a model, from its `tokenizer.json`.

use crate::error::{Error, Kind, Result};
use crate::measure::TextTokens;

/// Fewest words of a vocabulary from which prompts are drawn: two prompts of them share five tokens once in a million times. The
/// models of the rehearsal have some sixty.
const FEWEST: usize = 16;

/// A tokenizer.
pub(in crate::effects) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    words: Vec<u32>,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`, which `name` names in messages.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it is none, or has too few words.
    pub(in crate::effects) fn read(bytes: &[u8], name: &str) -> Result<Self> {
        let wrong = |cause: String| {
            Error::new(Kind::Usage, format!("cannot use the tokenizer {name}"))
                .cause(cause)
                .hint("pass --tokenizer FILE: the tokenizer.json of the model")
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| wrong(error.to_string()))?;
        // A file may cut or fill texts to a length: those of a server's prompts are not.
        inner
            .with_truncation(None)
            .map_err(|error| wrong(error.to_string()))?;
        inner.with_padding(None);
        let words = words_of(&inner);
        if words.len() < FEWEST {
            return Err(wrong(format!(
                "its vocabulary has {} words, {FEWEST} are needed",
                words.len()
            )));
        }
        Ok(Self { inner, words })
    }
}

impl TextTokens for Tokenizer {
    fn encode(&self, text: &str) -> Vec<u32> {
        self.inner
            .encode_fast(text, false)
            .map(|encoding| encoding.get_ids().to_vec())
            .unwrap_or_default()
    }

    fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, false).unwrap_or_default()
    }

    fn words(&self) -> &[u32] {
        &self.words
    }
}

/// Returns the ids of the words of ASCII letters, in their order. Vocabularies of byte pairs mark the space before a word with
/// `Ġ`, those of `SentencePiece` with `▁`: such words stay tokens of their own in a text, while digits are split in many
/// tokenizers. Of a vocabulary without marks all tokens of letters and digits are taken.
fn words_of(tokenizer: &tokenizers::Tokenizer) -> Vec<u32> {
    let vocabulary = tokenizer.get_vocab(false);
    let special = tokenizer.get_added_tokens_decoder();
    let words = |mark: Option<char>| {
        let is_word = |token: &str| {
            let rest = mark.map_or(Some(token), |mark| token.strip_prefix(mark));
            let is_part = |byte: u8| byte.is_ascii_alphabetic() || (mark.is_none() && byte.is_ascii_digit());
            rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_part))
        };
        let mut ids: Vec<u32> = vocabulary
            .iter()
            .filter(|(token, id)| is_word(token) && !special.contains_key(id))
            .map(|(_, id)| *id)
            .collect();
        ids.sort_unstable();
        ids
    };
    let marked = ['\u{120}', '\u{2581}'].map(|mark| words(Some(mark)));
    marked
        .into_iter()
        .find(|ids| ids.len() >= FEWEST)
        .unwrap_or_else(|| words(None))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::measure::{Lengths, Prompt, RandomPrompts, TextPrompts, Turns};

    /// A tokenizer of byte pairs as those of DeepSeek-R1 and Qwen are: words of two letters are one token each, with their
    /// space.
    fn byte_pairs() -> Value {
        let letters = || 'a'..='z';
        let mut tokens: Vec<String> = letters().map(String::from).collect();
        tokens.push("\u{120}".to_owned());
        let mut merges = Vec::new();
        for first in letters() {
            merges.push(json!(["\u{120}", first.to_string()]));
            tokens.push(format!("\u{120}{first}"));
        }
        for first in letters() {
            for second in letters() {
                merges.push(json!([format!("\u{120}{first}"), second.to_string()]));
                tokens.push(format!("\u{120}{first}{second}"));
            }
        }
        let vocabulary: serde_json::Map<String, Value> = tokens
            .into_iter()
            .enumerate()
            .map(|(id, token)| (token, json!(id)))
            .collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [{"id": 0, "content": "a", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": false}],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}(?!x)"}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            ]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "vocab": vocabulary, "merges": merges},
        })
    }

    #[test]
    fn prompts_of_byte_pairs_have_exactly_their_tokens() {
        let tokenizer = Tokenizer::read(byte_pairs().to_string().as_bytes(), "x").unwrap();
        assert_eq!(tokenizer.words().len(), 26 + 26 * 26);
        let lengths = Lengths {
            input: 300,
            output: 1,
            ratio: 0.1,
            shared_prefix: 10,
            turns: Turns::SINGLE,
        };
        let vocabulary = u32::try_from(tokenizer.words().len()).unwrap();
        let random = RandomPrompts::new(lengths, vocabulary, 3, 0);
        let texts = TextPrompts::new(random, std::sync::Arc::new(tokenizer), 4, 3);
        let tokenizer = Tokenizer::read(byte_pairs().to_string().as_bytes(), "x").unwrap();
        for drawn in texts.take(20) {
            let Prompt::Text(text) = drawn.prompt else {
                panic!("ids")
            };
            assert_eq!(tokenizer.encode(&text).len() + 4, drawn.prompt_tokens as usize);
        }
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        let few = json!({
            "version": "1.0", "added_tokens": [], "truncation": null, "padding": null, "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"},
        });
        for (text, cause) in [
            ("{", "EOF"),
            ("{}", "Model missing"),
            (
                few.to_string().as_str(),
                "its vocabulary has 2 words, 16 are needed",
            ),
        ] {
            let error = Tokenizer::read(text.as_bytes(), "`t.json`").err().unwrap();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains("`t.json`"), "{error}");
            assert!(format!("{error:?}").contains(cause), "{error:?}");
        }
    }
}
