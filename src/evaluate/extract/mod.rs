//! The result in the text of an answer. The rules have a name with a number: another number is another rule, and results by
//! unlike rules do not compare.
//!
//! | module | subject |
//! |---|---|
//! | `number` | decimal numbers in a text |
//! | `boxed` | the last `\boxed{}` of a text |
//! | `latex` | one form for expressions that are written in several ways |
//! | `letter` | the letter of a choice |
//!
//! Not in this module tree: the right results (`data`), and the counts (`score`).

mod boxed;
mod latex;
mod letter;
mod number;
#[cfg(test)]
mod tests;

use crate::evaluate::task::Task;

pub(super) use latex::normalize_latex;
pub(super) use number::{first_number, read_integer};

/// Returns the name of the rules that find the result in an answer.
#[must_use]
pub const fn rules_of(task: Task) -> &'static str {
    match task {
        Task::Gsm8k => "last-number/1",
        Task::Aime => "boxed-integer/1",
        Task::Math500 => "boxed-latex/1",
        Task::Gpqa => "boxed-letter/1",
        Task::Mlperf => "none",
    }
}

/// Returns the result in an answer, in the form of `Question::expected`; `None` if it has none.
///
/// `none` finds nothing. All other rules look only at the text after the last `</think>`, for servers that do not tell reasoning apart.
///
/// - `last-number/1`: the first number after the last `####` on its line; otherwise the last number in the last balanced
///   `\boxed{}`; otherwise the last number of the text. Commas between thousands and signs of currencies are dropped, and 18.00
///   is 18.
/// - `boxed-integer/1`: the last balanced `\boxed{}`, in the form of `boxed-latex/1`, or what follows its last `=`; an integer of
///   0 to 999.
/// - `boxed-latex/1`: the last balanced `\boxed{}`, in one form for notations of the same expression (`latex`).
/// - `boxed-letter/1`: A, B, C or D at the start of the last balanced `\boxed{}`; otherwise the letter after the last "answer is",
///   "answer:" or "answer".
#[must_use]
pub fn extract_result(task: Task, answer: &str) -> Option<String> {
    let answer = answer.rsplit_once("</think>").map_or(answer, |(_, after)| after);
    match task {
        Task::Gsm8k => number_of_answer(answer),
        Task::Aime => {
            let form = normalize_latex(boxed::last_boxed(answer)?)?;
            let value = form.rsplit_once('=').map_or(form.as_str(), |(_, value)| value);
            read_integer(value)
        }
        Task::Math500 => normalize_latex(boxed::last_boxed(answer)?),
        Task::Gpqa => letter::letter_of_answer(answer),
        Task::Mlperf => None,
    }
}

fn number_of_answer(answer: &str) -> Option<String> {
    let marked = answer
        .rsplit_once("####")
        .and_then(|(_, after)| first_number(after.lines().next().unwrap_or_default()));
    marked
        .or_else(|| number::last_number(boxed::last_boxed(answer)?))
        .or_else(|| number::last_number(answer))
}
