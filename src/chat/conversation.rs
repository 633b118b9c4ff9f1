//! The turns of a conversation, and the request for the next one.

use serde::Serialize;
use serde_json::{Value, json};

use crate::report::TokenUsage;

/// The reason for the end of an answer that the user cut.
pub const INTERRUPTED: &str = "interrupted";

/// The mark behind the text of a cut answer in the requests that follow, so that the model does not take it for whole.
pub const CUT: &str = "[cut by the user]";

/// Bytes of a token, for texts whose tokens nobody counted: about 4 in English prose with the tokenizer of DeepSeek-R1
/// (`DeepSeek`'s API documentation, "Token & Token Usage": 0.3 tokens for a character).
const BYTES_OF_TOKEN: usize = 4;

/// Tokens of the marks around a question in the chat template of DeepSeek-R1, rounded up.
const TEMPLATE: u64 = 8;

/// Fewest tokens that must be left for an answer, unless the user asks for fewer.
const LEAST_ROOM: u64 = 64;

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    /// The question.
    pub question: String,
    /// The model's reasoning, if the model marks it.
    pub reasoning: Option<String>,
    /// The answer.
    pub content: String,
    /// Reason for the end of the answer: `stop`, `length`, [`INTERRUPTED`].
    pub finish_reason: String,
    /// Token counts, if the server sends them.
    pub usage: Option<TokenUsage>,
    /// Time to the first token, in milliseconds.
    pub ttft_ms: Option<u64>,
    /// Tokens per second after the first one.
    pub tokens_per_s: Option<f64>,
}

/// One message of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The author: `system`, `user` or `assistant`.
    pub role: &'static str,
    /// The text.
    pub content: String,
}

/// The limits and the sampling of the answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Longest answer, in tokens, reasoning included.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Probability mass of the tokens to sample from.
    pub top_p: f64,
}

/// A request for the next answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Name of the model.
    pub model: String,
    /// The conversation, the new question last.
    pub messages: Vec<Message>,
    /// Limits and sampling.
    pub sampling: Sampling,
    /// True to ask for the token counts with each piece (`continuous_usage_stats` of SGLang, `protocol.py` of 0.5.23).
    pub counts_each: bool,
}

impl Request {
    /// Returns the body of the request, for an answer as a stream with token counts at its end.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": self.messages,
            "max_tokens": self.sampling.max_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if self.counts_each {
            body["stream_options"]["continuous_usage_stats"] = json!(true);
        }
        body
    }
}

/// The reason why a question has no room: the conversation fills the context of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Tokens of the conversation with the question, about.
    pub used: u64,
    /// Most tokens of a request and its answer.
    pub context: u64,
}

/// A conversation as a document.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// The form.
    schema: &'static str,
    /// The model that answered.
    model: &'a str,
    /// The system prompt.
    system: Option<&'a str>,
    /// The turns, the newest last.
    turns: &'a [Turn],
}

/// A conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    system: Option<String>,
    turns: Vec<Turn>,
}

impl Conversation {
    /// Returns an empty conversation that begins with a system prompt, if there is one.
    #[must_use]
    pub const fn new(system: Option<String>) -> Self {
        Self {
            system,
            turns: Vec::new(),
        }
    }

    /// The system prompt.
    #[must_use]
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// The turns, the newest last.
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Adds a turn.
    pub fn add(&mut self, turn: Turn) {
        self.turns.push(turn);
    }

    /// Removes all turns, and returns their number. The system prompt stays.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.turns).len()
    }

    /// Removes the last turn and returns it; `None` if there is none.
    pub fn remove_last(&mut self) -> Option<Turn> {
        self.turns.pop()
    }

    /// Returns the messages of a request with a new question. They hold no reasoning of earlier turns: `DeepSeek`'s API
    /// documentation ("Reasoning Model") leaves it out, and the model was trained without it.
    #[must_use]
    pub fn messages(&self, question: &str) -> Vec<Message> {
        let message = |role, content: &str| Message {
            role,
            content: content.to_owned(),
        };
        let mut messages: Vec<Message> = self
            .system()
            .map(|text| message("system", text))
            .into_iter()
            .collect();
        for turn in &self.turns {
            messages.push(message("user", &turn.question));
            messages.push(message("assistant", &sent_content(turn)));
        }
        messages.push(message("user", question));
        messages
    }

    /// Returns the tokens of the conversation in the next request: those that the server counted, and an estimate of the rest.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let system = estimated(self.system().unwrap_or_default());
        self.turns.iter().fold(system, |before, turn| match turn.usage {
            Some(usage) => usage.prompt_tokens + content_tokens(turn, usage),
            None => before + estimated(&turn.question) + estimated(&sent_content(turn)) + TEMPLATE,
        })
    }

    /// Returns the most tokens that the answer to a question may have in a context of `context` tokens: `max_tokens`, or what
    /// the conversation leaves of it.
    ///
    /// # Errors
    /// [`Full`] if too little is left.
    pub fn room(&self, question: &str, max_tokens: u32, context: Option<u64>) -> Result<u32, Full> {
        let Some(context) = context else {
            return Ok(max_tokens);
        };
        let used = self.tokens() + estimated(question) + TEMPLATE;
        let left = context.saturating_sub(used);
        if left >= u64::from(max_tokens) {
            return Ok(max_tokens);
        }
        // The estimate may be too low: a server refuses a request that asks for more than is left.
        let certain = left.saturating_sub(estimated(question) / 4 + TEMPLATE);
        if certain < LEAST_ROOM.min(u64::from(max_tokens)) {
            return Err(Full { used, context });
        }
        Ok(u32::try_from(certain).map_or(max_tokens, |certain| certain.min(max_tokens)))
    }

    /// Returns the conversation as a document to keep.
    #[must_use]
    pub fn document<'a>(&'a self, model: &'a str) -> Document<'a> {
        Document {
            schema: "dsr1.conversation/1",
            model,
            system: self.system(),
            turns: &self.turns,
        }
    }
}

/// Returns the text of an answer in later requests.
fn sent_content(turn: &Turn) -> String {
    if turn.finish_reason != INTERRUPTED {
        return turn.content.clone();
    }
    let content = turn.content.trim_end();
    let space = if content.is_empty() { "" } else { " " };
    format!("{content}{space}{CUT}")
}

/// Returns the tokens of an answer without its reasoning: by the server's count, or by the share of its text.
fn content_tokens(turn: &Turn, usage: TokenUsage) -> u64 {
    let all = usage.completion_tokens;
    let reasoning = turn.reasoning.as_ref().map_or(0, String::len) as u64;
    let content = turn.content.len() as u64;
    match usage.reasoning_tokens {
        Some(tokens) => all.saturating_sub(tokens),
        None if reasoning == 0 => all,
        None => {
            let share = u128::from(all) * u128::from(content) / u128::from(reasoning + content);
            u64::try_from(share).unwrap_or(all)
        }
    }
}

/// Returns the tokens of a text, about.
const fn estimated(text: &str) -> u64 {
    (text.len() / BYTES_OF_TOKEN) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(question: &str, reasoning: Option<&str>, content: &str) -> Turn {
        Turn {
            question: question.to_owned(),
            reasoning: reasoning.map(str::to_owned),
            content: content.to_owned(),
            finish_reason: "stop".to_owned(),
            usage: None,
            ttft_ms: None,
            tokens_per_s: None,
        }
    }

    fn texts(messages: &[Message]) -> Vec<(&str, &str)> {
        messages
            .iter()
            .map(|message| (message.role, message.content.as_str()))
            .collect()
    }

    #[test]
    fn a_request_holds_the_conversation_and_the_new_question() {
        let mut conversation = Conversation::new(Some("Be brief.".to_owned()));
        conversation.add(turn("17 * 23?", Some("17 * 20 = 340"), "391"));
        assert_eq!(
            texts(&conversation.messages("And 18 * 23?")),
            [
                ("system", "Be brief."),
                ("user", "17 * 23?"),
                ("assistant", "391"),
                ("user", "And 18 * 23?")
            ]
        );
        assert_eq!(conversation.clear(), 1);
        assert_eq!(
            texts(&conversation.messages("x")),
            [("system", "Be brief."), ("user", "x")]
        );
    }

    #[test]
    fn a_cut_answer_is_marked() {
        for (content, sent) in [
            ("Paris is\n", "Paris is [cut by the user]"),
            ("", "[cut by the user]"),
        ] {
            let mut conversation = Conversation::default();
            conversation.add(Turn {
                finish_reason: INTERRUPTED.to_owned(),
                ..turn("q", Some("hm"), content)
            });
            assert_eq!(conversation.messages("go on")[1].content, sent);
        }
    }

    #[test]
    fn the_room_for_an_answer_is_what_the_conversation_leaves() {
        let mut conversation = Conversation::default();
        assert_eq!(conversation.room("hi", 2048, None), Ok(2048));
        assert_eq!(conversation.room("hi", 2048, Some(4096)), Ok(2048));
        let counted = |prompt_tokens, completion_tokens, reasoning_tokens| {
            Some(TokenUsage {
                prompt_tokens,
                completion_tokens,
                reasoning_tokens,
            })
        };
        conversation.add(Turn {
            usage: counted(2000, 1000, Some(900)),
            ..turn("q", Some("r"), "c")
        });
        assert_eq!(conversation.tokens(), 2100);
        // 4096 - 2100 - 8, and 8 because the question is estimated.
        assert_eq!(conversation.room("hi", 2048, Some(4096)), Ok(1980));
        conversation.add(Turn {
            usage: counted(4000, 80, None),
            ..turn("q", None, "c")
        });
        let full = Full {
            used: 4088,
            context: 4096,
        };
        assert_eq!(conversation.room("hi", 2048, Some(4096)), Err(full));
        // Without counts the text is measured.
        let mut uncounted = Conversation::default();
        uncounted.add(turn(&"x".repeat(4000), None, &"y".repeat(400)));
        assert_eq!(uncounted.tokens(), 1000 + 100 + TEMPLATE);
        // The reasoning is not sent again, so that only its share of the text stays.
        let mut shared = Conversation::default();
        shared.add(Turn {
            usage: counted(10, 100, None),
            ..turn("q", Some("reasoning"), "c")
        });
        assert_eq!(shared.tokens(), 20);
    }

    #[test]
    fn token_counts_with_each_piece_are_asked_of_sglang_only() {
        let request = |counts_each| Request {
            model: "m".to_owned(),
            messages: Conversation::default().messages("hi"),
            sampling: Sampling {
                max_tokens: 16,
                temperature: 0.6,
                top_p: 0.95,
            },
            counts_each,
        };
        assert_eq!(
            request(false).body(),
            json!({
                "model": "m", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 16, "temperature": 0.6,
                "top_p": 0.95, "stream": true, "stream_options": { "include_usage": true },
            })
        );
        assert_eq!(
            request(true).body()["stream_options"]["continuous_usage_stats"],
            true
        );
    }

    proptest::proptest! {
        /// A request never holds the reasoning of an earlier turn, whatever the turns are and however they ended.
        #[test]
        fn no_request_holds_reasoning(
            turns in proptest::collection::vec(("[a-z ]{0,20}", proptest::option::of("[a-z ]{0,20}"), "[a-z \n]{0,20}", 0_usize..3), 0..6),
            system in proptest::option::of("[a-z]{0,9}"),
            removed in 0_usize..3,
        ) {
            const SECRET: &str = "REASONED-";
            let mut conversation = Conversation::new(system.clone());
            for (question, reasoning, content, end) in &turns {
                conversation.add(Turn {
                    finish_reason: ["stop", "length", INTERRUPTED][*end].to_owned(),
                    ..turn(question, reasoning.as_ref().map(|text| format!("{SECRET}{text}")).as_deref(), content)
                });
            }
            for _ in 0..removed {
                conversation.remove_last();
            }
            let kept = turns.len().saturating_sub(removed);
            let messages = conversation.messages("next");
            let request = Request {
                model: "m".to_owned(),
                messages: messages.clone(),
                sampling: Sampling { max_tokens: 1, temperature: 0.0, top_p: 1.0 },
                counts_each: true,
            };
            proptest::prop_assert!(!request.body().to_string().contains(SECRET));
            proptest::prop_assert!(!request.body().to_string().contains("reasoning"));
            // All else is there, in turns.
            proptest::prop_assert_eq!(messages.len(), usize::from(system.is_some()) + 2 * kept + 1);
            let spoken = &messages[usize::from(system.is_some())..];
            for (index, message) in spoken.iter().enumerate() {
                proptest::prop_assert_eq!(message.role, ["user", "assistant"][index % 2]);
            }
            for (message, (question, ..)) in spoken.iter().step_by(2).zip(&turns[..kept]) {
                proptest::prop_assert_eq!(&message.content, question);
            }
        }
    }
}
