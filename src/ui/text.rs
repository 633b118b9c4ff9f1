//! The result of a plan for people: the time of each step, then its results.

use std::fmt::Write;

use super::rate::time;
use super::table::{pad, width};
use super::{benchmark, gsm8k, safe, table, verification, wrap};
use crate::quote::shell_word;
use crate::report::{Built, Installed, Outcome, Pulled, Ready, Report, StepReport};
use crate::units::{Bytes, counted};

/// Returns a report: a table of the steps if there are several, then their results, and the next commands. Steps that the
/// terminal shows already (`are_shown`) are not repeated. Commands are broken for `columns`.
#[must_use]
pub fn report(report: &Report, are_shown: bool, columns: usize) -> String {
    let mut sections = Vec::new();
    if report.steps.len() > 1 {
        sections.push(if are_shown {
            format!("in all {}\n", time(report.elapsed_ms))
        } else {
            times(report)
        });
    }
    let last = report.steps.len().saturating_sub(1);
    for (index, step) in report.steps.iter().enumerate() {
        // For a step in the middle the table is enough, unless it measured or checked something.
        if index == last || is_finding(&step.outcome) {
            sections.push(match &step.outcome {
                outcome if are_shown => beside_steps(outcome),
                outcome => self::outcome(outcome),
            });
        }
    }
    sections.extend(endpoint(report, columns));
    sections.extend(stopped(report));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// Returns the result of a step whose line the terminal shows: without what that line says already.
fn beside_steps(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ready(ready) => match memory_of_gpu(ready) {
            Some(table) => table,
            None => ready.kv_pool_tokens.map_or_else(String::new, |tokens| {
                format!("READY, KV pool of {tokens} tokens\n")
            }),
        },
        Outcome::Started { .. } | Outcome::Submitted { .. } | Outcome::Stopped { .. } => String::new(),
        other => self::outcome(other),
    }
}

/// Returns what a client of a server that goes on running needs, last, so that it stays on the screen.
fn endpoint(report: &Report, columns: usize) -> Option<String> {
    let outcomes = || report.steps.iter().map(|step| &step.outcome);
    if outcomes().any(|outcome| matches!(outcome, Outcome::Stopped { .. })) {
        return None;
    }
    let Ready {
        server,
        base_url,
        model,
        ..
    } = outcomes().find_map(|outcome| match outcome {
        Outcome::Ready(ready) => Some(ready),
        _ => None,
    })?;
    let is_verified = outcomes().any(|outcome| matches!(outcome, Outcome::Verified(_)));
    let state = if is_verified {
        "READY and VERIFIED"
    } else {
        "READY"
    };
    let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "Hello" }] });
    let body = shell_word(&body.to_string());
    let url = format!("{base_url}/v1/chat/completions");
    let json = "-H 'Content-Type: application/json'";
    let variable = format!("OPENAI_BASE_URL={base_url}/v1");
    let mut rows = vec![
        ("server", format!("{server} is {state}")),
        ("base URL", format!("{base_url}/v1")),
        ("model", model.clone()),
    ];
    let room = columns.saturating_sub("base URL  ".len());
    for (label, words) in [
        ("curl", &["curl", &*url, json, "-d", &*body][..]),
        ("openai", &["export", &*variable, "OPENAI_API_KEY=none"]),
    ] {
        let labels = std::iter::once(label).chain(std::iter::repeat(""));
        rows.extend(labels.zip(wrap::command(words, room)));
    }
    rows.push(("ask", format!("dsr1 ask --server {server} 'your question'")));
    let next = ["bench", "logs", "stop"].map(|command| format!("dsr1 {command} {server}"));
    let line = next.join(", ");
    if width(&line) <= room {
        rows.push(("then", line));
    } else {
        rows.extend(["then", "", ""].into_iter().zip(next));
    }
    Some(labelled(&rows))
}

/// Returns the end of a chain that stopped its own server: the result in one line, and the next command.
fn stopped(report: &Report) -> Option<String> {
    let has = |is: fn(&Outcome) -> bool| report.steps.iter().any(|step| is(&step.outcome));
    let is_chain = has(|outcome| matches!(outcome, Outcome::Verified(_)))
        && has(|outcome| matches!(outcome, Outcome::Stopped { .. }));
    is_chain.then(|| {
        labelled(&[
            (
                "result",
                "READY and VERIFIED, measured, and stopped again".to_owned(),
            ),
            (
                "next",
                "the same command with --keep leaves the server running".to_owned(),
            ),
        ])
    })
}

const fn is_finding(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Ready(_)
            | Outcome::Verified(_)
            | Outcome::Measured(_)
            | Outcome::Swept(_)
            | Outcome::AccuracyMeasured(_)
            | Outcome::Benchmarked(_)
            | Outcome::Evaluated(_)
    )
}

/// Returns one line for each step with its time, and below the start of an engine one for each stage.
fn times(report: &Report) -> String {
    let mut rows = Vec::new();
    for step in &report.steps {
        rows.push((safe(&step.title).into_owned(), time_of(step)));
        if let Outcome::Ready(ready) = &step.outcome {
            rows.extend(stages(ready));
        }
    }
    rows.push(("in all".to_owned(), time(report.elapsed_ms)));
    let titles = rows.iter().map(|(title, _)| width(title)).max().unwrap_or(0);
    let mut out = String::new();
    for (title, time) in &rows {
        let _ = writeln!(out, "{}  {time:>6}", pad(title, titles));
    }
    out
}

fn time_of(step: &StepReport) -> String {
    if is_cached(&step.outcome) {
        "cached".to_owned()
    } else {
        time(step.elapsed_ms)
    }
}

const fn is_cached(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Installed(installed) => installed.cached,
        Outcome::Built(built) => built.cached,
        Outcome::Pulled(pulled) => pulled.cached,
        _ => false,
    }
}

/// Returns the duration of each stage, which ends when the next one is reached.
fn stages(ready: &Ready) -> Vec<(String, String)> {
    let ends = ready.stages.iter().skip(1).map(|next| next.at_ms);
    ready
        .stages
        .iter()
        .zip(ends)
        .map(|(stage, end)| {
            (
                format!("  {}", stage.stage.title()),
                time(end.saturating_sub(stage.at_ms)),
            )
        })
        .collect()
}

/// Returns the result of one step.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Installed(installed) => self::installed(installed),
        Outcome::EnvironmentChecked(checked) => {
            let imports = checked.imports.iter();
            let mut rows = vec![
                ("python", checked.python.clone()),
                ("SGLang", checked.sglang.clone()),
                ("packages", checked.packages.to_string()),
            ];
            rows.extend(imports.map(|one| ("imports", format!("{} in {}", one.module, time(one.ms)))));
            labelled(&rows)
        }
        Outcome::Built(built) => self::built(built),
        Outcome::ModelWritten { repo, commit } => {
            labelled(&[("model", repo.clone()), ("commit", commit.clone())])
        }
        Outcome::Mirroring { endpoint } => labelled(&[("HF_ENDPOINT", endpoint.clone())]),
        Outcome::Pulled(pulled) => self::pulled(pulled),
        Outcome::Checked(checked) => self::checked(checked),
        Outcome::FolderChecked(folder) => labelled(&[
            ("model", folder.path.clone()),
            (
                "files",
                format!("{} of weights, {}", folder.shards, Bytes(folder.size_bytes)),
            ),
        ]),
        Outcome::Proven(proof) => super::proof(proof).trim_start().to_owned(),
        Outcome::Started { name } => format!("{} started\n", safe(name)),
        Outcome::Submitted { name, job } => format!("{} submitted as job {job}\n", safe(name)),
        Outcome::Ready(ready) => {
            let pool = ready
                .kv_pool_tokens
                .map_or_else(String::new, |tokens| format!(", KV pool of {tokens} tokens"));
            let memory = memory_of_gpu(ready).map_or_else(String::new, |table| format!("\n{table}"));
            format!("READY on {}{pool}\n{memory}", safe(&ready.base_url))
        }
        Outcome::Verified(verification) => self::verification(verification),
        Outcome::Measured(measurement) => super::measurement(measurement),
        Outcome::Swept(sweep) if sweep.combinations.is_empty() => super::sweep(sweep),
        Outcome::Swept(sweep) => super::combinations(sweep),
        Outcome::Benchmarked(benchmark) => self::benchmark(benchmark),
        Outcome::AccuracyMeasured(result) => super::evaluation(result),
        Outcome::Evaluated(result) => gsm8k(result),
        Outcome::Stopped { name, killed } => {
            format!(
                "{} stopped{}\n",
                safe(name),
                if *killed {
                    ", killed after the drain time, with the requests that still ran"
                } else {
                    ""
                }
            )
        }
    }
}

/// Returns the memory of one GPU beside the plan; `None` on a processor, or where the log did not state it.
fn memory_of_gpu(ready: &Ready) -> Option<String> {
    let planned = ready.planned?;
    let memory = &ready.memory;
    let gib = |figure: &Option<String>| figure.as_ref().map(|gib| format!("{gib} GiB"));
    let planned_gib = crate::sglang::memory::gib;
    let measured = [
        (
            "free before",
            planned_gib(planned.free_bytes),
            gib(&memory.free_gib),
        ),
        (
            "weights",
            planned_gib(planned.weights_bytes),
            gib(&memory.weights_gib),
        ),
        (
            "KV pool",
            format!("{} tokens", planned.pool_tokens),
            ready.kv_pool_tokens.map(|tokens| format!("{tokens} tokens")),
        ),
        ("graphs", String::new(), gib(&memory.graphs_gib)),
        ("left", String::new(), gib(&memory.left_gib)),
    ];
    let rows: Vec<_> = measured
        .into_iter()
        .filter_map(|(what, planned, figure)| Some(table::row([what, &planned, &figure?])))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let head = table::row(["memory of a GPU", "planned", "measured"]);
    Some(table::aligned(&[vec![head], rows].concat()))
}

fn installed(installed: &Installed) -> String {
    let Installed {
        dir,
        cached: _,
        packages,
    } = installed;
    labelled(&[("venv", dir.clone()), ("packages", packages.to_string())])
}

fn built(built: &Built) -> String {
    let Built {
        pushed,
        tag,
        image_id,
        cached: _,
        size_bytes,
    } = built;
    let mut rows = vec![
        ("image", tag.clone()),
        ("id", image_id.clone()),
        ("size", Bytes(*size_bytes).to_string()),
    ];
    rows.extend(pushed.iter().map(|name| ("pushed", name.clone())));
    labelled(&rows)
}

fn pulled(pulled: &Pulled) -> String {
    let Pulled {
        repo,
        revision,
        commit,
        snapshot,
        files,
        total_bytes,
        fetched_bytes,
        cached,
    } = pulled;
    let fetched = if *cached {
        "nothing to fetch".to_owned()
    } else {
        format!("{} fetched", Bytes(*fetched_bytes))
    };
    labelled(&[
        ("model", format!("{repo}@{revision}")),
        ("commit", commit.clone()),
        (
            "size",
            format!("{}, {}, {fetched}", counted(*files, "file"), Bytes(*total_bytes)),
        ),
        ("snapshot", snapshot.clone()),
    ])
}

/// Returns a block about a snapshot that was pulled and verified before.
fn checked(checked: &Pulled) -> String {
    let Pulled {
        repo,
        revision,
        commit,
        snapshot,
        files,
        total_bytes,
        fetched_bytes: _,
        cached: _,
    } = checked;
    labelled(&[
        ("model", format!("{repo}@{revision}")),
        ("commit", commit.clone()),
        (
            "size",
            format!("{}, {}", counted(*files, "file"), Bytes(*total_bytes)),
        ),
        ("snapshot", snapshot.clone()),
    ])
}

fn labelled(rows: &[(&str, String)]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|(label, value)| table::row([*label, value]))
        .collect();
    table::aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stage;
    use crate::report::{AnswerCheck, SCHEMA, StageTime, Verification};

    fn step(title: &str, elapsed_ms: u64, outcome: Outcome) -> StepReport {
        StepReport {
            title: title.to_owned(),
            elapsed_ms,
            outcome,
        }
    }

    fn pulled() -> Outcome {
        Outcome::Pulled(Pulled {
            repo: "deepseek-ai/DeepSeek-R1-0528".to_owned(),
            revision: "main".to_owned(),
            commit: "4236a6af538feda4548eca9ab308586007567f52".to_owned(),
            snapshot: "/data/hub/models--deepseek-ai--DeepSeek-R1-0528/snapshots/4236a6a".to_owned(),
            files: 174,
            total_bytes: 688_600_000_000,
            fetched_bytes: 12_000_000_000,
            cached: false,
        })
    }

    #[test]
    fn planned_and_measured_memory_are_one_table() {
        let ready = Ready {
            server: "dsr1-gpu-r2".to_owned(),
            model: String::new(),
            base_url: "http://127.0.0.1:30000".to_owned(),
            stages: Vec::new(),
            kv_pool_tokens: Some(15_754_390),
            memory: crate::report::EngineMemory {
                free_gib: Some("139.11".to_owned()),
                weights_gib: Some("26.75".to_owned()),
                graphs_gib: None,
                left_gib: Some("20.90".to_owned()),
            },
            planned: Some(crate::report::PlannedFigures {
                free_bytes: 149_369_100_000,
                weights_bytes: 28_669_000_000,
                pool_tokens: 15_762_987,
            }),
        };
        let unplanned = Ready {
            planned: None,
            ..ready.clone()
        };
        assert_eq!(
            outcome(&Outcome::Ready(ready)),
            "READY on http://127.0.0.1:30000, KV pool of 15754390 tokens\n\n\
             memory of a GPU  planned          measured\n\
             free before      139.1 GiB        139.11 GiB\n\
             weights          26.7 GiB         26.75 GiB\n\
             KV pool          15762987 tokens  15754390 tokens\n\
             left                              20.90 GiB\n"
        );
        assert_eq!(
            outcome(&Outcome::Ready(unplanned)),
            "READY on http://127.0.0.1:30000, KV pool of 15754390 tokens\n"
        );
    }

    fn up(end: Vec<StepReport>) -> Report {
        let stages = [
            (Stage::Starting, 0),
            (Stage::LoadingWeights, 14_000),
            (Stage::AllocatingKvCache, 326_000),
            (Stage::CapturingGraphs, 330_000),
            (Stage::WarmingUp, 357_000),
            (Stage::Ready, 361_500),
        ];
        let ready = Ready {
            server: "dsr1-fp4-low-latency".to_owned(),
            model: "nvidia/DeepSeek-R1-0528-FP4".to_owned(),
            base_url: "http://127.0.0.1:30000".to_owned(),
            stages: stages.map(|(stage, at_ms)| StageTime { stage, at_ms }).to_vec(),
            kv_pool_tokens: Some(980_344),
            memory: crate::report::EngineMemory::default(),
            planned: None,
        };
        let built = Built {
            pushed: Vec::new(),
            tag: "dsr1/guide:1f".to_owned(),
            image_id: "sha256:ab".to_owned(),
            cached: true,
            size_bytes: 1,
        };
        let check = AnswerCheck {
            name: "one model is listed".to_owned(),
            passed: true,
            seen: "model".to_owned(),
        };
        let verification = Verification {
            scope: "answers".to_owned(),
            checks: vec![check],
        };
        let mut steps = vec![
            step("build image dsr1/guide:1f", 40, Outcome::Built(built)),
            step("pull deepseek-ai/DeepSeek-R1-0528", 62_000, pulled()),
            step(
                "start container dsr1-fp8-low-latency",
                420,
                Outcome::Started {
                    name: "fp8-low-latency".to_owned(),
                },
            ),
            step("wait for http://127.0.0.1:30000", 361_500, Outcome::Ready(ready)),
            step("verify answers", 31_000, Outcome::Verified(verification)),
            step(
                "benchmark",
                1_300_000,
                Outcome::Benchmarked(Box::new(crate::ui::tests::benchmark_result())),
            ),
        ];
        steps.extend(end);
        Report {
            schema: SCHEMA.to_owned(),
            command: "up".to_owned(),
            steps,
            elapsed_ms: 1_755_000,
        }
    }

    #[test]
    fn a_server_that_stays_says_what_is_next() {
        insta::assert_snapshot!(report(&up(Vec::new()), false, usize::MAX));
        assert!(
            report(&up(Vec::new()), true, usize::MAX)
                .starts_with("in all 29m15s\n\nREADY, KV pool of 980344 tokens\n")
        );
    }

    #[test]
    fn commands_at_the_end_can_be_pasted_from_a_narrow_terminal() {
        let text = report(&up(Vec::new()), true, 80);
        let end = text.split("\nserver ").nth(1).unwrap();
        let parts: Vec<&str> = end.lines().filter(|line| line.ends_with('\\')).collect();
        assert!(
            !parts.is_empty() && end.contains("\n          dsr1 stop dsr1-fp4-low-latency\n"),
            "{end}"
        );
        let is_body = |line: &str| line.trim_start().starts_with("'{");
        assert!(
            end.lines().all(|line| width(line) <= 80 || is_body(line)),
            "{end}"
        );
    }

    #[test]
    fn a_terminal_that_shows_the_steps_is_not_told_their_results_again() {
        let stopped = || Outcome::Stopped {
            name: "dsr1-a".to_owned(),
            killed: false,
        };
        let only = Report {
            steps: vec![step("stop dsr1-a", 1_000, stopped())],
            ..up(Vec::new())
        };
        assert_eq!(report(&only, true, 80), "");
        assert_eq!(report(&only, false, 80), "dsr1-a stopped\n");
        let chain = report(&up(vec![step("stop dsr1-a", 1_000, stopped())]), true, 80);
        assert!(
            !chain.contains("dsr1-a stopped") && !chain.contains("READY on"),
            "{chain}"
        );
        assert!(
            chain.contains("READY and VERIFIED, measured, and stopped again"),
            "{chain}"
        );
    }

    #[test]
    fn a_stopped_server_has_no_next_command() {
        let stopped = Outcome::Stopped {
            name: "fp8-low-latency".to_owned(),
            killed: true,
        };
        let text = report(
            &up(vec![step("stop fp8-low-latency", 1_000, stopped)]),
            false,
            usize::MAX,
        );
        assert!(
            text.contains(
                "\n\nfp8-low-latency stopped, killed after the drain time, with the requests that still ran\n"
            ) && text.ends_with("next    the same command with --keep leaves the server running\n"),
            "{text}"
        );
    }

    #[test]
    fn a_single_step_is_shown_in_full() {
        let steps = vec![step("pull x", 62_000, pulled())];
        let only = Report {
            schema: SCHEMA.to_owned(),
            command: "pull".to_owned(),
            steps,
            elapsed_ms: 62_000,
        };
        insta::assert_snapshot!(report(&only, false, usize::MAX));
    }

    #[test]
    fn every_outcome_is_a_line_at_least() {
        let outcomes = [
            Outcome::Installed(Installed {
                dir: "/c/venv".to_owned(),
                cached: false,
                packages: 180,
            }),
            Outcome::ModelWritten {
                repo: "dsr1/rehearsal".to_owned(),
                commit: "ab12".to_owned(),
            },
            Outcome::Mirroring {
                endpoint: "http://127.0.0.1:8490".to_owned(),
            },
            Outcome::Started {
                name: "re\x1bhearsal".to_owned(),
            },
        ];
        let text: Vec<String> = outcomes.iter().map(outcome).collect();
        insta::assert_snapshot!(text.concat());
    }
}
