//! `dsr1 eval` against a server whose answers are given: prompts, results, intervals, attempts, files, exit codes, and an evaluation
//! that is killed and resumed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Home, Run};

/// The answer of the server to one request.
#[derive(Clone)]
enum Reply {
    /// Reasoning, answer, reason of the end, generated tokens.
    Said(&'static str, String, &'static str, u64),
    /// A status.
    Status(u16),
    /// The beginning of an answer, and then nothing.
    Silence,
}

fn said(text: impl Into<String>) -> Reply {
    Reply::Said("", text.into(), "stop", 10)
}

/// A request for an answer.
#[derive(Clone)]
struct Asked {
    head: String,
    body: Value,
}

impl Asked {
    /// The prompt, of either API.
    fn prompt(&self) -> &str {
        let chat = &self.body["messages"][0]["content"];
        chat.as_str().or(self.body["prompt"].as_str()).unwrap()
    }
}

/// A server. The replies are decided by the prompt and the number of the request.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// The server's description of itself.
    told: Arc<Mutex<Value>>,
}

impl Server {
    fn new(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let told: Arc<Mutex<Value>> = Arc::default();
        let (heard, reply, tells) = (asked.clone(), Arc::new(reply), told.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, heard, reply) = (stream.unwrap(), heard.clone(), reply.clone());
                let told = tells.lock().unwrap().to_string();
                std::thread::spawn(move || serve_one(stream, &heard, &told, &*reply));
            }
        });
        Self { url, asked, told }
    }

    /// The prompts so far, and forgets them.
    fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve_one(
    mut stream: TcpStream,
    heard: &Mutex<Vec<Asked>>,
    told: &str,
    reply: &(dyn Fn(&str, usize) -> Reply + Send + Sync),
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut start, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        start += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if start.starts_with("GET ") {
        let models = json!({ "data": [{ "id": "deepseek-ai/DeepSeek-R1" }] }).to_string();
        let (status, body) = if start.starts_with("GET /v1/models ") {
            (200, models.as_str())
        } else if start.starts_with("GET /server_info ") {
            (200, told)
        } else {
            (404, "{}")
        };
        return send(&mut stream, status, "application/json", body);
    }
    let asked = Asked {
        head: start,
        body: serde_json::from_slice(&body).unwrap(),
    };
    let prompt = asked.prompt().to_owned();
    let is_chat = asked.body["messages"].is_array();
    let number = {
        let mut heard = heard.lock().unwrap();
        heard.push(asked);
        heard.len() - 1
    };
    match reply(&prompt, number) {
        Reply::Status(status) => send(&mut stream, status, "application/json", "{\"message\": \"no\"}"),
        Reply::Silence => {
            let begun =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: ";
            stream.write_all(begun.as_bytes()).ok()?;
            // Until the client closes it.
            stream.read(&mut [0; 1]).ok().map(drop)
        }
        Reply::Said(reasoning, text, finish, tokens) => {
            let events = events_of(is_chat, reasoning, &text, finish, tokens);
            send(&mut stream, 200, "text/event-stream", &events)
        }
    }
}

fn events_of(is_chat: bool, reasoning: &str, text: &str, finish: &str, tokens: u64) -> String {
    let mut events = Vec::new();
    if is_chat {
        if !reasoning.is_empty() {
            events.push(json!({ "choices": [{ "delta": { "reasoning_content": reasoning } }] }));
        }
        events.push(json!({ "choices": [{ "delta": { "content": text } }] }));
        events.push(json!({ "choices": [{ "delta": {}, "finish_reason": finish }] }));
    } else {
        events.push(json!({ "choices": [{ "text": text }] }));
        events.push(json!({ "choices": [{ "text": "", "finish_reason": finish }] }));
    }
    let mut usage = json!({ "prompt_tokens": 7, "completion_tokens": tokens });
    if !reasoning.is_empty() {
        usage["reasoning_tokens"] = json!(tokens - 2);
    }
    events.push(json!({ "choices": [], "usage": usage }));
    let mut text = String::new();
    for event in events {
        write!(text, "data: {event}\n\n").unwrap();
    }
    text + "data: [DONE]\n\n"
}

fn send(stream: &mut TcpStream, status: u16, kind: &str, body: &str) -> Option<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()
}

/// A home with `test.jsonl`: GSM8K's format, question n has the result n.
fn home(questions: u32) -> Home {
    let home = Home::new();
    let mut lines = String::new();
    for n in 1..=questions {
        let record = json!({ "question": format!("What is {n}?"), "answer": format!("It is.\n#### {n}") });
        writeln!(lines, "{record}").unwrap();
    }
    std::fs::write(home.path().join("test.jsonl"), lines).unwrap();
    home
}

/// The number that the last question of a prompt asks for.
fn number_asked(prompt: &str) -> u32 {
    let (_, last) = prompt.rsplit_once("What is ").unwrap();
    last.split('?').next().unwrap().parse().unwrap()
}

fn eval<'a>(server: &'a Server, task: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let data = match task {
        "gpqa" => "test.csv",
        _ => "test.jsonl",
    };
    [&["eval", task, "--url", &server.url, "--data", data], more].concat()
}

/// Runs an evaluation with its result as JSON.
fn evaluate(home: &Home, server: &Server, task: &str, more: &[&str]) -> (Value, Run) {
    let more = [&["--format", "json", "--progress", "quiet"], more].concat();
    let run = home.run(&eval(server, task, &more));
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    (report["steps"][0]["outcome"].clone(), run)
}

/// The lines of a file of answers behind its head, by question and sample.
fn answers(path: &Value) -> BTreeMap<(u64, u64), Value> {
    let text = std::fs::read_to_string(path.as_str().unwrap()).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let number = |key: &str| line[key].as_u64().unwrap();
            ((number("question"), number("sample")), line.clone())
        })
        .collect()
}

#[test]
fn gsm8k_has_the_prompts_of_sglangs_script_and_an_interval() {
    let server = Server::new(|prompt, _| match number_asked(prompt) {
        3 => said(" It is 5.\n#### 5\n\n"),
        4 => said(" I do not know."),
        number => said(format!(" It is.\n#### {number}.00\n\n")),
    });
    let home = home(6);
    let (result, run) = evaluate(&home, &server, "gsm8k", &["--num-shots", "2", "--parallel", "3"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = server.take_asked();
    assert_eq!(asked.len(), 6);
    let prompts: BTreeMap<u32, &str> = asked
        .iter()
        .map(|asked| (number_asked(asked.prompt()), asked.prompt()))
        .collect();
    let example = |n: u32| format!("Question: What is {n}?\nAnswer: It is.\n#### {n}\n\n");
    assert_eq!(
        prompts[&6],
        format!("{}{}Question: What is 6?\nAnswer:", example(1), example(2))
    );
    // No prompt holds its own result.
    assert_eq!(
        prompts[&1],
        format!("{}{}Question: What is 1?\nAnswer:", example(2), example(3))
    );
    let body = &asked[0].body;
    assert!(asked[0].head.starts_with("POST /v1/completions "));
    assert_eq!(body["temperature"], 0.0);
    assert_eq!(body["max_tokens"], 512);
    assert_eq!(body["stop"], json!(["Question", "Assistant:", "<|separator|>"]));
    assert_eq!(body["ignore_eos"], false);

    assert_eq!(result["result"], "accuracy_measured");
    assert_eq!(
        result["counts"],
        json!({
            "planned": 6, "right": 4, "wrong": 1, "without_result": 1, "ungraded": 0, "cut_by_length": 0, "failed": 0, "resumed": 0,
        })
    );
    let figure = |key: &str| result[key].as_f64().unwrap();
    assert!((figure("accuracy") - 4.0 / 6.0).abs() < 1e-9);
    // Wilson, 4 of 6.
    assert!((figure("accuracy_low") - 0.300).abs() < 0.001, "{result}");
    assert!((figure("accuracy_high") - 0.903).abs() < 0.001, "{result}");
    assert_eq!(result["settings"]["extraction_rules"], "last-number/1");
    assert_eq!(result["baseline"]["verdict"], "below");
    let kept = answers(&result["answers"]);
    assert_eq!(kept[&(4, 1)]["result"], Value::Null);
    assert_eq!(kept[&(3, 1)]["answer"], " It is 5.\n#### 5\n\n");
    let saved: Value =
        serde_json::from_slice(&std::fs::read(result["saved_to"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(saved["schema"], "dsr1.evaluation/1");
    assert_eq!(saved["counts"], result["counts"]);
}

#[test]
fn a_chat_has_one_message_and_its_reasoning_apart() {
    let server = Server::new(|prompt, number| {
        let text = format!("So \\boxed{{0{}}}", number_asked(prompt));
        match (number_asked(prompt), number) {
            // The reasoning of an answer without a result holds one.
            (2, _) => Reply::Said("maybe \\boxed{2}", "I stop.".to_owned(), "length", 40),
            (_, 0) => Reply::Said("hm", "\\boxed{999}".to_owned(), "stop", 20),
            _ => Reply::Said("hm", text, "stop", 20),
        }
    });
    let home = Home::new().with("OPENAI_API_KEY", "sk-test");
    let lines = [1, 2, 3]
        .map(|n| json!({ "ID": format!("2024-I-{n}"), "Problem": format!("What is {n}?"), "Answer": n }));
    std::fs::write(home.path().join("test.jsonl"), json!(lines).to_string()).unwrap();
    let args = ["--samples", "2", "--parallel", "1", "--show-wrong", "5"];
    let (result, run) = evaluate(&home, &server, "aime", &args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = server.take_asked();
    assert_eq!(asked.len(), 6);
    assert!(asked[0].head.starts_with("POST /v1/chat/completions "));
    assert!(asked[0].head.contains("Authorization: Bearer sk-test\r\n"));
    let messages = asked[0].body["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["role"]), (1, &json!("user")));
    assert!(
        asked[0]
            .prompt()
            .ends_with("put your final answer within \\boxed{}.")
    );
    assert_eq!(
        (&asked[0].body["temperature"], &asked[0].body["top_p"]),
        (&json!(0.6), &json!(0.95))
    );
    assert_eq!(asked[0].body.get("stop"), None);
    assert_eq!(
        result["counts"],
        json!({
            "planned": 6, "right": 3, "wrong": 1, "without_result": 2, "ungraded": 0, "cut_by_length": 2, "failed": 0, "resumed": 0,
        })
    );
    assert_eq!(
        result["tokens"]["mean_reasoning"],
        json!((18.0 * 4.0 + 38.0 * 2.0) / 6.0)
    );
    assert_eq!(result["tokens"]["mean_answer"], 2.0);
    assert_eq!(result["finish"], json!({ "length": 2, "stop": 4 }));
    assert_eq!(result["data"]["year"], 2024);
    assert_eq!(result["baseline"]["accuracy"], 0.798);
    let wrong = result["wrong"].as_array().unwrap();
    assert_eq!(wrong.len(), 3);
    assert_eq!(
        (&wrong[0]["result"], &wrong[0]["expected"]),
        (&json!("999"), &json!("1"))
    );
    let keys = |text: &str| -> std::collections::BTreeSet<String> {
        let value: Value = serde_json::from_str(text).unwrap();
        let keys = value.as_object().unwrap().keys().filter(|key| *key != "schema");
        keys.cloned().collect()
    };
    let documented = crate::json::documented();
    let saved = std::fs::read_to_string(result["saved_to"].as_str().unwrap()).unwrap();
    assert_eq!(keys(&saved), documented["dsr1.evaluation/1"]);
    let kept = std::fs::read_to_string(result["answers"].as_str().unwrap()).unwrap();
    let head = kept.lines().next().unwrap();
    assert_eq!(keys(head), documented["dsr1.evaluation-answers/1"]);
    // Another evaluation of the same file begins anew.
    evaluate(&home, &server, "aime", &args);
    assert_eq!(server.take_asked().len(), 6);
}

#[test]
fn choices_are_shown_in_an_order_of_the_seed() {
    let server = Server::new(|prompt, _| {
        let line = prompt.lines().find(|line| line.ends_with(") right")).unwrap();
        said(format!("The answer is **{}**.", &line[..1]))
    });
    let home = Home::new();
    let table = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n";
    let rows = "\"Q,\n?\",right,a,b,c\n".repeat(8);
    std::fs::write(home.path().join("test.csv"), format!("{table}{rows}")).unwrap();
    let prompts = |seed: &str| {
        let (result, run) = evaluate(&home, &server, "gpqa", &["--seed", seed, "--parallel", "1"]);
        assert_eq!(
            (run.code, &result["counts"]["right"]),
            (0, &json!(8)),
            "{}",
            run.stderr
        );
        let asked = server.take_asked();
        asked
            .iter()
            .map(|asked| asked.prompt().to_owned())
            .collect::<Vec<_>>()
    };
    let first = prompts("1");
    assert_eq!(first, prompts("1"));
    assert_ne!(first, prompts("2"));
}

#[test]
fn a_request_that_failed_is_sent_again() {
    let server = Server::new(|prompt, number| match number {
        0 | 3 => Reply::Status(503),
        _ => said(format!("#### {}", number_asked(prompt))),
    });
    let (result, run) = evaluate(&home(5), &server, "gsm8k", &["--num-shots", "0"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(server.take_asked().len(), 7);
    assert_eq!(result["is_complete"], true);
    assert_eq!(result["counts"]["right"], 5);
    assert_eq!(result["failures"], json!({ "HTTP 503": 2 }));
}

#[test]
fn an_answer_that_never_comes_makes_it_incomplete_and_the_next_start_asks_for_it() {
    let is_well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let well = is_well.clone();
    let server = Server::new(move |prompt, _| {
        let number = number_asked(prompt);
        if number == 2 && !well.load(std::sync::atomic::Ordering::SeqCst) {
            return Reply::Status(500);
        }
        said(format!("#### {number}"))
    });
    let home = home(4);
    let args = ["--num-shots", "0"];
    let (result, run) = evaluate(&home, &server, "gsm8k", &args);
    assert_eq!(run.code, 9, "{}", run.stderr);
    assert_eq!(result["is_complete"], false);
    assert_eq!(
        (&result["counts"]["failed"], &result["counts"]["right"]),
        (&json!(1), &json!(3))
    );
    let shown = home.run(&eval(&server, "gsm8k", &args)).expect(9);
    assert!(shown.stdout.contains("INCOMPLETE: "), "{}", shown.stdout);
    assert!(
        shown
            .stderr
            .contains("error: 1 of 4 requests failed in every attempt\n"),
        "{}",
        shown.stderr
    );
    server.take_asked();
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    let (result, run) = evaluate(&home, &server, "gsm8k", &args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = server.take_asked();
    assert_eq!(
        asked
            .iter()
            .map(|asked| number_asked(asked.prompt()))
            .collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(
        (&result["counts"]["resumed"], &result["accuracy"]),
        (&json!(3), &json!(1.0))
    );
}

#[test]
fn a_server_that_answers_nothing_is_named_and_nothing_is_claimed() {
    let server = Server::new(|_, _| Reply::Status(401));
    let run = home(3)
        .run(&eval(&server, "gsm8k", &["--num-shots", "0"]))
        .expect(9);
    assert!(
        run.stderr
            .contains("error: none of the 3 requests was answered\ncause: HTTP 401: "),
        "{}",
        run.stderr
    );
    assert!(run.stdout.is_empty(), "{}", run.stdout);
}

/// The process is killed, or interrupted, while answers are on their way: those that came are kept, and only the others are asked
/// for.
#[test]
fn an_evaluation_that_is_killed_or_interrupted_is_resumed() {
    for (signal, code) in [("KILL", 137), ("INT", 130)] {
        end_and_resume(signal, code);
    }
}

fn end_and_resume(signal: &str, code: i32) {
    let server = Server::new(|prompt, number| match number {
        4..6 => Reply::Silence,
        _ => said(format!("#### {}", number_asked(prompt))),
    });
    let home = home(8);
    let args = eval(&server, "gsm8k", &["--num-shots", "0", "--parallel", "2"]);
    let started = home.start(&args);
    let results = || {
        let mut found = Vec::new();
        let mut folders = vec![home.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name().to_string_lossy().ends_with(".partial.jsonl") {
                    found.push(entry.path());
                }
            }
        }
        found
    };
    let has_four = || {
        let texts = results()
            .into_iter()
            .map(|path| std::fs::read_to_string(path).unwrap());
        texts.into_iter().any(|text| text.matches('\n').count() == 5)
    };
    for _ in 0..600 {
        if has_four() && server.asked.lock().unwrap().len() == 6 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(has_four());
    started.signal(signal);
    let (ended, _) = started.end();
    assert_eq!(ended.code, code, "{}", ended.stderr);
    let partial = results().remove(0);
    // A line that was being written.
    let mut file = std::fs::OpenOptions::new().append(true).open(&partial).unwrap();
    file.write_all(b"{\"question\": 5, \"sam").unwrap();
    let first: Vec<u32> = server.asked.lock().unwrap()[..4]
        .iter()
        .map(|asked| number_asked(asked.prompt()))
        .collect();
    let before = server.asked.lock().unwrap().len();

    let run = home.run(&args).expect(0);
    assert!(
        run.stderr.contains("4 of 8 answers are in ") && run.stderr.contains("asking for the others"),
        "{}",
        run.stderr
    );
    let asked = server.take_asked();
    let mut second: Vec<u32> = asked[before..]
        .iter()
        .map(|asked| number_asked(asked.prompt()))
        .collect();
    second.sort_unstable();
    let mut all = [first, second.clone()].concat();
    all.sort_unstable();
    assert_eq!((second.len(), all), (4, (1..=8).collect()));
    assert!(
        run.stdout
            .contains("Accuracy:                                100.00 %"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("Of all, from an earlier start:           4"),
        "{}",
        run.stdout
    );
    assert!(results().is_empty());
}

#[test]
fn other_settings_and_fresh_ones_do_not_take_old_answers() {
    let server = Server::new(|prompt, _| match number_asked(prompt) {
        2 => Reply::Status(500),
        number => said(format!("#### {number}")),
    });
    let home = home(3);
    let asked_by = |more: &[&str]| {
        let args = [&["--num-shots", "0"], more].concat();
        evaluate(&home, &server, "gsm8k", &args);
        let mut numbers: Vec<u32> = server
            .take_asked()
            .iter()
            .map(|asked| number_asked(asked.prompt()))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    assert_eq!(asked_by(&[]), [1, 2, 3]);
    assert_eq!(asked_by(&["--max-new-tokens", "100"]), [1, 2, 3]);
    assert_eq!(asked_by(&["--fresh"]), [1, 2, 3]);
    assert_eq!(asked_by(&["--num-questions", "1"]), Vec::<u32>::new());
    // A server with other arguments gives other answers; one that was only started again does not.
    let tell = |value: Value| *server.told.lock().unwrap() = value;
    tell(json!({ "kv_cache_dtype": "fp8_e5m2", "random_seed": 1, "max_total_num_tokens": 100 }));
    assert_eq!(asked_by(&[]), [1, 2, 3]);
    tell(json!({ "kv_cache_dtype": "fp8_e5m2", "random_seed": 2, "max_total_num_tokens": 101 }));
    assert_eq!(asked_by(&[]), [2]);
    tell(json!({ "kv_cache_dtype": "auto", "random_seed": 2, "max_total_num_tokens": 101 }));
    assert_eq!(asked_by(&[]), [1, 2, 3]);
}

#[test]
fn gates_have_their_exit_codes() {
    let server = Server::new(|prompt, _| match number_asked(prompt) {
        1 => said("#### 9"),
        number => said(format!("#### {number}")),
    });
    let home = home(4);
    let gate = |more: &[&str]| {
        let args = [&["--num-shots", "0", "--show-wrong", "1"], more].concat();
        home.run(&eval(&server, "gsm8k", &args))
    };
    gate(&["--min-accuracy", "0.75"]).expect(0);
    let missed = gate(&["--min-accuracy", "0.76"]).expect(8);
    assert!(
        missed.stderr.contains("error: accuracy 0.750 is below 0.760\n"),
        "{}",
        missed.stderr
    );
    assert!(
        missed
            .stdout
            .contains("wrong: question 1, answer 1: What is 1?\n  expected 1, got 9\n"),
        "{}",
        missed.stdout
    );
    gate(&["--expect-tokens", "11"]).expect(0);
    let long = gate(&["--expect-tokens", "12"]).expect(8);
    assert!(
        long.stderr
            .contains("error: the mean answer has 10.0 tokens, outside 12 +- 10 %\n"),
        "{}",
        long.stderr
    );
    gate(&["--expect-tokens", "12", "--length-tolerance", "20"]).expect(0);
}

/// MLPerf's questions have no accuracy here, and the published length holds for all of them only.
#[test]
fn the_length_of_answers_is_the_gate_of_mlperf() {
    let server = Server::new(|_, _| Reply::Said("", "A".to_owned(), "stop", 3500));
    let home = Home::new();
    let record = json!({ "question": "What is 1?", "ground_truth": "A", "dataset": "gpqa" });
    let path = home.path().join("test.jsonl");
    std::fs::write(&path, format!("{record}\n").repeat(4)).unwrap();
    let model = ["--model", "deepseek-ai/DeepSeek-R1-0528"];
    let (result, run) = evaluate(&home, &server, "mlperf", &model);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        (&result["accuracy"], &result["length"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(result["counts"]["ungraded"], 4);
    let asked = server.take_asked();
    assert_eq!(asked[0].prompt(), "What is 1?");
    assert_eq!(asked[0].body["max_tokens"], 20_000);
    assert_eq!(asked[0].body["temperature"], 0.0);
    let few = home
        .run(&eval(&server, "mlperf", &["--expect-tokens", "4000"]))
        .expect(8);
    assert!(
        few.stderr
            .contains("error: the mean answer has 3500.0 tokens, outside 4000"),
        "{}",
        few.stderr
    );
    assert!(
        !few.stdout.contains("Accuracy") && !few.stdout.contains("Right"),
        "{}",
        few.stdout
    );
    std::fs::write(&path, format!("{record}\n").repeat(4388)).unwrap();
    let (result, run) = evaluate(&home, &server, "mlperf", &model);
    assert_eq!(
        (run.code, &result["length"]["verdict"]),
        (0, &json!("within")),
        "{}",
        run.stderr
    );
    assert_eq!(result["length"]["expected"], 3886.2274);
    home.run(&eval(&server, "mlperf", &["--min-accuracy", "0.8"]))
        .expect(2);
}

#[test]
fn a_wrong_file_is_named_and_nothing_is_sent() {
    let server = Server::new(|_, _| said("1"));
    let home = home(2);
    let path = home.path().join("test.jsonl");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}{{\"question\": \"q\"}}\n")).unwrap();
    let run = home.run(&eval(&server, "gsm8k", &[])).expect(2);
    assert!(
        run.stderr.contains(
            "error: `test.jsonl:3` is not a GSM8K question\ncause: it has no `answer`\nhint: each line"
        ),
        "{}",
        run.stderr
    );
    std::fs::write(
        &path,
        "{\"problem\": \"\\u001b[2J\", \"answer\": \"\\u001b[2J\"}\n",
    )
    .unwrap();
    let run = home.run(&eval(&server, "aime", &[])).expect(2);
    assert!(
        run.stderr.contains("its `answer` is not an integer of 0 to 999"),
        "{}",
        run.stderr
    );
    std::fs::write(&path, &good).unwrap();
    let few = home.run(&eval(&server, "gsm8k", &[])).expect(2);
    assert!(
        few.stderr
            .contains("error: `test.jsonl` has too few questions: 2\n")
            && few.stderr.contains("hint: pass --num-shots 1 or fewer"),
        "{}",
        few.stderr
    );
    let other = "0".repeat(64);
    home.run(&eval(&server, "gsm8k", &["--sha256", &other])).expect(6);
    std::fs::remove_file(&path).unwrap();
    home.run(&eval(&server, "gsm8k", &[])).expect(2);
    home.run(&[
        "eval",
        "gsm8k",
        "--data",
        "https://example.org/x",
        "--url",
        &server.url,
    ])
    .expect(2);
    for more in [
        ["--samples", "2"],
        ["--temperature", "3"],
        ["--api", "generate"],
        ["--length-tolerance", "5"],
    ] {
        home.run(&eval(&server, "gsm8k", &more)).expect(2);
    }
    assert!(server.take_asked().is_empty());
}

#[test]
fn a_plan_of_an_evaluation_is_a_script() {
    let server = Server::new(|_, _| said("1"));
    let home = home(1);
    let shown = home
        .run(&eval(
            &server,
            "gpqa",
            &["--dry-run", "--num-questions", "9", "--min-accuracy", "0.5"],
        ))
        .expect(0);
    let expected = format!(
        "dsr1 eval gpqa \\\n  --url {} \\\n  --data test.csv \\\n  --api chat",
        server.url
    );
    assert!(shown.stdout.contains(&expected), "{}", shown.stdout);
    assert!(shown.stdout.contains("--min-accuracy 0.5"), "{}", shown.stdout);
    let json = home
        .run(&eval(&server, "aime", &["--dry-run", "--format", "json"]))
        .expect(0)
        .json();
    assert_eq!(json["steps"][0]["step"], "evaluate_model");
    assert_eq!(json["steps"][0]["settings"]["task"], "aime");
    assert_eq!(json["steps"][0]["samples"], 8);
    assert!(server.take_asked().is_empty());
}
