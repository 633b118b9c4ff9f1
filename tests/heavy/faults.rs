//! Faults of a host, one test each: the exit code, one cause, one hint, and no partial results.

use std::time::{Duration, Instant};

use crate::support::{Home, Run, free_port};
use dsr1::effects::Effects;
use dsr1::effects::env::Env;
use dsr1::error::{Error, Kind};
use dsr1::event::{Event, Recorder, Stage};
use dsr1::plan::{AwaitReady, Plan, PlannedMemory, Server, StartProcess, Step};

/// Asserts one error, one cause, one hint, and no traceback.
#[track_caller]
fn assert_one_of_each(run: &Run) {
    for word in ["error: ", "cause: ", "hint: "] {
        let count = run.stderr.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!(count, 1, "{word}\n{}", run.stderr);
    }
    assert!(
        !run.stderr.contains("Traceback") && !run.stderr.contains("panicked"),
        "{}",
        run.stderr
    );
}

#[test]
fn no_python() {
    let home = Home::new().without_docker().with("PATH", "/nonexistent");
    let begun = Instant::now();
    let run = home
        .run(&["up", "--profile", "rehearsal", "--runtime", "process"])
        .expect(3);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_one_of_each(&run);
    assert!(
        run.stderr
            .contains("error: no Python on this host\ncause: `python3` is not on PATH"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_python_without_venv_says_what_to_install() {
    let home = Home::new().without_docker();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let fake = |version: &str, venv: u8| {
        let script = format!(
            "#!/bin/sh\nprintf '{}/python3\\n{version}\\n{venv}\\n'\n",
            bin.display()
        );
        std::fs::write(bin.join("python3"), script).unwrap();
        std::fs::set_permissions(
            bin.join("python3"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    };
    fake("3.11.2", 0);
    let home = home.with("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let run = home
        .run(&["build", "--stack", "cpu", "--runtime", "process"])
        .expect(3);
    assert!(
        run.stderr.contains("cannot make a venv") && run.stderr.contains("python3-venv"),
        "{}",
        run.stderr
    );
    fake("3.9.18", 1);
    let run = home
        .run(&["build", "--stack", "cpu", "--runtime", "process"])
        .expect(3);
    assert!(run.stderr.contains("error: Python 3.9.18 at"), "{}", run.stderr);
    assert_one_of_each(&run);
}

#[test]
fn a_package_index_that_cannot_be_reached() {
    let index = format!("http://127.0.0.1:{}/simple", free_port());
    let home = Home::new().without_docker().with("PIP_INDEX_URL", index);
    let run = home
        .run(&["build", "--stack", "cpu", "--runtime", "process"])
        .expect(5);
    assert_one_of_each(&run);
    assert!(
        run.stderr.contains("cause: the package index cannot be reached"),
        "{}",
        run.stderr
    );
    assert_no_venv(&home);
}

#[track_caller]
fn assert_no_venv(home: &Home) {
    let venvs = home.path().join(".cache/dsr1/venvs");
    let left: Vec<_> = std::fs::read_dir(venvs)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Installs the packages of the rehearsal until `text` is printed, then interrupts it. Checks that nothing is left but what
/// is kept, and returns what was printed.
fn interrupted_install(home: Home, text: &str) -> (Home, String) {
    let temporary = tempfile::tempdir().unwrap();
    let home = home
        .without_docker()
        .with("TMPDIR", temporary.path().to_str().unwrap());
    let mut running = home.start(&[
        "build",
        "--stack",
        "cpu",
        "--runtime",
        "process",
        "--progress",
        "plain",
    ]);
    running.wait_for(text, Duration::from_mins(2));
    running.signal("INT");
    let (run, took) = running.end();
    let run = run.expect(130);
    assert!(
        run.stderr.contains("error: interrupted by Ctrl-C\n"),
        "{}",
        run.stderr
    );
    // Gigabytes are removed; it must not hang.
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_no_venv(&home);
    assert_eq!(home.leftovers(), Vec::<String>::new());
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    (home, run.stderr)
}

/// The packages that uv unpacked completely are kept, nothing else is, and the hint says how many.
#[test]
fn ctrl_c_during_the_install_keeps_complete_packages_and_nothing_else() {
    let (home, printed) = interrupted_install(Home::new(), "s left: ");
    let packages = home.path().join(".cache/dsr1/packages");
    let names = |dir: &std::path::Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    };
    let unfinished = names(&packages)
        .into_iter()
        .filter(|name| name.starts_with(".tmp"));
    assert_eq!(unfinished.count(), 0);
    let (_, hint) = printed
        .rsplit_once("hint: run the command again: it uses the ")
        .unwrap_or_else(|| panic!("{printed}"));
    let kept = hint
        .strip_suffix(" packages that are fetched\n")
        .unwrap_or_else(|| panic!("{hint}"));
    assert!(kept.parse::<u32>().unwrap() > 0, "{hint}");
    // What is kept is used again: the next run begins with it.
    let (_, again) = interrupted_install(home, " of 183 packages\n");
    let first = again
        .lines()
        .find(|line| line.ends_with(" of 183 packages"))
        .unwrap();
    let counted = first.rsplit(' ').nth(3).unwrap();
    assert_eq!(counted, kept, "{first}");
}

/// pip leaves no temporary file, and the hint promises nothing.
#[test]
fn ctrl_c_during_an_install_by_pip_leaves_nothing() {
    let home = Home::new();
    let config = home.path().join(".config/pip");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("pip.conf"), "[global]\nkeyring-provider = disabled\n").unwrap();
    // A package is being unpacked.
    let (_, printed) = interrupted_install(home, "    | Collecting ");
    assert!(
        printed.contains(
            "note: pip installs the packages, which takes longer: uv does not support pip's setting `keyring-provider`\n"
        ),
        "{printed}"
    );
    assert!(
        printed
            .ends_with("hint: run the command again: pip keeps only packages that the index lets it keep\n"),
        "{printed}"
    );
}

#[test]
fn a_disk_that_is_too_small_for_the_packages() {
    // A filesystem of 100 MB in a mount namespace of its own.
    let home = Home::new();
    let small = home.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=100m tmpfs {dir} && XDG_CACHE_HOME={dir} HOME={home} DOCKER_HOST=unix:///none exec {binary} up --profile rehearsal",
        dir = small.display(),
        home = home.path().display(),
        binary = env!("CARGO_BIN_EXE_dsr1")
    );
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    let run = Run::from(output).expect(3);
    assert_one_of_each(&run);
    assert!(
        run.stderr
            .contains("error: not enough disk for the engine's packages at `"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("MB free"), "{}", run.stderr);
}

#[test]
fn a_port_that_is_taken_is_known_before_anything_starts() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let home = Home::new().without_docker();
    let run = home
        .run(&["up", "--profile", "rehearsal", "--port", &port])
        .expect(3);
    assert_one_of_each(&run);
    let me = format!("(pid {})", std::process::id());
    assert!(
        run.stderr.contains(&format!(
            "error: port {port} on 127.0.0.1 is taken\ncause: held by "
        )) && run.stderr.contains(&me),
        "{}",
        run.stderr
    );
}

#[test]
fn weights_that_were_never_pulled() {
    let home = Home::new().without_docker();
    let run = home
        .run(&["serve", "--profile", "rehearsal", "--runtime", "process"])
        .expect(5);
    assert_one_of_each(&run);
    assert!(
        run.stderr
            .contains("error: dsr1/rehearsal-qwen2@main is not in the cache"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains("hint: dsr1 up --profile rehearsal makes and pulls it"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_server_that_does_not_exist() {
    let home = Home::new().without_docker();
    for args in [
        &["logs", "nobody"][..],
        &["stop", "nobody"],
        &["bench", "nobody"],
        &["ask", "--server", "nobody", "hi"],
    ] {
        let run = home.run(args).expect(2);
        assert!(
            run.stderr.starts_with("error: there is no server `nobody`"),
            "{}",
            run.stderr
        );
    }
    let url = format!("http://127.0.0.1:{}", free_port());
    let run = home.run(&["ask", "--url", &url, "hi"]).expect(7);
    assert!(
        run.stderr.starts_with(&format!("error: no answer from {url}")),
        "{}",
        run.stderr
    );
}

/// Executes a plan that starts a shell script instead of the engine, and follows it.
fn follow(script: &str, stall_s: u64) -> (Home, Recorder, dsr1::error::Result<dsr1::report::Report>) {
    let home = Home::new();
    let root = home.path().to_str().unwrap().to_owned();
    let env = Env::from_lookup(|name| match name {
        "HOME" => Some(root.clone()),
        "PATH" => Some("/usr/bin:/bin".to_owned()),
        _ => None,
    });
    let log = format!("{root}/servers/dsr1-stub.log");
    let server = Server::Process {
        name: "dsr1-stub".to_owned(),
        log: log.clone(),
    };
    let plan = Plan::new(
        "serve",
        vec![
            Step::StartProcess(StartProcess {
                name: "dsr1-stub".to_owned(),
                argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
                env: std::collections::BTreeMap::new(),
                labels: std::collections::BTreeMap::new(),
                log,
                workdir: root,
            }),
            Step::AwaitReady(AwaitReady {
                server,
                base_url: format!("http://127.0.0.1:{}", free_port()),
                model: "m".to_owned(),
                probe: "/ready".to_owned(),
                prefetch: None,
                planned: Some(PlannedMemory {
                    weights_bytes: 0,
                    usable_bytes: 139 << 30,
                    pool_tokens: 1_000_000,
                }),
                stall_s,
                runs_already: false,
                inputs: String::new(),
                gpus: String::new(),
                last_ms: None,
            }),
        ],
    );
    let recorder = Recorder::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = runtime.block_on(async { Effects::new(env).execute(&plan, &recorder).await });
    (home, recorder, result)
}

#[test]
fn an_engine_that_dies_shows_its_reason_and_its_stage() {
    let script = "echo 'Load weight begin.'; echo 'Traceback (most recent call last):'; echo '  File x'; echo 'RuntimeError: no luck'; exit 3";
    let (home, recorder, result) = follow(script, 60);
    let error: Error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Server);
    assert_eq!(error.message(), "dsr1-stub ended during load weights");
    assert_eq!(error.causes(), ["RuntimeError: no luck (exit code 3)"]);
    assert_eq!(error.log_lines().last().unwrap(), "RuntimeError: no luck");
    let stages: Vec<Stage> = recorder
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Stage { stage, .. } => Some(*stage),
            _ => None,
        })
        .collect();
    assert_eq!(stages, [Stage::Starting, Stage::LoadingWeights]);
    assert_eq!(home.leftovers(), Vec::<String>::new());
}

#[test]
fn a_hung_engine_is_distinguished_from_a_busy_one() {
    // The process is stopped: no line, no CPU time, no I/O.
    let (home, _, result) = follow("echo 'Load weight begin.'; kill -STOP $$", 8);
    let error = result.unwrap_err();
    assert_eq!(error.message(), "dsr1-stub is stuck in load weights");
    assert_eq!(error.causes(), ["no log line, processor time or I/O for 8 s"]);
    assert_eq!(home.leftovers(), Vec::<String>::new());
    // The process is silent and busy for longer than the limit, so it is not stalled; it ends by itself.
    let (_, _, result) = follow("timeout 14 sh -c 'while :; do :; done'; exit 9", 8);
    assert_eq!(result.unwrap_err().causes(), ["exit code 9"]);
}

/// SGLang takes what memory it finds: a pool of a fiftieth of the plan was READY without a word, because another process held
/// the GPU.
#[test]
fn a_pool_that_is_much_smaller_than_planned_is_told_with_its_cause() {
    let warning = |free: &str, tokens: u32| {
        let script = format!(
            "echo 'Load weight begin. avail mem={free} GB'; echo 'KV Cache is allocated. dtype: torch.bfloat16, #tokens: {tokens}, KV size: 3 GB'; exit 3"
        );
        let (_, recorder, _) = follow(&script, 60);
        recorder.events().into_iter().find_map(|event| match event {
            Event::Warning { text, hint } => Some((text, hint)),
            _ => None,
        })
    };
    let (text, hint) = warning("4.60", 20_000).unwrap();
    assert_eq!(
        text,
        "the KV pool has 20000 tokens, and the plan has 1000000: fewer requests run at once"
    );
    assert!(hint.starts_with("only 4.6 GiB of a GPU were free"), "{hint}");
    let (_, hint) = warning("139.1", 20_000).unwrap();
    assert!(hint.starts_with("dsr1 plan shows"), "{hint}");
    assert_eq!(warning("139.1", 990_000), None);
}

#[test]
fn exit_0_before_ready_is_a_failure() {
    let (_, _, result) = follow("exit 0", 60);
    assert_eq!(result.unwrap_err().causes(), ["exit code 0"]);
}
