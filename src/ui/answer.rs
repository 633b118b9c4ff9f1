//! An answer of the model.

use std::fmt::Write;

use super::safe::{self, safe};
use crate::report::Answer;

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
    let end = match answer.finish_reason.as_str() {
        "stop" => String::new(),
        "length" => ", cut at --max-tokens".to_owned(),
        other => format!(", ended by {}", safe(other)),
    };
    let _ = writeln!(
        out,
        "\n({} prompt tokens, {} generated{end})",
        answer.prompt_tokens, answer.completion_tokens
    );
    out
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
}
