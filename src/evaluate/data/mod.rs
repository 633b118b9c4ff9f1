//! Files of questions in the formats in which they are published. A file is hostile until it is questions: all of it is read
//! before anything is sent, and an error names the place.
//!
//! | module | subject |
//! |---|---|
//! | `record` | the records of JSON lines and of an array, by their keys |
//! | `table` | the records of CSV |
//! | `source` | the name of a file, and errors that name a place in it |
//!
//! | evaluation | files | keys |
//! |---|---|---|
//! | `gsm8k` | `test.jsonl` of `openai/grade-school-math` | `question`, `answer` with `#### N` |
//! | `aime` | `HuggingFaceH4/aime_2024`, `Maxwell-Jia/AIME_2024`, `opencompass/AIME2025` as JSON lines or an array | `problem`, `Problem` or `question`; `answer` or `Answer`, text or number |
//! | `math500` | `test.jsonl` of `HuggingFaceH4/MATH-500` | `problem`, `answer` |
//! | `mlperf` | `mlperf_deepseek_r1_dataset_4388_fp8_eval` as JSON lines (`mlcommons/endpoints`, `docs/bench_suite.md`) | `question`, `ground_truth` |
//! | `gpqa` | `gpqa_diamond.csv` and the other tables of `Idavidrein/gpqa` | `Question`, `Correct Answer`, `Incorrect Answer 1` to `3` |
//!
//! Not in this module tree: the reading of the file's bytes, and its hash (`effects`).

mod record;
mod source;
mod table;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::evaluate::extract::{first_number, normalize_latex, read_integer};
use crate::evaluate::question::{Question, QuestionSet};
use crate::evaluate::task::Task;
use crate::measure::Random;

use self::record::{Record, read_records};
use self::source::{Place, Source};
use self::table::{COLUMNS, read_rows};

/// Reads the questions of a file. `name` is its name in errors; `seed` decides the order of choices.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a file that is not in a format of the evaluation: the error names the line.
pub fn read_questions(task: Task, name: &str, bytes: &[u8], seed: u64) -> Result<QuestionSet> {
    let source = Source { name, task };
    let text = source.text_of(bytes)?;
    let mut years = Vec::new();
    let mut questions: Vec<Question> = Vec::new();
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    if task == Task::Gpqa {
        for (place, row) in read_rows(&source, text)? {
            questions.push(with_choices(next(), place, row, seed, &source)?);
        }
    } else {
        for record in read_records(&source, text)? {
            years.push(record.year());
            questions.push(question_of(next(), &record, &source)?);
        }
    }
    if questions.is_empty() {
        return Err(source.error(Place::Whole, "it is empty"));
    }
    let first = years.first().copied().flatten();
    Ok(QuestionSet {
        questions,
        year: first.filter(|_| years.iter().all(|year| *year == first)),
    })
}

fn question_of(number: u32, record: &Record, source: &Source<'_>) -> Result<Question> {
    let (texts, answers): (&[&str], &[&str]) = match source.task {
        Task::Gsm8k => (&["question"], &["answer"]),
        Task::Aime => (&["problem", "Problem", "question"], &["answer", "Answer"]),
        Task::Mlperf => (&["question"], &["ground_truth"]),
        Task::Math500 | Task::Gpqa => (&["problem"], &["answer"]),
    };
    let text = record.text(texts, source)?;
    let answer = record.text(answers, source)?;
    let (expected, wanted) = match source.task {
        Task::Gsm8k => (
            answer
                .rsplit_once("####")
                .and_then(|(_, after)| first_number(after)),
            "does not end in `#### NUMBER`",
        ),
        Task::Aime => (read_integer(answer.trim()), "is not an integer of 0 to 999"),
        // Nothing is compared with it.
        Task::Mlperf => (Some(answer.clone()), ""),
        Task::Math500 | Task::Gpqa => (normalize_latex(&answer), "is not an expression"),
    };
    let expected = expected.ok_or_else(|| {
        source.error(
            record.place,
            &format!("its `{}` {wanted}", record.key_of(answers)),
        )
    })?;
    Ok(Question {
        number,
        text,
        choices: Vec::new(),
        expected,
        worked: (source.task == Task::Gsm8k).then_some(answer),
    })
}

/// Returns a question with its choices in an order that the seed and its number decide.
fn with_choices(
    number: u32,
    place: Place,
    [text, right, wrong @ ..]: [String; COLUMNS.len()],
    seed: u64,
    source: &Source<'_>,
) -> Result<Question> {
    if wrong.contains(&right) {
        return Err(source.error(place, "its right choice is one of the wrong ones, too"));
    }
    let mut choices = vec![right];
    choices.extend(wrong);
    let mut order: Vec<usize> = (0..choices.len()).collect();
    Random::new(seed, u64::from(number)).shuffle(&mut order);
    let letter = ('A'..='D').zip(&order).find(|(_, index)| **index == 0);
    Ok(Question {
        number,
        text,
        expected: letter.map(|(letter, _)| letter.to_string()).unwrap_or_default(),
        choices: order.into_iter().map(|index| choices[index].clone()).collect(),
        worked: None,
    })
}
