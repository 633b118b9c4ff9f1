//! `dsr1 bench --url` with prompts of text, of data files and of traces, against a server whose counts are known.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::truth::{Shape, Truth};
use crate::support::{Home, Run};

fn shape() -> Shape {
    Shape::new(Duration::from_millis(40), Duration::from_millis(4))
}

/// Writes a tokenizer whose words are those of the server: letters between spaces.
pub(crate) fn write_tokenizer(home: &Home) -> String {
    let vocabulary: serde_json::Map<String, Value> =
        (0..1000).map(|id| (format!("w{id}"), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    });
    std::fs::write(home.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    home.path().to_str().unwrap().to_owned()
}

/// Runs `bench` on a server, with the form of the output before the other options.
fn bench(home: &Home, truth: &Truth, format: &str, args: &[&str]) -> Run {
    let url = truth.url();
    let all = [
        "bench",
        "--url",
        &url,
        "--format",
        format,
        "--progress",
        "quiet",
        "--duration",
        "0",
    ];
    home.run(&[&all, args].concat())
}

/// Returns the measurement of a run.
fn result_of(run: &Run) -> Value {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    report["steps"][0]["outcome"].clone()
}

fn verdict(result: &Value, about: &str) -> (String, String) {
    let verdicts = result["verdicts"].as_array().unwrap();
    let found = verdicts.iter().find(|verdict| verdict["about"] == about);
    let found = found.unwrap_or_else(|| panic!("no verdict on {about}: {verdicts:#?}"));
    let word = |key: &str| found[key].as_str().unwrap().to_owned();
    (word("trust"), word("text"))
}

fn number(result: &Value, path: &str) -> f64 {
    let value = result.pointer(path).unwrap_or(&Value::Null);
    value.as_f64().unwrap_or_else(|| panic!("{path}: {value}"))
}

/// A load of 40 requests of 4 streams.
const LOAD: [&str; 8] = [
    "--isl",
    "60",
    "--osl",
    "20",
    "--num-prompts",
    "40",
    "--max-concurrency",
    "4",
];

#[test]
fn a_chat_has_prompts_of_the_asked_length_by_the_servers_count() {
    let mut shape = shape();
    shape.template_tokens = 9;
    let (truth, home) = (Truth::start(shape), Home::new());
    let tokenizer = write_tokenizer(&home);
    let run = bench(
        &home,
        &truth,
        "json",
        &[&LOAD[..], &["--api", "chat", "--tokenizer", &tokenizer]].concat(),
    );
    let result = result_of(&run);
    let served = truth.served();
    // The first two tell the overhead of the template.
    let (asked, sent) = served.requests.split_at(2);
    let counts = |requests: &[crate::support::truth::Record]| -> Vec<u64> {
        requests.iter().map(|record| record.prompt_tokens).collect()
    };
    assert_eq!(counts(asked), [8 + 9, 72 + 9]);
    assert!(sent.len() >= 40);
    assert_eq!(counts(sent), vec![60; sent.len()]);
    assert_eq!(result["figures"]["input_tokens"], 40 * 60);
    assert_eq!(verdict(&result, "prompts").0, "trusted");
    assert_eq!(result["load"]["prompts"], "text");
    assert_eq!(result["load"]["api"], "chat");
}

#[test]
fn reasoning_and_answer_are_apart_from_end_to_end() {
    let mut shape = shape();
    shape.reasoning_share = 0.5;
    let (truth, home) = (Truth::start(shape), Home::new());
    let tokenizer = write_tokenizer(&home);
    let args = [&LOAD[..], &["--api", "chat", "--tokenizer", &tokenizer]].concat();
    let result = result_of(&bench(&home, &truth, "json", &args));
    let ttft = number(&result, "/figures/ttft/p50_ms");
    let answer = number(&result, "/figures/answer_ttft/p50_ms");
    // Ten tokens of reasoning come first, four milliseconds apart.
    assert!((answer - ttft - 40.0).abs() < 3.0, "{ttft} {answer}");
    let reasoning = &result["figures"]["reasoning"];
    assert_eq!(reasoning["requests"], 40);
    assert_eq!(reasoning["mean_tokens"], 10.0);
    assert_eq!(reasoning["mean_answer_tokens"], 10.0);
    for rate in ["tokens_per_s", "answer_tokens_per_s"] {
        let rate = reasoning[rate].as_f64().unwrap();
        assert!((200.0..300.0).contains(&rate), "{rate}");
    }
    let text = bench(&home, &truth, "text", &args).stdout;
    let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "Time to First Answer Token",
        "Mean reasoning tokens: 10.00",
        "Mean answer tokens: 10.00",
        "Reasoning of a request (tok/s): 2",
        "Answer of a request (tok/s): 2",
        "prompts: random text, 60 tokens, seed ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn text_is_sent_over_the_other_apis_too() {
    for api in ["completions", "generate"] {
        let (truth, home) = (Truth::start(shape()), Home::new());
        let tokenizer = write_tokenizer(&home);
        let words = [
            "--api",
            api,
            "--prompts",
            "text",
            "--tokenizer",
            &tokenizer,
            "--shared-prefix",
            "30",
        ];
        let result = result_of(&bench(&home, &truth, "json", &[&LOAD[..], &words].concat()));
        assert_eq!(result["figures"]["mean_input_len"], 90.0, "{api}");
        assert_eq!(verdict(&result, "prompts").0, "trusted", "{api}");
    }
}

#[test]
fn text_without_a_tokenizer_or_with_another_one_is_refused() {
    let (truth, home) = (Truth::start(shape()), Home::new());
    let none = bench(&home, &truth, "text", &["--api", "chat"]).expect(2);
    assert!(
        none.stderr
            .contains("cannot make prompts of text without a tokenizer"),
        "{}",
        none.stderr
    );
    assert!(none.stderr.contains("pass --tokenizer PATH"), "{}", none.stderr);
    let ids = bench(&home, &truth, "text", &["--api", "chat", "--prompts", "ids"]).expect(2);
    assert!(
        ids.stderr.contains("cannot send --prompts ids with --api chat"),
        "{}",
        ids.stderr
    );
    let tokenizer = write_tokenizer(&home);
    // This one has several tokens for each word of the server.
    let path = home.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let split = r#"{"type":"WhitespaceSplit"}"#;
    assert!(text.contains(split));
    let digits = format!(
        r#"{{"type":"Sequence","pretokenizers":[{split},{{"type":"Digits","individual_digits":true}}]}}"#
    );
    std::fs::write(&path, text.replace(split, &digits)).unwrap();
    let other = bench(
        &home,
        &truth,
        "text",
        &["--api", "chat", "--tokenizer", &tokenizer],
    )
    .expect(2);
    assert!(
        other.stderr.contains("the tokenizer is not that of the server"),
        "{}",
        other.stderr
    );
    assert!(truth.served().requests.len() <= 2);
}

/// Writes a file and returns its path.
fn write(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Lines with prompts of 10 to 19 words, which ask for 5 tokens.
fn lines(count: usize) -> String {
    let line = |number: usize| {
        let words = (0..10 + number % 10).map(|word| format!("w{number}-{word}"));
        let prompt = words.collect::<Vec<_>>().join(" ");
        json!({"prompt": prompt, "output_tokens": 5}).to_string() + "\n"
    };
    (0..count).map(line).collect()
}

#[test]
fn prompts_of_a_file_are_sent_once_and_broken_lines_are_named() {
    let (truth, home) = (Truth::start(shape()), Home::new());
    let mut text = lines(100);
    text.push_str("{\"prompt\": \"cut off\n{\"question\": \"x\"}\n");
    let data = write(&home, "data.jsonl", &text);
    let args = ["--data", &data, "--num-prompts", "40", "--max-concurrency", "4"];
    let result = result_of(&bench(&home, &truth, "json", &args).expect(0));
    let file = &result["load"]["file"];
    assert_eq!(file["path"], data);
    assert_eq!(
        (&file["records"], &file["used"], &file["broken"]),
        (&json!(102), &json!(100), &json!(2))
    );
    let (trust, text) = verdict(&result, "data");
    assert_eq!(trust, "doubtful");
    assert!(
        text.starts_with("2 of 102 records that were read are broken, and were not sent; "),
        "{text}"
    );
    assert!(text.contains("line 101: it is not JSON"), "{text}");
    assert!(
        text.contains("line 102: it has none of the keys input_ids, messages, conversations, prompt, text"),
        "{text}"
    );
    assert_eq!(verdict(&result, "prompts").0, "trusted");
    assert_eq!(
        (&result["load"]["data"], &result["load"]["prompts"]),
        (&json!("jsonl"), &json!("data"))
    );
    let served = truth.served();
    assert!(served.requests.iter().all(|record| record.asked == Some(5)));
    assert!(
        served
            .requests
            .iter()
            .all(|record| (10..20).contains(&record.prompt_tokens))
    );
    // Each prompt once: none was known to the server before.
    assert_eq!(result["figures"]["cached_tokens"], 0);
}

#[test]
fn data_that_end_say_so_and_repeat_with_consent() {
    let (truth, home) = (Truth::start(shape()), Home::new());
    let data = write(&home, "data.jsonl", &lines(20));
    let args = ["--data", &data, "--num-prompts", "40", "--max-concurrency", "4"];
    let result = result_of(&bench(&home, &truth, "json", &args));
    let (trust, text) = verdict(&result, "data");
    assert_eq!(trust, "doubtful");
    assert!(text.starts_with("the data ended after 20 requests"), "{text}");
    assert_eq!(result["requests"]["sent"], 20);
    let again = [&args[..], &["--repeat-data"]].concat();
    let result = result_of(&bench(&home, &truth, "json", &again));
    let (trust, text) = verdict(&result, "data");
    assert_eq!(trust, "trusted");
    assert!(
        text.contains(
            "none broken; not compared with the server's context: texts are not counted: cannot make prompts of text without a tokenizer: the server is known by its URL only"
        ),
        "{text}"
    );
    assert_eq!(result["requests"]["measured"], 40);
    // Data that end before the warm-up does measure nothing, and say why.
    let few = write(&home, "few.jsonl", &lines(2));
    let run = bench(&home, &truth, "text", &["--data", &few, "--max-concurrency", "4"]).expect(9);
    assert!(
        run.stderr
            .contains("the data ended after 2 requests, before the warm-up did"),
        "{}",
        run.stderr
    );
}

#[test]
fn conversations_of_sharegpt_are_counted_by_the_tokenizer() {
    let mut shape = shape();
    shape.template_tokens = 3;
    let (truth, home) = (Truth::start(shape), Home::new());
    let tokenizer = write_tokenizer(&home);
    let talks: Vec<Value> = (0..60)
        .map(|number| {
            json!({"id": "x", "conversations": [
                {"from": "human", "value": format!("w1 w2 w3 w{number}")},
                {"from": "gpt", "value": "w1 w2 w3 w4 w5 w6 w7"},
            ]})
        })
        .collect();
    let data = write(
        &home,
        "talks.json",
        &serde_json::to_string_pretty(&talks).unwrap(),
    );
    let args = [
        "--data",
        &data,
        "--api",
        "chat",
        "--tokenizer",
        &tokenizer,
        "--num-prompts",
        "30",
        "--max-concurrency",
        "4",
    ];
    let result = result_of(&bench(&home, &truth, "json", &args));
    assert_eq!(result["load"]["data"], "array");
    assert_eq!(result["figures"]["mean_input_len"], 7.0);
    assert_eq!(result["figures"]["mean_output_len"], 7.0);
    assert_eq!(
        verdict(&result, "prompts"),
        (
            "trusted".to_owned(),
            "7 tokens by the server's count, as asked for".to_owned()
        )
    );
}

#[test]
fn a_file_without_prompts_is_refused_with_its_line_and_its_keys() {
    let (truth, home) = (Truth::start(shape()), Home::new());
    let wrong = write(&home, "wrong.jsonl", "{\"question\": 1}\n{\"question\": 2}\n");
    let run = bench(&home, &truth, "text", &["--data", &wrong]).expect(2);
    for text in [
        "cannot use the data of `",
        "its first 2 records are all broken",
        "line 1: it has none of the keys input_ids, messages, conversations, prompt, text",
    ] {
        assert!(run.stderr.contains(text), "{text}\n{}", run.stderr);
    }
    let run = bench(&home, &truth, "text", &["--trace", &wrong]).expect(2);
    assert!(run.stderr.contains("as a trace"), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("line 1: `timestamp`, `input_length`, `output_length` must be numbers"),
        "{}",
        run.stderr
    );
    let absent = home.path().join("absent.jsonl");
    let run = bench(&home, &truth, "text", &["--data", absent.to_str().unwrap()]).expect(2);
    assert!(run.stderr.contains("absent.jsonl"), "{}", run.stderr);
    for (option, value) in [("--input-len", "7"), ("--range-ratio", "0.5"), ("--trace", "x")] {
        bench(&home, &truth, "text", &["--data", &wrong, option, value]).expect(2);
    }
    assert!(truth.served().requests.is_empty());
}

#[test]
fn a_trace_is_replayed_at_its_times() {
    let (truth, home) = (Truth::start(shape()), Home::new());
    let mut text = String::new();
    for number in 0..60_u32 {
        let hashes = json!([0, number + 1]);
        let line = json!({
            "timestamp": number * 100, "input_length": 520 + number, "output_length": 3 + number % 4, "hash_ids": hashes,
        });
        text += &(line.to_string() + "\n");
    }
    text.push_str("{\"timestamp\": 5, \"input_length\": 1, \"output_length\": 1}\n");
    let trace = write(&home, "trace.jsonl", &text);
    let records = home.path().join("records.jsonl");
    let args = [
        "--trace",
        &trace,
        "--speed",
        "2",
        "--vocabulary",
        "1000",
        "--records",
        records.to_str().unwrap(),
    ];
    let result = result_of(&bench(&home, &truth, "json", &args));
    assert_eq!(
        (&result["load"]["kind"], &result["load"]["data"]),
        (&json!("trace"), &json!("mooncake"))
    );
    assert_eq!(result["load"]["speed"], 2.0);
    assert_eq!(result["requests"]["sent"], 60);
    let (_, text) = verdict(&result, "data");
    assert!(
        text.contains("line 61: its time is before that of the line before"),
        "{text}"
    );
    let records = std::fs::read_to_string(records).unwrap();
    for (number, line) in (0_u32..).zip(records.lines()) {
        let record: Value = serde_json::from_str(line).unwrap();
        let due = record["due_s"].as_f64().unwrap();
        assert!((due - f64::from(number) * 0.05).abs() < 1e-6, "{number}: {due}");
        assert_eq!(record["prompt_tokens"], 520 + number);
        assert_eq!(record["output_tokens"], 3 + number % 4);
    }
    assert!(result["client"]["dispatch_p99_ms"].is_number());
    assert_eq!(verdict(&result, "prompts").0, "trusted");
}

#[test]
fn the_tables_of_azure_and_burstgpt_are_traces() {
    let azure = (0..40).map(|number| format!("2023-11-16 18:15:{number:02}.5,{},4", 30 + number));
    let burst = (0..40).map(|number| format!("{number},ChatGPT,{},4,9,API log", 30 + number));
    let table = |header: &str, rows: Vec<String>| format!("{header}\n{}\n", rows.join("\n"));
    let azure = table("TIMESTAMP,ContextTokens,GeneratedTokens", azure.collect());
    let burst = table(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        burst.collect(),
    );
    for (name, text) in [("azure", azure), ("burstgpt", burst)] {
        let (truth, home) = (Truth::start(shape()), Home::new());
        let trace = write(&home, "trace.csv", &text);
        let args = [
            "--trace",
            &trace,
            "--speed",
            "20",
            "--vocabulary",
            "1000",
            "--num-prompts",
            "20",
        ];
        let result = result_of(&bench(&home, &truth, "json", &args));
        assert_eq!(result["load"]["data"], name);
        assert_eq!(result["requests"]["measured"], 20, "{name}");
        assert_eq!(verdict(&result, "data").0, "trusted", "{name}");
        assert_eq!(truth.served().requests[3].prompt_tokens, 33);
    }
}

#[test]
fn a_load_rises_over_its_ramp_and_all_of_it_is_warm_up() {
    for load in [
        &["--max-concurrency", "8"][..],
        &["--request-rate", "40", "--arrivals", "constant"],
    ] {
        let (truth, home) = (Truth::start(shape()), Home::new());
        let records = home.path().join("records.jsonl");
        let records = records.to_str().unwrap();
        let all = [
            &[
                "--isl",
                "50",
                "--osl",
                "10",
                "--num-prompts",
                "60",
                "--ramp",
                "2",
                "--vocabulary",
                "1000",
            ],
            &["--records", records][..],
            load,
        ]
        .concat();
        let result = result_of(&bench(&home, &truth, "json", &all));
        assert_eq!(result["load"]["ramp_s"], 2.0);
        assert!(number(&result, "/warm_up_s") >= 2.0);
        let text = std::fs::read_to_string(records).unwrap();
        let records: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let due = |record: &Value| record["due_s"].as_f64().unwrap();
        assert!(
            records
                .iter()
                .filter(|record| record["phase"] == "measured")
                .all(|record| due(record) >= 2.0)
        );
        // The load of the first half of the ramp is less than half of that of the second half, in both kinds of loops.
        let sent = |from: f64, to: f64| {
            records
                .iter()
                .filter(|record| (from..to).contains(&due(record)))
                .count()
        };
        assert!(
            2 * sent(0.0, 1.0) < sent(1.0, 2.0) + 3,
            "{load:?}: {} {}",
            sent(0.0, 1.0),
            sent(1.0, 2.0)
        );
        assert!(sent(0.0, 1.0) > 0);
    }
}

/// Five gigabytes, of which most are one line without an end. `cargo test --test fast prompts::a_file -- --ignored` runs it.
#[test]
#[ignore = "it reads 5 GB"]
fn a_file_that_is_larger_than_memory_needs_no_more_of_it() {
    const MOST_KIB: u64 = 400 << 10;
    let (truth, home) = (Truth::start(shape()), Home::new());
    let path = home.path().join("large.jsonl");
    std::fs::write(&path, lines(1000)).unwrap();
    std::fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_len(5_000_000_000)
        .unwrap();
    let url = truth.url();
    let data = path.to_str().unwrap();
    let mut started = home.start(&[
        "bench",
        "--url",
        &url,
        "--data",
        data,
        "--format",
        "json",
        "--progress",
        "quiet",
        "--max-concurrency",
        "4",
        "--num-prompts",
        "40",
        "--duration",
        "0",
    ]);
    let status = format!("/proc/{}/status", started.pid());
    let mut most = 0;
    while let Some(peak) = std::fs::read_to_string(&status).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    }) {
        most = most.max(peak);
        std::thread::sleep(Duration::from_millis(20));
    }
    let result = result_of(&started.wait());
    assert!((1..MOST_KIB).contains(&most), "{most} KiB");
    assert_eq!(result["load"]["file"]["bytes"], 5_000_000_000_u64);
    let (_, text) = verdict(&result, "data");
    assert!(text.contains("line 1001: it is longer than 16 MiB"), "{text}");
}

#[test]
fn a_trace_is_sent_as_a_chat_with_a_tokenizer() {
    let mut shape = shape();
    shape.template_tokens = 5;
    let (truth, home) = (Truth::start(shape), Home::new());
    let tokenizer = write_tokenizer(&home);
    let lines = (0..40).map(|number| {
        let row = json!({"timestamp": number * 50, "input_length": 520 + number, "output_length": 4, "hash_ids": [1, number + 2]});
        row.to_string() + "\n"
    });
    let trace = write(&home, "trace.jsonl", &lines.collect::<String>());
    let args = ["--trace", &trace, "--api", "chat", "--tokenizer", &tokenizer];
    let result = result_of(&bench(&home, &truth, "json", &args));
    assert_eq!(verdict(&result, "prompts").0, "trusted");
    assert_eq!(
        (&result["load"]["prompts"], &result["load"]["kind"]),
        (&json!("text"), &json!("trace"))
    );
    let served = truth.served();
    let counts: Vec<u64> = served.requests[2..]
        .iter()
        .map(|record| record.prompt_tokens)
        .collect();
    assert_eq!(counts, (520..560).collect::<Vec<u64>>());
}
