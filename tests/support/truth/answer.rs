//! The events and the JSON of answers, with the keys and the order of SGLang 0.5.23: `http_server.py`,
//! `tokenizer_manager.py`, `openai/serving_completions.py`, `openai/sse_utils.py` and `openai/usage_processor.py`.

use std::io::Write;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::asked::Api;

/// The most tokens of an answer.
pub const MOST_TOKENS: u32 = 1 << 17;

/// Words of one token in the usual vocabularies, all of four bytes with their space.
const WORDS: [&str; 16] = [
    " the", " and", " for", " you", " was", " are", " not", " but", " all", " can", " her", " one", " our",
    " out", " had", " has",
];

/// Ids of three digits, of four bytes with their comma. They are no ids of those words.
const IDS: [&str; 16] = [
    "100,", "101,", "102,", "103,", "104,", "105,", "106,", "107,", "108,", "109,", "110,", "111,", "112,",
    "113,", "114,", "115,",
];

/// The text of the longest answer, and its ids with commas: four bytes for a token in each.
fn longest() -> &'static (String, String) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let tokens = 0..MOST_TOKENS as usize;
        let text = tokens.clone().map(|token| WORDS[token % WORDS.len()]).collect();
        let mut ids = String::with_capacity(MOST_TOKENS as usize * 4);
        for token in tokens {
            ids.push_str(IDS[token % IDS.len()]);
        }
        (text, ids)
    })
}

/// Makes the text of answers, which the first answer must not wait for.
pub fn prepare() {
    let _ = longest();
}

/// Returns the text of the tokens from one number to another.
pub fn text(from: u32, to: u32) -> &'static str {
    &longest().0[from as usize * 4..to as usize * 4]
}

fn ids(from: u32, to: u32) -> &'static str {
    let ids = &longest().1[from as usize * 4..to as usize * 4];
    ids.strip_suffix(',').unwrap_or(ids)
}

/// Returns the word of a token of an answer, without its space.
pub fn answer_words(token: u32) -> &'static str {
    WORDS[token as usize % WORDS.len()].trim()
}

/// Returns the id of a token of an answer.
pub fn answer_ids(token: u32) -> u64 {
    100 + u64::from(token) % IDS.len() as u64
}

/// The reason why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Length,
    /// The token of the end, whose id is 1 in DeepSeek-R1's vocabulary.
    Stop,
    Abort,
}

impl Finish {
    fn word(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
            Self::Abort => "abort",
        }
    }

    /// Returns `matched_stop`.
    fn matched(self) -> &'static str {
        if self == Self::Stop { "1" } else { "null" }
    }

    /// Returns the `finish_reason` of `/generate` (`schedule_batch.py`).
    fn object(self, tokens: u32) -> String {
        match self {
            Self::Length => format!(r#"{{"type":"length","length":{tokens}}}"#),
            Self::Stop => r#"{"type":"stop","matched":1}"#.to_owned(),
            Self::Abort => {
                r#"{"type":"abort","message":"Aborted","status_code":null,"err_type":null}"#.to_owned()
            }
        }
    }
}

/// Oddities of one event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    pub has_split_character: bool,
    pub has_bad_byte: bool,
    pub padding: u32,
}

/// An answer to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub api: Api,
    pub id: String,
    pub created: u64,
    /// The name of the model, in quotes.
    pub model: String,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    /// The tokens of the answer that are reasoning, which come first.
    pub reasoning: u32,
    pub has_usage: bool,
    pub has_continuous_usage: bool,
    pub has_cache_report: bool,
}

impl Answer {
    fn usage(&self, sent: u32) -> Value {
        let reasoning = self.reasoning.min(sent);
        let details = self
            .has_cache_report
            .then(|| json!({"cached_tokens": self.cached_tokens}));
        json!({
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + u64::from(sent),
            "completion_tokens": sent,
            "prompt_tokens_details": details,
            "reasoning_tokens": reasoning,
            "completion_tokens_details": (reasoning > 0).then(|| json!({"reasoning_tokens": reasoning})),
        })
    }

    /// Adds the event of the role, which comes with the first token of a chat.
    pub fn push_role(&self, out: &mut Vec<u8>) {
        self.push_chat(
            out,
            r#""reasoning_content":null,"role":"assistant","content":"""#,
            None,
            "",
        );
    }

    fn push_chat(&self, out: &mut Vec<u8>, delta: &str, finish: Option<Finish>, usage: &str) {
        let reason = finish.map_or("null".to_owned(), |finish| format!("\"{}\"", finish.word()));
        let _ = write!(
            out,
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\
             \"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":{reason},\
             \"matched_stop\":{}}}]{usage}}}\n\n",
            self.id,
            self.created,
            self.model,
            finish.map_or("null", Finish::matched),
        );
    }

    /// Adds the event of the tokens from one number to another, and returns the place in the middle of a character of
    /// two bytes. A chat has one event for the reasoning and one for the answer, so a caller asks for one of them.
    pub fn push_tokens(
        &self,
        out: &mut Vec<u8>,
        (from, to): (u32, u32),
        marks: Marks,
        finish: Option<(Finish, f64)>,
    ) -> Option<usize> {
        let start = out.len();
        let character = if marks.has_split_character { "é" } else { "" };
        // Replaced below, because a text cannot hold it.
        let bad = if marks.has_bad_byte { "\u{1}" } else { "" };
        let padding = match marks.padding {
            0 => String::new(),
            bytes => format!(",\"padding\":\"{}\"", "x".repeat(bytes as usize)),
        };
        let usage = if self.has_continuous_usage {
            self.usage(to).to_string()
        } else {
            "null".to_owned()
        };
        match self.api {
            Api::Generate => {
                let reason = finish.map_or("null".to_owned(), |(finish, _)| finish.object(to));
                let latency = finish.map_or(String::new(), |(_, seconds)| {
                    format!(",\"e2e_latency\":{seconds}")
                });
                let _ = write!(
                    out,
                    "data: {{\"text\":\"{}{character}{bad}\",\"output_ids\":[{}],\"meta_info\":{{\"id\":\"{}\",\
                     \"finish_reason\":{reason},\"prompt_tokens\":{},\"weight_version\":\"default\",\
                     \"num_retractions\":0,\"reasoning_tokens\":{},\"completion_tokens\":{to},\
                     \"cached_tokens\":{},\"dp_rank\":null{latency}}}{padding}}}\n\n",
                    text(0, to),
                    ids(0, to),
                    self.id,
                    self.prompt_tokens,
                    self.reasoning.min(to),
                    self.cached_tokens,
                );
            }
            Api::Completions => {
                let (reason, matched) = finish.map_or(("null".to_owned(), "null"), |(finish, _)| {
                    (format!("\"{}\"", finish.word()), finish.matched())
                });
                let _ = write!(
                    out,
                    "data: {{\"id\":\"{}\",\"object\":\"text_completion\",\"created\":{},\"choices\":[{{\
                     \"index\":0,\"text\":\"{}{character}{bad}\",\"logprobs\":null,\"finish_reason\":{reason},\
                     \"matched_stop\":{matched}}}],\"model\":{},\"usage\":{usage}{padding}}}\n\n",
                    self.id,
                    self.created,
                    text(from, to),
                    self.model,
                );
            }
            Api::Chat => {
                let words = text(from, to);
                let delta = if to <= self.reasoning {
                    format!("\"reasoning_content\":\"{words}{character}{bad}\"")
                } else {
                    format!("\"reasoning_content\":null,\"content\":\"{words}{character}{bad}\"")
                };
                let usage = if self.has_continuous_usage {
                    format!(",\"usage\":{usage}{padding}")
                } else {
                    padding
                };
                self.push_chat(out, &delta, None, &usage);
            }
        }
        if marks.has_bad_byte
            && let Some(at) = memchr::memchr(1, &out[start..])
        {
            out[start + at] = 0xff;
        }
        marks
            .has_split_character
            .then(|| memchr::memchr(0xc3, &out[start..]).map(|at| start + at + 1))
            .flatten()
    }

    /// Adds what follows the last token: the event of a chat with the reason, and the usage if it is asked for.
    pub fn push_finish(&self, out: &mut Vec<u8>, finish: Finish) {
        if self.api == Api::Chat {
            self.push_chat(out, "\"reasoning_content\":null", Some(finish), "");
        }
    }

    /// Adds the event of the usage if it is asked for.
    pub fn push_usage(&self, out: &mut Vec<u8>, sent: u32) {
        if !self.has_usage || self.api == Api::Generate {
            return;
        }
        let object = match self.api {
            Api::Chat => "chat.completion.chunk",
            _ => "text_completion",
        };
        let _ = write!(
            out,
            "data: {{\"id\":\"{}\",\"object\":\"{object}\",\"created\":{},\"choices\":[],\"model\":{},\
             \"usage\":{}}}\n\n",
            self.id,
            self.created,
            self.model,
            self.usage(sent),
        );
    }

    /// Returns the whole answer to a request without a stream.
    pub fn whole(&self, sent: u32, finish: Finish, seconds: f64) -> String {
        let usage = self.usage(sent);
        let model = &self.model;
        match self.api {
            Api::Generate => format!(
                "{{\"text\":\"{}\",\"output_ids\":[{}],\"meta_info\":{{\"id\":\"{}\",\"finish_reason\":{},\
                 \"prompt_tokens\":{},\"weight_version\":\"default\",\"num_retractions\":0,\
                 \"reasoning_tokens\":{},\"completion_tokens\":{sent},\"cached_tokens\":{},\"dp_rank\":null,\
                 \"e2e_latency\":{seconds}}}}}",
                text(0, sent),
                ids(0, sent),
                self.id,
                finish.object(sent),
                self.prompt_tokens,
                self.reasoning.min(sent),
                self.cached_tokens,
            ),
            Api::Completions => format!(
                "{{\"id\":\"{}\",\"object\":\"text_completion\",\"created\":{},\"model\":{model},\"choices\":[{{\
                 \"index\":0,\"text\":\"{}\",\"logprobs\":null,\"finish_reason\":\"{}\",\"matched_stop\":{}}}],\
                 \"usage\":{usage},\"metadata\":{{\"weight_version\":\"default\"}}}}",
                self.id,
                self.created,
                text(0, sent),
                finish.word(),
                finish.matched(),
            ),
            Api::Chat => {
                let reasoning = self.reasoning.min(sent);
                let thought = if reasoning > 0 {
                    format!("\"{}\"", text(0, reasoning))
                } else {
                    "null".to_owned()
                };
                format!(
                    "{{\"id\":\"{}\",\"object\":\"chat.completion\",\"created\":{},\"model\":{model},\
                     \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\",\
                     \"reasoning_content\":{thought},\"tool_calls\":null}},\"logprobs\":null,\
                     \"finish_reason\":\"{}\",\"matched_stop\":{}}}],\"usage\":{usage},\
                     \"metadata\":{{\"weight_version\":\"default\"}}}}",
                    self.id,
                    self.created,
                    text(reasoning, sent),
                    finish.word(),
                    finish.matched(),
                )
            }
        }
    }
}

/// The end of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Returns the JSON of an error, as `ErrorResponse` of SGLang 0.5.23 has it.
pub fn error(code: u16, message: &str) -> String {
    let kind = match code {
        429 => "TooManyRequests",
        500 => "InternalServerError",
        503 => "ServiceUnavailable",
        _ => "BadRequestError",
    };
    json!({"object": "error", "message": message, "type": kind, "param": null, "code": code}).to_string()
}
