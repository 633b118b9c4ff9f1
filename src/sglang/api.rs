//! Requests to the engine's `OpenAI` API, and its answers.

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::report::{Answer, AnswerPiece, StreamedAnswer, TokenUsage};

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
    // The whole message is a stream of one piece.
    let mut stream = AnswerStream::default();
    stream.read_chunk(&json!({
        "choices": [{ "delta": choice["message"], "finish_reason": choice["finish_reason"] }],
        "usage": body["usage"],
    }));
    stream
        .answer()
        .map_err(|_| unexpected("an answer with usage counts", 200, body))
}

/// The mark before a model's reasoning, and the one behind it.
const MARKS: [&str; 2] = ["<think>", "</think>"];

/// Returns the body of a chat completion whose answer arrives as a stream, with token counts at its end.
pub(crate) fn stream_body(model: &str, question: &str, max_tokens: u32, temperature: f64) -> Value {
    let mut body = chat_body(model, question, max_tokens, temperature);
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    body
}

/// The part of a streamed answer that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    /// Nothing but space came: a mark may follow.
    #[default]
    Start,
    /// Reasoning behind its mark.
    Reasoning,
    /// Text without a mark before it: all of it is reasoning if a closing mark follows.
    Unmarked,
    /// The answer behind the reasoning.
    Answer,
}

/// An answer that arrives as a stream of events.
#[derive(Debug, Default)]
pub(crate) struct AnswerStream {
    reasoning: String,
    content: String,
    /// Text that may be the beginning of a mark.
    held: String,
    part: Part,
    finish: Option<String>,
    usage: Value,
    is_done: bool,
    /// An error that the server sent instead of an answer.
    error: Option<Value>,
}

impl AnswerStream {
    /// Reads the data of one event; returns what can be shown.
    pub(crate) fn read_event(&mut self, data: &str) -> Vec<AnswerPiece> {
        if data == "[DONE]" {
            self.is_done = true;
            return Vec::new();
        }
        self.read_chunk(&serde_json::from_str(data).unwrap_or_default())
    }

    /// Reads one chunk of a stream; returns what can be shown.
    fn read_chunk(&mut self, chunk: &Value) -> Vec<AnswerPiece> {
        let mut pieces = Vec::new();
        if !chunk["error"].is_null() || chunk["object"] == "error" {
            self.error = Some(chunk.clone());
            return pieces;
        }
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        if let Some(text) = choice["delta"]["reasoning_content"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            // The server splits the reasoning itself.
            self.part = Part::Answer;
            self.reasoning += text;
            pieces.push(AnswerPiece::Reasoning(text.to_owned()));
        }
        if let Some(text) = choice["delta"]["content"].as_str() {
            self.held += text;
            self.read_held(&mut pieces);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish = Some(reason.to_owned());
            let held = std::mem::take(&mut self.held);
            self.add(held, &mut pieces);
        }
        pieces
    }

    /// Takes what is certain out of the held text.
    fn read_held(&mut self, pieces: &mut Vec<AnswerPiece>) {
        let [open, close] = MARKS;
        if self.part == Part::Start {
            let text = self.held.trim_start();
            if let Some(rest) = text.strip_prefix(open) {
                (self.part, self.held) = (Part::Reasoning, rest.to_owned());
            } else if open.starts_with(text) {
                return;
            } else {
                self.part = Part::Unmarked;
            }
        }
        if matches!(self.part, Part::Reasoning | Part::Unmarked) {
            if let Some((before, after)) = self.held.split_once(close) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.add(before, pieces);
                if self.part == Part::Unmarked {
                    self.reasoning = std::mem::take(&mut self.content);
                    pieces.push(AnswerPiece::ReasoningEnded);
                }
                (self.part, self.held) = (Part::Answer, after);
            } else {
                let kept = (1..close.len())
                    .rev()
                    .find(|length| self.held.ends_with(&close[..*length]));
                let certain = self.held.len() - kept.unwrap_or(0);
                let rest = self.held.split_off(certain);
                let certain = std::mem::replace(&mut self.held, rest);
                self.add(certain, pieces);
            }
        }
        if self.part == Part::Answer {
            let held = std::mem::take(&mut self.held);
            self.add(held, pieces);
        }
    }

    fn add(&mut self, text: String, pieces: &mut Vec<AnswerPiece>) {
        if text.is_empty() {
            return;
        }
        if self.part == Part::Reasoning {
            self.reasoning += &text;
            pieces.push(AnswerPiece::Reasoning(text));
        } else {
            self.content += &text;
            pieces.push(AnswerPiece::Content(text));
        }
    }

    /// Returns the reasoning and the content, without marks.
    pub(crate) fn full_text(&self) -> String {
        format!("{}{}", self.reasoning, self.content)
    }

    /// Returns true if the mark of the end came.
    pub(crate) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Returns the reason for the end; empty if none came.
    pub(crate) fn finish_reason(&self) -> &str {
        self.finish.as_deref().unwrap_or_default()
    }

    /// Returns the error that the server sent instead of an answer, with its own message; `None` if it sent none.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let error = self.error.as_ref()?;
        Some(unexpected("an answer", 200, error))
    }

    /// Returns the tokens that were generated so far; `None` if the server does not count them with each piece.
    pub(crate) fn generated(&self) -> Option<u64> {
        self.usage["completion_tokens"].as_u64()
    }

    /// Returns the token counts. Of reasoning, 0 means that SGLang did not count them (`UsageInfo` of 0.5.23).
    fn usage(&self) -> Option<TokenUsage> {
        let reasoning = self.usage["completion_tokens_details"]["reasoning_tokens"].as_u64();
        let reasoning = reasoning.or_else(|| self.usage["reasoning_tokens"].as_u64());
        Some(TokenUsage {
            prompt_tokens: self.usage["prompt_tokens"].as_u64()?,
            completion_tokens: self.usage["completion_tokens"].as_u64()?,
            reasoning_tokens: reasoning.filter(|tokens| *tokens > 0),
        })
    }

    /// Returns the whole answer of SGLang.
    ///
    /// # Errors
    /// As [`Self::streamed`]; [`Kind::Server`] if it has no token counts.
    pub(crate) fn answer(self) -> Result<Answer> {
        let answer = self.streamed()?;
        let usage = answer.usage.ok_or_else(|| lacking("it has no usage counts"))?;
        Ok(Answer {
            reasoning: answer.reasoning,
            content: answer.content,
            finish_reason: answer.finish_reason,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
        })
    }

    /// Returns the whole answer of any server, which may have no token counts.
    ///
    /// # Errors
    /// [`Kind::Server`] with the server's own message, or if the stream ended before the answer did.
    pub(crate) fn streamed(self) -> Result<StreamedAnswer> {
        if let Some(error) = self.refusal() {
            return Err(error);
        }
        let usage = self.usage();
        let Some(finish) = self.finish else {
            return Err(lacking("its stream ended before the answer did"));
        };
        let is_split = matches!(self.part, Part::Reasoning | Part::Answer);
        Ok(StreamedAnswer {
            reasoning: is_split.then(|| self.reasoning.trim().to_owned()),
            content: if is_split {
                self.content.trim_start().to_owned()
            } else {
                self.content
            },
            finish_reason: finish,
            usage,
        })
    }
}

fn lacking(what: &str) -> Error {
    Error::new(Kind::Server, "the server did not return a whole answer").cause(what.to_owned())
}

/// Returns the error for an answer without `expected`, with the server's own message if it has one.
pub(crate) fn unexpected(expected: &str, status: u16, body: &Value) -> Error {
    let message = [&body["message"], &body["error"]["message"], &body["detail"]]
        .into_iter()
        .find_map(Value::as_str);
    let shown = match message {
        Some(text) => text.chars().take(600).collect(),
        None if body.is_null() => "no JSON in the answer".to_owned(),
        None => short(&body.to_string()),
    };
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

    /// Sends a text as a stream of chunks, cut at `cuts`.
    fn streamed(text: &str, cuts: &[usize]) -> (AnswerStream, Vec<AnswerPiece>) {
        let (mut stream, mut pieces, mut from) = (AnswerStream::default(), Vec::new(), 0);
        let mut send = |chunk: Value| pieces.extend(stream.read_event(&chunk.to_string()));
        for cut in cuts.iter().copied().chain([text.len()]) {
            let cut = (from..=cut.clamp(from, text.len()))
                .rev()
                .find(|at| text.is_char_boundary(*at));
            let to = cut.unwrap_or(from);
            send(json!({ "choices": [{ "delta": { "content": &text[from..to] } }] }));
            from = to;
        }
        send(json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }));
        send(json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 5 } }));
        assert!(stream.read_event("[DONE]").is_empty() && stream.is_done());
        (stream, pieces)
    }

    #[test]
    fn reasoning_in_a_stream_is_seen_when_its_mark_comes() {
        let (_, pieces) = streamed("hm\n</think>\n\n391", &[1, 6, 9]);
        let content = |text: &str| AnswerPiece::Content(text.to_owned());
        assert_eq!(
            pieces,
            [
                content("h"),
                content("m\n"),
                AnswerPiece::ReasoningEnded,
                content("\n\n391")
            ]
        );
        let (_, pieces) = streamed("<think>hm</think>391", &[3, 8]);
        let reasoning = |text: &str| AnswerPiece::Reasoning(text.to_owned());
        assert_eq!(pieces, [reasoning("h"), reasoning("m"), content("391")]);
    }

    #[test]
    fn an_error_in_a_stream_is_the_servers_own() {
        let mut stream = AnswerStream::default();
        stream.read_event(r#"{ "error": { "message": "out of memory", "code": 500 } }"#);
        let error = stream.answer().unwrap_err();
        assert!(error.causes().join(" ").contains("out of memory"), "{error:?}");
        assert!(AnswerStream::default().answer().is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_streamed_answer_is_that_of_one_piece(
            text in "( |<|<think>|</think>|</thin|a|\n|\u{e9}){0,12}",
            cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (stream, pieces) = streamed(&text, &cuts);
            let shown: String = pieces.iter().map(|piece| match piece {
                AnswerPiece::Reasoning(text) | AnswerPiece::Content(text) => text.as_str(),
                AnswerPiece::ReasoningEnded => "",
            }).collect();
            proptest::prop_assert_eq!(&shown, &stream.full_text());
            let whole = answer(&body(&text)).unwrap();
            proptest::prop_assert_eq!(stream.answer().unwrap(), whole);
        }
    }
}
