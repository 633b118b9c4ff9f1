//! Results for people.

use std::fmt::Write;
use std::time::Duration;

use super::safe;
use crate::report::{Answer, Benchmark, Gsm8k, Latency, Outcome, Ready, Report, Verification};
use crate::units::{self, Bytes};

/// What a plan came to: how long each step took, then what the last ones found.
#[must_use]
pub fn report(report: &Report) -> String {
    let mut out = String::new();
    if report.steps.len() > 1 {
        let width = report
            .steps
            .iter()
            .map(|step| step.title.chars().count())
            .max()
            .unwrap_or(0);
        for step in &report.steps {
            let title = safe(&step.title);
            let pad = width.saturating_sub(step.title.chars().count());
            let _ = writeln!(out, "{title}{:pad$}  {:>7}", "", time(step.elapsed_ms));
            if let Some(Outcome::Ready(ready)) = &step.outcome {
                stages(&mut out, ready);
            }
        }
        let pad = width.saturating_sub("in all".len());
        let _ = writeln!(out, "in all{:pad$}  {:>7}", "", time(report.elapsed_ms));
    }
    for step in &report.steps {
        if let Some(outcome) = &step.outcome {
            let text = self::outcome(outcome);
            if !text.is_empty() {
                out.push('\n');
                out.push_str(&text);
            }
        }
    }
    out.trim_start_matches('\n').to_owned()
}

fn time(elapsed_ms: u64) -> String {
    units::duration(Duration::from_millis(elapsed_ms))
}

fn stages(out: &mut String, ready: &Ready) {
    for stage in &ready.stages {
        let _ = writeln!(out, "  at {:>6}  {}", time(stage.at_ms), stage.stage.title());
    }
}

/// What deserves more than the line that the progress gave it.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ready(ready) => {
            let pool = ready
                .kv_pool_tokens
                .map_or_else(String::new, |tokens| format!(", KV pool of {tokens} tokens"));
            format!("READY {}{pool}\n", safe(&ready.base_url))
        }
        Outcome::Verified(verification) => self::verification(verification),
        Outcome::Benchmarked(benchmark) => self::benchmark(benchmark),
        Outcome::Evaluated(result) => gsm8k(result),
        Outcome::Pulled(pulled) => format!(
            "{}@{}\n{} files, {}, {} fetched\n{}\n",
            safe(&pulled.repo),
            safe(&pulled.commit),
            pulled.files,
            Bytes(pulled.total_bytes),
            Bytes(pulled.fetched_bytes),
            safe(&pulled.snapshot)
        ),
        Outcome::Built(built) => format!("{}\n{}\n", safe(&built.tag), safe(&built.image_id)),
        Outcome::Installed(installed) => format!("{}\n", safe(&installed.dir)),
        Outcome::Stopped { name, killed } => {
            format!(
                "{} stopped{}\n",
                safe(name),
                if *killed {
                    ", killed after the drain time"
                } else {
                    ""
                }
            )
        }
        Outcome::ModelWritten { .. }
        | Outcome::Mirroring { .. }
        | Outcome::Started { .. }
        | Outcome::Checked(_) => String::new(),
    }
}

fn verification(verification: &Verification) -> String {
    let what = if verification.scope == "wiring" {
        "the wiring: what any model must do; the answers of a random model mean nothing"
    } else {
        "the wiring, and answers that a trained model gets right"
    };
    let mut out = format!("VERIFIED {what}\n");
    for check in &verification.checks {
        let mark = if check.passed { "ok" } else { "FAIL" };
        let _ = writeln!(out, "  {mark:<4} {}: {}", safe(&check.name), safe(&check.seen));
    }
    out
}

/// The benchmark in the layout of the guide ("Understanding Performance Metrics").
fn benchmark(benchmark: &Benchmark) -> String {
    let mut out = format!("{:=^50}\n", " Serving Benchmark Result ");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<40} {value:<10}");
    };
    let figure = |value: f64| format!("{value:.2}");
    row("Backend:", &safe(&benchmark.backend));
    row(
        "Traffic request rate:",
        &benchmark
            .request_rate
            .map_or_else(|| "inf".to_owned(), |rate| rate.to_string()),
    );
    row(
        "Max request concurrency:",
        &benchmark
            .max_concurrency
            .map_or_else(|| "not set".to_owned(), |n| n.to_string()),
    );
    row("Successful requests:", &benchmark.completed.to_string());
    row("Benchmark duration (s):", &figure(benchmark.duration_s));
    row("Total input tokens:", &benchmark.total_input_tokens.to_string());
    row(
        "Total generated tokens:",
        &benchmark.total_output_tokens.to_string(),
    );
    row(
        "Total generated tokens (retokenized):",
        &benchmark.total_output_tokens_retokenized.to_string(),
    );
    row(
        "Request throughput (req/s):",
        &figure(benchmark.request_throughput),
    );
    row(
        "Input token throughput (tok/s):",
        &figure(benchmark.input_throughput),
    );
    row(
        "Output token throughput (tok/s):",
        &figure(benchmark.output_throughput),
    );
    row(
        "Total token throughput (tok/s):",
        &figure(benchmark.total_throughput),
    );
    row("Concurrency:", &figure(benchmark.concurrency));
    let blocks = [
        ("End-to-End Latency", "E2E Latency", &benchmark.e2e),
        ("Time to First Token", "TTFT", &benchmark.ttft),
        ("Inter-Token Latency", "ITL", &benchmark.itl),
    ];
    for (title, name, latency) in blocks {
        let _ = writeln!(out, "{title:-^50}");
        latencies(&mut out, name, latency);
    }
    let _ = writeln!(out, "{}", "=".repeat(50));
    if let Some(path) = &benchmark.saved_to {
        let _ = writeln!(out, "kept in {}", safe(path));
    }
    out
}

/// The percentiles that the guide shows: all of them for ITL, P99 for TTFT.
fn latencies(out: &mut String, name: &str, latency: &Latency) {
    let Latency {
        mean_ms,
        median_ms,
        p90_ms: _,
        p95_ms,
        p99_ms,
        max_ms,
    } = latency;
    let p95 = if name == "ITL" { *p95_ms } else { None };
    let p99 = if name == "E2E Latency" { None } else { *p99_ms };
    for (part, value) in [
        ("Mean", *mean_ms),
        ("Median", *median_ms),
        ("P95", p95),
        ("P99", p99),
        ("Max", *max_ms),
    ] {
        if let Some(value) = value {
            let _ = writeln!(
                out,
                "{:<40} {:<10}",
                format!("{part} {name} (ms):"),
                format!("{value:.2}")
            );
        }
    }
}

/// SGLang's four lines, and how far the figure can be trusted.
fn gsm8k(result: &Gsm8k) -> String {
    let mut out = format!(
        "Accuracy: {:.3}\nInvalid: {:.3}\nLatency: {:.3} s\nOutput throughput: {:.3} token/s\n",
        result.accuracy, result.invalid, result.latency_s, result.output_throughput
    );
    let _ = writeln!(
        out,
        "95 % interval: {:.3} to {:.3} ({} questions)\ndata sha256: {}",
        result.accuracy_low,
        result.accuracy_high,
        result.questions,
        safe(&result.data_sha256)
    );
    if let Some(path) = &result.saved_to {
        let _ = writeln!(out, "kept in {}", safe(path));
    }
    out
}

/// An answer, with the reasoning apart.
#[must_use]
pub fn answer(answer: &Answer) -> String {
    let lines = |text: &str| {
        text.lines()
            .map(|line| safe(line).into_owned() + "\n")
            .collect::<String>()
    };
    let mut out = String::new();
    if let Some(reasoning) = &answer.reasoning {
        let _ = write!(out, "reasoning:\n{}\n", lines(reasoning));
    }
    out.push_str(&lines(&answer.content));
    let cut = if answer.finish_reason == "length" {
        ", cut at --max-tokens"
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "({} prompt tokens, {} generated{cut})",
        answer.prompt_tokens, answer.completion_tokens
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_benchmark_has_the_guides_layout() {
        let latency = Latency {
            mean_ms: Some(1.0),
            median_ms: Some(2.0),
            p90_ms: Some(3.0),
            p95_ms: Some(4.0),
            p99_ms: Some(5.0),
            max_ms: None,
        };
        let result = Benchmark {
            backend: "sglang-oai".to_owned(),
            request_rate: None,
            max_concurrency: Some(1),
            requested: 10,
            completed: 10,
            duration_s: 1287.25,
            total_input_tokens: 10240,
            total_output_tokens: 81920,
            total_output_tokens_retokenized: 81000,
            request_throughput: 0.01,
            input_throughput: 8.0,
            output_throughput: 64.0,
            total_throughput: 72.0,
            concurrency: 1.0,
            e2e: latency,
            ttft: latency,
            tpot: latency,
            itl: Latency {
                max_ms: Some(60.93),
                ..latency
            },
            saved_to: None,
        };
        insta::assert_snapshot!(benchmark(&result));
    }

    #[test]
    fn an_answer_shows_its_reasoning_apart() {
        let shown = answer(&Answer {
            reasoning: Some("17 * 23 = 391".to_owned()),
            content: "391".to_owned(),
            finish_reason: "stop".to_owned(),
            prompt_tokens: 9,
            completion_tokens: 20,
        });
        assert_eq!(
            shown,
            "reasoning:\n17 * 23 = 391\n\n391\n(9 prompt tokens, 20 generated)\n"
        );
    }
}
