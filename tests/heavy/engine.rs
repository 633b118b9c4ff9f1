//! The whole chain on the real SGLang, as a user runs it: in a venv and in a container. Cold, the first test of
//! each runtime installs 180 packages; later ones find them. Nothing here is skipped.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::{self, Home, Run, Started, free_port, must_run};

/// One engine at a time: each wants both cores and gigabytes of memory.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn base_image() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/base-image.sh");
    must_run(
        "bash",
        &[script],
        "these tests need a Docker daemon and debootstrap",
    );
}

/// A server that is stopped whatever the test comes to.
struct Server<'a> {
    home: &'a Home,
    name: String,
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.home.command(&["stop", &self.name, "--drain", "0"]).output();
    }
}

/// What every rehearsal must have said, in this order, on stderr and stdout.
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
        "benchmark",
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
        // The model is written anew each time, and the same each time: a pull may find its bytes.
        line.ends_with(", every hash checked") || line.ends_with(", proven, nothing to fetch")
    };
    assert!(pulled.is_some_and(is_proven), "{}", run.stderr);
    for text in [
        "READY on http://127.0.0.1:",
        "VERIFIED (wiring",
        "============ Serving Benchmark Result ============",
        "Successful requests:                     16",
        "Median TTFT (ms):",
        "Max ITL (ms):",
        "stopped",
    ] {
        assert!(run.stdout.contains(text), "no `{text}`:\n{}", run.stdout);
    }
}

/// The kept result is whole JSON and agrees with the report.
#[track_caller]
fn assert_result_kept(home: &Home) {
    let results = support::tree(&home.path().join(".local/state/dsr1/results"));
    let (_, bytes) = results
        .iter()
        .find(|(name, _)| name.contains("bench-2"))
        .expect("no result was kept");
    let result: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(
        (&result["schema"], &result["completed"]),
        (&"dsr1.bench/1".into(), &16.into())
    );
    assert!(result["ttft"]["median_ms"].as_f64().unwrap() > 0.0);
}

/// The README's first command, on a port and under a name of the test's own.
fn up(home: &Home) -> Run {
    let port = free_port().to_string();
    let mut args = support::first_command();
    args.extend(["--port", &port, "--name", "chain", "--progress", "plain"]);
    home.run(&args)
}

#[test]
fn the_whole_chain_as_a_process() {
    let _alone = alone();
    let home = Home::new().with_shared_packages().without_docker();
    // Left to itself, dsr1 takes the process runtime without a daemon, and says why.
    let run = up(&home).expect(0);
    assert!(
        run.stderr.contains("note: runtime process: no Docker daemon at"),
        "{}",
        run.stderr
    );
    assert_whole_chain(&run);
    assert_result_kept(&home);
    assert_eq!(home.leftovers(), Vec::<String>::new());
    assert_eq!(home.run(&["status"]).expect(0).stdout, "no servers\n");
}

#[test]
fn the_whole_chain_in_docker() {
    let _alone = alone();
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

/// Weights for `serve`, which does not make them: written, mirrored and pulled by the commands themselves.
fn pulled_weights(home: &Home) {
    let listen = format!("127.0.0.1:{}", free_port());
    let source = home.path().join("source");
    let mut mirror = home.start(&[
        "mirror",
        "--rehearsal",
        "--cache-dir",
        source.to_str().unwrap(),
        "--listen",
        &listen,
    ]);
    let begun = Instant::now();
    while !mirror.stdout().contains("HF_ENDPOINT=") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", mirror.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    home.run(&[
        "pull",
        "--profile",
        "rehearsal",
        "--endpoint",
        &format!("http://{listen}"),
    ])
    .expect(0);
    mirror.signal("INT");
    mirror.wait_for("", Duration::from_secs(1));
    mirror.end().0.expect(0);
}

/// A home in which `serve` can start at once: engine installed, weights pulled.
fn ready_home(runtime: &str) -> Home {
    let home = if runtime == "docker" {
        base_image();
        Home::new()
    } else {
        Home::new().with_shared_packages().without_docker()
    };
    home.run(&["build", "--stack", "cpu", "--runtime", runtime])
        .expect(0);
    pulled_weights(&home);
    home
}

fn serve_args<'a>(runtime: &'a str, name: &'a str, port: &'a str) -> Vec<&'a str> {
    vec![
        "serve",
        "--profile",
        "rehearsal",
        "--runtime",
        runtime,
        "--name",
        name,
        "--port",
        port,
        "--progress",
        "plain",
    ]
}

/// Everything that is done with a server that runs.
fn life_of_a_server(home: &Home, runtime: &str, name: &str) {
    let port = free_port().to_string();
    let server = Server {
        home,
        name: name.to_owned(),
    };
    let started = home.run(&serve_args(runtime, name, &port)).expect(0);
    assert!(started.stdout.contains("VERIFIED (wiring"), "{}", started.stdout);

    let status = home.run(&["status", "--format", "json"]).expect(0).json();
    let own = status["servers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|server| server["name"] == format!("dsr1-{name}"))
        .unwrap()
        .clone();
    assert_eq!(
        (&own["state"], &own["runtime"], &own["profile"]),
        (&"ready".into(), &runtime.into(), &"rehearsal".into())
    );

    let answer = home
        .run(&[
            "ask",
            "--server",
            name,
            "--max-tokens",
            "8",
            "--temperature",
            "0",
            "hello",
            "--format",
            "json",
        ])
        .expect(0)
        .json();
    assert_eq!(
        (&answer["finish_reason"], &answer["completion_tokens"]),
        (&"length".into(), &8.into())
    );

    let bench = home
        .run(&[
            "bench",
            name,
            "--num-prompts",
            "4",
            "--max-concurrency",
            "2",
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

    // Ctrl-C ends the client, wherever it runs, and leaves the server alone.
    let mut measuring = home.start(&["bench", name, "--num-prompts", "4000", "--progress", "plain"]);
    measuring.wait_for("    | ", Duration::from_mins(2));
    measuring.signal("INT");
    let (run, took) = measuring.end();
    run.expect(130);
    assert!(took < Duration::from_secs(3), "{took:?}");
    let clients = || must_run("ps", &["-eo", "args"], "install procps").contains("--num-prompts 4000");
    let begun = Instant::now();
    while clients() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the client goes on");
        std::thread::sleep(Duration::from_millis(100));
    }

    gsm8k(home, name);

    let logs = home.run(&["logs", name, "--tail", "2000"]).expect(0);
    assert!(
        logs.stdout.contains("The server is fired up and ready to roll!"),
        "{}",
        logs.stdout
    );
    assert!(!logs.stdout.contains('\u{1b}'));

    // The port and the name are taken: known before anything is started, with whose they are.
    let begun = Instant::now();
    let taken = home.run(&serve_args(runtime, "second", &port)).expect(3);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let expected = format!(
        "error: port {port} on 127.0.0.1 is taken\ncause: dsr1-{name} is a server of dsr1 on port {port}\nhint: dsr1 status"
    );
    assert!(taken.stderr.contains(&expected), "{}", taken.stderr);
    let again = home
        .run(&serve_args(runtime, name, &free_port().to_string()))
        .expect(3);
    assert!(
        again.stderr.contains(&format!("error: dsr1-{name} runs already")),
        "{}",
        again.stderr
    );

    let stopped = home.run(&["stop", name]).expect(0);
    assert_eq!(stopped.stdout, format!("dsr1-{name} stopped\n"));
    assert!(!home.run(&["status"]).expect(0).stdout.contains(name));
    drop(server);
}

fn gsm8k(home: &Home, name: &str) {
    let question = |n: u32| {
        format!(
            "{{\"question\": \"What is {n} + {n}?\", \"answer\": \"It is\\n#### {}\"}}\n",
            2 * n
        )
    };
    let data: String = (1..=8).map(question).collect();
    std::fs::write(home.path().join("questions.jsonl"), &data).unwrap();
    let with = |more: &[&'static str]| {
        let mut args = vec![
            "eval",
            "gsm8k",
            name,
            "--data",
            "questions.jsonl",
            "--num-questions",
            "4",
            "--num-shots",
            "2",
            "--parallel",
            "2",
            "--max-new-tokens",
            "8",
        ];
        args.extend(more);
        home.run(&args)
    };
    let run = with(&[]).expect(0);
    for line in [
        "Accuracy: 0.000",
        "Invalid: ",
        "Latency: ",
        "Output throughput: ",
        "95 % interval of the accuracy: 0.000 to 0.490 (4 questions)",
        "SHA-256 of the questions: ",
    ] {
        assert!(run.stdout.contains(line), "no `{line}`:\n{}", run.stdout);
    }
    let missed = with(&["--min-accuracy", "0.9"]).expect(8);
    assert!(
        missed.stderr.contains("error: accuracy 0.000 is below 0.900"),
        "{}",
        missed.stderr
    );
    let other = with(&[
        "--sha256",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ])
    .expect(6);
    assert!(
        other
            .stderr
            .contains("is not the expected data\ncause: sha256 is "),
        "{}",
        other.stderr
    );
}

#[test]
fn the_life_of_a_server_as_a_process() {
    let _alone = alone();
    let home = ready_home("process");
    life_of_a_server(&home, "process", "life");
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

#[test]
fn the_life_of_a_server_in_docker() {
    let _alone = alone();
    let home = ready_home("docker");
    life_of_a_server(&home, "docker", "boxed");
}

/// The tables that are bundled against the SGLang that is installed, and a lock of what runs.
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
    assert!(locked.contains("files of weights by hash"), "{locked}");
    assert!(home.run(&["check"]).expect(0).stdout.ends_with(": as locked\n"));
    // A file that changed after it was proven is no longer what was locked.
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
    assert!(run.stdout.contains("not proven here"), "{}", run.stdout);
    let refused = home
        .run(&["serve", "--locked", "--port", &free_port().to_string()])
        .expect(8);
    assert!(
        refused.stderr.starts_with("error: this is not what was locked"),
        "{}",
        refused.stderr
    );
    std::fs::write(&config, text).unwrap();
}

#[test]
fn tables_and_lock_of_a_venv() {
    let _alone = alone();
    tables_and_lock(&ready_home("process"), "process");
}

#[test]
fn tables_and_lock_of_an_image() {
    let _alone = alone();
    tables_and_lock(&ready_home("docker"), "docker");
}

#[test]
fn an_argument_that_the_engine_does_not_take_is_a_usage_error() {
    let _alone = alone();
    let home = ready_home("process");
    let port = free_port().to_string();
    let mut args = serve_args("process", "refused", &port);
    args.extend(["--", "--no-such-flag"]);
    // What its table says is known before anything starts...
    let run = home.run(&args).expect(2);
    assert!(
        run.stderr
            .contains("cause: SGLang 0.5.23 has no option --no-such-flag (flag.unknown)"),
        "{}",
        run.stderr
    );
    // ... and what only its own code can judge is read from its log.
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

/// A port that somebody else takes while the engine loads: its answers must not pass for ours.
#[test]
fn ready_is_never_said_of_somebody_elses_server() {
    let _alone = alone();
    let home = ready_home("process");
    let port = free_port();
    let text = port.to_string();
    let mut running = home.start(&serve_args("process", "loser", &text));
    running.wait_for("    | ", Duration::from_mins(2));
    // While it starts, a second start on its port is refused.
    let second = home.run(&serve_args("process", "winner", &text)).expect(3);
    assert!(
        second.stderr.contains("cause: dsr1-loser is a server of dsr1"),
        "{}",
        second.stderr
    );
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = std::io::Write::write_all(
                &mut stream,
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
            );
        }
    });
    assert_port_taken(running, port);
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

/// A start that ends because somebody else took its port.
#[track_caller]
fn assert_port_taken(running: Started, port: u16) {
    let run = running.end().0.expect(3);
    assert!(
        !run.stdout.contains("READY") && !run.stderr.contains("READY"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains(&format!(
            "error: port {port} on 127.0.0.1 was taken while dsr1-loser started
cause: held by engine-"
        )),
        "{}",
        run.stderr
    );
}

/// An engine that cannot listen does not end by itself: it is ended as soon as its log says so, though nobody answers on
/// the port and its scheduler is busy for ever.
#[test]
fn a_port_that_is_taken_and_silent_is_not_waited_for() {
    let _alone = alone();
    let home = ready_home("process");
    let port = free_port();
    let mut running = home.start(&serve_args("process", "loser", &port.to_string()));
    running.wait_for("    | ", Duration::from_mins(2));
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_port_taken(running, port);
    drop(listener);
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

#[test]
fn an_attached_server_ends_with_ctrl_c() {
    let _alone = alone();
    let home = ready_home("process");
    let port = free_port().to_string();
    let mut args = serve_args("process", "attached", &port);
    args.push("--foreground");
    let mut running = home.start(&args);
    running.wait_for("VERIFIED (6 checks", Duration::from_mins(2));
    std::thread::sleep(Duration::from_millis(500));
    running.signal("INT");
    let (run, _) = running.end();
    let run = run.expect(130);
    assert!(
        run.stderr.contains("error: dsr1-attached stopped by Ctrl-C"),
        "{}",
        run.stderr
    );
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

/// Starts a server and waits until its engine prints.
fn start_loading(home: &Home, runtime: &str, name: &str) -> Started {
    let port = free_port().to_string();
    let mut started = home.start(&serve_args(runtime, name, &port));
    started.wait_for("    | ", Duration::from_mins(2));
    started
}

#[test]
fn ctrl_c_during_the_load_leaves_nothing_behind() {
    let _alone = alone();
    let home = ready_home("process");
    let running = start_loading(&home, "process", "interrupted");
    running.signal("INT");
    let (run, took) = running.end();
    run.expect(130);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

#[test]
fn ctrl_c_during_the_load_in_docker_leaves_nothing_behind() {
    let _alone = alone();
    let home = ready_home("docker");
    let running = start_loading(&home, "docker", "interrupted");
    running.signal("TERM");
    let (run, took) = running.end();
    assert!(run.expect(130).stderr.contains("error: interrupted by SIGTERM"));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(
        must_run(
            "docker",
            &["ps", "--all", "--quiet", "--filter", "name=^dsr1-interrupted$"],
            "install docker"
        ),
        ""
    );
}

#[test]
fn an_engine_killed_during_the_load_is_known_at_once() {
    let _alone = alone();
    let home = ready_home("process");
    let running = start_loading(&home, "process", "victim");
    let log = home.path().join(".local/state/dsr1/servers/dsr1-victim.log");
    let pid = leader_of(&log);
    must_run("kill", &["-KILL", &pid], "install procps");
    let (run, took) = running.end();
    let run = run.expect(7);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(
        run.stderr
            .contains("error: dsr1-victim ended during start\ncause: "),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("SIGKILL") && run.stderr.contains("hint: the whole log is in "),
        "{}",
        run.stderr
    );
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

#[test]
fn an_engine_killed_in_docker_is_known_at_once_and_its_log_is_kept() {
    let _alone = alone();
    let home = ready_home("docker");
    let running = start_loading(&home, "docker", "victim");
    must_run("docker", &["kill", "dsr1-victim"], "install docker");
    let (run, took) = running.end();
    let run = run.expect(7);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(
        run.stderr.contains("error: dsr1-victim ended during start"),
        "{}",
        run.stderr
    );
    let log = home
        .path()
        .join(".local/state/dsr1/servers/dsr1-victim.failed.log");
    assert!(
        std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 0),
        "{}",
        log.display()
    );
    assert_eq!(
        must_run(
            "docker",
            &["ps", "--all", "--quiet", "--filter", "name=^dsr1-victim$"],
            "install docker"
        ),
        ""
    );
}

/// The process whose standard output is `log` and that leads its group.
fn leader_of(log: &Path) -> String {
    let log = std::fs::canonicalize(log).unwrap();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let leads = |pid: &String| {
        let stdout = std::fs::read_link(format!("/proc/{pid}/fd/1"));
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let group = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(2).map(str::to_owned));
        stdout.is_ok_and(|link| link == log) && group.as_ref() == Some(pid)
    };
    pids.into_iter().find(leads).expect("no engine process")
}

/// A stack of the user's own: `cpu` with one more pin, in a layer of its own before the last one.
fn changed_stack(home: &Home) {
    // The wheel's hash, and one that nothing has: no earlier run on this machine has built the layer.
    const WHEEL: &str = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";
    let stack = home.run(&["stacks", "show", "cpu", "--yaml"]).expect(0).stdout;
    let (before, after) = stack.rsplit_once("    - - sglang==").unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let changed =
        format!("{before}    - - six==1.17.0 sha256:{WHEEL} sha256:{now:064x}\n    - - sglang=={after}")
            .replace("name: cpu", "name: cpu-changed");
    let stacks = home.path().join(".config/dsr1/stacks");
    std::fs::create_dir_all(&stacks).unwrap();
    std::fs::write(stacks.join("cpu-changed.yaml"), changed).unwrap();
}

/// The image of the rehearsal, by both builders: built once, its earlier layers used again, and the same either way.
#[test]
fn the_cpu_image_by_both_builders() {
    let _alone = alone();
    base_image();
    let home = Home::new();
    let build = |args: &[&str]| {
        let mut all = vec![
            "build",
            "--runtime",
            "docker",
            "--format",
            "json",
            "--progress",
            "plain",
        ];
        all.extend(args);
        let run = home.run(&all).expect(0);
        (run.json()["steps"][0]["outcome"].clone(), run.stderr)
    };
    // `required=true`: that the step ran says that it had the secret.
    let ca = "ca=/etc/ssl/certs/ca-certificates.crt";
    build(&["--stack", "cpu", "--secret", ca]);
    let (again, _) = build(&["--stack", "cpu", "--secret", ca]);
    assert_eq!(again["cached"], true);

    // The engine inside takes the profiles, and the table is kept.
    let verify = home
        .run(&["build", "--stack", "cpu", "--runtime", "docker", "--verify"])
        .expect(0);
    assert!(verify.stdout.contains("rehearsal  accepted"), "{}", verify.stdout);
    let shown = home
        .run(&[
            "image",
            "inspect",
            again["tag"].as_str().unwrap(),
            "--format",
            "json",
        ])
        .expect(0)
        .json();
    assert_eq!(shown["verified"]["sglang"], "0.5.23");

    // One pin changed: what stands before it is not built again.
    changed_stack(&home);
    let (made, log) = build(&["--stack", "cpu-changed", "--secret", ca]);
    assert_eq!(made["cached"], false);
    let step = |text: &str| {
        let line = log.lines().find(|line| line.contains(text));
        line.unwrap_or_else(|| panic!("no step `{text}`:\n{log}"))
            .contains("cached ")
    };
    assert!(
        step("apt-get install") && step("source=pip/1") && step("source=pip/2"),
        "{log}"
    );
    assert!(!step("source=pip/3"), "{log}");

    let base = format!("dsr1-test/base:{}", std::process::id());
    let docker = |args: &[&str]| must_run("docker", args, "install the Docker command line");
    docker(&["tag", "debian:bookworm-slim", &base]);
    let dangling = || -> std::collections::BTreeSet<String> {
        let list = docker(&["image", "ls", "--quiet", "--filter", "dangling=true"]);
        list.lines().map(str::to_owned).collect()
    };
    let were = dangling();
    let (classic, log) = build(&[
        "--stack",
        "cpu",
        "--secret",
        ca,
        "--builder",
        "classic",
        "--base-image",
        &base,
    ]);
    assert!(log.contains("Step 1/"), "{log}");
    let tag = classic["tag"].as_str().unwrap();
    let version = docker(&["run", "--rm", "--network", "none", tag]);
    assert_eq!(version.trim().lines().last(), Some("0.5.23"));
    let packages = |tag: &str| {
        docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            tag,
            "/opt/dsr1/bin/python3",
            "-m",
            "pip",
            "freeze",
            "--all",
        ])
    };
    assert_eq!(packages(tag), packages(again["tag"].as_str().unwrap()));
    assert!(docker(&["run", "--rm", "--network", "none", tag, "id", "--user"]).contains("10001"));
    docker(&["image", "rm", tag, made["tag"].as_str().unwrap(), &base]);
    for stage in dangling().difference(&were) {
        docker(&["image", "rm", stage]);
    }
}
