//! Scenarios with servers of any engine: `engine` runs them with the real SGLang, `stand_in` with a program that prints
//! and answers as SGLang does.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Home, Run, Started, free_port, must_run, readme_commands};

/// A home in which `serve` can start at once: the engine is installed, and the weights are pulled.
pub(crate) struct Site {
    pub(crate) home: Home,
    runtime: &'static str,
    stack: &'static str,
}

impl Site {
    /// Installs a stack in a home if it is not installed, and pulls the rehearsal's weights.
    pub(crate) fn new(home: Home, runtime: &'static str, stack: &'static str) -> Self {
        home.run(&["build", "--stack", stack, "--runtime", runtime])
            .expect(0);
        pulled_weights(&home);
        Self { home, runtime, stack }
    }

    pub(crate) fn serve_args<'a>(&'a self, name: &'a str, port: &'a str) -> Vec<&'a str> {
        vec![
            "serve",
            "--profile",
            "rehearsal",
            "--stack",
            self.stack,
            "--runtime",
            self.runtime,
            "--name",
            name,
            "--port",
            port,
            "--progress",
            "plain",
        ]
    }

    /// Starts a server, and waits until its engine prints a line.
    fn start_loading(&self, name: &str, port: u16) -> Started {
        let mut started = self.home.start(&self.serve_args(name, &port.to_string()));
        started.wait_for("    | ", Duration::from_mins(2));
        started
    }

    /// Asserts that nothing is left of a server that ended.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self, name: &str) {
        assert_eq!(self.home.leftovers(), Vec::<String>::new());
        if self.runtime == "docker" {
            let filter = format!("name=^dsr1-{name}$");
            let list = ["ps", "--all", "--quiet", "--filter", &filter];
            assert_eq!(must_run("docker", &list, "install docker"), "");
        }
    }
}

/// Writes, mirrors and pulls the weights for `serve` with the commands of dsr1.
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

/// A server that is stopped even if the test fails.
struct Server<'a> {
    home: &'a Home,
    name: String,
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.home.command(&["stop", &self.name, "--drain", "0"]).output();
    }
}

/// Copies what `serve` printed at its end: the base URL, the model's name, the request, and a question on a terminal.
fn what_serve_printed_works(home: &Home, name: &str, printed: &str) {
    let row = |label: &str| {
        let line = printed.lines().rev().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("no `{label}`:\n{printed}")).trim()
    };
    assert_eq!(row("server "), format!("dsr1-{name} is READY and VERIFIED"));
    // The name is the repository's in both runtimes, and no path.
    let model = "dsr1/rehearsal-qwen2";
    assert_eq!(row("model "), model);
    let url = row("base URL ");
    let get = |path: &str| {
        let text = must_run(
            "curl",
            &["--silent", "--fail", &format!("{url}{path}")],
            "install curl",
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    assert_eq!(get("/models")["data"][0]["id"], model);
    let answer = must_run(
        "bash",
        &["-c", &format!("{} --silent --fail", row("curl "))],
        "install curl",
    );
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
    // `ask` takes the base URL of other clients, and streams on a terminal.
    let asked = home.command(&["ask", "--url", url, "--max-tokens", "8", "say", "hello"]);
    let words: Vec<String> = std::iter::once(asked.get_program())
        .chain(asked.get_args())
        .map(|word| dsr1::quote::shell_word(word.to_str().unwrap()))
        .collect();
    let mut terminal = std::process::Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    terminal
        .env_clear()
        .envs(asked.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let shown = Run::from(terminal.output().unwrap()).expect(0).stdout;
    assert!(shown.contains("generated"), "{shown}");
}

/// Runs every command against a running server, and `with_it` in addition.
pub(crate) fn life_of_a_server(site: &Site, name: &str, with_it: impl FnOnce(&Home)) {
    let Site { home, runtime, .. } = site;
    let port = free_port().to_string();
    let server = Server {
        home,
        name: name.to_owned(),
    };
    let started = home.run(&site.serve_args(name, &port)).expect(0);
    assert!(started.stdout.contains("VERIFIED (wiring"), "{}", started.stdout);
    what_serve_printed_works(home, name, &started.stdout);

    let status = home.run(&["status", "--format", "json"]).expect(0).json();
    let own = status["servers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|server| server["name"] == format!("dsr1-{name}"))
        .unwrap()
        .clone();
    assert_eq!(
        (&own["runtime"], &own["profile"]),
        (&(*runtime).into(), &"rehearsal".into())
    );
    // The metrics may still count the last request.
    assert!(
        ["idle", "busy"].contains(&own["state"].as_str().unwrap()),
        "{own}"
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

    with_it(home);

    // Ctrl-C ends the client in its runtime, and does not affect the server.
    let args = ["--engine-client", "--num-prompts", "4000", "--progress", "plain"];
    let mut measuring = home.start(&[&["bench", name], &args[..]].concat());
    measuring.wait_for("    | ", Duration::from_mins(2));
    let clients = || {
        let all = must_run("ps", &["-eo", "args"], "install procps");
        let is_its = |line: &str| line.contains("--num-prompts 4000") && line.contains(&port);
        all.lines().any(is_its)
    };
    // It is seen while it runs: a client without the port in its arguments would never be.
    assert!(clients());
    measuring.signal("INT");
    let (run, took) = measuring.end();
    run.expect(130);
    assert!(took < Duration::from_secs(3), "{took:?}");
    let begun = Instant::now();
    while clients() {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "the client is still running"
        );
        std::thread::sleep(Duration::from_millis(100));
    }

    let logs = home.run(&["logs", name, "--tail", "2000"]).expect(0);
    assert!(
        logs.stdout.contains("The server is fired up and ready to roll!"),
        "{}",
        logs.stdout
    );
    assert!(!logs.stdout.contains('\u{1b}'));

    // A taken port and a taken name are reported before anything starts, with their owner.
    let begun = Instant::now();
    let taken = home.run(&site.serve_args("second", &port)).expect(3);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let expected = format!(
        "error: port {port} on 127.0.0.1 is taken\ncause: dsr1-{name} is a server of dsr1 on port {port}\nhint: dsr1 status"
    );
    assert!(taken.stderr.contains(&expected), "{}", taken.stderr);
    let again = home
        .run(&site.serve_args(name, &free_port().to_string()))
        .expect(3);
    assert!(
        again.stderr.contains(&format!("error: dsr1-{name} runs already")),
        "{}",
        again.stderr
    );

    // Its weights stay while it runs.
    let removal = home.run(&["weights", "rm", "rehearsal", "--yes"]).expect(3);
    let expected = format!("are in use\ncause: dsr1-{name} serves them\nhint: dsr1 stop dsr1-{name}");
    assert!(removal.stderr.contains(&expected), "{}", removal.stderr);

    let stopped = home.run(&["stop", name]).expect(0);
    assert_eq!(stopped.stdout, format!("dsr1-{name} stopped\n"));
    assert!(!home.run(&["status"]).expect(0).stdout.contains(name));
    drop(server);
}

/// Writes questions, and runs `eval gsm8k` on them.
pub(crate) fn gsm8k(home: &Home, name: &str, more: &[&str]) -> Run {
    let question = |n: u32| {
        format!(
            "{{\"question\": \"What is {n} + {n}?\", \"answer\": \"It is\\n#### {}\"}}\n",
            2 * n
        )
    };
    let data: String = (1..=8).map(question).collect();
    std::fs::write(home.path().join("questions.jsonl"), &data).unwrap();
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
}

/// Asserts that an evaluation is reported with its interval: by the engine's own script, and by dsr1's own client.
pub(crate) fn evaluation_is_reported(home: &Home, name: &str) {
    let own = gsm8k(home, name, &["--show-wrong", "1"]).expect(0);
    for line in [
        "Accuracy:   ",
        "95 % interval:   ",
        "Questions:                               4 ",
        "prompts by question-answer/1 with 2 examples, results by last-number/1",
        "temperature 0, top-p 1, at most 8 tokens, 2 in flight",
        "8 questions in questions.jsonl, sha256 ",
        "answers in ",
        "kept in ",
    ] {
        assert!(own.stdout.contains(line), "no `{line}`:\n{}", own.stdout);
    }
    let run = gsm8k(home, name, &["--engine-client"]).expect(0);
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
}

/// Asserts the exit codes of an accuracy below the minimum and of data with another hash.
pub(crate) fn evaluation_is_refused(home: &Home, name: &str) {
    for client in [&[][..], &["--engine-client"]] {
        let refused = |more: &[&str]| gsm8k(home, name, &[client, more].concat());
        let missed = refused(&["--min-accuracy", "0.9"]).expect(8);
        assert!(
            missed.stderr.contains("error: accuracy ") && missed.stderr.contains(" is below 0.900\n"),
            "{}",
            missed.stderr
        );
        let other = refused(&["--sha256", &"0".repeat(64)]).expect(6);
        assert!(
            other
                .stderr
                .contains("is not the expected data\ncause: sha256 is "),
            "{}",
            other.stderr
        );
    }
}

/// Another process takes the port while the engine loads: its answers must not pass for those of the server.
pub(crate) fn a_foreign_server_is_never_reported_as_ready(site: &Site) {
    let port = free_port();
    let text = port.to_string();
    let running = site.start_loading("loser", port);
    // During the start a second start on the same port is refused.
    let args = site.serve_args("winner", &text);
    let second = site.home.run(&args).expect(3);
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
    site.assert_nothing_left("loser");
}

/// Asserts that a start ends because another process took its port.
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
cause: held by heavy-"
        )),
        "{}",
        run.stderr
    );
}

/// An engine that cannot listen does not end by itself: dsr1 ends it as soon as its log says so, although no process
/// answers on the port and its scheduler stays busy.
pub(crate) fn a_port_that_is_taken_and_silent_ends_the_start(site: &Site) {
    let port = free_port();
    let running = site.start_loading("loser", port);
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_port_taken(running, port);
    drop(listener);
    site.assert_nothing_left("loser");
}

/// A server in the foreground is stopped, drained and gone.
pub(crate) fn an_attached_server_ends_with_ctrl_c(site: &Site) {
    let port = free_port().to_string();
    let mut args = site.serve_args("attached", &port);
    args.push("--foreground");
    let mut running = site.home.start(&args);
    running.wait_for("VERIFIED (6 checks", Duration::from_mins(2));
    std::thread::sleep(Duration::from_millis(500));
    running.signal("INT");
    let (run, _) = running.end();
    let run = run.expect(130);
    assert!(
        run.stderr.contains("dsr1-attached stopped by Ctrl-C") && !run.stderr.contains("error:"),
        "{}",
        run.stderr
    );
    site.assert_nothing_left("attached");
}

/// A server that another terminal stops has not ended by itself.
pub(crate) fn an_attached_server_that_is_stopped_elsewhere_says_so(site: &Site) {
    let port = free_port().to_string();
    let mut args = site.serve_args("attached", &port);
    args.push("--foreground");
    let mut running = site.home.start(&args);
    running.wait_for("VERIFIED (6 checks", Duration::from_mins(2));
    std::thread::sleep(Duration::from_millis(500));
    site.home.run(&["stop", "attached"]).expect(0);
    let run = running.end().0.expect(7);
    let said = "error: dsr1-attached was stopped\ncause: dsr1 stop stopped it";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    site.assert_nothing_left("attached");
}

/// Ctrl-C in the foreground, SIGTERM in Docker: at once, and with nothing left.
pub(crate) fn ctrl_c_during_the_load_leaves_nothing_behind(site: &Site) {
    let running = site.start_loading("interrupted", free_port());
    let (signal, limit, said) = match site.runtime {
        "docker" => ("TERM", 5, "error: interrupted by SIGTERM"),
        _ => ("INT", 2, "error: interrupted by Ctrl-C"),
    };
    running.signal(signal);
    let (run, took) = running.end();
    let run = run.expect(130);
    assert!(run.stderr.contains(said), "{}", run.stderr);
    assert!(took < Duration::from_secs(limit), "{took:?}");
    site.assert_nothing_left("interrupted");
}

/// A leader that is killed takes the other processes of its group along.
pub(crate) fn an_engine_killed_during_the_load_is_reported_at_once(site: &Site) {
    let running = site.start_loading("victim", free_port());
    let log = site.home.path().join(".local/state/dsr1/servers/dsr1-victim.log");
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
    site.assert_nothing_left("victim");
}

/// The container is gone, and what it printed is not.
pub(crate) fn an_engine_killed_in_docker_is_reported_at_once_and_its_log_is_kept(site: &Site) {
    let running = site.start_loading("victim", free_port());
    must_run("docker", &["kill", "dsr1-victim"], "install docker");
    let (run, took) = running.end();
    let run = run.expect(7);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(
        run.stderr.contains("error: dsr1-victim ended during start"),
        "{}",
        run.stderr
    );
    let log = site
        .home
        .path()
        .join(".local/state/dsr1/servers/dsr1-victim.ended.log");
    assert!(
        std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 0),
        "{}",
        log.display()
    );
    site.assert_nothing_left("victim");
}

/// A start that another terminal stops says so, and not that its process or its container is gone.
pub(crate) fn a_stop_from_another_terminal_is_said_as_such(site: &Site) {
    let running = site.start_loading("stopped", free_port());
    site.home.run(&["stop", "stopped"]).expect(0);
    let run = running.end().0.expect(7);
    assert!(
        run.stderr.contains("error: dsr1-stopped was stopped during ")
            && run
                .stderr
                .contains("cause: dsr1 stop stopped it, from another terminal"),
        "{}",
        run.stderr
    );
    site.assert_nothing_left("stopped");
    let servers = site.home.path().join(".local/state/dsr1/servers");
    assert!(!servers.join("dsr1-stopped.watched").exists());
}

/// The server of a rehearsal goes with its `up`, also after READY, and is not said to be starting then.
pub(crate) fn ctrl_c_during_the_benchmark_of_a_rehearsal(site: &Site) {
    let port = free_port().to_string();
    let mut args = site.serve_args("measured", &port);
    args[0] = "up";
    let mut running = site.home.start(&args);
    // The step that begins: its rests come by the second, and a fast machine has ended it before the first.
    running.wait_for("] warm up", Duration::from_mins(3));
    running.signal("INT");
    let run = running.end().0.expect(130);
    let said = "interrupted by Ctrl-C; dsr1-measured, which this command had started, is stopped and removed";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    site.assert_nothing_left("measured");
}

/// Returns the process group leader whose standard output is `log`.
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

/// Sends the README's requests with curl to a server of that name.
pub(crate) fn requests_of_the_readme(home: &Home, name: &str) {
    let status = home.run(&["status", "--format", "json"]).expect(0).json();
    let servers = status["servers"].as_array().unwrap();
    let own = servers
        .iter()
        .find(|server| server["name"] == format!("dsr1-{name}"));
    let base_url = own.unwrap()["base_url"].as_str().unwrap();
    let requests: Vec<String> = readme_commands()
        .into_iter()
        .filter(|command| command.starts_with("curl "))
        .collect();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in requests {
        let here = request.replace("http://127.0.0.1:30000", base_url);
        assert_ne!(here, request);
        let answer = must_run("bash", &["-c", &here], "install curl");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let is_answered =
            answer["data"][0]["id"].is_string() || answer["choices"][0]["message"]["content"].is_string();
        assert!(is_answered, "{here}\n{answer}");
    }
    super::endpoint::python_blocks(&format!("{base_url}/v1"));
}
