//! One answer: the line that is kept of it, and its grade.

use serde::{Deserialize, Serialize};

use crate::error::{At, Kind, Result};
use crate::evaluate::extract::extract_result;
use crate::evaluate::question::Question;
use crate::evaluate::task::Task;

/// Most characters of a reason of an end.
const MOST_FINISH: usize = 40;

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampledAnswer {
    /// Number of the question in the file, from 1.
    pub question: u32,
    /// Number of the answer to it, from 1.
    pub sample: u32,
    /// Reason of its end.
    pub finish: String,
    /// Tokens of the prompt, as the server counts them.
    pub prompt_tokens: u64,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
    /// Generated tokens of the reasoning, if they are known.
    pub reasoning_tokens: Option<u64>,
    /// Seconds from the sending to the end.
    pub seconds: f64,
    /// Text of the reasoning.
    pub reasoning: String,
    /// Text of the answer.
    pub answer: String,
}

/// An answer without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradedAnswer {
    /// Number of the question in the file, from 1.
    pub question: u32,
    /// Number of the answer to it, from 1.
    pub sample: u32,
    /// The result in it; `None` if it has none.
    pub result: Option<String>,
    /// True if the result is the right one; `None` if the evaluation grades nothing.
    pub is_right: Option<bool>,
    /// Reason of its end.
    pub finish: String,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
    /// Generated tokens of the reasoning, if they are known.
    pub reasoning_tokens: Option<u64>,
}

/// A line of the file of answers: the answer, and its grade for people. The grade is never read back.
#[derive(Serialize)]
struct AnswerLine<'a> {
    #[serde(flatten)]
    answer: &'a SampledAnswer,
    result: Option<&'a str>,
    expected: &'a str,
    is_right: Option<bool>,
}

/// Grades an answer to a question.
#[must_use]
pub fn grade_answer(task: Task, question: &Question, answer: &SampledAnswer) -> GradedAnswer {
    let result = extract_result(task, &answer.answer);
    GradedAnswer {
        question: answer.question,
        sample: answer.sample,
        is_right: task
            .is_graded()
            .then(|| result.as_deref() == Some(&question.expected)),
        result,
        finish: answer.finish.chars().take(MOST_FINISH).collect(),
        completion_tokens: answer.completion_tokens,
        reasoning_tokens: answer.reasoning_tokens,
    }
}

/// Returns the line of an answer in the file of answers, without its newline.
///
/// # Errors
/// [`Kind::Internal`] when it cannot be written as JSON.
pub fn write_answer(question: &Question, answer: &SampledAnswer, grade: &GradedAnswer) -> Result<String> {
    let line = AnswerLine {
        answer,
        result: grade.result.as_deref(),
        expected: &question.expected,
        is_right: grade.is_right,
    };
    let what = || {
        format!(
            "cannot write the answer {} to question {}",
            answer.sample, answer.question
        )
    };
    serde_json::to_string(&line).at(Kind::Internal, what)
}

/// Reads a line of the file of answers; `None` if it is not one.
#[must_use]
pub fn read_answer(line: &[u8]) -> Option<SampledAnswer> {
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_answer_and_its_grade_is_made_anew() {
        let question = Question {
            number: 3,
            text: "q".to_owned(),
            choices: Vec::new(),
            expected: "7".to_owned(),
            worked: None,
        };
        let answer = SampledAnswer {
            question: 3,
            sample: 2,
            finish: "stop".to_owned(),
            prompt_tokens: 5,
            completion_tokens: 9,
            reasoning_tokens: Some(4),
            seconds: 0.5,
            reasoning: "\u{1b}[2J".to_owned(),
            answer: "#### 7\n".to_owned(),
        };
        let grade = grade_answer(Task::Gsm8k, &question, &answer);
        assert_eq!(grade.is_right, Some(true));
        assert_eq!(grade_answer(Task::Mlperf, &question, &answer).is_right, None);
        let line = write_answer(&question, &answer, &grade).unwrap();
        assert!(
            !line.contains(['\n', '\u{1b}']) && line.contains("\"is_right\":true"),
            "{line}"
        );
        assert_eq!(read_answer(line.as_bytes()), Some(answer));
        for cut in 0..line.len() {
            assert_eq!(read_answer(&line.as_bytes()[..cut]), None);
        }
        assert_eq!(read_answer(b"{}"), None);
    }
}
