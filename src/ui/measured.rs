//! Measurements in the layout of the clients that made them, so that figures can be compared and searched.

use std::fmt::Write;

use super::safe;
use crate::report::{Benchmark, Gsm8k, Latency};

/// Width of the block, and of its first column.
const BLOCK: usize = 50;
const LABEL: usize = 40;

/// Returns the block of `sglang.bench_serving`, with the rows that the guide shows (low-latency profile, sample output).
#[must_use]
pub fn benchmark(benchmark: &Benchmark) -> String {
    let figure = |value: f64| format!("{value:.2}");
    // Python prints 4.0 where Rust's Display prints 4.
    let rate = benchmark
        .request_rate
        .map_or_else(|| "inf".to_owned(), |rate| format!("{rate:?}"));
    let most = benchmark
        .max_concurrency
        .map_or_else(|| "not set".to_owned(), |most| most.to_string());
    let mut out = format!("{:=^BLOCK$}\n", " Serving Benchmark Result ");
    for (label, value) in [
        ("Backend:", safe(&benchmark.backend).into_owned()),
        ("Traffic request rate:", rate),
        ("Max request concurrency:", most),
        ("Successful requests:", benchmark.completed.to_string()),
        ("Benchmark duration (s):", figure(benchmark.duration_s)),
        ("Total input tokens:", benchmark.total_input_tokens.to_string()),
        (
            "Total generated tokens:",
            benchmark.total_output_tokens.to_string(),
        ),
        (
            "Total generated tokens (retokenized):",
            benchmark.total_output_tokens_retokenized.to_string(),
        ),
        (
            "Request throughput (req/s):",
            figure(benchmark.request_throughput),
        ),
        (
            "Input token throughput (tok/s):",
            figure(benchmark.input_throughput),
        ),
        (
            "Output token throughput (tok/s):",
            figure(benchmark.output_throughput),
        ),
        (
            "Total token throughput (tok/s):",
            figure(benchmark.total_throughput),
        ),
        ("Concurrency:", figure(benchmark.concurrency)),
    ] {
        row(&mut out, label, &value);
    }
    // The guide omits the time per output token, and most percentiles of the other times.
    let Benchmark {
        e2e,
        ttft,
        tpot: _,
        itl,
        ..
    } = benchmark;
    let middle = |of: &Latency| [("Mean", of.mean_ms), ("Median", of.median_ms)];
    latencies(&mut out, "End-to-End Latency", "E2E Latency", &middle(e2e));
    let [mean, median] = middle(ttft);
    latencies(
        &mut out,
        "Time to First Token",
        "TTFT",
        &[mean, median, ("P99", ttft.p99_ms)],
    );
    let [mean, median] = middle(itl);
    let rest = [("P95", itl.p95_ms), ("P99", itl.p99_ms), ("Max", itl.max_ms)];
    latencies(
        &mut out,
        "Inter-Token Latency",
        "ITL",
        &[[mean, median].as_slice(), &rest].concat(),
    );
    let _ = writeln!(out, "{}", "=".repeat(BLOCK));
    write_path(&mut out, benchmark.saved_to.as_deref());
    out
}

/// Writes one row, with the spaces at its end that the client prints, too.
fn row(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "{label:<LABEL$} {value:<10}");
}

/// Writes one block of times. A figure that the client did not print has no row.
fn latencies(out: &mut String, title: &str, name: &str, figures: &[(&str, Option<f64>)]) {
    let _ = writeln!(out, "{title:-^BLOCK$}");
    for (part, value) in figures {
        if let Some(value) = value {
            row(out, &format!("{part} {name} (ms):"), &format!("{value:.2}"));
        }
    }
}

/// Returns the four lines of the engine's own script, and the interval of the accuracy.
#[must_use]
pub fn gsm8k(result: &Gsm8k) -> String {
    let mut out = format!(
        "Accuracy: {:.3}\nInvalid: {:.3}\nLatency: {:.3} s\nOutput throughput: {:.3} token/s\n",
        result.accuracy, result.invalid, result.latency_s, result.output_throughput
    );
    let _ = writeln!(
        out,
        "\n95 % interval of the accuracy: {:.3} to {:.3} ({} questions)",
        result.accuracy_low, result.accuracy_high, result.questions
    );
    let _ = writeln!(out, "SHA-256 of the questions: {}", safe(&result.data_sha256));
    write_path(&mut out, result.saved_to.as_deref());
    out
}

fn write_path(out: &mut String, path: Option<&str>) {
    if let Some(path) = path {
        let _ = writeln!(out, "kept in {}", safe(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::tests::benchmark_result;

    #[test]
    fn the_benchmark_has_the_guides_layout() {
        insta::assert_snapshot!(benchmark(&benchmark_result()));
    }

    #[test]
    fn every_row_is_as_wide_as_the_clients() {
        let text = benchmark(&Benchmark {
            saved_to: None,
            request_rate: Some(4.0),
            max_concurrency: None,
            ..benchmark_result()
        });
        for line in text.lines().filter(|line| line.contains(':')) {
            assert!(line.len() >= LABEL + 1 + 10, "{line:?}");
            assert_eq!(line.as_bytes()[LABEL], b' ', "{line:?}");
        }
        assert!(
            text.contains("Traffic request rate:                    4.0       \n"),
            "{text}"
        );
        assert!(
            text.contains("Max request concurrency:                 not set   \n"),
            "{text}"
        );
        assert!(
            text.lines()
                .filter(|line| !line.contains(':'))
                .all(|line| line.len() == BLOCK)
        );
    }

    #[test]
    fn the_accuracy_has_an_interval() {
        let result = Gsm8k {
            accuracy: 0.9567,
            accuracy_low: 0.9443,
            accuracy_high: 0.9664,
            invalid: 0.0,
            latency_s: 104.5,
            output_throughput: 1310.125,
            questions: 1316,
            data_sha256: "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14".to_owned(),
            saved_to: None,
        };
        insta::assert_snapshot!(gsm8k(&result));
    }
}
