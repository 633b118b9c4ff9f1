//! Files as they are published, and files that are not.

use super::*;
use crate::error::Kind;

fn read(task: Task, text: &str) -> Result<QuestionSet> {
    read_questions(task, "f", text.as_bytes(), 1)
}

/// Returns the message and the first cause of the error for a file.
fn refusal(task: Task, text: &str) -> String {
    let error = read(task, text).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    format!("{}: {}", error.message(), error.causes()[0])
}

#[test]
fn the_public_formats_are_read() {
    let gsm8k = read(
        Task::Gsm8k,
        "{\"question\": \"Q?\", \"answer\": \"3 * 6 = <<3*6=18>>18\\n#### 1,018\"}\n\n",
    )
    .unwrap();
    assert_eq!(gsm8k.questions[0].expected, "1018");
    assert!(gsm8k.questions[0].worked.as_deref().unwrap().starts_with("3 * 6"));

    // HuggingFaceH4/aime_2024, Maxwell-Jia/AIME_2024, opencompass/AIME2025.
    let lines = [
        "{\"id\": 60, \"problem\": \"P\", \"solution\": \"s\", \"answer\": \"073\", \"url\": \"u\", \"year\": \"2024\"}",
        "{\"ID\": \"2024-II-4\", \"Problem\": \"P\", \"Solution\": \"s\", \"Answer\": 33}",
        "{\"question\": \"P\", \"answer\": \"70\"}",
    ];
    let years = [Some(2024), Some(2024), None];
    for ((line, expected), year) in lines.iter().zip(["73", "33", "70"]).zip(years) {
        for text in [(*line).to_owned(), format!("\u{feff}[\n{line}]")] {
            let set = read(Task::Aime, &text).unwrap();
            assert_eq!((set.questions[0].expected.as_str(), set.year), (expected, year));
        }
    }
    let mixed = read(Task::Aime, &lines.join("\n")).unwrap();
    assert_eq!((mixed.questions.len(), mixed.year), (3, None));

    let math = read(
        Task::Math500,
        "{\"problem\": \"P\", \"solution\": \"s\", \"answer\": \"\\\\dfrac12\", \"subject\": \"a\", \"level\": 2}",
    )
    .unwrap();
    assert_eq!(math.questions[0].expected, "\\frac{1}{2}");
}

const TABLE: &str = "Pre-Revision Question,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n\
    x,\"Two\nlines, and a comma\",right,w1,w2,\"w3\n\"\n\
    y,Second,R,S,T,U\n";

#[test]
fn the_choices_of_a_table_are_shuffled_by_the_seed() {
    let set = read(Task::Gpqa, TABLE).unwrap();
    let first = &set.questions[0];
    assert_eq!(first.text, "Two\nlines, and a comma");
    let mut sorted = first.choices.clone();
    sorted.sort();
    assert_eq!(sorted, ["right", "w1", "w2", "w3"]);
    let mut letters = std::collections::BTreeMap::new();
    for seed in 0..400 {
        let again = read_questions(Task::Gpqa, "f", TABLE.as_bytes(), seed).unwrap();
        assert_eq!(
            again,
            read_questions(Task::Gpqa, "f", TABLE.as_bytes(), seed).unwrap()
        );
        let question = &again.questions[0];
        let index = usize::from(question.expected.as_bytes()[0] - b'A');
        assert_eq!(question.choices[index], "right");
        *letters.entry(question.expected.clone()).or_insert(0) += 1;
    }
    // Each letter is right in about a quarter of the orders.
    assert!(
        letters.len() == 4 && letters.values().all(|count| (60..140).contains(count)),
        "{letters:?}"
    );
}

#[test]
fn a_wrong_file_names_its_line_and_its_key() {
    let good = "{\"question\": \"q\", \"answer\": \"#### 1\"}\n";
    for (task, text, expected) in [
        (Task::Gsm8k, "", "`f` has no GSM8K questions: it is empty"),
        (
            Task::Aime,
            &format!(
                r#"[{{"problem": "p", "answer": "1", "x": "{}"}}]"#,
                "x".repeat(1 << 20)
            ),
            "item 1 of `f` is not an AIME question: it is longer than 1 MiB",
        ),
        (Task::Gsm8k, "\n \n", "`f` has no GSM8K questions: it is empty"),
        (
            Task::Gsm8k,
            &format!("{good}{{}}"),
            "`f:2` is not a GSM8K question: it has no `question`",
        ),
        (
            Task::Gsm8k,
            "{\"question\": \"q\", \"answer\": \"1\"}",
            "`f:1` is not a GSM8K question: its `answer` does not end in `#### NUMBER`",
        ),
        (
            Task::Gsm8k,
            "3",
            "`f:1` is not a GSM8K question: it is not a JSON object",
        ),
        (
            Task::Gsm8k,
            &format!("{good}{{\"question\""),
            "`f:2` is not a GSM8K question: EOF while parsing an object",
        ),
        (
            Task::Aime,
            "{\"text\": 1}",
            "`f:1` is not an AIME question: it has no `problem` or `Problem` or `question`",
        ),
        (
            Task::Aime,
            "{\"problem\": \"p\", \"Answer\": \"1000\"}",
            "`f:1` is not an AIME question: its `Answer` is not an integer of 0 to 999",
        ),
        (
            Task::Aime,
            "[{\"problem\": \"p\", \"answer\": [1]}]",
            "item 1 of `f` is not an AIME question: its `answer` is not text",
        ),
        (
            Task::Math500,
            "{\"problem\": \" \", \"answer\": \"1\"}",
            "`f:1` is not a MATH-500 question: its `problem` is empty",
        ),
        (
            Task::Gpqa,
            "Question,Correct Answer\na,b\n",
            "`f:1` is not a GPQA question: it has no column `Incorrect Answer 1`",
        ),
        (
            Task::Gpqa,
            &format!("{TABLE}z,only\n"),
            "`f:6` is not a GPQA question: it has 2 columns, and the first line has 6",
        ),
        (
            Task::Gpqa,
            &format!("{TABLE}z,Q,R,R,S,T\n"),
            "`f:6` is not a GPQA question: its right choice is one of the wrong ones, too",
        ),
    ] {
        assert_eq!(refusal(task, text), expected);
    }
    let error = read_questions(Task::Gsm8k, "f", b"{}\n\xff", 1).unwrap_err();
    assert_eq!(error.message(), "`f:2` is not a GSM8K question");
}

#[test]
fn a_file_has_bounds() {
    let long = format!(
        "{{\"question\": \"{}\", \"answer\": \"#### 1\"}}",
        "q".repeat(1 << 20)
    );
    assert!(refusal(Task::Gsm8k, &long).ends_with("it is longer than 1 MiB"));
    let many = "{\"question\":\"q\",\"answer\":\"#### 1\"}\n".repeat(100_001);
    assert!(refusal(Task::Gsm8k, &many).ends_with("more than 100000 questions"));
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text in "([\\[{}\\]\",:\n]|question|answer|problem|####|[0-9]|\\PC){0,80}") {
        for task in [Task::Gsm8k, Task::Aime, Task::Math500, Task::Gpqa] {
            let _ = read(task, &text);
            let _ = read(task, &format!("{TABLE}{text}"));
        }
    }
}

#[test]
fn a_file_from_a_url_is_named_as_a_whole() {
    let name = "https://example.org:8443/test.jsonl";
    let error = read_questions(Task::Gsm8k, name, b"", 0).unwrap_err();
    assert_eq!(error.to_string(), format!("`{name}` has no GSM8K questions"));
}
