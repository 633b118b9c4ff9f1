//! Tests with the real SGLang, as a user runs it: in a venv and in a container. On a cold machine the first test of
//! each runtime installs 180 packages, and later tests reuse them.
//!
//! Tests that concern dsr1 more than SGLang run here only in `tests/run --all`, and for each commit in `stand_in`.

use std::path::Path;
use std::time::Duration;

use super::builders::image_by_both_builders;
use super::servers::{self, Site};
use crate::support::random::{Random, rounds};
use crate::support::{self, Home, Run, base_image, free_port, lock, must_run};

/// Asserts that a rehearsal printed every expected text on stderr and stdout, in this order.
#[track_caller]
fn assert_whole_chain(run: &Run) {
    let mut at = 0;
    for text in [
        "write model dsr1/rehearsal-qwen2",
        "mirror on 127.0.0.1:",
        "pull dsr1/rehearsal-qwen2",
        "8 files, 745.8 kB, commit ",
        "load weights after",
        "kv cache after",
        "ready after",
        "READY on http://127.0.0.1:",
        "VERIFIED (6 checks, wiring only: the model is random)",
        "measure http://127.0.0.1:",
        "stopped",
    ] {
        match run.stderr[at..].find(text) {
            Some(found) => at += found + text.len(),
            None => panic!("no `{text}` after byte {at}:\n{}", run.stderr),
        }
    }
    let pulled = run
        .stderr
        .lines()
        .find(|line| line.contains("8 files, 745.8 kB, commit "));
    let is_proven = |line: &str| {
        // The model is written again each time with the same bytes, so a pull may find them in the cache.
        line.ends_with(", every hash checked") || line.ends_with(", verified, nothing to fetch")
    };
    assert!(pulled.is_some_and(is_proven), "{}", run.stderr);
    for text in [
        "READY on http://127.0.0.1:",
        "VERIFIED (wiring",
        "============ Serving Benchmark Result ============",
        "Successful requests:",
        "Median TTFT (ms):",
        "Max ITL (ms):",
        "stopped",
    ] {
        assert!(run.stdout.contains(text), "no `{text}`:\n{}", run.stdout);
    }
}

/// Asserts that the saved result is valid JSON and agrees with the report.
#[track_caller]
fn assert_result_kept(home: &Home) {
    let results = support::tree(&home.path().join(".local/state/dsr1/results"));
    let (_, bytes) = results
        .iter()
        .find(|(name, _)| name.contains("bench-2"))
        .expect("no result was kept");
    let result: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(
        (&result["schema"], &result["requests"]["failed"]),
        (&"dsr1.measurement/1".into(), &serde_json::json!({}))
    );
    assert!(result["requests"]["completed"].as_u64().unwrap() >= 20);
    let figures = &result["figures"];
    assert!(figures["ttft"]["p50_ms"].as_f64().unwrap() > 0.0);
    // The real engine counts each chunk, and its prompts are exactly as long as asked for and were never seen before.
    assert_eq!(figures["counts_each_chunk"], true);
    assert_eq!(
        (&figures["mean_input_len"], &figures["mean_output_len"]),
        (&64.0.into(), &16.0.into())
    );
    let verdicts = result["verdicts"].as_array().unwrap();
    for about in ["requests", "prompts", "answers", "prefix cache", "same server"] {
        let is_trusted =
            |verdict: &serde_json::Value| verdict["about"] == about && verdict["trust"] == "trusted";
        assert!(verdicts.iter().any(is_trusted), "{about}: {verdicts:#?}");
    }
}

/// Runs the README's first command, with a port and a name of the test.
fn up(home: &Home) -> Run {
    let port = free_port().to_string();
    let first = support::first_command();
    let mut args: Vec<&str> = first.iter().map(String::as_str).collect();
    args.extend(["--port", &port, "--name", "chain", "--progress", "plain"]);
    home.run(&args)
}

#[test]
fn the_whole_chain_as_a_process() {
    let _alone = lock::engine();
    let home = Home::new().with_shared_packages().without_docker();
    // Without a daemon dsr1 chooses the process runtime by itself, and states the reason.
    let run = up(&home).expect(0);
    // It says nothing of it where the packages are there already, from an earlier run of the tests.
    let is_ready = run.stderr.contains("(cached): 183 packages");
    assert!(
        is_ready || run.stderr.contains("note: runtime process: no Docker daemon at"),
        "{}",
        run.stderr
    );
    assert_whole_chain(&run);
    assert_result_kept(&home);
    assert_eq!(home.leftovers(), Vec::<String>::new());
    assert_eq!(
        home.run(&["status"]).expect(0).stdout,
        "no servers; processes of other users are not listed\n"
    );
}

/// An environment that dsr1 did not make runs the same chain: here that of another venv, which is only named. Its PyTorch is
/// built for CUDA, and the profile is for a processor.
#[test]
fn an_environment_of_the_user_runs_the_chain() {
    let _alone = lock::engine();
    let home = Home::new().with_shared_packages().without_docker();
    let built = home
        .run(&["build", "--stack", "cpu", "--runtime", "process"])
        .expect(0);
    let venv = built
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("venv "))
        .unwrap();
    let python = format!("{}/bin/python3", venv.trim());
    let port = free_port().to_string();
    let run = home
        .run(&[
            "up",
            "rehearsal",
            "--python",
            &python,
            "--port",
            &port,
            "--name",
            "chain",
            "--progress",
            "plain",
        ])
        .expect(0);
    assert!(
        run.stderr.contains("packages, 4 modules imported"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("installing "), "{}", run.stderr);
    assert_whole_chain(&run);
    assert_result_kept(&home);
    assert_eq!(home.leftovers(), Vec::<String>::new());
    let doctor = home
        .run(&["doctor", "rehearsal", "--python", &python, "--port", &port])
        .expect(0)
        .stdout;
    assert!(
        doctor.contains("used on the processor") && doctor.contains("by an earlier check"),
        "{doctor}"
    );
}

#[test]
fn the_whole_chain_in_docker() {
    let _alone = lock::engine();
    base_image();
    let home = Home::new();
    let run = up(&home).expect(0);
    assert!(
        run.stderr.contains("note: runtime docker: a daemon answers"),
        "{}",
        run.stderr
    );
    assert_whole_chain(&run);
    assert_result_kept(&home);
    assert_eq!(
        must_run(
            "docker",
            &["ps", "--all", "--quiet", "--filter", "name=^dsr1-chain$"],
            "install docker"
        ),
        ""
    );
}

/// Returns a site with the real engine. Tests share its packages, so nothing is installed twice.
fn site(runtime: &'static str) -> Site {
    let home = if runtime == "docker" {
        base_image();
        Home::new()
    } else {
        Home::new().with_shared_packages().without_docker()
    };
    Site::new(home, runtime, "cpu")
}

/// Runs a benchmark and an evaluation against the real engine, with user options.
fn measured(home: &Home, name: &str) {
    let bench = home
        .run(&[
            "bench",
            name,
            "--num-prompts",
            "4",
            "--max-concurrency",
            "2",
            "--engine-client",
            "--format",
            "json",
            "--progress",
            "quiet",
        ])
        .expect(0)
        .json();
    let outcome = &bench["steps"][0]["outcome"];
    assert_eq!(
        (&outcome["completed"], &outcome["max_concurrency"]),
        (&4.into(), &2.into())
    );
    servers::evaluation_is_reported(home, name);
}

/// Two turns with the real engine: it counts the conversation of the first in the second.
fn conversation(home: &Home, name: &str) {
    let questions = home.path().join("questions.txt");
    std::fs::write(&questions, "Say hello.\nAnd again.\n").unwrap();
    let mut command = home.command(&["chat", name, "--max-tokens", "16", "--format", "json"]);
    command.stdin(std::fs::File::open(questions).unwrap());
    let run = Run::from(command.output().unwrap()).expect(0);
    let turns: Vec<serde_json::Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let prompt = |turn: usize| turns[turn]["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(turns.len() == 2 && prompt(1) > prompt(0), "{}", run.stdout);
    assert!(turns[0]["ttft_ms"].is_u64(), "{}", run.stdout);
}

#[test]
fn the_life_of_a_server_as_a_process() {
    let _alone = lock::engine();
    let site = site("process");
    servers::life_of_a_server(&site, "life", |home| {
        servers::requests_of_the_readme(home, "life");
        conversation(home, "life");
        measured(home, "life");
    });
    assert_eq!(site.home.leftovers(), Vec::<String>::new());
}

/// Checks the bundled tables against the installed SGLang, and a lock against the running server.
fn tables_and_lock(home: &Home, runtime: &str) {
    let sync = home
        .run(&["flags", "sync", "--stack", "cpu", "--runtime", runtime])
        .expect(0);
    assert!(
        sync.stdout
            .contains("server: SGLang 0.5.23, 531 options, table of 0.5.23: as bundled"),
        "{}",
        sync.stdout
    );
    let lock = ["lock", "--profile", "rehearsal", "--runtime", runtime];
    let locked = home.run(&lock).expect(0).stdout;
    assert!(locked.contains("with the hashes of "), "{locked}");
    assert!(home.run(&["check"]).expect(0).stdout.ends_with(": as locked\n"));
    // A file that changed after its verification no longer matches the lock.
    let facts = home.run(&["doctor", "--format", "json"]).json();
    let hub = facts["facts"]["paths"]["hub_cache"].as_str().unwrap();
    let snapshots = Path::new(hub).join("models--dsr1--rehearsal-qwen2/snapshots");
    let snapshot = std::fs::read_dir(snapshots)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let config = std::fs::canonicalize(snapshot.join("config.json")).unwrap();
    let text = std::fs::read(&config).unwrap();
    std::fs::write(&config, b"{}").unwrap();
    let run = home.run(&["check"]).expect(8);
    assert!(run.stdout.contains("not verified here"), "{}", run.stdout);
    let refused = home
        .run(&["serve", "--locked", "--port", &free_port().to_string()])
        .expect(8);
    assert!(
        refused
            .stderr
            .starts_with("error: the server would differ from the lock"),
        "{}",
        refused.stderr
    );
    std::fs::write(&config, text).unwrap();
}

#[test]
fn tables_and_lock_of_a_venv() {
    let _alone = lock::engine();
    tables_and_lock(&site("process").home, "process");
}

#[test]
fn tables_and_lock_of_an_image() {
    let _alone = lock::engine();
    let home = site("docker").home;
    tables_and_lock(&home, "docker");
    // The engine in the image accepts the profiles, and the table is kept.
    let args = ["build", "--stack", "cpu", "--runtime", "docker"];
    let verify = home.run(&[&args[..], &["--verify"]].concat()).expect(0);
    for profile in ["rehearsal", "rehearsal-rack"] {
        let is_accepted = |line: &str| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .ends_with(&[profile, "accepted"])
        };
        assert!(verify.stdout.lines().any(is_accepted), "{}", verify.stdout);
    }
    let built = home
        .run(&[&args[..], &["--format", "json"]].concat())
        .expect(0)
        .json();
    let tag = built["steps"][0]["outcome"]["tag"].as_str().unwrap();
    let shown = home
        .run(&["image", "inspect", tag, "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(shown["verified"]["sglang"], "0.5.23");
}

#[test]
fn an_argument_that_the_engine_does_not_take_is_a_usage_error() {
    let _alone = lock::engine();
    let site = site("process");
    let home = &site.home;
    let port = free_port().to_string();
    let mut args = site.serve_args("refused", &port);
    args.extend(["--", "--no-such-flag"]);
    // An argument that the table refuses is known before anything starts...
    let run = home.run(&args).expect(2);
    assert!(
        run.stderr
            .contains("cause: SGLang 0.5.23 has no option --no-such-flag (flag.unknown)"),
        "{}",
        run.stderr
    );
    // ... and an argument that only the code of the engine refuses is read from its log.
    args.truncate(args.len() - 1);
    args.push("--cuda-graph-config=xyz");
    let run = home.run(&args).expect(2);
    assert!(
        run.stderr.contains("cause: argument --cuda-graph-config: "),
        "{}",
        run.stderr
    );
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "soak: the gate has the process's, and the stand-in's in Docker"]
fn the_life_of_a_server_in_docker() {
    let _alone = lock::engine();
    let site = site("docker");
    servers::life_of_a_server(&site, "boxed", |home| {
        measured(home, "boxed");
        servers::evaluation_is_refused(home, "boxed");
    });
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn a_foreign_server_is_never_reported_as_ready() {
    let _alone = lock::engine();
    let site = site("process");
    servers::a_foreign_server_is_never_reported_as_ready(&site);
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn a_port_that_is_taken_and_silent_ends_the_start() {
    let _alone = lock::engine();
    let site = site("process");
    servers::a_port_that_is_taken_and_silent_ends_the_start(&site);
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn an_attached_server_ends_with_ctrl_c() {
    let _alone = lock::engine();
    let site = site("process");
    servers::an_attached_server_ends_with_ctrl_c(&site);
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn ctrl_c_during_the_load_leaves_nothing_behind() {
    let _alone = lock::engine();
    let site = site("process");
    servers::ctrl_c_during_the_load_leaves_nothing_behind(&site);
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn ctrl_c_during_the_load_in_docker_leaves_nothing_behind() {
    let _alone = lock::engine();
    let site = site("docker");
    servers::ctrl_c_during_the_load_leaves_nothing_behind(&site);
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn an_engine_killed_during_the_load_is_reported_at_once() {
    let _alone = lock::engine();
    let site = site("process");
    servers::an_engine_killed_during_the_load_is_reported_at_once(&site);
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn an_engine_killed_in_docker_is_reported_at_once_and_its_log_is_kept() {
    let _alone = lock::engine();
    let site = site("docker");
    servers::an_engine_killed_in_docker_is_reported_at_once_and_its_log_is_kept(&site);
}

#[test]
#[ignore = "soak: the gate has the stand-in's"]
fn the_cpu_image_by_both_builders() {
    let _alone = lock::engine();
    let _images = lock::daemon();
    base_image();
    image_by_both_builders(&Home::new(), "cpu", 3);
}

/// Other tools measure the server by the URL and the model name that `serve` prints.
#[test]
#[ignore = "installs two tools of 1 and 6 GB"]
fn aiperf_and_guidellm_measure_a_rehearsal_server() {
    let _alone = lock::engine();
    let site = site("process");
    let home = &site.home;
    let port = free_port().to_string();
    let served = home.run(&site.serve_args("clients", &port)).expect(0).stdout;
    let row = |label: &str| {
        let line = served.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("{served}")).trim().to_owned()
    };
    let (url, model) = (row("base URL "), row("model "));
    let url = url.trim_end_matches("/v1");
    let checked = std::panic::catch_unwind(|| {
        let run = |tool: &str, args: &[&str]| {
            let program = support::tool(tool, "the package index must be reachable");
            let mut command = std::process::Command::new(program);
            command.args(args).env_clear().current_dir(home.path());
            // Both read the tokenizer from the cache that the server has.
            command
                .env("HOME", home.path())
                .env("PATH", "/usr/bin:/bin")
                .env(
                    "HF_HUB_CACHE",
                    support::target().join("rehearsal-cache/huggingface/hub"),
                )
                .env("HF_HUB_OFFLINE", "1");
            Run::from(command.output().unwrap()).expect(0);
        };
        let read = |path: &str| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(home.path().join(path)).unwrap()).unwrap()
        };
        let aiperf = "profile --endpoint-type chat --streaming --concurrency 2 --request-count 8 --ui none \
            --synthetic-input-tokens-mean 64 --output-tokens-mean 16 --output-artifact-dir aiperf";
        let mut args: Vec<&str> = aiperf.split_whitespace().collect();
        args.extend(["--model", &model, "--url", url]);
        run("aiperf.sh", &args);
        let result = read("aiperf/profile_export_aiperf.json");
        assert_eq!(result["request_count"]["avg"], 8.0, "{result:#}");
        let backend = format!("kind=openai_http,target={url},model={model}");
        let guidellm = "run --profile kind=synchronous --constraint kind=max_requests,count=4 --disable-progress \
            --data kind=synthetic_text,prompt_tokens=64,output_tokens=16 --output kind=json,path=guidellm.json";
        let mut args: Vec<&str> = guidellm.split_whitespace().collect();
        args.extend(["--backend", &backend]);
        run("guidellm.sh", &args);
        let requests = read("guidellm.json")["benchmarks"][0]["metrics"]["request_totals"].clone();
        assert_eq!(
            (&requests["successful"], &requests["errored"]),
            (&4.into(), &0.into())
        );
    });
    home.run(&["stop", "clients"]).expect(0);
    if let Err(panic) = checked {
        std::panic::resume_unwind(panic);
    }
}

/// Wherever `up` is interrupted or killed, the next one succeeds, and nothing is left outside the folders of dsr1, of the
/// weights and of the engine.
#[test]
#[ignore = "interrupts the whole chain 30 times"]
fn wherever_up_is_killed_the_next_one_succeeds_and_nothing_is_left() {
    let _alone = lock::engine();
    let mut random = Random::new("kills of up");
    let temporary = tempfile::tempdir().unwrap();
    let home = Home::new()
        .without_docker()
        .with("TMPDIR", temporary.path().to_str().unwrap());
    let port = free_port().to_string();
    let args = ["up", "rehearsal", "--port", &port, "--progress", "plain"];
    let is_running = |home: &Home| home.run(&["status"]).expect(0).stdout.contains("dsr1-rehearsal");
    for round in 0..rounds(30, 6) {
        let running = home.start(&args);
        let moment = Duration::from_millis(random.below(45_000));
        std::thread::sleep(moment);
        let signal = ["INT", "TERM", "KILL"][usize::try_from(random.below(3)).unwrap()];
        running.signal(signal);
        let (run, _) = running.end();
        let when = format!(
            "round {round}: {signal} after {moment:?}, code {}\n{}",
            run.code, run.stderr
        );
        assert!([0, 130, 137].contains(&run.code), "{when}");
        if signal == "KILL" && is_running(&home) {
            // A killed dsr1 cannot remove its server; `stop` does.
            home.run(&["stop"]).expect(0);
        }
        assert!(!is_running(&home), "{when}");
    }
    home.run(&args).expect(0);
    assert_eq!(home.leftovers(), Vec::<String>::new());
    let known = [
        ".cache/dsr1/",
        ".local/state/dsr1/",
        // Weights; kernels that the engine compiles; what a package of the engine calls at import.
        ".cache/huggingface/",
        ".cache/sglang/",
        ".rustup/",
        // Those of the test.
        "out-",
        "err-",
    ];
    let mut foreign = Vec::new();
    list_files(home.path(), &mut foreign);
    foreign.retain(|path| {
        let path = path.strip_prefix(home.path()).unwrap().to_string_lossy();
        !known.iter().any(|start| path.starts_with(start))
    });
    list_files(temporary.path(), &mut foreign);
    assert_eq!(foreign, Vec::<std::path::PathBuf>::new());
}

/// Adds the files below `dir`.
fn list_files(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            list_files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Returns the process of the scheduler of a server whose log is below `home`.
pub(crate) fn scheduler_of(home: &Home) -> String {
    let all = must_run("ps", &["-eo", "pid,pgid,args"], "install procps");
    let status = home.run(&["status", "--format", "json"]).json();
    let leader = status["servers"][0]["id"].as_str().unwrap().to_owned();
    let is_its =
        |line: &&str| line.contains("sglang::scheduler") && line.split_whitespace().nth(1) == Some(&*leader);
    let line = all
        .lines()
        .find(is_its)
        .unwrap_or_else(|| panic!("no scheduler of {leader}: {all}"));
    line.split_whitespace().next().unwrap().to_owned()
}

/// A scheduler that a signal has stopped hangs, although the probe is answered; one that is killed ends the server. Status,
/// ask and the benchmark say so, with the reason.
#[test]
fn a_stopped_scheduler_hangs_and_a_killed_one_ends_the_server() {
    let _alone = lock::engine();
    let home = Home::new().with_shared_packages().without_docker();
    let port = free_port().to_string();
    let serve = ["serve", "rehearsal", "--port", &port, "--name", "hung"];
    home.run(&serve).expect(0);
    let scheduler = scheduler_of(&home);
    must_run("kill", &["-STOP", &scheduler], "install procps");
    let status = home.run(&["status", "--check"]).expect(7);
    let reason = format!(
        "its process {scheduler} is stopped by a signal (SIGSTOP); kill -CONT {scheduler} resumes it"
    );
    assert!(
        status.stdout.contains("hung ") && status.stdout.contains(&reason),
        "{}",
        status.stdout
    );
    for command in [
        &["ask", "--server", "hung", "hello"][..],
        &["bench", "hung"],
        &["chat", "hung"],
        &["ask", "hello"],
    ] {
        let begun = std::time::Instant::now();
        let refused = home.run(command).expect(7);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
        assert!(refused.stderr.contains("dsr1-hung hangs"), "{}", refused.stderr);
    }
    must_run("kill", &["-CONT", &scheduler], "install procps");
    home.run(&["ask", "--server", "hung", "--max-tokens", "4", "hello"])
        .expect(0);

    // It stops while a client waits: a random model may end its answer before that.
    let stopped = (0..10).find_map(|_| {
        let asking = home.start(&["ask", "--server", "hung", "--max-tokens", "4000", "hello"]);
        std::thread::sleep(std::time::Duration::from_millis(300));
        must_run("kill", &["-STOP", &scheduler], "install procps");
        let (run, took) = asking.end();
        if run.code == 0 {
            must_run("kill", &["-CONT", &scheduler], "install procps");
        }
        (run.code != 0).then_some((run, took))
    });
    let (run, took) = stopped.unwrap();
    let run = run.expect(7);
    assert!(
        run.stderr.contains("dsr1-hung hangs during the answer"),
        "{}",
        run.stderr
    );
    assert!(took < std::time::Duration::from_secs(30), "{took:?}");

    must_run("kill", &["-KILL", &scheduler], "install procps");
    std::thread::sleep(std::time::Duration::from_secs(5));
    let status = home.run(&["status"]).expect(0).stdout;
    assert!(
        status.contains("crashed") && status.contains("A process was killed from outside"),
        "{status}"
    );
    let diagnosis = home.run(&["diagnose", "hung"]).expect(0).stdout;
    assert!(diagnosis.contains("(process.killed)"), "{diagnosis}");
    home.run(&["stop", "hung", "--drain", "1"]).expect(0);
    assert_eq!(home.leftovers(), Vec::<String>::new());
}
