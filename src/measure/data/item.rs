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
}

/// Reads a record, for requests of that API.
///
/// # Errors
/// The reason for which it is broken, in a few words. They name keys of the format, and no text of the record.
pub fn read_item(bytes: &[u8], api: Api) -> Result<Item, String> {
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
    let (content, reply) = match key {
        "input_ids" => (Content::Ids(read_ids(&record)?), None),
        "messages" => read_messages(&record)?,
        "conversations" => read_conversation(&record)?,
        key => (Content::Text(read_text(&record, key)?), None),
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

/// Reads the messages up to the last one of the user; an answer behind it is the reply.
fn read_messages(record: &Map<String, Value>) -> Result<(Content, Option<String>), String> {
    let mut messages = Vec::<Message>::deserialize(&record["messages"])
        .map_err(|_| "`messages` is not a list of objects with `role` and `content`".to_owned())?;
    let last = messages
        .iter()
        .rposition(|message| message.role == "user")
        .ok_or("`messages` has none of the role `user`")?;
    let after = messages.split_off(last + 1);
    let reply = after
        .into_iter()
        .find(|message| message.role == "assistant")
        .map(|message| message.content);
    Ok((Content::Messages(messages), reply))
}

/// Reads the first text of a user and the answer behind it, as `sglang.bench_serving` 0.5.23 takes them of `ShareGPT`.
fn read_conversation(record: &Map<String, Value>) -> Result<(Content, Option<String>), String> {
    #[derive(Deserialize)]
    struct Part {
        from: String,
        value: String,
    }
    let parts = Vec::<Part>::deserialize(&record["conversations"])
        .map_err(|_| "`conversations` is not a list of objects with `from` and `value`".to_owned())?;
    let mut parts = parts
        .into_iter()
        .skip_while(|part| !matches!(part.from.as_str(), "human" | "user"));
    let first = parts
        .next()
        .filter(|part| !part.value.is_empty())
        .ok_or("`conversations` has no text from `human`")?;
    let reply = parts
        .next()
        .filter(|part| matches!(part.from.as_str(), "gpt" | "assistant" | "chatgpt"))
        .map(|part| part.value);
    Ok((Content::Text(first.value), reply))
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
        let read = |text: &str, api| read_item(text.as_bytes(), api).unwrap();
        let item = |content, output_tokens, reply: Option<&str>| Item {
            content,
            output_tokens,
            reply: reply.map(str::to_owned),
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
    fn a_broken_record_has_its_reason() {
        let reason = |text: &str, api| read_item(text.as_bytes(), api).unwrap_err();
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
                let _ = read_item(text.as_bytes(), api);
            }
        }

        #[test]
        fn a_prompt_comes_back_as_it_was(text in "\\PC{1,80}", output in 1_u32..1_000_000) {
            let line = serde_json::json!({"prompt": text, "max_tokens": output}).to_string();
            let item = read_item(line.as_bytes(), Api::Completions).unwrap();
            proptest::prop_assert_eq!(item.content, Content::Text(text));
            proptest::prop_assert_eq!(item.output_tokens, Some(output));
        }
    }
}
