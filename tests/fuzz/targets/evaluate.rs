//! Any bytes as a file of questions and as an answer: what is accepted has texts and results, no prompt panics, and a right result
//! is found again in an answer that states it.

use dsr1::evaluate::{
    AnswerSettings, SampledAnswer, Task, extract_result, grade_answer, make_prompt, read_answer,
    read_questions, write_answer,
};

const TASKS: [Task; 5] = [Task::Gsm8k, Task::Aime, Task::Math500, Task::Gpqa, Task::Mlperf];

/// Reads the input as a file and as an answer. The first byte chooses the evaluation.
pub(crate) fn check_evaluation(bytes: &[u8]) {
    let (first, rest) = bytes
        .split_first()
        .map_or((0, bytes), |(first, rest)| (*first, rest));
    let task = TASKS[usize::from(first) % TASKS.len()];
    let text = String::from_utf8_lossy(rest);
    if let Some(result) = extract_result(task, &text) {
        assert!(!result.is_empty());
    }
    let _ = read_answer(rest);
    let Ok(set) = read_questions(task, "f", rest, u64::from(first)) else {
        return;
    };
    assert!(!set.questions.is_empty());
    let defaults = task.defaults(None);
    let settings = AnswerSettings {
        task,
        api: defaults.api,
        shots: defaults.shots,
        max_tokens: defaults.max_tokens,
        temperature: defaults.temperature,
        top_p: defaults.top_p,
        seed: 0,
    };
    for question in set.questions.iter().take(20) {
        assert!(!question.text.is_empty() && !question.expected.is_empty());
        assert!(make_prompt(&settings, &set, question).contains(&question.text));
        let answer = SampledAnswer {
            question: question.number,
            sample: 1,
            finish: "stop".to_owned(),
            prompt_tokens: 1,
            completion_tokens: 1,
            reasoning_tokens: None,
            seconds: 0.5,
            reasoning: text.clone().into_owned(),
            answer: stated(task, &question.expected),
        };
        let grade = grade_answer(task, question, &answer);
        // An expression may have braces that are not balanced: then no box holds it.
        assert!(
            grade.is_right != Some(false) || task == Task::Math500,
            "{question:?}"
        );
        let line = write_answer(question, &answer, &grade).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(read_answer(line.as_bytes()), Some(answer));
    }
}

/// Returns an answer that states a result.
fn stated(task: Task, result: &str) -> String {
    match task {
        Task::Gsm8k => format!("It is.\n#### {result}"),
        Task::Aime | Task::Math500 | Task::Gpqa | Task::Mlperf => format!("So \\boxed{{{result}}}."),
    }
}
