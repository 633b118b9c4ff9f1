//! The prompts of a data file as requests, in an order of a seed.

use std::sync::{Arc, Mutex, PoisonError};

use super::index::{Found, Index};
use crate::error::{Error, Kind, Result};
use crate::measure::{Api, Content, Drawn, Item, LaterTurn, Prompt, Random, Tally, TextTokens, read_item};

/// Records that are looked at before a run: if all of them are broken, it is no data file.
const FIRST: usize = 20;
/// The stream of the random numbers of the order.
const ORDER: u64 = 8;

/// A tokenizer, and the tokens that the server adds to a text.
#[derive(Clone)]
pub(in crate::effects) struct TextCounter {
    pub(in crate::effects) tokenizer: Arc<dyn TextTokens>,
    pub(in crate::effects) overhead: u32,
}

/// The requests of a data file.
pub(in crate::effects) struct Items {
    pub(in crate::effects) index: Index,
    pub(in crate::effects) api: Api,
    /// Most turns of a conversation.
    pub(in crate::effects) turns: u32,
    /// Tokens to be generated where the data say nothing.
    pub(in crate::effects) output: u32,
    /// Tokens of the server's context, if it says them.
    pub(in crate::effects) context: Option<u64>,
    pub(in crate::effects) counter: Option<TextCounter>,
}

impl Items {
    /// Refuses a file whose first records are all broken.
    ///
    /// # Errors
    /// [`Kind::Usage`], with the first reason.
    pub(in crate::effects) fn check(index: &Index, api: Api, path: &str) -> Result<()> {
        let (mut reasons, mut seen) = (Vec::new(), 0);
        for record in 0..index.count() {
            if seen == FIRST {
                break;
            }
            match read_record(index, api, 1, record) {
                None => continue,
                Some(Ok(_)) => return Ok(()),
                Some(Err(reason)) => reasons.push(format!("{}: {reason}", index.name(record))),
            }
            seen += 1;
        }
        let error = Error::new(Kind::Usage, format!("cannot use the data of `{path}`"));
        let error = match &reasons[..] {
            [] => error.cause("it has no records"),
            [only] => error.cause(only.clone()),
            [first, .., _] => error
                .cause(format!("its first {} records are all broken", reasons.len()))
                .cause(first.clone()),
        };
        Err(error.hint(
            "a line holds an object with prompt, text, messages or input_ids; a ShareGPT file holds an array",
        ))
    }

    /// Returns the requests of a seed: all records in an order of the seed, once or again and again.
    pub(in crate::effects) fn requests(
        self: Arc<Self>,
        seed: u64,
        repeats: bool,
        tally: Arc<Mutex<Tally>>,
    ) -> impl Iterator<Item = Drawn> + Send {
        let mut random = Random::new(seed, ORDER);
        let count = u32::try_from(self.index.count()).unwrap_or(u32::MAX);
        let mut order: Vec<u32> = (0..count).collect();
        random.shuffle(&mut order);
        let (mut next, mut made) = (0, 0_u64);
        std::iter::from_fn(move || {
            loop {
                if next == order.len() {
                    if !repeats || made == 0 {
                        lock(&tally).has_ended = true;
                        return None;
                    }
                    (next, made) = (0, 0);
                    random.shuffle(&mut order);
                }
                let record = order[next] as usize;
                next += 1;
                if let Some(drawn) = self.draw(record, &tally) {
                    made += 1;
                    return Some(drawn);
                }
            }
        })
    }

    /// Returns the request of a record, or counts the reason for which there is none.
    fn draw(&self, record: usize, tally: &Mutex<Tally>) -> Option<Drawn> {
        let item = match read_record(&self.index, self.api, self.turns, record)? {
            Ok(item) => item,
            Err(reason) => {
                lock(tally).add_broken(&self.index.name(record), &reason);
                return None;
            }
        };
        let drawn = self.request_of(item);
        let later = drawn.later.iter().flatten();
        let later: u64 = later
            .map(|turn| u64::from(turn.tokens) + u64::from(turn.output_tokens))
            .sum();
        let total = u64::from(drawn.prompt_tokens) + u64::from(drawn.output_tokens) + later;
        let mut tally = lock(tally);
        if self.context.is_some_and(|most| total > most) {
            tally.too_long += 1;
            return None;
        }
        tally.used += 1;
        Some(drawn)
    }

    fn request_of(&self, item: Item) -> Drawn {
        let count = |text: &str| {
            let counter = self.counter.as_ref()?;
            u32::try_from(counter.tokenizer.encode(text).len()).ok()
        };
        let overhead = self.counter.as_ref().map_or(0, |counter| counter.overhead);
        let output_of = |reply: Option<String>| {
            let reply = reply.as_deref().and_then(count).filter(|count| *count > 0);
            item.output_tokens.or(reply).unwrap_or(self.output)
        };
        let output_tokens = output_of(item.reply);
        let later = item.later.into_iter().map(|turn| LaterTurn {
            tokens: count(&turn.text).unwrap_or(0),
            prompt: Prompt::Text(turn.text),
            output_tokens: output_of(turn.reply),
        });
        let later = (self.turns > 1).then(|| later.collect());
        let (prompt, prompt_tokens) = match item.content {
            Content::Ids(ids) => {
                let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                (Prompt::Ids(ids), count)
            }
            Content::Text(text) => {
                let count = count(&text).map_or(0, |count| count.saturating_add(overhead));
                (Prompt::Text(text), count)
            }
            // The overhead of one message is known, that of several is the template's own matter.
            Content::Messages(messages) => (Prompt::Messages(messages), 0),
        };
        Drawn {
            prompt,
            prompt_tokens,
            output_tokens,
            at: None,
            later,
        }
    }
}

/// Reads a record; `None` for an empty line.
fn read_record(
    index: &Index,
    api: Api,
    turns: u32,
    record: usize,
) -> Option<std::result::Result<Item, String>> {
    match index.look_at(record) {
        Found::Broken(reason) => Some(Err(reason)),
        Found::Bytes(bytes) if bytes.is_empty() => None,
        Found::Bytes(bytes) => Some(read_item(&bytes, api, turns)),
    }
}

pub(super) fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer that counts words.
    struct Words;

    impl TextTokens for Words {
        fn encode(&self, text: &str) -> Vec<u32> {
            text.split_whitespace().map(|_| 0).collect()
        }
        fn decode(&self, _: &[u32]) -> String {
            String::new()
        }
        fn words(&self) -> &[u32] {
            &[]
        }
    }

    fn items(text: &str) -> Arc<Items> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, text).unwrap();
        Arc::new(Items {
            index: Index::read(&path).unwrap(),
            api: Api::Completions,
            turns: 1,
            output: 50,
            context: Some(100),
            counter: Some(TextCounter {
                tokenizer: Arc::new(Words),
                overhead: 2,
            }),
        })
    }

    fn texts(drawn: &[Drawn]) -> Vec<String> {
        let text = |drawn: &Drawn| match &drawn.prompt {
            Prompt::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        drawn.iter().map(text).collect()
    }

    #[test]
    fn each_record_is_used_once_in_an_order_of_the_seed_and_broken_ones_are_counted() {
        let line = |text: &str| format!("{{\"prompt\": \"{text}\"}}\n");
        let mut lines: Vec<String> = (0..50).map(|number| line(&format!("p {number}"))).collect();
        lines.push("\n{\"prompt\n".to_owned());
        lines.push(line(&"w ".repeat(60)));
        let text = lines.concat();
        let draw = |seed, repeats, count| {
            let tally = Arc::new(Mutex::new(Tally::default()));
            let drawn: Vec<Drawn> = items(&text)
                .requests(seed, repeats, tally.clone())
                .take(count)
                .collect();
            let tally = lock(&tally).clone();
            (drawn, tally)
        };
        let (drawn, tally) = draw(1, false, 1000);
        assert_eq!(drawn.len(), 50);
        assert!(
            drawn
                .iter()
                .all(|drawn| (drawn.prompt_tokens, drawn.output_tokens) == (4, 50))
        );
        assert_eq!((tally.used, tally.broken, tally.too_long), (50, 1, 1));
        assert!(tally.has_ended);
        assert_eq!(tally.examples, ["line 52: it is not JSON: it ends too early"]);
        let order = texts(&drawn);
        assert_eq!(order, texts(&draw(1, false, 1000).0));
        assert_ne!(order, texts(&draw(2, false, 1000).0));
        let mut sorted = order.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 50);
        let (drawn, tally) = draw(1, true, 120);
        assert_eq!(drawn.len(), 120);
        assert!(!tally.has_ended);
    }

    #[test]
    fn the_answer_has_the_length_of_the_data() {
        let shared =
            r#"[{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a b c"}]}]"#;
        let tally = Arc::default();
        let drawn = items(shared).requests(1, false, tally).next().unwrap();
        assert_eq!((drawn.prompt_tokens, drawn.output_tokens), (3, 3));
    }

    #[test]
    fn a_file_without_a_good_record_is_refused_and_never_runs_for_ever() {
        for (text, cause) in [
            ("", "it has no records"),
            ("{\"question\": 1}\n", "line 1: it has none of the keys"),
            ("\n{}\n{}\n", "its first 2 records are all broken"),
            ("[1, 2]", "element 1: it is not an object"),
        ] {
            let items = items(text);
            let error = Items::check(&items.index, items.api, "d.jsonl").unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(format!("{error:?}").contains(cause), "{error:?}");
            assert_eq!(items.requests(1, true, Arc::default()).count(), 0);
        }
        let good = items("{}\n{\"text\": \"a\"}\n");
        assert!(Items::check(&good.index, good.api, "d.jsonl").is_ok());
    }
}
