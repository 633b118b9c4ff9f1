//! A conversation on its way: the answer to each turn, and what a user says next, become the request of the next one.

use std::collections::VecDeque;

use crate::measure::api::Api;
use crate::measure::prompt::{Drawn, LaterTurn};
use crate::measure::record::{AnswerText, ConversationTurn};
use crate::measure::settings::RequestSettings;
use crate::measure::transcript::Transcript;

/// A conversation on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The prompt of the turn that is on its way.
    transcript: Transcript,
    /// Tokens of that prompt; 0 if they are not known.
    prompt_tokens: u32,
    place: ConversationTurn,
    later: VecDeque<LaterTurn>,
}

/// The request of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnRequest {
    /// The body.
    pub body: Vec<u8>,
    /// Tokens of the prompt; 0 if they are not known.
    pub prompt_tokens: u32,
    /// Tokens that it asks for.
    pub output_tokens: u32,
    /// Its place in the conversation.
    pub place: ConversationTurn,
}

impl Conversation {
    /// Returns a conversation before its first turn, whose later turns are those of `drawn`.
    #[must_use]
    pub fn new(api: Api, drawn: Drawn) -> Self {
        Self {
            transcript: Transcript::new(api, &drawn.prompt),
            prompt_tokens: drawn.prompt_tokens,
            place: ConversationTurn {
                conversation: 0,
                turn: 1,
                new_tokens: drawn.prompt_tokens,
            },
            later: drawn.later.unwrap_or_default().into(),
        }
    }

    /// Gives it its number in the order of issue.
    pub const fn set_number(&mut self, number: u32) {
        self.place.conversation = number;
    }

    /// Returns the place of the turn that is on its way.
    #[must_use]
    pub const fn current_turn(&self) -> ConversationTurn {
        self.place
    }

    /// Returns the number of its turns.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.place
            .turn
            .saturating_add(u32::try_from(self.later.len()).unwrap_or(u32::MAX))
    }

    /// Returns its size in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let later = self.later.iter().map(LaterTurn::bytes).sum::<usize>();
        self.transcript.bytes() + later
    }

    /// Takes the answer to the turn that is on its way. Returns the request of the next turn; `None` if that was the last one.
    ///
    /// The tokens of a prompt are known where all of it are ids. A text that is encoded as a whole may have others than its parts.
    pub fn answer(&mut self, answer: &AnswerText, settings: &RequestSettings) -> Option<TurnRequest> {
        let next = self.later.pop_front()?;
        self.transcript.add_answer(answer);
        self.transcript.add_prompt(&next.prompt);
        let answered = u32::try_from(answer.ids.len()).unwrap_or(u32::MAX);
        let are_known = self.prompt_tokens > 0 && answered > 0 && next.tokens > 0;
        self.prompt_tokens = if are_known {
            self.prompt_tokens
                .saturating_add(answered)
                .saturating_add(next.tokens)
        } else {
            0
        };
        self.place.turn += 1;
        self.place.new_tokens = next.tokens;
        Some(TurnRequest {
            body: settings.body_of(&self.transcript, next.output_tokens),
            prompt_tokens: self.prompt_tokens,
            output_tokens: next.output_tokens,
            place: self.place,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::api::{Kept, Prompt};

    fn settings(api: Api) -> RequestSettings {
        RequestSettings {
            api,
            model: "m".to_owned(),
            ignores_end: true,
            temperature: 0.0,
            top_p: None,
            stop: Vec::new(),
            keeps: Kept::Ids,
        }
    }

    fn turn(prompt: Prompt, tokens: u32) -> LaterTurn {
        LaterTurn {
            prompt,
            tokens,
            output_tokens: 7,
        }
    }

    #[test]
    fn each_turn_carries_the_turns_before_it_and_its_tokens_are_known_of_ids() {
        let drawn = Drawn {
            prompt: Prompt::Ids(vec![1, 2, 3]),
            prompt_tokens: 3,
            output_tokens: 2,
            at: None,
            later: Some(vec![
                turn(Prompt::Ids(vec![4]), 1),
                turn(Prompt::Ids(vec![5, 6]), 2),
            ]),
        };
        let mut conversation = Conversation::new(Api::Generate, drawn);
        conversation.set_number(9);
        let settings = settings(Api::Generate);
        let answered = |ids: &[u32]| AnswerText {
            ids: ids.to_vec(),
            ..AnswerText::default()
        };
        let body =
            |request: &TurnRequest| -> serde_json::Value { serde_json::from_slice(&request.body).unwrap() };
        let second = conversation.answer(&answered(&[8, 9]), &settings).unwrap();
        assert_eq!(body(&second)["input_ids"], serde_json::json!([1, 2, 3, 8, 9, 4]));
        assert_eq!(body(&second)["sampling_params"]["max_new_tokens"], 7);
        assert_eq!((second.prompt_tokens, second.output_tokens), (6, 7));
        let third = conversation.answer(&answered(&[7]), &settings).unwrap();
        assert_eq!(
            body(&third)["input_ids"],
            serde_json::json!([1, 2, 3, 8, 9, 4, 7, 5, 6])
        );
        assert_eq!(third.prompt_tokens, 9);
        let place = ConversationTurn {
            conversation: 9,
            turn: 3,
            new_tokens: 2,
        };
        assert_eq!((third.place, conversation.current_turn()), (place, place));
        assert_eq!(conversation.answer(&answered(&[7]), &settings), None);
    }

    #[test]
    fn the_tokens_of_text_are_the_servers_matter_after_the_first_turn() {
        let drawn = Drawn {
            prompt: Prompt::Text("a b".to_owned()),
            prompt_tokens: 2,
            output_tokens: 2,
            at: None,
            later: Some(vec![turn(Prompt::Text("c".to_owned()), 1)]),
        };
        let mut conversation = Conversation::new(Api::Chat, drawn);
        let answer = AnswerText {
            answer: "x".to_owned(),
            ..AnswerText::default()
        };
        let second = conversation.answer(&answer, &settings(Api::Chat)).unwrap();
        assert_eq!((second.prompt_tokens, second.place.new_tokens), (0, 1));
    }
}
