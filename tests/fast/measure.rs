//! `dsr1 bench --url` against a server whose times and faults are known: what arrives is counted and named, and a figure that
//! should not be believed is not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::Home;
use crate::support::truth::{Fault, Shape, Truth, When};

/// A server that is fast enough for a run of some seconds.
fn shape() -> Shape {
    Shape::new(Duration::from_millis(40), Duration::from_millis(4))
}

/// A run: the result, and what the server served.
struct Ran {
    result: Value,
    code: i32,
    stderr: String,
    truth: Truth,
}

impl Ran {
    fn figure(&self, path: &str) -> f64 {
        let value = self.result.pointer(path).unwrap_or(&Value::Null);
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{path}: {value}\n{:#}", self.result))
    }

    /// The complaints about anything but this machine, which other tests keep busy, and the length of so short a run.
    fn complaints_about_the_server(&self) -> BTreeMap<String, String> {
        let mut complaints = self.complaints();
        for about in [
            "client", "ceiling", "host", "load", "duration", "steady", "tokens/s",
        ] {
            complaints.remove(about);
        }
        complaints
    }

    /// The subjects whose verdict is worse than "unknown", with their verdict.
    fn complaints(&self) -> BTreeMap<String, String> {
        let verdicts = self.result["verdicts"].as_array().unwrap();
        verdicts
            .iter()
            .filter(|verdict| ["doubtful", "untrusted"].contains(&verdict["trust"].as_str().unwrap()))
            .map(|verdict| {
                let word = |key: &str| verdict[key].as_str().unwrap().to_owned();
                (word("about"), word("text"))
            })
            .collect()
    }

    fn failures(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.result["requests"]["failed"].clone()).unwrap()
    }
}

/// The words of a measurement of a URL.
fn bench<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", "--url", url, "--vocabulary", "1000"], more].concat()
}

/// Runs a load of 4 streams, 60 requests of 10 tokens, on a server of that shape.
fn measure(shape: Shape, args: &[&str]) -> Ran {
    let truth = Truth::start(shape);
    let home = Home::new();
    let url = truth.url();
    let mut all = bench(
        &url,
        &[
            "--format",
            "json",
            "--progress",
            "quiet",
            "--isl",
            "50",
            "--osl",
            "10",
            "--duration",
            "0",
        ],
    );
    if !args.contains(&"--num-prompts") {
        all.extend(["--num-prompts", "60"]);
    }
    if !args.contains(&"--max-concurrency") && !args.contains(&"--request-rate") {
        all.extend(["--max-concurrency", "4"]);
    }
    all.extend(args);
    let run = home.run(&all);
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    Ran {
        result: report["steps"][0]["outcome"].clone(),
        code: run.code,
        stderr: run.stderr,
        truth,
    }
}

/// The kernel's stamps make the figures those of the server, also on a busy machine: the difference is the time between the
/// server's clock and its write, and half a loopback.
#[test]
fn the_figures_are_those_of_the_server() {
    for api in ["generate", "completions"] {
        let ran = measure(shape(), &["--api", api]);
        let served = ran.truth.served().summary();
        let written = |path: &str| served.pointer(path).and_then(Value::as_f64).unwrap();
        // The truth is of all requests, ours of the measured ones.
        let ttft = ran.figure("/figures/ttft/mean_ms");
        let true_ttft = written("/written/ttft/mean_ms");
        assert!((ttft - true_ttft).abs() < 5.0, "{api}: {ttft} {true_ttft}");
        let tpot = ran.figure("/figures/tpot/p50_ms");
        assert!((tpot - 4.0).abs() < 0.5, "{api}: {tpot}");
        assert_eq!(ran.result["figures"]["counts_each_chunk"], true);
        assert_eq!(ran.result["figures"]["output_tokens"], 600);
        assert_eq!(ran.result["figures"]["input_tokens"], 3000);
        assert_eq!(ran.result["figures"]["ttft"]["p99_ms"], Value::Null);
        assert!(ran.result["figures"]["ttft"]["p75_ms"].is_number());
        assert_eq!(ran.complaints_about_the_server(), BTreeMap::new());
        assert!(ran.complaints()["duration"].ends_with("have not averaged out"));
    }
}

#[test]
fn each_fault_of_a_server_is_counted_named_and_in_no_mean() {
    let inside = |named| Fault::ErrorEvent { after: 3, named };
    let answered = |code, retry_after| Fault::Status { code, retry_after };
    let faults = [
        (Fault::Reset { after: 3 }, "the connection was reset"),
        (Fault::Cut { after: 3 }, "the answer was cut off"),
        (Fault::Quit { after: 3 }, "the answer was cut off"),
        (Fault::Garbage { after: 3 }, "the answer cannot be read"),
        (Fault::BadByte { after: 3 }, "the answer is not UTF-8"),
        (inside(true), "an error inside the stream"),
        (inside(false), "an error inside the stream"),
        (Fault::Abort { after: 3 }, "finish_reason abort"),
        (answered(429, Some(1)), "HTTP 429 (too many requests)"),
        (answered(503, None), "HTTP 503"),
        (Fault::NoUsage, "no count of tokens at the end"),
        (Fault::NoTokens, "no token was generated"),
        (
            Fault::Stall { after: 3, time: None },
            "nothing arrived within --timeout",
        ),
    ];
    let (mut expected, mut broken, mut number) = (BTreeMap::new(), shape(), 10);
    for (fault, kind) in faults {
        *expected.entry(kind.to_owned()).or_insert(0) += 1;
        broken = broken.with(fault, When::Request(number));
        number += 3;
    }
    let ran = measure(broken, &["--timeout", "1"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert_eq!(ran.failures(), expected);
    assert_eq!(ran.result["requests"]["completed"], 47);
    // A mean with a broken answer in it would have another length.
    assert!((ran.figure("/figures/mean_output_len") - 10.0).abs() < f64::EPSILON);
    let complaints = ran.complaints();
    assert!(complaints["requests"].contains("13 of 60"), "{complaints:?}");
}

#[test]
fn odd_streams_that_are_right_are_no_fault() {
    let oddities = [
        Fault::Pieces { pieces: 7 },
        Fault::Misaligned,
        Fault::SplitCharacter,
        Fault::Together { events: 3 },
        Fault::LongLine {
            after: 2,
            bytes: 200_000,
        },
        Fault::Close,
    ];
    for oddity in oddities {
        let name = format!("{oddity:?}");
        let ran = measure(shape().with(oddity, When::Always), &[]);
        assert_eq!(ran.complaints_about_the_server(), BTreeMap::new(), "{name}");
        assert_eq!(ran.result["requests"]["completed"], 60, "{name}");
        assert_eq!(ran.result["figures"]["output_tokens"], 600, "{name}");
    }
}

#[test]
fn a_server_that_does_not_count_chunks_has_no_itl() {
    let mut shape = shape();
    shape.interval = 5;
    let ran = measure(shape.clone(), &["--api", "generate"]);
    assert_eq!(ran.result["figures"]["counts_each_chunk"], true);
    let itl = ran.figure("/figures/itl/mean_ms");
    assert!((itl - 4.0).abs() < 0.5, "{itl}");
    let gap = ran.figure("/figures/chunk_gap/mean_ms");
    assert!(gap > 15.0, "{gap}");
}

#[test]
fn planted_faults_of_measurement_are_seen_from_end_to_end() {
    let mut cached = shape();
    cached.prefix_cache = Some(0.5);
    let mut other = shape();
    other.changes_at = Some(Duration::from_millis(500));
    let mut slow_to_drain = shape();
    slow_to_drain.max_running = Some(2);
    let cases: [(&str, Shape, &[&str], &str); 6] = [
        (
            "short answers",
            shape().with(Fault::Short { share: 0.5 }, When::Share(0.3)),
            &[],
            "answers",
        ),
        (
            "warm prefix",
            shape().with(Fault::Cached { share: 0.7 }, When::Always),
            &["--api", "generate"],
            "prefix cache",
        ),
        ("changed server", other, &[], "same server"),
        ("one wave", shape(), &["--max-concurrency", "50"], "waves"),
        ("no warm-up", shape(), &["--no-warm-up"], "warm-up"),
        (
            "over-saturation",
            slow_to_drain,
            &["--request-rate", "60", "--num-prompts", "200"],
            "saturation",
        ),
    ];
    for (name, shape, args, expected) in cases {
        let ran = measure(shape, args);
        let complaints = ran.complaints();
        assert!(
            complaints.contains_key(expected),
            "{name}: {complaints:?} {}",
            ran.stderr
        );
    }
}

/// The server's own count of requests tells of a second client.
#[test]
fn another_user_of_the_server_is_seen() {
    let truth = Truth::start(shape());
    let (url, home) = (truth.url(), Home::new());
    let load = ["--isl", "50", "--osl", "10", "--max-concurrency", "4"];
    let long = ["--num-prompts", "1000000", "--duration", "600"];
    let short = ["--num-prompts", "60", "--duration", "0", "--format", "json"];
    let other = home.start(&[&bench(&url, &load)[..], &long].concat());
    while truth.served().requests.len() < 20 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let run = home.run(&[&bench(&url, &load)[..], &short].concat()).expect(9);
    other.signal("TERM");
    let _ = other.end();
    let result = &run.json()["steps"][0]["outcome"];
    let verdicts = result["verdicts"].as_array().unwrap();
    let only = verdicts
        .iter()
        .find(|verdict| verdict["about"] == "other users")
        .unwrap();
    assert_eq!(only["trust"], "untrusted", "{only}");
    assert!(
        only["text"].as_str().unwrap().contains("are of this client"),
        "{only}"
    );
}

#[test]
fn the_server_s_own_ttft_stands_beside_the_client_s() {
    let ran = measure(shape(), &[]);
    let verdicts = ran.result["verdicts"].as_array().unwrap();
    let text = |about: &str| {
        let found = verdicts.iter().find(|verdict| verdict["about"] == about);
        found.unwrap_or_else(|| panic!("{about}"))["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let own = text("server's TTFT");
    let own_ms: f64 = own.split(' ').next().unwrap().parse().unwrap();
    // A busy machine makes the server late, and it says so itself.
    assert!((39.0..60.0).contains(&own_ms), "{own}");
    assert_eq!(text("other users"), "none, by the server's own count of requests");
}

#[test]
fn a_drift_over_the_run_has_no_steady_state() {
    let over = Duration::from_secs(3);
    let drift = shape().with(Fault::Drift { factor: 2.0, over }, When::Always);
    let ran = measure(drift, &["--num-prompts", "120"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.complaints().contains_key("steady"), "{:?}", ran.complaints());
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
}

#[test]
fn an_open_loop_delivers_its_rate() {
    let ran = measure(
        shape(),
        &[
            "--request-rate",
            "40",
            "--arrivals",
            "constant",
            "--num-prompts",
            "120",
        ],
    );
    assert_eq!(ran.complaints_about_the_server(), BTreeMap::new());
    let rate = ran.figure("/figures/request_throughput");
    assert!((35.0..45.0).contains(&rate), "{rate}");
    assert!(ran.result["client"]["dispatch_p99_ms"].is_number());
    assert_eq!(ran.result["load"]["kind"], "constant");
}

#[test]
fn a_run_without_a_seed_has_new_prompts_and_one_with_it_repeats_them() {
    let seed = |ran: &Ran| ran.result["load"]["seed"].as_u64().unwrap();
    let (one, other) = (measure(shape(), &[]), measure(shape(), &[]));
    assert_ne!(seed(&one), seed(&other));
    assert_eq!(seed(&measure(shape(), &["--seed", "7"])), 7);
    // A server with a cache of whole prompts sees the repetition.
    let mut shape = shape();
    shape.prefix_cache = Some(1.0);
    let truth = Truth::start(shape);
    let url = truth.url();
    let home = Home::new();
    let args = bench(
        &url,
        &[
            "--isl",
            "50",
            "--osl",
            "10",
            "--num-prompts",
            "20",
            "--duration",
            "0",
            "--max-concurrency",
            "2",
            "--api",
            "generate",
            "--seed",
            "7",
        ],
    );
    home.run(&args).expect(0);
    let second = home.run(&args).expect(9);
    assert!(second.stdout.contains("BAD    prefix cache"), "{}", second.stdout);
}

#[test]
fn a_server_that_is_not_there_or_is_another_one_is_named() {
    let home = Home::new();
    let run = |url: &str| home.run(&bench(url, &["--isl", "5", "--osl", "5"]));
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let absent = run(&format!("http://127.0.0.1:{port}")).expect(7);
    assert!(
        absent.stderr.contains(&format!("127.0.0.1:{port}")),
        "{}",
        absent.stderr
    );
    let wrong = run("https://127.0.0.1:1").expect(7);
    assert!(!wrong.stderr.is_empty());
}

/// The other side of each figure that `--as` prints is in the terms of that tool.
#[test]
fn the_same_run_is_printed_in_the_terms_of_other_tools() {
    let truth = Truth::start(shape());
    let home = Home::new();
    let url = truth.url();
    for tool in ["sglang", "vllm", "aiperf", "guidellm", "inference-perf", "mlperf"] {
        let run = home
            .run(&bench(
                &url,
                &[
                    "--isl",
                    "5",
                    "--osl",
                    "10",
                    "--num-prompts",
                    "20",
                    "--duration",
                    "0",
                    "--max-concurrency",
                    "4",
                    "--as",
                    tool,
                ],
            ))
            .expect(0);
        assert!(
            run.stdout.contains(&format!(" In terms of {tool} ")),
            "{}",
            run.stdout
        );
    }
    let unknown = home.run(&["bench", "--as", "wrk"]).expect(2);
    assert!(unknown.stderr.contains("inference-perf"), "{}", unknown.stderr);
}
