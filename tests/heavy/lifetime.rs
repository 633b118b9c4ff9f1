//! Faults in the life of a server, each named after its number in the list of `docs/development.md`: what is killed, what runs out,
//! what breaks, and what dsr1 says and does then. The engine is the stand-in; Docker's daemon and the kernel are real. Those of a
//! pull are in `crash`, and those of a start in `faults`.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::operate::{Running, SOON, signal};
use super::servers::Site;
use super::stand_in;
use crate::support::{Home, free_port, must_run};

/// F2: a `serve` that is killed leaves the server running; the next command finds it, and a second start is refused.
#[test]
fn f2_a_server_outlives_the_command_that_starts_it() {
    for runtime in ["process", "docker"] {
        let site = stand_in::site(runtime);
        let home = &site.home;
        let port = free_port().to_string();
        let args = site.serve_args("orphan", &port);
        let mut serving = home.start(&args);
        serving.wait_for("load weights", Duration::from_mins(3));
        serving.signal("KILL");
        serving.end();
        let server = Running {
            home,
            name: "orphan".to_owned(),
            url: format!("http://127.0.0.1:{port}"),
        };
        server.becomes("idle");
        let again = home.run(&args).expect(3);
        assert!(
            again.stderr.starts_with("error: dsr1-orphan runs already\n"),
            "{}",
            again.stderr
        );
        home.run(&["stop", "orphan", "--drain", "0"]).expect(0);
        site.assert_nothing_left("orphan");
    }
}

/// A server in Docker whose container may take so much memory.
fn limited<'a>(site: &'a Site, name: &str) -> Running<'a> {
    let server = Running::start(site, name);
    let container = format!("dsr1-{name}");
    let limit = ["update", "--memory", "200m", "--memory-swap", "200m", &container];
    must_run("docker", &limit, "install docker");
    server
}

/// F4: memory that ran out is told apart from a kill, whether it took the engine or a child of it.
#[test]
fn f4_memory_that_ran_out_is_told_apart_from_a_kill() {
    let site = stand_in::site("docker");
    let ran_out = "the kernel killed a process of it because memory ran out";
    for (name, take) in [("leader", "self"), ("child", "child")] {
        let server = limited(&site, name);
        server.steer(&json!({ "take": take }));
        if take == "child" {
            // An engine that lost its scheduler ends some seconds later, with any exit code.
            std::thread::sleep(Duration::from_secs(2));
            server.steer(&json!({ "exit": 0 }));
        }
        let crashed = server.becomes("crashed");
        assert!(
            crashed["cause"].as_str().unwrap().starts_with(ran_out),
            "{take}: {crashed}"
        );
        let asked = site.home.run(&["ask", "--server", name, "hello"]).expect(7);
        assert!(asked.stderr.contains(ran_out), "{}", asked.stderr);
        let found = site.home.run(&["diagnose", name]).expect(0).stdout;
        assert!(found.contains(ran_out), "{found}");
    }
    let server = limited(&site, "killed");
    must_run("docker", &["kill", "dsr1-killed"], "install docker");
    let crashed = server.becomes("crashed");
    let cause = crashed["cause"].as_str().unwrap();
    assert!(cause.contains("137") && !cause.contains(ran_out), "{cause}");
}

/// Writes a program `nvidia-smi` that lists `gpus` GPUs like the first of a sheet of an H200, with this action of the driver.
fn write_nvidia_smi(home: &Home, gpus: usize, action: &str) {
    let sheet = include_str!("../fixtures/gpu/h200-580.159.xml");
    let (head, rest) = sheet.split_once("<gpu id=").unwrap();
    let (gpu, _) = rest.split_once("</gpu>").unwrap();
    let before = "<gpu_recovery_action>None</gpu_recovery_action>";
    assert!(gpu.contains(before));
    let gpu = gpu.replace(
        before,
        &format!("<gpu_recovery_action>{action}</gpu_recovery_action>"),
    );
    let all = format!("<gpu id={gpu}</gpu>\n").repeat(gpus);
    let folder = home.path().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("sheet.xml"),
        format!("{head}{all}</nvidia_smi_log>\n"),
    )
    .unwrap();
    let row = |index| format!("echo '{index}, NVIDIA H200, 143771, 0, 9.0, 580.159.04, Disabled'; ");
    let rows: Vec<String> = (0..gpus).map(row).collect();
    let rows = rows.concat();
    let script = format!(
        "#!/bin/sh\ncase $1 in\n-q) cat {}/sheet.xml;;\n*) {rows};;\nesac\n",
        folder.display()
    );
    write_program(home, &script);
}

fn write_program(home: &Home, script: &str) {
    let path = home.path().join("bin/nvidia-smi");
    let new = path.with_extension("new");
    std::fs::write(&new, script).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// F5: a server whose GPU has a fault is not started again, and the GPU is named; a driver that hangs holds nothing up.
#[test]
fn f5_a_gpu_with_a_fault_ends_the_restarts() {
    let mut site = stand_in::site("process");
    let bin = site.home.path().join("bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    site.home = site.home.with("PATH", path);
    for (gpus, action, text) in [
        (2, "GPU Reset", "cause: the driver asks for `GPU Reset` of GPU 0"),
        (
            1,
            "None",
            "cause: nvidia-smi lists 1 of the 2 GPUs that were there",
        ),
    ] {
        write_nvidia_smi(&site.home, 2, "None");
        let server = Running::start(&site, "faulty");
        let watch = server.watch(&[]);
        write_nvidia_smi(&site.home, gpus, action);
        signal("KILL", &server.leader());
        let run = watch.end().0.expect(7);
        assert!(run.stderr.contains(text), "no `{text}`:\n{}", run.stderr);
        let events = server.events();
        assert_eq!(events[events.len() - 2..], ["crashed", "gave_up"]);
        site.home.run(&["stop", "faulty"]).expect(0);
    }
    write_nvidia_smi(&site.home, 2, "None");
    let server = Running::start(&site, "blocked");
    write_program(&site.home, "#!/bin/sh\nexec sleep 600\n");
    let begun = Instant::now();
    assert_eq!(server.state(), "idle");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    site.home.run(&["stop", "blocked"]).expect(0);
}

/// Sends a question that takes a while, with the client of the system.
fn ask_slowly(server: &Running<'_>) -> Child {
    let url = format!("{}/v1/chat/completions", server.url);
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--fail",
        "--max-time",
        "60",
        "--data",
        "{\"max_tokens\": 4}",
        &url,
    ]);
    curl.stdout(Stdio::null()).spawn().expect("install curl")
}

/// F8: a stop waits for the running requests, and says what it cuts.
#[test]
fn f8_a_stop_lets_requests_finish_and_says_what_it_cuts() {
    let site = stand_in::site("process");
    for (slow, drain, finish) in [(5, "30", true), (30, "1", false)] {
        let server = Running::start(&site, "drained");
        let metrics = "sglang:num_running_reqs 3.0\nsglang:num_requests_total 7.0\n";
        server.steer(&json!({ "slow": slow, "metrics": metrics }));
        let mut asking: Vec<Child> = (0..3).map(|_| ask_slowly(&server)).collect();
        std::thread::sleep(Duration::from_secs(2));
        let run = site.home.run(&["stop", "drained", "--drain", drain]).expect(0);
        let told = format!("dsr1-drained has 3 requests, which may take {drain} s to finish");
        assert!(run.stderr.contains(&told), "{}", run.stderr);
        let was_cut = run
            .stdout
            .contains("killed after the drain time, with the requests that still ran");
        assert_eq!(was_cut, !finish, "{}", run.stdout);
        for asked in &mut asking {
            assert_eq!(asked.wait().unwrap().success(), finish, "drain {drain}");
        }
        site.assert_nothing_left("drained");
    }
}

/// F9: the log of a container has a bound, and a disk that is full under the log of a process is told.
#[test]
fn f9_logs_are_bounded_and_a_full_disk_is_told() {
    let boxed = stand_in::site("docker");
    let server = Running::start(&boxed, "bounded");
    let inspected = must_run(
        "docker",
        &[
            "inspect",
            "--format",
            "{{json .HostConfig.LogConfig}}",
            "dsr1-bounded",
        ],
        "install docker",
    );
    assert!(
        inspected.contains("\"max-size\":\"50m\"") && inspected.contains("\"max-file\":\"3\""),
        "{inspected}"
    );
    drop(server);

    let mut site = stand_in::site("process");
    let disk = site.home.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap().to_owned();
    must_run(
        "mount",
        &["-t", "tmpfs", "-o", "size=2m", "tmpfs", &disk],
        "run as root",
    );
    site.home = site.home.with("XDG_STATE_HOME", disk.clone());
    let server = Running::start(&site, "full");
    let filler = format!("{disk}/filler");
    // Until nothing fits any more.
    let _ = std::fs::write(&filler, vec![0; 4 << 20]);
    let leader = server.leader();
    signal("KILL", &leader);
    let crashed = server.becomes("crashed");
    let cause = crashed["cause"].as_str().unwrap();
    assert!(
        cause.contains("the disk of its log") && cause.contains("is full"),
        "{cause}"
    );
    std::fs::remove_file(&filler).unwrap();
    site.home.run(&["stop", "full", "--drain", "0"]).expect(0);
    drop(server);
    must_run("umount", &[&disk], "run as root");
}

/// F18: a result is whole or absent, whenever the command that writes it is killed.
#[test]
fn f18_a_result_is_whole_or_absent() {
    let site = stand_in::site("process");
    let _server = Running::start(&site, "measured");
    let results = site.home.path().join(".local/state/dsr1/results");
    for wait in [300, 900, 1500, 2100, 2700] {
        let short = ["--duration", "0", "--num-prompts", "8"];
        let bench = site.home.start(&[&["bench", "measured"], &short[..]].concat());
        std::thread::sleep(Duration::from_millis(wait));
        bench.signal("KILL");
        bench.end();
        for file in std::fs::read_dir(&results).into_iter().flatten().flatten() {
            let path = file.path();
            if path.extension().is_some_and(|end| end == "json") {
                let bytes = std::fs::read(&path).unwrap();
                serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
            }
        }
    }
}

/// F19: an exposed server takes thousands of streams where the shell allows a thousand files, as far as the limit can be raised.
#[test]
fn f19_the_limit_of_open_files_is_raised() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "wide");
    server.steer(&json!({ "slow": 5 }));
    let port = free_port();
    let program = env!("CARGO_BIN_EXE_dsr1");
    let mut shell = site.home.command(&[]);
    let line = format!("ulimit -Sn 64; exec {program} expose wide --listen 127.0.0.1:{port}");
    let mut exposed = Command::new("sh");
    exposed
        .args(["-c", &line])
        .env_clear()
        .envs(shell.get_envs().filter_map(|(key, value)| Some((key, value?))));
    shell.stdin(Stdio::null());
    let mut exposed = exposed.stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(50));
    }
    let keys = site.home.path().join(".local/state/dsr1/servers/dsr1-wide.keys");
    let keys = std::fs::read_to_string(keys).unwrap();
    let key = keys.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let key = key.clone();
            std::thread::spawn(move || ask_through(port, &key))
        })
        .collect();
    let answered: Vec<bool> = asking.into_iter().map(|one| one.join().unwrap()).collect();
    signal("TERM", &exposed.id().to_string());
    exposed.wait().unwrap();
    assert_eq!(answered, [true; 200]);
}

/// Sends a question with a key; returns true if it is answered.
fn ask_through(port: u16, key: &str) -> bool {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let body = "{\"max_tokens\": 4}";
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

/// A server listens on 127.0.0.1 and nowhere else, as a process and in a container with the network of the host.
#[test]
fn nothing_of_a_server_listens_beyond_this_host() {
    for runtime in ["process", "docker"] {
        let site = stand_in::site(runtime);
        let server = Running::start(&site, "closed");
        let port = server.url.rsplit(':').next().unwrap().to_owned();
        let listed = must_run("ss", &["-H", "-ltn"], "install iproute2");
        let own: Vec<&str> = listed
            .lines()
            .filter(|line| line.contains(&format!(":{port} ")))
            .collect();
        assert_eq!(own.len(), 1, "{listed}");
        assert!(own[0].contains(&format!("127.0.0.1:{port} ")), "{own:?}");
    }
}
