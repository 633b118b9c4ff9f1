//! The output of SGLang's own clients: the benchmark's result, and the evaluation's figures and data.

use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::report::{Benchmark, Latency};

/// Questions that the script shows the model as examples (`--num-shots` of `few_shot_gsm8k.py`, 0.4.10 to 0.5.23).
const EXAMPLES: u32 = 5;

/// Counts the questions of an evaluation. Refuses other data at once: the script would fail after half a minute of imports.
pub(crate) fn check_questions(name: &str, bytes: &[u8]) -> Result<u32> {
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
    } else if rows < EXAMPLES {
        Err(
            Error::new(Kind::Usage, format!("`{name}` has too few questions: {rows}"))
                .cause(format!(
                    "the first {EXAMPLES} are the examples that the script shows the model"
                ))
                .hint("leave --data out to ask the questions of GSM8K itself"),
        )
    } else {
        Ok(rows)
    }
}

/// Returns the number of the last line `key  value`.
pub(crate) fn printed_figure(lines: &[String], key: &str) -> Option<f64> {
    let line = lines
        .iter()
        .rev()
        .find_map(|line| line.trim().strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads the last line of the client's JSONL.
///
/// Python writes `Infinity` and `NaN`, which JSON does not have. The line also holds `server_info`, the server's arguments
/// with its API key, so only the keys named here are read and the rest is dropped.
pub(crate) fn parse_benchmark(jsonl: &str, requested: u64) -> Result<Benchmark> {
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

/// Returns the bytes of the JSON string at the start of `text`, with its quotes; all of `text` if it is not closed.
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
    fn data_that_is_not_gsm8k_names_the_line() {
        let good = "{\"question\": \"q\", \"answer\": \"#### 1\"}\n";
        assert_eq!(check_questions("f", good.repeat(7).as_bytes()).unwrap(), 7);
        let few = check_questions("f", good.repeat(3).as_bytes()).unwrap_err();
        assert_eq!(few.message(), "`f` has too few questions: 3");
        let bad = check_questions("f", format!("{good}{{}}\n").as_bytes()).unwrap_err();
        assert_eq!(
            (bad.kind(), bad.message()),
            (Kind::Usage, "`f:2` is not a GSM8K question".to_owned())
        );
        assert!(check_questions("f", b"").is_err() && check_questions("f", b"\xff").is_err());
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
