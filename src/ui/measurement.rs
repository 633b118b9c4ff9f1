//! A measurement by dsr1's own client: the guide's block, and the verdicts.

use std::fmt::Write;

use super::safe;
use crate::measure::Tool;
use crate::report::{
    Conversations, Figures, MeasuredGpus, MeasuredLoad, Measurement, Times, Trust, TurnFigures, Verdict,
};

/// Width of the block, and of its first column, as `sglang.bench_serving` has them.
const BLOCK: usize = 50;
const LABEL: usize = 40;

/// Returns a measurement in the layout of the guide's sample output, with TPOT and the verdicts.
#[must_use]
pub fn measurement(measurement: &Measurement) -> String {
    let mut out = String::new();
    if let Some(figures) = &measurement.figures {
        write_block(&mut out, measurement, figures);
    }
    out.push_str(&verdicts(measurement));
    if let Some(path) = &measurement.saved_to {
        let _ = writeln!(out, "kept in {}", safe(path));
    }
    out
}

fn write_block(out: &mut String, measurement: &Measurement, figures: &Figures) {
    let load = &measurement.load;
    let client = &measurement.client;
    let _ = writeln!(out, "{:=^BLOCK$}", " Serving Benchmark Result ");
    let figure = |value: f64| format!("{value:.2}");
    let rate = match load.request_rate {
        Some(rate) => format!("{rate:?}"),
        None if load.kind == "trace" => "that of the trace".to_owned(),
        None => "inf".to_owned(),
    };
    let most = load
        .max_concurrency
        .map_or_else(|| "not set".to_owned(), |most| most.to_string());
    for (label, value) in [
        ("Backend:", load.api.clone()),
        ("Traffic request rate:", rate),
        ("Max request concurrency:", most),
        ("Successful requests:", measurement.requests.completed.to_string()),
        (
            "Benchmark duration (s):",
            figure(measurement.window_s.unwrap_or(0.0)),
        ),
        ("Total input tokens:", figures.input_tokens.to_string()),
        ("Total generated tokens:", figures.output_tokens.to_string()),
        ("Request throughput (req/s):", figure(figures.request_throughput)),
        (
            "Input token throughput (tok/s):",
            figure(figures.input_throughput),
        ),
        (
            "Output token throughput (tok/s):",
            figure(figures.output_throughput),
        ),
        (
            "Total token throughput (tok/s):",
            figure(figures.total_throughput),
        ),
        ("Concurrency:", figure(figures.concurrency)),
    ] {
        row(out, label, &value);
    }
    times(out, "End-to-End Latency", "E2E Latency", &figures.e2e);
    times(out, "Time to First Token", "TTFT", &figures.ttft);
    if let Some(answer) = &figures.answer_ttft {
        times(out, "Time to First Answer Token", "answer TTFT", answer);
    }
    times(
        out,
        "Time per Output Token (after the first)",
        "TPOT",
        &figures.tpot,
    );
    match &figures.itl {
        Some(itl) => times(out, "Inter-Token Latency", "ITL", itl),
        None => times(
            out,
            "Time between Chunks (no ITL)",
            "chunk gap",
            &figures.chunk_gap,
        ),
    }
    if let Some(reasoning) = &figures.reasoning {
        let _ = writeln!(out, "{:-^BLOCK$}", "Reasoning");
        row(out, "Mean reasoning tokens:", &figure(reasoning.mean_tokens));
        row(out, "Mean answer tokens:", &figure(reasoning.mean_answer_tokens));
        for (label, rate) in [
            ("Reasoning of a request (tok/s):", reasoning.tokens_per_s),
            ("Answer of a request (tok/s):", reasoning.answer_tokens_per_s),
        ] {
            if let Some(rate) = rate {
                row(out, label, &figure(rate));
            }
        }
    }
    if let Some(conversations) = &figures.conversations {
        write_turns(out, conversations);
    }
    if let Some(gpus) = &measurement.gpus {
        write_gpus(out, gpus);
    }
    let _ = writeln!(out, "{}", "=".repeat(BLOCK));
    let _ = writeln!(
        out,
        "prompts: {}, seed {}{}; client: {} {}, by its own definitions",
        prompts_of(load),
        load.seed,
        if load.ramp_s > 0.0 {
            format!("; ramp: {:.0} s", load.ramp_s)
        } else {
            String::new()
        },
        safe(&client.name),
        safe(&client.version),
    );
}

/// Returns the source of prompts: random ones with their length, or a file.
fn prompts_of(load: &MeasuredLoad) -> String {
    let form = match load.prompts.as_deref() {
        Some("text") => " text",
        _ => "",
    };
    let source = format!("{}{form}", safe(&load.data));
    let turns = if load.turns > 1 {
        format!(" in each of {} turns", load.turns)
    } else {
        String::new()
    };
    match (&load.file, load.speed) {
        (None, _) => format!(
            "{source}, {} tokens{turns}",
            load.input_len.saturating_add(load.shared_prefix)
        ),
        (Some(file), None) => format!("{source} of {}", safe(&file.path)),
        (Some(file), Some(speed)) => {
            format!("trace {source} of {}, {speed} times as fast", safe(&file.path))
        }
    }
}

/// Writes the table of turns: the first ones, all later ones, and each of the later ones. Its TTFT is the mean and the median.
fn write_turns(out: &mut String, conversations: &Conversations) {
    let _ = writeln!(out, "{:-^BLOCK$}", "TTFT by Turn (ms)");
    let _ = writeln!(
        out,
        "{:<8}{:>8}{:>8}{:>8}{:>9}{:>9}",
        "turn", "requests", "input", "cached", "mean", "median"
    );
    let mut turn = |name: &str, figures: &TurnFigures| {
        let millis = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let cached = figures
            .cached_share
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let _ = writeln!(
            out,
            "{name:<8}{:>8}{:>8.0}{cached:>8}{:>9}{:>9}",
            figures.requests,
            figures.mean_input_len,
            millis(figures.ttft.mean_ms),
            millis(figures.ttft.p50_ms),
        );
    };
    turn("1", &conversations.first);
    turn("2 on", &conversations.later);
    if conversations.each.len() > 1 {
        for figures in &conversations.each {
            turn(&format!("  {}", figures.from), figures);
        }
    }
    if conversations.failed > 0 {
        row(
            out,
            "Conversations that a failure ended:",
            &conversations.failed.to_string(),
        );
    }
}

fn write_gpus(out: &mut String, gpus: &MeasuredGpus) {
    let _ = writeln!(out, "{:-^BLOCK$}", "GPUs");
    let rows = [
        ("Median SM clock (MHz):", gpus.sm_clock_median_mhz, 0),
        ("Mean power (W):", gpus.mean_w, 0),
        ("Energy per output token (J):", gpus.joules_per_output_token, 3),
        (
            "Above that of the idle server (J):",
            gpus.joules_per_output_token_above_idle,
            3,
        ),
    ];
    row(out, "GPUs that worked:", &gpus.indices.len().to_string());
    for (label, value, digits) in rows {
        if let Some(value) = value {
            row(out, label, &format!("{value:.digits$}"));
        }
    }
}

/// Returns the verdicts and their sum.
fn verdicts(measurement: &Measurement) -> String {
    let mut out = String::from("\n");
    let width = measurement
        .verdicts
        .iter()
        .map(|verdict| verdict.about.len())
        .max()
        .unwrap_or(0);
    for verdict in &measurement.verdicts {
        let Verdict {
            about,
            trust,
            text,
            hint,
        } = verdict;
        let _ = writeln!(out, "  {:<5}  {about:<width$}  {}", trust.word(), safe(text));
        if !hint.is_empty() {
            let _ = writeln!(out, "  {:<5}  {:<width$}  -> {}", "", "", safe(hint));
        }
    }
    let sum = match measurement.trust {
        Trust::Trusted | Trust::Unknown => "TRUSTED: nothing speaks against these figures",
        Trust::Doubtful => "DOUBTFUL: read the lines marked doubt before you use these figures",
        Trust::Untrusted => "NOT TRUSTED: do not use these figures",
    };
    let _ = writeln!(out, "{sum}");
    out
}

/// Returns the figures in the terms of another tool, below those of dsr1; nothing without a tool.
#[must_use]
pub fn in_terms_of(tool: Option<Tool>, measurement: &Measurement) -> String {
    let figures = tool.and_then(|tool| Some((tool.name(), measurement.definitions.get(tool.name())?)));
    let Some((tool, figures)) = figures else {
        return String::new();
    };
    let mut out = format!("\n{:=^BLOCK$}\n", format!(" In terms of {tool} "));
    if let Some(tokens) = figures.output_tokens {
        row(&mut out, "Generated tokens:", &tokens.to_string());
    }
    if let Some(rate) = figures.output_throughput {
        row(
            &mut out,
            "Output token throughput (tok/s):",
            &format!("{rate:.2}"),
        );
    }
    times(&mut out, "End-to-End Latency", "E2E Latency", &figures.e2e);
    times(&mut out, "Time to First Token", "TTFT", &figures.ttft);
    times(&mut out, "Time per Output Token", "TPOT", &figures.tpot);
    times(&mut out, "Inter-Token Latency", "ITL", &figures.itl);
    let _ = writeln!(out, "{}", "=".repeat(BLOCK));
    for remark in &figures.remarks {
        let _ = writeln!(out, "note: {remark}");
    }
    out
}

/// Writes one row, with the spaces at its end that `sglang.bench_serving` prints, too.
fn row(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "{label:<LABEL$} {:<10}", safe(value));
}

/// Writes a distribution. A percentile with too few samples has a dash.
fn times(out: &mut String, title: &str, name: &str, times: &Times) {
    let _ = writeln!(out, "{title:-^BLOCK$}");
    for (part, value) in [
        ("Mean", times.mean_ms),
        ("Median", times.p50_ms),
        ("P90", times.p90_ms),
        ("P99", times.p99_ms),
        ("Max", times.max_ms),
    ] {
        let value = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        row(out, &format!("{part} {name} (ms):"), &value);
    }
}
