//! One prompt of a data file: a JSON object of a line, or of an array in the format of `ShareGPT`.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::measure::api::{Api, Message};
use crate::measure::load::MOST_TOKENS;

/// Keys of a prompt, in the order in which they are looked for.
const KEYS: [&str; 5] = ["input_ids", "messages", "conversations", "prompt", "text"];
/// Keys of the tokens to be generated.
const OUTPUT_KEYS: [&str; 3] = ["output_tokens", "max_tokens", "output_len"];

/// The prompt of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A text.
    Text(String),
    /// The messages of a chat; the last one is to be answered.
    Messages(Vec<Message>),
    /// Ids of tokens.
    Ids(Vec<u32>),
}

/// A record of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its prompt.
    pub content: Content,
    /// Tokens to be generated, if it says so.
    pub output_tokens: Option<u32>,
    /// The answer that followed in the data; its length is that to be generated where nothing else says it.
    pub reply: Option<String>,
    /// The later turns of its conversation, if they are asked for.
    pub later: Vec<ItemTurn>,
}

/// A later turn of the conversation of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemTurn {
    /// The text of the user.
    pub text: String,
    /// The answer that followed in the data.
    pub reply: Option<String>,
}

/// A prompt with the answer behind it, and the turns after it.
type Read = (Content, Option<String>, Vec<ItemTurn>);

/// Reads a record, for requests of that API. More than one turn takes a conversation from its beginning, with up to so many turns;
/// one turn takes `messages` up to their last one of the user, and the first text of `conversations`.
///
/// # Errors
/// The reason for which it is broken, in a few words. They name keys of the format, and no text of the record.
pub fn read_item(bytes: &[u8], api: Api, turns: u32) -> Result<Item, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        // The text of the error would have the line and column of a record of its own.
        match error.classify() {
            serde_json::error::Category::Eof => "it is not JSON: it ends too early".to_owned(),
            _ => format!("it is not JSON at its byte {}", error.column()),
        }
    })?;
    let Value::Object(record) = value else {
        return Err("it is not an object".to_owned());
    };
    let key = KEYS
        .into_iter()
        .find(|key| record.get(*key).is_some_and(|value| !value.is_null()))
        .ok_or_else(|| format!("it has none of the keys {}", KEYS.join(", ")))?;
    let (content, reply, later) = match key {
        "input_ids" => (Content::Ids(read_ids(&record)?), None, Vec::new()),
        "messages" => read_messages(&record, turns)?,
        "conversations" => read_conversation(&record, turns)?,
        key => (Content::Text(read_text(&record, key)?), None, Vec::new()),
    };
    match (&content, api) {
        (Content::Messages(_), Api::Generate | Api::Completions) => {
            return Err("`messages` need --api chat".to_owned());
        }
        (Content::Ids(_), Api::Chat) => {
            return Err("`input_ids` need --api completions or generate".to_owned());
        }
        _ => {}
    }
    Ok(Item {
        content,
        output_tokens: read_output(&record)?,
        reply,
        later,
    })
}

fn read_text(record: &Map<String, Value>, key: &str) -> Result<String, String> {
    match record[key].as_str() {
        Some("") => Err(format!("`{key}` is empty")),
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("`{key}` is not a string")),
    }
}

fn read_ids(record: &Map<String, Value>) -> Result<Vec<u32>, String> {
    let ids = Vec::<u32>::deserialize(&record["input_ids"])
        .map_err(|_| "`input_ids` is not a list of ids".to_owned())?;
    if ids.is_empty() {
        return Err("`input_ids` is empty".to_owned());
    }
    Ok(ids)
}

/// Reads the messages up to the last one of the user, or up to the first one with the turns after it. An answer behind a message is
/// its reply.
fn read_messages(record: &Map<String, Value>, turns: u32) -> Result<Read, String> {
    let mut messages = Vec::<Message>::deserialize(&record["messages"])
        .map_err(|_| "`messages` is not a list of objects with `role` and `content`".to_owned())?;
    let is_user = |message: &Message| message.role == "user";
    let asked = if turns > 1 {
        messages.iter().position(is_user)
    } else {
        messages.iter().rposition(is_user)
    };
    let asked = asked.ok_or("`messages` has none of the role `user`")?;
    let after = messages.split_off(asked + 1);
    let parts = after.into_iter().map(|message| {
        let from = From::of(&message.role);
        (from, message.content)
    });
    let (reply, later) = read_turns(parts, turns);
    Ok((Content::Messages(messages), reply, later))
}

/// The author of a part of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    User,
    Assistant,
    Other,
}

impl From {
    fn of(name: &str) -> Self {
        match name {
            "human" | "user" => Self::User,
            "gpt" | "assistant" | "chatgpt" => Self::Assistant,
            _ => Self::Other,
        }
    }
}

/// Returns the reply to the first text of the user, which is before these parts, and the turns after it. Parts of others, and answers
/// that no text of the user is before, are left out. An empty text ends the conversation.
fn read_turns(parts: impl Iterator<Item = (From, String)>, turns: u32) -> (Option<String>, Vec<ItemTurn>) {
    let (mut first, mut later) = (None, Vec::<ItemTurn>::new());
    let most = turns.saturating_sub(1) as usize;
    for (from, text) in parts {
        match from {
            From::User if later.len() == most || text.is_empty() => break,
            From::User => later.push(ItemTurn { text, reply: None }),
            From::Assistant => {
                let reply = later.last_mut().map_or(&mut first, |turn| &mut turn.reply);
                reply.get_or_insert(text);
            }
            From::Other => {}
        }
    }
    (first, later)
}

/// Reads the first text of a user and the answer behind it, as `sglang.bench_serving` 0.5.23 takes them of `ShareGPT`, or all turns.
fn read_conversation(record: &Map<String, Value>, turns: u32) -> Result<Read, String> {
    #[derive(Deserialize)]
    struct Part {
        from: String,
        value: String,
    }
    let parts = Vec::<Part>::deserialize(&record["conversations"])
        .map_err(|_| "`conversations` is not a list of objects with `from` and `value`".to_owned())?;
    let mut parts = parts
        .into_iter()
        .skip_while(|part| From::of(&part.from) != From::User);
    let first = parts
        .next()
        .filter(|part| !part.value.is_empty())
        .ok_or("`conversations` has no text from `human`")?;
    let parts = parts.map(|part| (From::of(&part.from), part.value));
    let (reply, later) = if turns > 1 {
        read_turns(parts, turns)
    } else {
        // An answer that is not right behind the text is none to it.
        read_turns(parts.take(1), turns)
    };
    Ok((Content::Text(first.value), reply, later))
}

fn read_output(record: &Map<String, Value>) -> Result<Option<u32>, String> {
    let Some((key, value)) = OUTPUT_KEYS
        .into_iter()
        .find_map(|key| record.get(key).map(|value| (key, value)))
        .filter(|(_, value)| !value.is_null())
    else {
        return Ok(None);
    };
    let count = value
        .as_u64()
        .filter(|count| (1..=MOST_TOKENS).contains(count))
        .ok_or_else(|| format!("`{key}` is not a number from 1 to {MOST_TOKENS}"))?;
    Ok(u32::try_from(count).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            content: content.to_owned(),
        }
    }

    #[test]
    fn records_of_all_kinds_are_read() {
        let read = |text: &str, api| read_item(text.as_bytes(), api, 1).unwrap();
        let item = |content, output_tokens, reply: Option<&str>| Item {
            content,
            output_tokens,
            reply: reply.map(str::to_owned),
            later: Vec::new(),
        };
        let text = |text: &str| Content::Text(text.to_owned());
        assert_eq!(
            read(
                r#"{"prompt": "a b", "output_len": 7, "x": [1]}"#,
                Api::Completions
            ),
            item(text("a b"), Some(7), None)
        );
        assert_eq!(
            read(r#"{"text": "a", "max_tokens": 3, "prompt": null}"#, Api::Chat),
            item(text("a"), Some(3), None)
        );
        assert_eq!(
            read(r#"{"input_ids": [5, 6], "output_tokens": 1}"#, Api::Generate),
            item(Content::Ids(vec![5, 6]), Some(1), None)
        );
        let chat = r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "name": "x"}]}"#;
        let messages = vec![message("system", "s"), message("user", "q")];
        assert_eq!(
            read(chat, Api::Chat),
            item(Content::Messages(messages), None, Some("a"))
        );
        let shared = r#"{"id": "x", "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"},
            {"from": "gpt", "value": "a"}, {"from": "human", "value": "r"}]}"#;
        assert_eq!(read(shared, Api::Completions), item(text("q"), None, Some("a")));
    }

    #[test]
    fn a_conversation_has_its_turns_with_the_answers_of_the_data() {
        let turn = |text: &str, reply: Option<&str>| ItemTurn {
            text: text.to_owned(),
            reply: reply.map(str::to_owned),
        };
        let parts = [
            ("system", "s"),
            ("human", "q"),
            ("gpt", "a"),
            ("human", "r"),
            ("gpt", "b"),
            ("human", "t"),
            ("human", ""),
        ];
        let shared: Vec<Value> = parts
            .iter()
            .map(|(from, value)| serde_json::json!({"from": from, "value": value}))
            .collect();
        let shared = serde_json::json!({ "conversations": shared }).to_string();
        let item = read_item(shared.as_bytes(), Api::Chat, 9).unwrap();
        assert_eq!(item.content, Content::Text("q".to_owned()));
        assert_eq!(item.reply.as_deref(), Some("a"));
        assert_eq!(item.later, [turn("r", Some("b")), turn("t", None)]);
        let two = read_item(shared.as_bytes(), Api::Chat, 2).unwrap();
        assert_eq!(two.later, [turn("r", Some("b"))]);
        let chat = r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"}, {"role": "tool", "content": "x"}, {"role": "user", "content": "r"}]}"#;
        let item = read_item(chat.as_bytes(), Api::Chat, 2).unwrap();
        let messages = vec![message("system", "s"), message("user", "q")];
        assert_eq!(item.content, Content::Messages(messages));
        assert_eq!(
            (item.reply.as_deref(), item.later),
            (Some("a"), vec![turn("r", None)])
        );
        assert!(
            read_item(br#"{"prompt": "a"}"#, Api::Chat, 5)
                .unwrap()
                .later
                .is_empty()
        );
    }

    #[test]
    fn a_broken_record_has_its_reason() {
        let reason = |text: &str, api| read_item(text.as_bytes(), api, 1).unwrap_err();
        for (text, api, expected) in [
            ("", Api::Chat, "it is not JSON: it ends too early"),
            (
                "{\"prompt\": \"a\"",
                Api::Chat,
                "it is not JSON: it ends too early",
            ),
            ("{\"prompt\" \"a\"}", Api::Chat, "it is not JSON at its byte 11"),
            ("[1]", Api::Chat, "it is not an object"),
            (
                r#"{"question": "x"}"#,
                Api::Chat,
                "it has none of the keys input_ids, messages, conversations, prompt, text",
            ),
            (r#"{"prompt": 7}"#, Api::Chat, "`prompt` is not a string"),
            (r#"{"text": ""}"#, Api::Chat, "`text` is empty"),
            (
                r#"{"input_ids": [-1]}"#,
                Api::Generate,
                "`input_ids` is not a list of ids",
            ),
            (r#"{"input_ids": []}"#, Api::Generate, "`input_ids` is empty"),
            (
                r#"{"input_ids": [1]}"#,
                Api::Chat,
                "`input_ids` need --api completions or generate",
            ),
            (
                r#"{"messages": [{"role": "user", "content": "q"}]}"#,
                Api::Generate,
                "`messages` need --api chat",
            ),
            (
                r#"{"messages": [{"role": "system", "content": "q"}]}"#,
                Api::Chat,
                "`messages` has none of the role `user`",
            ),
            (
                r#"{"messages": "q"}"#,
                Api::Chat,
                "`messages` is not a list of objects with `role` and `content`",
            ),
            (
                r#"{"conversations": [{"from": "gpt", "value": "a"}]}"#,
                Api::Chat,
                "`conversations` has no text from `human`",
            ),
            (
                r#"{"prompt": "a", "max_tokens": 0}"#,
                Api::Chat,
                "`max_tokens` is not a number from 1 to 1048576",
            ),
        ] {
            assert_eq!(reason(text, api), expected, "{text}");
        }
        // Depth is bounded.
        let deep = "[".repeat(100_000);
        assert!(reason(&deep, Api::Chat).starts_with("it is not JSON"));
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "\\PC{0,80}") {
            for api in [Api::Generate, Api::Completions, Api::Chat] {
                let _ = read_item(text.as_bytes(), api, 3);
            }
        }

        #[test]
        fn a_prompt_comes_back_as_it_was(text in "\\PC{1,80}", output in 1_u32..1_000_000) {
            let line = serde_json::json!({"prompt": text, "max_tokens": output}).to_string();
            let item = read_item(line.as_bytes(), Api::Completions, 1).unwrap();
            proptest::prop_assert_eq!(item.content, Content::Text(text));
            proptest::prop_assert_eq!(item.output_tokens, Some(output));
        }
    }
}
