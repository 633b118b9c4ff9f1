//! `dsr1 bench --turns` against a server whose times are known and which knows each prompt and each answer again: conversations,
//! their histories, and the figures of their turns.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::prompts::write_tokenizer;
use crate::support::truth::{Fault, Shape, Truth, When};
use crate::support::{Home, Run};

/// A server whose cache knows all that it has seen.
fn shape() -> Shape {
    let mut shape = Shape::new(Duration::from_millis(20), Duration::from_millis(2));
    shape.prefill_token = Some(Duration::from_micros(100));
    shape
}

/// A load of 4 conversations at once, of 4 turns of 50 new tokens and an answer of 10 each.
const LOAD: [&str; 10] = [
    "--turns",
    "4",
    "--isl",
    "50",
    "--osl",
    "10",
    "--max-concurrency",
    "4",
    "--num-prompts",
    "60",
];

/// A run, with the records of all requests.
struct Ran {
    run: Run,
    result: Value,
    records: Vec<Value>,
}

fn bench(home: &Home, truth: &Truth, args: &[&str]) -> Ran {
    let url = truth.url();
    let path = home.path().join("records.jsonl");
    let path = path.to_str().unwrap();
    let all = [
        "bench",
        "--url",
        &url,
        "--vocabulary",
        "1000",
        "--format",
        "json",
        "--progress",
        "quiet",
        "--duration",
        "0",
        "--records",
        path,
    ];
    let _ = std::fs::remove_file(path);
    let run = home.run(&[&all, args].concat());
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let records = std::fs::read_to_string(path).unwrap_or_default();
    Ran {
        result: report["steps"][0]["outcome"].clone(),
        records: records
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        run,
    }
}

impl Ran {
    fn verdict(&self, about: &str) -> (String, String) {
        let verdicts = self.result["verdicts"].as_array().unwrap();
        let found = verdicts.iter().find(|verdict| verdict["about"] == about);
        let found = found.unwrap_or_else(|| panic!("no verdict on {about}: {verdicts:#?}"));
        let word = |key: &str| found[key].as_str().unwrap().to_owned();
        (word("trust"), word("text"))
    }

    /// The requests of each conversation in the order of their turns.
    fn conversations(&self) -> BTreeMap<u64, Vec<&Value>> {
        let mut found: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for record in &self.records {
            let number = record["conversation"].as_u64().unwrap();
            found.entry(number).or_default().push(record);
        }
        for turns in found.values_mut() {
            turns.sort_by_key(|record| number(record, "turn"));
        }
        found
    }
}

fn number(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or_else(|| panic!("{key}: {record}"))
}

fn seconds(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or_else(|| panic!("{key}: {record}"))
}

fn is_complete(record: &Value) -> bool {
    record["is_complete"] == true
}

/// The server finds all of the history in its cache, token by token, so each prompt began with the prompt before it and the
/// server's own answer to that.
#[test]
fn each_turn_carries_all_turns_before_it_with_the_servers_own_answers() {
    let (home, truth) = (Home::new(), Truth::start(shape()));
    let ran = bench(&home, &truth, &LOAD);
    assert_eq!(ran.result["load"]["api"], "generate");
    assert_eq!(ran.result["load"]["turns"], 4);
    let mut turns_seen = BTreeMap::new();
    for turns in ran.conversations().values() {
        for (record, turn) in turns.iter().zip(1..) {
            assert_eq!(number(record, "turn"), turn, "{turns:#?}");
            *turns_seen.entry(turn).or_insert(0) += 1;
            if !is_complete(record) {
                continue;
            }
            let asked = number(record, "output_tokens_asked");
            assert_eq!(number(record, "output_tokens"), asked);
            assert_eq!(
                number(record, "prompt_tokens"),
                number(record, "prompt_tokens_asked")
            );
        }
        for pair in turns.windows(2) {
            let history = number(pair[0], "prompt_tokens") + number(pair[0], "output_tokens");
            assert_eq!(number(pair[1], "prompt_tokens_asked"), history + 50);
            if is_complete(pair[1]) {
                assert_eq!(number(pair[1], "cached_tokens"), history, "{turns:#?}");
            }
            // The next turn is sent when the answer has ended, and never before.
            assert!(
                seconds(pair[1], "sent_s") >= seconds(pair[0], "ended_s"),
                "{turns:#?}"
            );
        }
        if is_complete(turns[0]) {
            assert!(number(turns[0], "cached_tokens") <= 1, "{turns:#?}");
        }
    }
    assert_eq!(turns_seen.keys().copied().collect::<Vec<u64>>(), [1, 2, 3, 4]);
    assert_eq!(ran.verdict("prompts").0, "trusted");
    assert_eq!(ran.verdict("prefix cache").0, "trusted");
    assert_eq!(ran.verdict("requests").0, "trusted");
}

/// Measuring begins when the first conversation of each slot has ended; these had all shares of the turns, so that the slots are
/// in different turns from then on.
#[test]
fn the_warm_up_spreads_the_turns_over_the_slots() {
    let (home, truth) = (Home::new(), Truth::start(shape()));
    let ran = bench(&home, &truth, &LOAD);
    let conversations = ran.conversations();
    let first: Vec<usize> = (0..4).map(|slot| conversations[&slot].len()).collect();
    assert_eq!(first, [1, 2, 3, 4]);
    let all_ended = (0..4)
        .flat_map(|slot| &conversations[&slot])
        .map(|record| seconds(record, "ended_s"))
        .fold(0.0, f64::max);
    let measured = || ran.records.iter().filter(|record| record["phase"] == "measured");
    assert!(measured().all(|record| seconds(record, "sent_s") >= all_ended));
    // 60 requests are 15 conversations.
    let by_turn = |turn| measured().filter(|record| number(record, "turn") == turn).count();
    for turn in 1..=4 {
        assert!(
            (13..=17).contains(&by_turn(turn)),
            "turn {turn}: {}",
            by_turn(turn)
        );
    }
    assert!(
        ran.verdict("warm-up")
            .1
            .ends_with("they had all shares of the turns")
    );
}

#[test]
fn first_and_later_turns_are_apart_in_every_form_of_the_result() {
    let mut shape = shape();
    // Every first turn waits: it has 50 new tokens, and so do the others, but the history of these costs nothing.
    shape.prefill_token = Some(Duration::from_millis(1));
    let (home, truth) = (Home::new(), Truth::start(shape));
    let args = [&LOAD[..], &["--shared-prefix", "40"]].concat();
    let ran = bench(&home, &truth, &args);
    let conversations = &ran.result["figures"]["conversations"];
    assert_eq!(conversations["failed"], 0);
    let of = |path: &str| {
        let value = conversations.pointer(path).unwrap_or(&Value::Null);
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{path}: {conversations:#}"))
    };
    let count = |of: &str| number(&conversations[of], "requests");
    assert_eq!(count("first") + count("later"), 60);
    assert_eq!(
        (of("/first/mean_input_len"), of("/each/0/mean_input_len")),
        (90.0, 150.0)
    );
    assert_eq!(
        (of("/each/0/cached_share"), of("/each/2/cached_share")),
        (100.0 / 150.0, 220.0 / 270.0)
    );
    assert!((of("/first/cached_share") - 40.0 / 90.0).abs() < 0.02);
    assert!(of("/later/ttft/mean_ms") > 60.0);
    assert_eq!(ran.verdict("prefix cache").0, "trusted");
    let kept = ran.result["saved_to"].as_str().unwrap();
    let [page, sheet] = ["page.html", "sheet.csv"].map(|name| home.path().join(name));
    let report = home.run(&[
        "bench",
        "report",
        kept,
        "--html",
        page.to_str().unwrap(),
        "--csv",
        sheet.to_str().unwrap(),
    ]);
    assert_eq!(report.code, 0, "{report:?}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<h2>By turn</h2>") && page.contains("4 conversations of 4 turns at once"));
    let sheet = std::fs::read_to_string(sheet).unwrap();
    let mut lines = sheet.lines();
    let (names, cells) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(names.contains(",turns,think_s,first_turn_requests,"), "{names}");
    assert!(names.ends_with(",later_turns_ttft_p90_ms"), "{names}");
    assert!(cells.contains(",4,0,"), "{cells}");
    let text = home.run(&["bench", "report", kept]).stdout;
    let table: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.contains("TTFT by Turn"))
        .skip(2)
        .map(|line| line[..8].trim_end())
        .take(5)
        .collect();
    assert_eq!(table, ["1", "2 on", "  2", "  3", "  4"], "{text}");
    assert!(text.contains("90 tokens in each of 4 turns"), "{text}");
}

#[test]
fn a_chat_carries_the_answers_as_messages_of_the_assistant() {
    let mut shape = shape();
    shape.reasoning_share = 0.5;
    shape.template_tokens = 9;
    let (home, truth) = (Home::new(), Truth::start(shape));
    let tokenizer = write_tokenizer(&home);
    let args = [&LOAD[..], &["--api", "chat", "--tokenizer", &tokenizer]].concat();
    let ran = bench(&home, &truth, &args);
    let mut pairs = 0;
    for turns in ran.conversations().values() {
        for pair in turns.windows(2).filter(|pair| is_complete(pair[1])) {
            // The answer without its reasoning, and the new words. The template adds its tokens once, at the server.
            let words = number(pair[0], "prompt_tokens") - 9 + number(pair[0], "output_tokens")
                - number(pair[0], "reasoning_tokens");
            assert_eq!(number(pair[1], "cached_tokens"), words, "{turns:#?}");
            assert_eq!(number(pair[1], "prompt_tokens"), words + 41 + 9, "{turns:#?}");
            pairs += 1;
        }
    }
    assert!(pairs > 20, "{pairs}");
    assert_eq!(ran.verdict("prompts").0, "trusted");
    assert_eq!(ran.verdict("prefix cache").0, "trusted");
}

#[test]
fn text_completions_carry_the_text_of_the_answers() {
    let (home, truth) = (Home::new(), Truth::start(shape()));
    let tokenizer = write_tokenizer(&home);
    let text = [
        "--api",
        "completions",
        "--prompts",
        "text",
        "--tokenizer",
        &tokenizer,
    ];
    let ran = bench(&home, &truth, &[&LOAD[..], &text].concat());
    let mut pairs = 0;
    for turns in ran.conversations().values() {
        for pair in turns.windows(2).filter(|pair| is_complete(pair[1])) {
            let words = number(pair[0], "prompt_tokens") + number(pair[0], "output_tokens");
            assert_eq!(number(pair[1], "cached_tokens"), words, "{turns:#?}");
            pairs += 1;
        }
    }
    assert!(pairs > 20, "{pairs}");
}

#[test]
fn the_conversations_of_a_file_are_held_with_the_servers_own_answers() {
    let (home, truth) = (Home::new(), Truth::start(shape()));
    let tokenizer = write_tokenizer(&home);
    let part = |from: &str, value: String| json!({"from": from, "value": value});
    // Conversations of two and of three turns; each text of a user is its own.
    let data: Vec<Value> = (0..40)
        .map(|record| {
            let turns = (0..2 + record % 2).flat_map(|turn| {
                let text = format!("w{record} w{turn} w7");
                [part("human", text), part("gpt", "a b c d e".to_owned())]
            });
            json!({"id": record, "conversations": turns.collect::<Vec<Value>>()})
        })
        .collect();
    let path = home.path().join("shared.json");
    std::fs::write(&path, json!(data).to_string()).unwrap();
    let args = [
        "--data",
        path.to_str().unwrap(),
        "--turns",
        "8",
        "--tokenizer",
        &tokenizer,
        "--max-concurrency",
        "2",
        "--num-prompts",
        "40",
    ];
    let ran = bench(&home, &truth, &args);
    assert_eq!(ran.result["load"]["api"], "chat", "{}", ran.run.stderr);
    let conversations = ran.conversations();
    // Those of the warm-up may be shorter, and those at the end are cut.
    let whole: Vec<usize> = conversations.values().skip(2).take(10).map(Vec::len).collect();
    assert!(whole.len() > 5, "{whole:?}");
    assert!(whole.iter().all(|turns| [2, 3].contains(turns)), "{whole:?}");
    let mut pairs = 0;
    for turns in conversations.values() {
        for pair in turns.windows(2).filter(|pair| is_complete(pair[1])) {
            pairs += 1;
            assert_eq!(number(pair[0], "output_tokens_asked"), 5);
            let history = number(pair[0], "prompt_tokens") + 5;
            assert_eq!(number(pair[1], "prompt_tokens"), history + 3);
            assert_eq!(number(pair[1], "cached_tokens"), history);
        }
    }
    assert!(pairs > 15, "{pairs}");
}

#[test]
fn a_failed_turn_ends_its_conversation_and_is_counted() {
    let refused = Fault::Status {
        code: 503,
        retry_after: None,
    };
    let shape = shape().with(refused, When::Every(7));
    let (home, truth) = (Home::new(), Truth::start(shape));
    let ran = bench(&home, &truth, &LOAD);
    let is_failed = |record: &&Value| record["end"] == "HTTP 503";
    let failed = ran.records.iter().filter(is_failed).count();
    assert!(failed > 5, "{failed}");
    for turns in ran.conversations().values() {
        let place = turns.iter().position(is_failed);
        assert!(place.is_none_or(|place| place + 1 == turns.len()), "{turns:#?}");
    }
    assert_eq!(ran.result["figures"]["conversations"]["failed"], failed);
    assert_eq!(ran.verdict("requests").0, "untrusted");
    // The slot takes another conversation: the load keeps its height.
    let begun = ran.conversations().len();
    assert!(begun > 20, "{begun}");
}

#[test]
fn a_pause_is_between_two_turns_and_is_no_missing_load() {
    let (home, truth) = (Home::new(), Truth::start(shape()));
    let args = [&LOAD[..], &["--think-time", "0.15"]].concat();
    let ran = bench(&home, &truth, &args);
    let mut pauses = 0;
    for turns in ran.conversations().values() {
        for pair in turns.windows(2) {
            pauses += 1;
            let pause = seconds(pair[1], "sent_s") - seconds(pair[0], "ended_s");
            assert!(pause >= 0.15, "{pause}");
        }
    }
    assert!(pauses > 15, "{pauses}");
    assert_eq!(ran.result["load"]["think_s"], 0.15);
    // Most of the time is between two turns.
    assert!(ran.result["figures"]["concurrency"].as_f64().unwrap() < 2.5);
    assert!(
        ran.verdict("load")
            .1
            .contains("conversations, in flight or between two turns, of 4.0")
    );
}

#[test]
fn the_same_conversations_on_a_warm_cache_are_not_trusted() {
    let (home, truth) = (Home::new(), Truth::start(shape()));
    let args = [&LOAD[..], &["--seed", "5"]].concat();
    let cold = bench(&home, &truth, &args);
    assert_eq!(cold.verdict("prefix cache").0, "trusted");
    let warm = bench(&home, &truth, &args);
    assert_eq!(warm.verdict("prefix cache").0, "untrusted");
    assert_eq!(warm.run.code, 9);
}

#[test]
fn what_cannot_hold_a_conversation_is_refused_with_what_to_type() {
    let home = Home::new();
    let refuse = |args: &[&str], expected: &[&str]| {
        let run = home.run(&[&["bench"], args, &["--url", "http://127.0.0.1:1", "--turns", "3"]].concat());
        assert_eq!(run.code, 2, "{run:?}");
        for text in expected {
            assert!(run.stderr.contains(text), "{text}\n{}", run.stderr);
        }
    };
    refuse(
        &["--api", "completions"],
        &[
            "cannot hold a conversation of ids with --api completions",
            "--api generate, --api chat, or --prompts text",
        ],
    );
    refuse(&["--request-rate", "3"], &["--turns", "--request-rate"]);
    refuse(
        &["sweep", "--concurrency", "1,2"],
        &["--turns is an option of a single load"],
    );
    refuse(
        &["slo", "--ttft", "100"],
        &["--turns is an option of a single load"],
    );
    refuse(&["--think-time=-1"], &["--think-time", "seconds from 0 to 3600"]);
    let run = home.run(&["bench", "--url", "http://127.0.0.1:1", "--think-time", "1"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("--turns"), "{}", run.stderr);
}
