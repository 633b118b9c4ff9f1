//! The letter of a choice.

use super::boxed::last_boxed;
use super::latex::normalize_latex;

/// Words and marks that may be between "answer" and its letter.
const BETWEEN: [&str; 12] = [
    "is", "option", "choice", ":", "*", "(", "$", "\"", "`", "_", "\\boxed{", "\\text{",
];

/// Returns the letter that an answer chooses.
pub(super) fn letter_of_answer(answer: &str) -> Option<String> {
    let boxed = last_boxed(answer)
        .and_then(normalize_latex)
        .and_then(|form| leading_letter(form.trim_start_matches('(')));
    boxed.or_else(|| letter_after_word(answer))
}

/// Returns the letter after the last "answer".
fn letter_after_word(answer: &str) -> Option<String> {
    // The lower case of ASCII leaves all positions as they are.
    let lower = answer.to_ascii_lowercase();
    let letters = lower.match_indices("answer").filter_map(|(at, word)| {
        let mut rest = &answer[at + word.len()..];
        loop {
            let shorter = rest.trim_start_matches([' ', '\n']);
            let lower = &lower[lower.len() - shorter.len()..];
            let skipped = BETWEEN.iter().find(|part| lower.starts_with(**part));
            match skipped {
                Some(part) => rest = &shorter[part.len()..],
                None => break leading_letter(shorter),
            }
        }
    });
    letters.last()
}

/// Returns the letter at the start of a text, if no word begins with it.
fn leading_letter(text: &str) -> Option<String> {
    let mut chars = text.chars();
    let letter = chars.next().filter(|c| ('A'..='D').contains(c))?;
    let is_word = chars
        .next()
        .is_some_and(|next| next.is_alphanumeric() || next == '_' || next == '\'');
    (!is_word).then(|| letter.to_string())
}
