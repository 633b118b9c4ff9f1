//! Evaluations of accuracy as pure data: questions, prompts, the results in the texts of answers, and what they add up to.
//!
//! | module | subject |
//! |---|---|
//! | `task` | the evaluations, and the settings of each unless the user says otherwise |
//! | `question` | a question and its right result |
//! | `data` | files of questions in their public formats |
//! | `prompt` | the prompts |
//! | `extract` | the result in the text of an answer, by rules with a name |
//! | `answer` | one answer: the line that is kept of it, and its grade |
//! | `score` | the sum of the answers |
//! | `baseline` | published accuracies |
//!
//! Not in this module tree: requests and files (`effects::serve`), and how a result looks (`ui`).

mod answer;
mod baseline;
mod data;
mod extract;
mod prompt;
mod question;
mod score;
mod task;

pub use answer::{GradedAnswer, SampledAnswer, grade_answer, read_answer, write_answer};
pub use baseline::{compare_with_published, published_length};
pub use data::read_questions;
pub use extract::{extract_result, rules_of};
pub use prompt::{make_prompt, prompt_rules, stops_of};
pub use question::{Question, QuestionSet};
pub use score::{Score, compare_length, list_wrong, score_answers};
pub use task::{AnswerSettings, Defaults, Task};
