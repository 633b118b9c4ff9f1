//! Runs the stack's own benchmark and GSM8K clients where the server runs, and reads their results.
//!
//! Not in this module: the command lines (`plan::eval`), tables (`ui`).

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::files;
use super::http::Http;
use super::runtime::Runtime;
use crate::error::{At, Error, Kind, Result};
use crate::event::{Source, StepEvents};
use crate::plan::{RunBenchmark, RunGsm8k};
use crate::report::{Benchmark, Gsm8k, Latency};
use crate::units::hex;

/// Largest GSM8K file read; the test set has 750 kB.
const MAX_DATA: u64 = 64 << 20;

/// Runs the benchmark client and keeps its typed result.
///
/// # Errors
/// [`Kind::Server`] when the client fails; [`Kind::Untrusted`] when requests failed and the figures flatter.
pub(super) async fn benchmark(
    step: &RunBenchmark,
    runtime: &Runtime<'_>,
    events: &StepEvents<'_>,
) -> Result<Benchmark> {
    std::fs::create_dir_all(&step.results_dir)
        .at(Kind::Host, || format!("cannot make `{}`", step.results_dir))?;
    // The client appends: an old line must not be taken for the new result.
    runtime.remove(&step.output).await;
    let mut argv = step.argv.clone();
    argv.extend(["--output-file".to_owned(), step.output.clone()]);
    let printed = run(
        runtime,
        &argv,
        &step.results_dir,
        &step.env,
        events,
        "the benchmark client",
    )
    .await?;
    let written = runtime.read(&step.output).await?;
    runtime.remove(&step.output).await;
    let mut result = parse_benchmark(&String::from_utf8_lossy(&written), u64::from(step.num_prompts))?;
    result.itl.max_ms = printed_figure(&printed, "Max ITL (ms):");
    if result.completed < result.requested {
        return Err(Error::new(
            Kind::Untrusted,
            format!("{} of {} requests completed", result.completed, result.requested),
        )
        .cause("the rest failed, so every figure is of an easier load than the one asked for")
        .hint(format!("dsr1 logs {}", runtime.name()))
        .log(last(printed, 20)));
    }
    let path = result_path(&step.results_dir, runtime.name(), "bench");
    result.saved_to = Some(path.to_string_lossy().into_owned());
    save(&path, "dsr1.bench/1", &result)?;
    Ok(result)
}

/// Runs the few-shot script and keeps its typed result.
///
/// # Errors
/// [`Kind::Integrity`] when the data is not what its hash says; [`Kind::Gate`] when the accuracy is too low.
pub(super) async fn gsm8k(
    step: &RunGsm8k,
    runtime: &Runtime<'_>,
    http: &Http,
    events: &StepEvents<'_>,
) -> Result<Gsm8k> {
    std::fs::create_dir_all(&step.results_dir)
        .at(Kind::Host, || format!("cannot make `{}`", step.results_dir))?;
    let (bytes, hash) = data(step, http).await?;
    let rows = check_questions(&step.data, &bytes)?;
    let questions = step.questions.min(rows);
    if questions < step.questions {
        events.note(format!("the data holds {rows} questions: {questions} are asked"));
    }
    let local = PathBuf::from(format!("{}/gsm8k-{}.jsonl", step.results_dir, &hash[..12]));
    files::write_atomic(&local, &bytes)?;
    let inside = runtime
        .place(&local, &format!("gsm8k-{}.jsonl", &hash[..12]))
        .await?;
    let mut argv = step.argv.clone();
    argv.push(inside);
    let printed = run(
        runtime,
        &argv,
        &step.results_dir,
        &step.env,
        events,
        "the gsm8k script",
    )
    .await?;
    let figure = |key: &str| {
        printed_figure(&printed, key).ok_or_else(|| {
            Error::new(Kind::Server, format!("the gsm8k script printed no `{key}`"))
                .log(last(printed.clone(), 20))
        })
    };
    let accuracy = figure("Accuracy:")?;
    let (accuracy_low, accuracy_high) = wilson(accuracy, questions);
    let path = result_path(&step.results_dir, runtime.name(), "gsm8k");
    let result = Gsm8k {
        accuracy,
        accuracy_low,
        accuracy_high,
        invalid: figure("Invalid:")?,
        latency_s: figure("Latency:")?,
        output_throughput: figure("Output throughput:")?,
        questions,
        data_sha256: hash,
        saved_to: Some(path.to_string_lossy().into_owned()),
    };
    save(&path, "dsr1.gsm8k/1", &result)?;
    match step.min_accuracy {
        Some(least) if result.accuracy < least.share() => Err(Error::new(
            Kind::Gate,
            format!("accuracy {:.3} is below {:.3}", result.accuracy, least.share()),
        )
        .cause(format!(
            "95 % interval {accuracy_low:.3} to {accuracy_high:.3} over {questions} questions"
        ))
        .hint(format!("the result is kept in {}", path.display()))),
        _ => Ok(result),
    }
}

/// Runs a client to its end and returns what it printed.
async fn run(
    runtime: &Runtime<'_>,
    argv: &[String],
    dir: &str,
    env: &std::collections::BTreeMap<String, String>,
    events: &StepEvents<'_>,
    what: &str,
) -> Result<Vec<String>> {
    let mut printed = Vec::new();
    let mut on_line = |line: &str| {
        events.line(Source::Client, line);
        if printed.len() < 10_000 {
            printed.push(line.to_owned());
        }
    };
    let code = runtime.exec(argv, dir, env, &mut on_line).await?;
    if code == 0 {
        return Ok(printed);
    }
    let cause = super::startup::cause(printed.iter().map(String::as_str)).map(str::to_owned);
    let error = Error::new(Kind::Server, format!("{what} failed")).cause(cause.map_or_else(
        || format!("exit code {code}"),
        |cause| format!("{cause} (exit code {code})"),
    ));
    Err(error
        .hint(format!("dsr1 logs {}", runtime.name()))
        .log(last(printed, 20)))
}

fn last(mut lines: Vec<String>, count: usize) -> Vec<String> {
    lines.split_off(lines.len().saturating_sub(count))
}

/// The bytes and SHA-256 of the questions.
async fn data(step: &RunGsm8k, http: &Http) -> Result<(Vec<u8>, String)> {
    let is_url = step.data.starts_with("http://") || step.data.starts_with("https://");
    let bytes = if is_url {
        http.get_bytes(&step.data, MAX_DATA).await?
    } else {
        std::fs::read(Path::new(&step.data)).at(Kind::Usage, || format!("cannot read `{}`", step.data))?
    };
    let hash = hex(&Sha256::digest(&bytes));
    match &step.sha256 {
        Some(expected) if *expected != hash => Err(Error::new(
            Kind::Integrity,
            format!("`{}` is not the expected data", step.data),
        )
        .cause(format!("sha256 is {hash}, not {expected}"))),
        _ => Ok((bytes, hash)),
    }
}

/// Counts the questions, and refuses data that is none: the script would fail after half a minute of imports.
fn check_questions(name: &str, bytes: &[u8]) -> Result<u32> {
    let wrong = |line: usize, cause: &str| {
        Error::new(Kind::Usage, format!("`{name}:{line}` is not a GSM8K question"))
            .cause(cause.to_owned())
            .hint(
                "each line is a JSON object with `question` and `answer`, the answer ending in `#### NUMBER`",
            )
    };
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "it is not text"))?;
    let mut rows = 0;
    for (index, line) in text.lines().enumerate() {
        let value: Value =
            serde_json::from_str(line).map_err(|error| wrong(index + 1, &error.to_string()))?;
        if !value["question"].is_string() || !value["answer"].is_string() {
            return Err(wrong(index + 1, "it has no `question` and `answer`"));
        }
        rows += 1;
    }
    if rows == 0 {
        Err(wrong(1, "it is empty"))
    } else {
        Ok(rows)
    }
}

/// The last number that a line `key  value` gives.
fn printed_figure(lines: &[String], key: &str) -> Option<f64> {
    let line = lines
        .iter()
        .rev()
        .find_map(|line| line.trim().strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The 95 % Wilson score interval of a share (Wilson 1927): right near 0 and 1, where the usual one is not.
fn wilson(share: f64, count: u32) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let n = f64::from(count.max(1));
    let denominator = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / denominator;
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / denominator;
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

fn result_path(dir: &str, name: &str, what: &str) -> PathBuf {
    Path::new(dir).join(format!("{name}-{what}-{}.json", files::timestamp()))
}

fn save(path: &Path, schema: &str, result: &impl serde::Serialize) -> Result<()> {
    let mut value =
        serde_json::to_value(result).at(Kind::Internal, || "cannot write the result".to_owned())?;
    value["schema"] = Value::from(schema);
    files::write_atomic(path, format!("{value:#}\n").as_bytes())
}

/// Reads the last line of the client's JSONL.
///
/// Python writes `Infinity` and `NaN`, which JSON does not have; and the line holds `server_info`, the server's
/// arguments with its API key: only the keys named here are read, the rest is dropped.
fn parse_benchmark(jsonl: &str, requested: u64) -> Result<Benchmark> {
    let broken = |cause: String| Error::new(Kind::Server, "cannot read the benchmark's result").cause(cause);
    let line = jsonl
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .ok_or_else(|| broken("it is empty".to_owned()))?;
    let value: Value = serde_json::from_str(&plain_json(line)).map_err(|error| broken(error.to_string()))?;
    let float = |key: &str| {
        value[key]
            .as_f64()
            .ok_or_else(|| broken(format!("no number `{key}`")))
    };
    let count = |key: &str| {
        let number = value[key].as_u64();
        number.ok_or_else(|| broken(format!("no count `{key}`")))
    };
    let latency = |name: &str| {
        let figure = |part: &str| value[format!("{part}_{name}_ms")].as_f64();
        Latency {
            mean_ms: figure("mean"),
            median_ms: figure("median"),
            p90_ms: figure("p90"),
            p95_ms: figure("p95"),
            p99_ms: figure("p99"),
            max_ms: None,
        }
    };
    Ok(Benchmark {
        backend: value["backend"].as_str().unwrap_or_default().to_owned(),
        request_rate: value["request_rate"].as_f64(),
        max_concurrency: value["max_concurrency"].as_u64(),
        requested,
        completed: count("completed")?,
        duration_s: float("duration")?,
        total_input_tokens: count("total_input_tokens")?,
        total_output_tokens: count("total_output_tokens")?,
        total_output_tokens_retokenized: count("total_output_tokens_retokenized")?,
        request_throughput: float("request_throughput")?,
        input_throughput: float("input_throughput")?,
        output_throughput: float("output_throughput")?,
        // Added after 0.4.10; the sum is the same by definition.
        total_throughput: float("total_throughput")
            .or_else(|_| Ok::<f64, Error>(float("input_throughput")? + float("output_throughput")?))?,
        concurrency: float("concurrency")?,
        e2e: latency("e2e_latency"),
        ttft: latency("ttft"),
        tpot: latency("tpot"),
        itl: latency("itl"),
        saved_to: None,
    })
}

/// Replaces Python's bare `NaN`, `Infinity` and `-Infinity` by `null`, outside strings.
fn plain_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let word = ["-Infinity", "Infinity", "NaN"]
            .into_iter()
            .find(|word| rest.starts_with(word));
        let length = match word {
            Some(word) => {
                plain.push_str("null");
                word.len()
            }
            None if rest.starts_with('"') => {
                let length = string_length(rest);
                plain.push_str(&rest[..length]);
                length
            }
            None => {
                plain.push_str(&rest[..1]);
                1
            }
        };
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

/// Bytes of the JSON string at the start of `text`, quotes included; all of it when it is not closed.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_numbers_are_read_and_secrets_dropped() {
        let line = r#"{"backend":"sglang-oai","request_rate":Infinity,"max_concurrency":4,"server_info":{"api_key":"sk-secret","x":"NaN \" Infinity"},"completed":16,"duration":1.5,"total_input_tokens":1024,"total_output_tokens":256,"total_output_tokens_retokenized":250,"request_throughput":10.6,"input_throughput":682.0,"output_throughput":170.0,"concurrency":3.9,"mean_ttft_ms":12.5,"p99_itl_ms":NaN}"#;
        let result = parse_benchmark(&format!("old\n{line}\n\n"), 16).unwrap();
        assert_eq!(
            (result.request_rate, result.ttft.mean_ms, result.itl.p99_ms),
            (None, Some(12.5), None)
        );
        assert!((result.total_throughput - 852.0).abs() < 1e-9);
        assert!(!serde_json::to_string(&result).unwrap().contains("sk-secret"));
        assert_eq!(
            parse_benchmark("{}", 1).unwrap_err().causes(),
            ["no count `completed`"]
        );
        assert_eq!(parse_benchmark("\n", 1).unwrap_err().causes(), ["it is empty"]);
    }

    #[test]
    fn printed_figures_are_found() {
        let lines = [
            "Accuracy: 0.959".to_owned(),
            "Latency: 12.345 s".to_owned(),
            "Max ITL (ms):                            60.93".to_owned(),
        ];
        assert_eq!(printed_figure(&lines, "Accuracy:"), Some(0.959));
        assert_eq!(printed_figure(&lines, "Latency:"), Some(12.345));
        assert_eq!(printed_figure(&lines, "Max ITL (ms):"), Some(60.93));
        assert_eq!(printed_figure(&lines, "Invalid:"), None);
    }

    #[test]
    fn data_that_is_no_gsm8k_names_the_line() {
        let good = "{\"question\": \"q\", \"answer\": \"#### 1\"}\n";
        assert_eq!(check_questions("f", good.repeat(3).as_bytes()).unwrap(), 3);
        let bad = check_questions("f", format!("{good}{{}}\n").as_bytes()).unwrap_err();
        assert_eq!(
            (bad.kind(), bad.message()),
            (Kind::Usage, "`f:2` is not a GSM8K question".to_owned())
        );
        assert!(check_questions("f", b"").is_err() && check_questions("f", b"\xff").is_err());
    }

    #[test]
    fn wilson_matches_the_published_table() {
        // 1316 questions at the guide's 0.959.
        let (low, high) = wilson(0.959, 1316);
        assert!(
            (low - 0.947).abs() < 0.001 && (high - 0.968).abs() < 0.001,
            "{low} {high}"
        );
        assert!(wilson(0.0, 8).0.abs() < f64::EPSILON);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,200}") {
            let _ = parse_benchmark(&text, 1);
            let _ = plain_json(&text);
        }

        #[test]
        fn valid_json_is_not_changed(text in "[a-zNI\"\\\\-]{0,30}") {
            let json = serde_json::to_string(&text).unwrap();
            proptest::prop_assert_eq!(plain_json(&json), json);
        }
    }
}
