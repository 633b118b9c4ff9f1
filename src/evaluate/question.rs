//! A question and its right result.

/// A question of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its number in the file, from 1.
    pub number: u32,
    /// Its text.
    pub text: String,
    /// The choices in the order in which they are shown; empty for a question without choices.
    pub choices: Vec<String>,
    /// The right result, in the form in which `extract_result` returns one.
    pub expected: String,
    /// The worked answer of the file, if examples are made of it.
    pub worked: Option<String>,
}

/// The questions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionSet {
    /// The questions, in the order of the file.
    pub questions: Vec<Question>,
    /// The year of a competition, if all questions name the same one.
    pub year: Option<u32>,
}
