//! The prompt of a request as JSON. That of a conversation grows: each turn adds the answer to the last one and what is new, and
//! nothing that is there is written again.

use std::fmt::Write;

use crate::measure::api::{Api, Message, Prompt};
use crate::measure::record::AnswerText;

/// Text between two messages of a prompt of text, and between an answer and the next prompt.
const BETWEEN: &str = "\n\n";

/// A prompt as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// The key in the body of a request.
    key: &'static str,
    form: Form,
    /// The value without its brackets or quotes.
    json: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Ids,
    Text,
    Messages,
}

impl Transcript {
    /// Returns a prompt for requests of that API.
    #[must_use]
    pub fn new(api: Api, prompt: &Prompt) -> Self {
        let (key, form) = match (api, prompt) {
            (Api::Chat, _) => ("messages", Form::Messages),
            (Api::Generate, Prompt::Ids(_)) => ("input_ids", Form::Ids),
            (Api::Generate, _) => ("text", Form::Text),
            (Api::Completions, Prompt::Ids(_)) => ("prompt", Form::Ids),
            (Api::Completions, _) => ("prompt", Form::Text),
        };
        let mut transcript = Self {
            key,
            form,
            json: String::new(),
        };
        transcript.add_prompt(prompt);
        transcript
    }

    /// Adds the next part of a user.
    pub fn add_prompt(&mut self, prompt: &Prompt) {
        match (self.form, prompt) {
            (Form::Ids, Prompt::Ids(ids)) => self.add_ids(ids),
            (Form::Text, Prompt::Text(text)) => self.add_text(text, BETWEEN),
            // A data file with messages is refused for these APIs.
            (Form::Text, Prompt::Messages(messages)) => {
                for message in messages {
                    self.add_text(&message.content, BETWEEN);
                }
            }
            (Form::Messages, Prompt::Text(text)) => self.add_message("user", text),
            (Form::Messages, Prompt::Messages(messages)) => {
                for Message { role, content } in messages {
                    self.add_message(role, content);
                }
            }
            // Ids have no place beside text; the command refuses them for a chat.
            (Form::Ids, Prompt::Text(_) | Prompt::Messages(_))
            | (Form::Text | Form::Messages, Prompt::Ids(_)) => {}
        }
    }

    /// Adds the answer of the server: its ids to ids, its text to text, and to a chat the answer without its reasoning, which
    /// templates leave out of later turns.
    pub fn add_answer(&mut self, answer: &AnswerText) {
        match self.form {
            Form::Ids => self.add_ids(&answer.ids),
            Form::Text => self.add_text(&answer.answer, ""),
            Form::Messages => self.add_message("assistant", &answer.answer),
        }
    }

    /// Adds it as a member of an object, with its key.
    pub(super) fn push_to(&self, object: &mut String) {
        let (open, close) = match self.form {
            Form::Ids | Form::Messages => ('[', ']'),
            Form::Text => ('"', '"'),
        };
        let _ = write!(object, "\"{}\":{open}{}{close}", self.key, self.json);
    }

    /// Returns its length as JSON in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.json.len()
    }

    fn add_ids(&mut self, ids: &[u32]) {
        for id in ids {
            self.separate();
            let _ = write!(self.json, "{id}");
        }
    }

    fn add_text(&mut self, text: &str, between: &str) {
        let before = if self.json.is_empty() { "" } else { between };
        for part in [before, text] {
            let quoted = serde_json::Value::from(part).to_string();
            self.json.push_str(&quoted[1..quoted.len() - 1]);
        }
    }

    fn add_message(&mut self, role: &str, content: &str) {
        self.separate();
        let message = serde_json::json!({ "role": role, "content": content });
        self.json.push_str(&message.to_string());
    }

    fn separate(&mut self) {
        if !self.json.is_empty() {
            self.json.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(transcript: &Transcript) -> Value {
        let mut object = "{".to_owned();
        transcript.push_to(&mut object);
        object.push('}');
        serde_json::from_str(&object).unwrap()
    }

    fn answer(text: &str, ids: &[u32]) -> AnswerText {
        AnswerText {
            reasoning: "thought".to_owned(),
            answer: text.to_owned(),
            ids: ids.to_vec(),
        }
    }

    #[test]
    fn each_form_of_a_prompt_grows_by_the_answer_and_by_what_is_new() {
        let message = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
        let words = |text: &str| Prompt::Text(text.to_owned());
        let system = Prompt::Messages(vec![
            Message {
                role: "system".to_owned(),
                content: "s".to_owned(),
            },
            Message {
                role: "user".to_owned(),
                content: "u".to_owned(),
            },
        ]);
        let table = [
            (
                Api::Generate,
                Prompt::Ids(vec![1, 2]),
                Prompt::Ids(vec![5]),
                serde_json::json!({"input_ids": [1, 2, 3, 4, 5]}),
            ),
            (
                Api::Generate,
                words("a \"b\""),
                words("d"),
                serde_json::json!({"text": "a \"b\" c\n\nd"}),
            ),
            (
                Api::Completions,
                words("a"),
                words("d"),
                serde_json::json!({"prompt": "a c\n\nd"}),
            ),
            (
                Api::Chat,
                words("a"),
                words("d"),
                serde_json::json!({"messages": [message("user", "a"), message("assistant", " c"), message("user", "d")]}),
            ),
            (
                Api::Chat,
                system,
                words("d"),
                serde_json::json!({"messages": [
                    message("system", "s"), message("user", "u"), message("assistant", " c"), message("user", "d")]}),
            ),
        ];
        for (api, first, second, expected) in table {
            let mut transcript = Transcript::new(api, &first);
            transcript.add_answer(&answer(" c", &[3, 4]));
            transcript.add_prompt(&second);
            assert_eq!(read(&transcript), expected, "{api:?}");
        }
    }

    proptest! {
        /// The property that a prefix cache lives of: each prompt begins with the whole prompt before it and its answer.
        #[test]
        fn the_prompt_of_each_turn_begins_with_all_before_it(
            turns in proptest::collection::vec((proptest::collection::vec(any::<u32>(), 1..20),
                proptest::collection::vec(any::<u32>(), 1..20), ".{0,20}", ".{0,20}"), 1..8),
        ) {
            let mut ids: Option<(Transcript, Vec<u32>)> = None;
            let mut text: Option<(Transcript, String)> = None;
            for (new, answered, words, reply) in turns {
                let answer = answer(&reply, &answered);
                let prompt = Prompt::Ids(new.clone());
                let (transcript, all) = ids.get_or_insert_with(|| (Transcript::new(Api::Generate, &Prompt::Ids(vec![])), vec![]));
                transcript.add_prompt(&prompt);
                all.extend(new);
                prop_assert_eq!(&read(transcript)["input_ids"], &serde_json::json!(all));
                transcript.add_answer(&answer);
                all.extend(answered);
                let prompt = Prompt::Text(words.clone());
                let (transcript, all) = text.get_or_insert_with(|| (Transcript::new(Api::Completions, &Prompt::Text(String::new())), String::new()));
                let before = all.clone();
                transcript.add_prompt(&prompt);
                if !all.is_empty() {
                    all.push_str(BETWEEN);
                }
                all.push_str(&words);
                let read = read(transcript);
                prop_assert_eq!(&read["prompt"], all.as_str());
                prop_assert!(read["prompt"].as_str().unwrap().starts_with(&before));
                transcript.add_answer(&answer);
                all.push_str(&reply);
            }
        }
    }
}
