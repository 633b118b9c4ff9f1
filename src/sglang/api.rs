//! Requests to the engine's `OpenAI` API, and its answers.

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::report::Answer;

/// Returns the body of a chat completion with one question.
pub(crate) fn chat_body(model: &str, question: &str, max_tokens: u32, temperature: f64) -> Value {
    json!({
        "model": model,
        "messages": [{ "role": "user", "content": question }],
        "max_tokens": max_tokens,
        "temperature": temperature,
    })
}

/// Reads a chat completion. DeepSeek-R1's reasoning is in `reasoning_content` if the server has a reasoning parser, else
/// it is the text up to `</think>`.
pub(crate) fn answer(body: &Value) -> Result<Answer> {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    let text = message["content"].as_str().unwrap_or_default();
    let apart = message["reasoning_content"].as_str().map(str::to_owned);
    let (reasoning, content) = match (apart, text.split_once("</think>")) {
        (Some(reasoning), _) => (Some(reasoning), text.to_owned()),
        (None, Some((before, after))) => {
            let before = before.trim_start().strip_prefix("<think>").unwrap_or(before);
            (Some(before.trim().to_owned()), after.trim_start().to_owned())
        }
        (None, None) => (None, text.to_owned()),
    };
    let usage = &body["usage"];
    match (
        choice["finish_reason"].as_str(),
        usage["prompt_tokens"].as_u64(),
        usage["completion_tokens"].as_u64(),
    ) {
        (Some(finish), Some(prompt_tokens), Some(completion_tokens)) => Ok(Answer {
            reasoning,
            content,
            finish_reason: finish.to_owned(),
            prompt_tokens,
            completion_tokens,
        }),
        _ => Err(unexpected("an answer with usage counts", 200, body)),
    }
}

/// Returns the error for an answer without `expected`, with the server's own message if it has one.
pub(crate) fn unexpected(expected: &str, status: u16, body: &Value) -> Error {
    let message = [&body["message"], &body["error"]["message"], &body["detail"]]
        .into_iter()
        .find_map(Value::as_str);
    let shown = message.map_or_else(
        || short(&body.to_string()),
        |text| text.chars().take(600).collect(),
    );
    let error = Error::new(
        if status == 400 { Kind::Usage } else { Kind::Server },
        format!("the server did not return {expected}"),
    );
    error.cause(format!(
        "status {status}: {}",
        shown.split_whitespace().collect::<Vec<_>>().join(" ")
    ))
}

/// Returns the first 80 characters, on one line.
pub(crate) fn short(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(80)
        .collect();
    if text.chars().count() > 80 {
        format!("{line}...")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content: &str) -> Value {
        json!({
            "choices": [{ "message": { "content": content }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 3, "completion_tokens": 5 },
        })
    }

    #[test]
    fn reasoning_is_split_from_the_answer() {
        let split = answer(&body("<think>\nhm\n</think>\n\n391")).unwrap();
        assert_eq!(
            (split.reasoning.as_deref(), split.content.as_str()),
            (Some("hm"), "391")
        );
        assert_eq!(answer(&body("391")).unwrap().reasoning, None);
        assert!(answer(&json!({ "choices": [] })).is_err());
    }
}
