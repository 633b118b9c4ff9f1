//! Runs the stack's own benchmark and GSM8K clients beside the server, and reads their results.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::effects::files;
use crate::effects::http::Http;
use crate::effects::serve::questions::read_data;
use crate::effects::serve::results;
use crate::effects::serve::runtime::{Life, Runtime};
use crate::effects::serve::start;
use crate::error::{At, Error, Kind, Result};
use crate::event::{Source, StepEvents};
use crate::measure::statistics::share_interval;
use crate::plan::{RunBenchmark, RunGsm8k};
use crate::report::{Benchmark, Gsm8k};
use crate::sglang::client::{check_questions, parse_benchmark, printed_figure};
use crate::sglang::log;

/// Longest time from the failure of a client to the end of the server that caused it.
const ENDING: Duration = Duration::from_secs(2);

/// Runs the benchmark client and keeps its typed result.
///
/// # Errors
/// [`Kind::Server`] when the client fails; [`Kind::Untrusted`] when requests failed, which makes the figures look better.
pub(in crate::effects) async fn benchmark(
    step: &RunBenchmark,
    runtime: &Runtime<'_>,
    events: &StepEvents<'_>,
) -> Result<Benchmark> {
    std::fs::create_dir_all(&step.results_dir)
        .at(Kind::Host, || format!("cannot make `{}`", step.results_dir))?;
    // The client appends: an old line would be read as the new result.
    runtime.remove_file(&step.output).await;
    let mut argv = step.argv.clone();
    argv.extend(["--output-file".to_owned(), step.output.clone()]);
    let printed = run_client(
        runtime,
        &argv,
        &step.results_dir,
        &step.env,
        events,
        "the benchmark client",
    )
    .await?;
    let written = runtime.read_file(&step.output).await?;
    runtime.remove_file(&step.output).await;
    let mut result = parse_benchmark(&String::from_utf8_lossy(&written), u64::from(step.num_prompts))?;
    result.itl.max_ms = printed_figure(&printed, "Max ITL (ms):");
    if result.completed < result.requested {
        await_end(runtime, "the benchmark client").await?;
        return Err(Error::new(
            Kind::Untrusted,
            format!("{} of {} requests completed", result.completed, result.requested),
        )
        .cause("the other requests failed, so the figures describe an easier load than the one asked for")
        .hint(format!("dsr1 logs {}", runtime.name()))
        .log(last(printed, 20)));
    }
    let path = results::path_of(&step.results_dir, runtime.name(), "bench");
    result.saved_to = Some(path.to_string_lossy().into_owned());
    results::save(&path, "dsr1.bench/1", &result)?;
    Ok(result)
}

/// Runs the few-shot script and keeps its typed result.
///
/// # Errors
/// [`Kind::Integrity`] when the data does not match its hash; [`Kind::Gate`] when the accuracy is too low.
pub(in crate::effects) async fn gsm8k(
    step: &RunGsm8k,
    runtime: &Runtime<'_>,
    http: &Http,
    events: &StepEvents<'_>,
) -> Result<Gsm8k> {
    std::fs::create_dir_all(&step.results_dir)
        .at(Kind::Host, || format!("cannot make `{}`", step.results_dir))?;
    let (bytes, hash) = read_data(&step.data, step.sha256.as_deref(), http).await?;
    let rows = check_questions(&step.data, &bytes)?;
    let questions = step.questions.min(rows);
    if questions < step.questions {
        events.note(format!("the data has {rows} questions: asking {questions}"));
    }
    let local = PathBuf::from(format!("{}/gsm8k-{}.jsonl", step.results_dir, &hash[..12]));
    files::write_atomic(&local, &bytes)?;
    let inside = runtime
        .share_file(&local, &format!("gsm8k-{}.jsonl", &hash[..12]))
        .await?;
    let mut argv = step.argv.clone();
    argv.push(inside);
    let printed = run_client(
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
    if !(0.0..=1.0).contains(&accuracy) {
        return Err(Error::new(
            Kind::Server,
            format!("the gsm8k script printed the accuracy {accuracy}"),
        )
        .cause("an accuracy is a number between 0 and 1")
        .log(last(printed.clone(), 20)));
    }
    let (accuracy_low, accuracy_high) = share_interval(accuracy, f64::from(questions));
    let path = results::path_of(&step.results_dir, runtime.name(), "gsm8k");
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
    results::save(&path, "dsr1.gsm8k/1", &result)?;
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

/// Runs a client to its end and returns the lines that it printed.
async fn run_client(
    runtime: &Runtime<'_>,
    argv: &[String],
    dir: &str,
    env: &std::collections::BTreeMap<String, String>,
    events: &StepEvents<'_>,
    client: &str,
) -> Result<Vec<String>> {
    let mut printed = Vec::new();
    let mut on_line = |line: &str| {
        events.line(Source::Client, line);
        if let Some((what, done, total)) = log::progress(line) {
            events.activity(what, Some((done, total)));
        }
        // The figures are at the end.
        if printed.len() == 10_000 {
            printed.drain(..1_000);
        }
        printed.push(line.to_owned());
    };
    // It imports the whole engine before it prints a line.
    events.activity(&format!("start {client}"), None);
    let done = runtime.exec(argv, dir, env, &mut on_line).await;
    if matches!(done, Ok(0)) {
        return Ok(printed);
    }
    await_end(runtime, client).await?;
    let code = done?;
    let cause = log::cause(printed.iter().map(String::as_str)).map(str::to_owned);
    let error = Error::new(Kind::Server, format!("{client} failed")).cause(cause.map_or_else(
        || format!("exit code {code}"),
        |cause| format!("{cause} (exit code {code})"),
    ));
    Err(error
        .hint(format!("dsr1 logs {}", runtime.name()))
        .log(last(printed, 20)))
}

/// Waits a moment for the end of a server whose client failed, and fails if it ended: the client's own error would only
/// describe a connection.
async fn await_end(runtime: &Runtime<'_>, client: &str) -> Result<()> {
    let until = Instant::now() + ENDING;
    let during = format!("the run of {client}");
    while Instant::now() < until {
        let is_over = runtime.was_stopped() && runtime.life().await? != Life::Running;
        if is_over {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    start::still_alive(runtime, &during).await
}

/// Returns the last `count` lines.
fn last(mut lines: Vec<String>, count: usize) -> Vec<String> {
    lines.split_off(lines.len().saturating_sub(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::env::Env;
    use crate::effects::process::command;
    use crate::event::Recorder;

    fn server(env: &Env, log: PathBuf) -> Runtime<'_> {
        Runtime::Process {
            env,
            name: "dsr1-a".to_owned(),
            log,
            child: None,
            begun: "",
        }
    }

    #[tokio::test]
    async fn a_client_whose_server_was_stopped_says_that_and_not_its_traceback() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::from_lookup(|name| (name == "PATH").then(|| "/usr/bin:/bin".to_owned()));
        let log = dir.path().join("dsr1-a.log");
        std::fs::write(&log, "a line\n# dsr1 stopped\n").unwrap();
        let runtime = server(&env, log);
        let recorder = Recorder::default();
        let events = StepEvents::new(&recorder, 1);
        let argv = ["sh", "-c", "echo Traceback; exit 1"].map(str::to_owned);
        let none = std::collections::BTreeMap::new();
        let dir = dir.path().to_str().unwrap();
        let run = run_client(&runtime, &argv, dir, &none, &events, "the benchmark client");
        let error = run.await.unwrap_err();
        assert_eq!(
            error.message(),
            "dsr1-a was stopped during the run of the benchmark client"
        );
        assert!(error.causes()[0].starts_with("dsr1 stop stopped it"), "{error:?}");
    }

    /// The engine gathers diagnostics for seconds before it ends, while its port refuses connections.
    #[tokio::test]
    async fn a_client_whose_server_dies_says_why_it_dies() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::from_lookup(|name| (name == "PATH").then(|| "/usr/bin:/bin".to_owned()));
        let log = dir.path().join("dsr1-a.log");
        let text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1024.00 MiB.\n\
                    [x] SIGQUIT received. signum=None, frame=None. It usually means one child failed.\n";
        std::fs::write(&log, text).unwrap();
        let none = std::collections::BTreeMap::new();
        let mut engine = command::new(&env, &["sleep", "4"], &none).unwrap();
        let out = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        let mut engine = engine.stdout(out).spawn().unwrap();
        let runtime = server(&env, log);
        let recorder = Recorder::default();
        let events = StepEvents::new(&recorder, 1);
        let argv = ["sh", "-c", "echo 'Connection refused'; exit 1"].map(str::to_owned);
        let dir = dir.path().to_str().unwrap();
        let run = run_client(&runtime, &argv, dir, &none, &events, "the benchmark client");
        let error = run.await.unwrap_err();
        engine.wait().unwrap();
        assert_eq!(
            error.message(),
            "dsr1-a ended during the run of the benchmark client"
        );
        assert!(
            error.causes()[0].starts_with("GPU memory ran out")
                && error.causes()[1].starts_with("torch.OutOfMemoryError: CUDA out of memory."),
            "{error:?}"
        );
    }
}
