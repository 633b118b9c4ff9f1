//! Lists for people: findings, profiles, servers.

use std::fmt::Write;

use super::safe;
use crate::plan::checks::{Finding, Verdict};
use crate::profile::{EngineFlags, Profile, Stack};
use crate::report::{ServerState, ServerStatus};
use crate::units::Bytes;

/// Rows with their columns aligned; the last column is not padded.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(row.len().saturating_sub(1)) {
            let pad = width.saturating_sub(cell.chars().count());
            let _ = write!(out, "{cell}{:pad$}  ", "");
        }
        let _ = writeln!(out, "{}", row.last().map_or("", String::as_str));
    }
    out
}

/// What `doctor` found: a word, an id, a text, and the fix below when there is one.
#[must_use]
pub fn findings(findings: &[Finding]) -> String {
    let mut out = String::new();
    let width = findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
            Verdict::NotChecked => "?",
        };
        let _ = writeln!(out, "{word:<4}  {:<width$}  {}", finding.id, safe(&finding.text));
        if let Some(fix) = finding.fix.as_ref().filter(|_| finding.verdict != Verdict::Ok) {
            let _ = writeln!(out, "      {:<width$}  fix: {}", "", safe(fix));
        }
    }
    out
}

/// One line per profile.
#[must_use]
pub fn profiles(profiles: &[Profile]) -> String {
    let mut rows = vec![
        ["NAME", "STACK", "GPUS", "WEIGHTS", "TITLE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(profiles.iter().map(|profile| {
        vec![
            profile.name.clone(),
            profile.stack.clone(),
            profile.gpus.to_string(),
            format!("{} {}", profile.precision.name(), Bytes(profile.model.size_bytes)),
            safe(&profile.title).into_owned(),
        ]
    }));
    aligned(&rows)
}

/// One profile with its stack and what the engine is told.
#[must_use]
pub fn profile(profile: &Profile, stack: &Stack, flags: &EngineFlags) -> String {
    let row = |name: &str, value: &str| vec![name.to_owned(), safe(value).into_owned()];
    let pins = &stack.pins;
    let mut rows = vec![
        row("profile", &format!("{}: {}", profile.name, profile.title)),
        row("source", &profile.source),
        row(
            "model",
            &format!("{}@{}", profile.model.repo, profile.model.revision),
        ),
        row(
            "weights",
            &format!(
                "{}, {}",
                profile.precision.name(),
                Bytes(profile.model.size_bytes)
            ),
        ),
        row("licence", &profile.model.license),
        row("GPUs", &profile.gpus.to_string()),
        row("stack", &format!("{}: {}", stack.name, stack.title)),
        row(
            "pins",
            &format!(
                "SGLang {}, FlashInfer {}, PyTorch {}, CUDA {}",
                pins.sglang,
                pins.flashinfer,
                pins.torch,
                pins.cuda.as_deref().unwrap_or("none")
            ),
        ),
        row("base image", &stack.base_reference()),
    ];
    rows.extend(
        flags
            .env
            .iter()
            .map(|(key, value)| row("environment", &format!("{key}={value}"))),
    );
    let mut words = flags.args.iter().peekable();
    while let Some(flag) = words.next() {
        let value = words.next_if(|word| !word.starts_with("--"));
        rows.push(row(
            "engine",
            &value.map_or_else(|| flag.clone(), |value| format!("{flag} {value}")),
        ));
    }
    let bench = &profile.bench;
    rows.push(row(
        "benchmark",
        &format!(
            "{} requests of {} + {} tokens, {} in flight",
            bench.num_prompts, bench.input_len, bench.output_len, bench.max_concurrency
        ),
    ));
    aligned(&rows)
}

/// One line per server.
#[must_use]
pub fn status(servers: &[ServerStatus]) -> String {
    if servers.is_empty() {
        return "no servers\n".to_owned();
    }
    let mut rows = vec![
        ["NAME", "STATE", "URL", "PROFILE", "RUNTIME", "ID"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(servers.iter().map(|server| {
        let state = match (server.state, server.exit_code) {
            (ServerState::Ready, _) => "ready".to_owned(),
            (ServerState::Starting, _) => "starting".to_owned(),
            (ServerState::Exited, Some(code)) => format!("exited ({code})"),
            (ServerState::Exited, None) => "exited".to_owned(),
        };
        let id: String = server.id.chars().take(12).collect();
        [
            &server.name,
            &state,
            &server.base_url,
            &server.profile,
            &server.runtime,
            &id,
        ]
        .map(|cell| safe(cell).into_owned())
        .to_vec()
    }));
    aligned(&rows)
}
