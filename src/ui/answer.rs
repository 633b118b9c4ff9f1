//! An answer of the model.

use std::fmt::Write;

use super::safe::{self, safe};
use crate::report::{Answer, AnswerPiece};

/// Returns the reasoning, the answer, and the number of tokens.
#[must_use]
pub fn answer(answer: &Answer) -> String {
    let mut out = String::new();
    if let Some(reasoning) = answer
        .reasoning
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let _ = writeln!(out, "reasoning:\n{}", safe::lines(reasoning, "  "));
    }
    out += &safe::lines(answer.content.trim(), "");
    out += &counts(answer);
    out
}

/// Returns the line about tokens.
fn counts(answer: &Answer) -> String {
    let end = match answer.finish_reason.as_str() {
        "stop" => String::new(),
        "length" => ", cut at --max-tokens".to_owned(),
        other => format!(", ended by {}", safe(other)),
    };
    format!(
        "\n({} prompt tokens, {} generated{end})\n",
        answer.prompt_tokens, answer.completion_tokens
    )
}

/// An answer on a terminal, piece by piece: the text of [`answer`] as it arrives.
#[derive(Debug, Default)]
pub struct LiveAnswer {
    is_reasoning: bool,
    /// True if a line is begun.
    in_line: bool,
    /// True once anything but space was shown of this part.
    has_text: bool,
}

impl LiveAnswer {
    /// Returns the text to print for a piece.
    #[must_use]
    pub fn piece(&mut self, piece: &AnswerPiece) -> String {
        match piece {
            AnswerPiece::Reasoning(text) => {
                let head = if self.is_reasoning { "" } else { "reasoning:\n" };
                self.is_reasoning = true;
                format!("{head}{}", self.lines(text, "  "))
            }
            AnswerPiece::Content(text) => {
                let end = if self.is_reasoning {
                    self.end_part()
                } else {
                    String::new()
                };
                self.is_reasoning = false;
                format!("{end}{}", self.lines(text, ""))
            }
            AnswerPiece::ReasoningEnded => self.end_part(),
        }
    }

    /// Returns the text to print at the end.
    #[must_use]
    pub fn end(&mut self, answer: &Answer) -> String {
        format!("{}{}", self.end_line(), counts(answer))
    }

    /// Returns the end of the line that is begun, before anything else is printed.
    pub fn end_line(&mut self) -> &'static str {
        if std::mem::take(&mut self.in_line) {
            "\n"
        } else {
            ""
        }
    }

    /// Ends the reasoning with an empty line.
    fn end_part(&mut self) -> String {
        let end = if self.in_line { "\n\n" } else { "\n" };
        (self.in_line, self.has_text) = (false, false);
        end.to_owned()
    }

    /// Returns a text, safe for a terminal and indented, without space before its first word.
    fn lines(&mut self, text: &str, indent: &str) -> String {
        let text = if self.has_text { text } else { text.trim_start() };
        let mut out = String::new();
        for line in text.split_inclusive('\n') {
            let (content, ends) = line
                .strip_suffix('\n')
                .map_or((line, false), |content| (content, true));
            if !content.is_empty() {
                let begin = if self.in_line { "" } else { indent };
                let _ = write!(out, "{begin}{}", safe(content));
                (self.in_line, self.has_text) = (true, true);
            }
            if ends {
                out.push('\n');
                self.in_line = false;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Answer {
        Answer {
            reasoning: Some("17 * 23:\n17 * 20 = 340\n\n17 * 3 = 51".to_owned()),
            content: "\n\n391".to_owned(),
            finish_reason: "stop".to_owned(),
            prompt_tokens: 9,
            completion_tokens: 20,
        }
    }

    #[test]
    fn the_reasoning_is_separate_from_the_answer() {
        insta::assert_snapshot!(answer(&example()), @r"
        reasoning:
          17 * 23:
          17 * 20 = 340

          17 * 3 = 51

        391

        (9 prompt tokens, 20 generated)
        ");
    }

    #[test]
    fn a_truncated_answer_is_marked() {
        let cut = Answer {
            reasoning: None,
            finish_reason: "length".to_owned(),
            ..example()
        };
        assert_eq!(
            answer(&cut),
            "391\n\n(9 prompt tokens, 20 generated, cut at --max-tokens)\n"
        );
    }

    #[test]
    fn a_live_answer_looks_like_a_whole_one() {
        let pieces = [
            AnswerPiece::Reasoning("17 * 23:\n17 *".to_owned()),
            AnswerPiece::Reasoning(" 20 = 340\n\n17 * 3 = 51".to_owned()),
            AnswerPiece::Content("\n\n3".to_owned()),
            AnswerPiece::Content("91".to_owned()),
        ];
        let mut live = LiveAnswer::default();
        let mut shown: String = pieces.iter().map(|piece| live.piece(piece)).collect();
        shown += &live.end(&example());
        assert_eq!(shown, answer(&example()));
    }

    #[test]
    fn a_live_answer_cannot_move_the_cursor() {
        let mut live = LiveAnswer::default();
        let shown = live.piece(&AnswerPiece::Content("a\u{1b}[2J\rb\u{202e}".to_owned()));
        assert_eq!(shown, "a\\x1b[2J\\x0db\\u{202e}");
    }

    #[test]
    fn reasoning_without_a_parser_ends_where_its_mark_comes() {
        let pieces = [
            AnswerPiece::Content("hm\n".to_owned()),
            AnswerPiece::ReasoningEnded,
            AnswerPiece::Content("\n\n391".to_owned()),
        ];
        let mut live = LiveAnswer::default();
        let shown: String = pieces.iter().map(|piece| live.piece(piece)).collect();
        assert_eq!(shown, "hm\n\n391");
    }
}
