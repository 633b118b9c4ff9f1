//! The prompts of an evaluation.

use std::fmt::Write;

use crate::evaluate::question::{Question, QuestionSet};
use crate::evaluate::task::{AnswerSettings, Task};
use crate::measure::Api;

/// The texts at which a completion ends: those of `SGLang`'s script (`benchmark/gsm8k/bench_sglang.py`).
const STOPS: [&str; 3] = ["Question", "Assistant:", "<|separator|>"];

/// Returns the name of the rules by which prompts are made.
#[must_use]
pub const fn prompt_rules(settings: &AnswerSettings) -> &'static str {
    match (settings.task, settings.api) {
        (Task::Gsm8k, Api::Completions | Api::Generate) => "question-answer/1",
        (Task::Gsm8k, Api::Chat) if settings.shots > 0 => "question-answer/1",
        (Task::Gpqa, _) => "boxed-letter/1",
        (Task::Mlperf, _) => "question/1",
        (Task::Gsm8k | Task::Aime | Task::Math500, _) => "boxed/1",
    }
}

/// Returns the texts at which an answer ends before its own end.
#[must_use]
pub fn stops_of(settings: &AnswerSettings) -> Vec<String> {
    // A model that reasons may write these words before it comes to its result.
    match (settings.task, settings.api) {
        (Task::Gsm8k, Api::Completions | Api::Generate) => STOPS.map(str::to_owned).to_vec(),
        _ => Vec::new(),
    }
}

/// Returns the prompt of a question.
///
/// `question-answer/1` is the layout of `SGLang`'s script, so that results compare: examples, then the question, each as
/// `Question: ...` and `Answer:`. The examples are the first questions of the file; a question that is one of them has the next
/// one in its place, so that no prompt holds its own result. `question/1` is the question alone. `boxed/1` is the question with the directive that `DeepSeek`'s README
/// recommends for R1, `boxed-letter/1` the same for choices. There is no system message.
#[must_use]
pub fn make_prompt(settings: &AnswerSettings, set: &QuestionSet, question: &Question) -> String {
    if prompt_rules(settings) == "question-answer/1" {
        let others = set
            .questions
            .iter()
            .filter(|example| example.number != question.number);
        let shots = usize::try_from(settings.shots).unwrap_or(usize::MAX);
        let mut prompt = String::new();
        for example in others.take(shots) {
            let worked = example.worked.as_deref().unwrap_or(&example.expected);
            let _ = write!(prompt, "Question: {}\nAnswer: {worked}\n\n", example.text);
        }
        return prompt + &format!("Question: {}\nAnswer:", question.text);
    }
    let mut prompt = question.text.clone();
    if settings.task == Task::Mlperf {
        return prompt;
    }
    if question.choices.is_empty() {
        prompt += "\n\nPlease reason step by step, and put your final answer within \\boxed{}.";
    } else {
        prompt += "\n\n";
        for (letter, choice) in ('A'..='D').zip(&question.choices) {
            let _ = writeln!(prompt, "{letter}) {choice}");
        }
        prompt += "\nPlease reason step by step, and put the letter of the right choice within \\boxed{}.";
    }
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(number: u32) -> Question {
        Question {
            number,
            text: format!("q{number}"),
            choices: Vec::new(),
            expected: number.to_string(),
            worked: Some(format!("w{number} #### {number}")),
        }
    }

    fn settings(task: Task, api: Api, shots: u32) -> AnswerSettings {
        AnswerSettings {
            task,
            api,
            shots,
            max_tokens: 9,
            temperature: 0.0,
            top_p: 1.0,
            seed: 1,
        }
    }

    #[test]
    fn no_prompt_holds_its_own_result() {
        let set = QuestionSet {
            questions: (1..=4).map(question).collect(),
            year: None,
        };
        let few = settings(Task::Gsm8k, Api::Completions, 2);
        let prompt = |index: usize| make_prompt(&few, &set, &set.questions[index]);
        assert_eq!(
            prompt(3),
            "Question: q1\nAnswer: w1 #### 1\n\nQuestion: q2\nAnswer: w2 #### 2\n\nQuestion: q4\nAnswer:"
        );
        assert_eq!(
            prompt(0),
            "Question: q2\nAnswer: w2 #### 2\n\nQuestion: q3\nAnswer: w3 #### 3\n\nQuestion: q1\nAnswer:"
        );
        assert_eq!(stops_of(&few).len(), 3);
        let chat = settings(Task::Gsm8k, Api::Chat, 0);
        assert!(make_prompt(&chat, &set, &set.questions[0]).ends_with("within \\boxed{}."));
        assert!(stops_of(&chat).is_empty());
        let chat = settings(Task::Gsm8k, Api::Chat, 1);
        assert!(make_prompt(&chat, &set, &set.questions[1]).starts_with("Question: q1\n"));
    }

    #[test]
    fn choices_have_letters() {
        let mut one = question(1);
        one.choices = ["w", "x", "y", "z"].map(str::to_owned).to_vec();
        let set = QuestionSet {
            questions: vec![one],
            year: None,
        };
        let prompt = make_prompt(&settings(Task::Gpqa, Api::Chat, 0), &set, &set.questions[0]);
        assert!(prompt.starts_with("q1\n\nA) w\nB) x\nC) y\nD) z\n\n"), "{prompt}");
    }
}
