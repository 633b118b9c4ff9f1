//! Servers after READY: each state is told, `watch` starts again what may be started again, `restart` leaves nothing behind.
//! The engine is the stand-in, which fails on command; `engine` has the same with the real one where that matters.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::servers::Site;
use super::stand_in;
use crate::support::{Home, Started, free_port, must_run};

/// Longest wait for a state that must come.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// A server of the stand-in that is ready; it is stopped with the value.
pub(crate) struct Running<'a> {
    pub(crate) home: &'a Home,
    pub(crate) name: String,
    pub(crate) url: String,
}

impl<'a> Running<'a> {
    pub(crate) fn start(site: &'a Site, name: &str) -> Self {
        let port = free_port().to_string();
        site.home.run(&site.serve_args(name, &port)).expect(0);
        Self {
            home: &site.home,
            name: name.to_owned(),
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Makes the stand-in fail, as its head says.
    pub(crate) fn steer(&self, what: &Value) {
        let body = what.to_string();
        let url = format!("{}/stand-in", self.url);
        must_run(
            "curl",
            &["--silent", "--max-time", "20", "--data", &body, &url],
            "install curl",
        );
    }

    pub(crate) fn status(&self) -> Value {
        let listed = self
            .home
            .run(&["status", &self.name, "--format", "json"])
            .expect(0)
            .json();
        listed["servers"][0].clone()
    }

    pub(crate) fn state(&self) -> String {
        self.status()["state"].as_str().unwrap().to_owned()
    }

    /// Waits until the server is in a state; returns its status.
    #[track_caller]
    pub(crate) fn becomes(&self, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if status["state"] == state {
                return status;
            }
            assert!(begun.elapsed() < SOON, "it does not become {state}: {status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns the ID of its leader.
    pub(crate) fn leader(&self) -> String {
        self.status()["id"].as_str().unwrap().to_owned()
    }

    /// Returns the ID of its scheduler.
    fn scheduler(&self) -> String {
        let children = must_run("pgrep", &["--parent", &self.leader()], "install procps");
        children.lines().next().unwrap().to_owned()
    }

    pub(crate) fn watch(&self, more: &[&str]) -> Started {
        let mut args = vec!["watch", self.name.as_str(), "--progress", "plain"];
        args.extend(more);
        let mut watch = self.home.start(&args);
        watch.wait_for("watching ", SOON);
        watch
    }

    /// Returns the kinds of its events, the oldest first.
    pub(crate) fn events(&self) -> Vec<String> {
        let listed = self
            .home
            .run(&["events", &self.name, "--format", "json"])
            .expect(0);
        let what = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["what"].as_str().unwrap().to_owned()
        };
        listed.stdout.lines().map(what).collect()
    }

    #[track_caller]
    pub(crate) fn has_event(&self, what: &str) {
        let begun = Instant::now();
        while !self.events().iter().any(|event| event == what) {
            assert!(begun.elapsed() < SOON, "no event {what}: {:?}", self.events());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.home.run(&["stop", &self.name, "--drain", "0"]);
    }
}

pub(crate) fn signal(name: &str, pid: &str) {
    must_run("kill", &[&format!("-{name}"), pid], "install procps");
}

/// Lines of an engine that computed its last batch a minute ago.
const SILENT: [&str; 2] = [
    "[2026-11-30 06:00:00] Decode batch, #running-req: 3, #token: 96, token usage: 0.01, gen throughput (token/s): 81.50",
    "[2026-11-30 06:01:00] INFO:     127.0.0.1:40000 - \"GET /metrics HTTP/1.1\" 200 OK",
];

const BUSY: &str = "sglang:num_running_reqs{tp_rank=\"0\"} 3.0\nsglang:num_queue_reqs{tp_rank=\"0\"} 2.0\n\
                    sglang:num_requests_total 7.0\nsglang:token_usage 0.25\nsglang:gen_throughput 81.5\n";

#[test]
fn every_state_of_a_server_is_told() {
    let site = stand_in::site("process");
    let home = &site.home;
    let port = free_port().to_string();
    let mut serving = home.start(&site.serve_args("states", &port));
    serving.wait_for("load weights", Duration::from_mins(2));
    let server = Running {
        home,
        name: "states".to_owned(),
        url: format!("http://127.0.0.1:{port}"),
    };
    let starting = server.status();
    assert_eq!(
        (&starting["state"], &starting["stage"]),
        (&"starting".into(), &"load weights".into())
    );
    let asked = home.run(&["ask", "--server", "states", "hello"]).expect(7);
    assert!(asked.stderr.contains("is still starting"), "{}", asked.stderr);
    serving.end().0.expect(0);

    let idle = server.status();
    assert_eq!(
        (&idle["state"], &idle["load"]["running"]),
        (&"idle".into(), &0.into())
    );
    assert!(idle["age_s"].as_u64().unwrap() < 600, "{idle}");

    server.steer(&json!({ "metrics": BUSY }));
    let busy = server.status();
    assert_eq!(
        (&busy["state"], &busy["load"]["running"], &busy["load"]["queued"]),
        (&"busy".into(), &3.into(), &2.into())
    );
    let table = home.run(&["status", "states"]).expect(0).stdout;
    assert!(
        table.contains("  3        2        82        25 %  http://"),
        "{table}"
    );

    // Requests run, and no batch is computed, although the probe and the port answer.
    for line in SILENT {
        server.steer(&json!({ "say": line }));
    }
    let hung = server.status();
    assert_eq!(hung["state"], "hung");
    let cause = hung["cause"].as_str().unwrap();
    assert!(
        cause.starts_with("5 requests run, and no batch was computed for 60 s; "),
        "{cause}"
    );
    home.run(&["status", "states", "--check"]).expect(7);

    server.steer(&json!({ "metrics": "sglang:num_running_reqs 0.0\nsglang:num_requests_total 8.0\n" }));
    assert_eq!(server.state(), "idle");

    // A version without metrics: the port answers.
    server.steer(&json!({ "metrics": "" }));
    assert_eq!(server.state(), "ready");

    let scheduler = server.scheduler();
    signal("STOP", &scheduler);
    let stopped = server.status();
    assert_eq!(stopped["state"], "hung");
    assert!(
        stopped["cause"]
            .as_str()
            .unwrap()
            .contains(&format!("process {scheduler} is stopped")),
        "{stopped}"
    );
    signal("CONT", &scheduler);

    server.steer(
        &json!({ "say": "[2026-11-30 06:02:01] Subprocess scheduler_0 (pid=7) crashed with exit code -9." }),
    );
    let dying = server.status();
    assert_eq!(
        (&dying["state"], &dying["cause"]),
        (&"crashed".into(), &"A process was killed from outside".into())
    );
    signal("KILL", &server.leader());
    assert_eq!(server.becomes("crashed")["id"], "-");
    let asked = home.run(&["ask", "--server", "states", "hello"]).expect(7);
    assert!(
        asked
            .stderr
            .contains("dsr1-states has ended\ncause: A process was killed"),
        "{}",
        asked.stderr
    );

    home.run(&["restart", "states"]).expect(0);
    server.steer(&json!({ "say": "[2026-11-30 06:01:00] SIGTERM received. signum=None frame=None. Draining requests" }));
    assert_eq!(server.state(), "draining");
    let refused = home.run(&["bench", "states"]).expect(7);
    assert!(
        refused.stderr.contains("dsr1-states is ending"),
        "{}",
        refused.stderr
    );
    home.run(&["stop", "states"]).expect(0);
    let events = server.events();
    assert_eq!(events[events.len() - 2..], ["stopping", "stopped"], "{events:?}");
}

/// `status` waits a second at most for a server that does not answer.
#[test]
fn the_status_of_a_mute_server_comes_soon() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "mute");
    server.steer(&json!({ "mute": true }));
    let begun = Instant::now();
    assert_eq!(server.state(), "ready");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    // A command that looks after it waits longer before it says so.
    let watch = server.watch(&["--no-restart"]);
    server.has_event("hung");
    watch.signal("INT");
    let run = watch.end().0.expect(130);
    assert!(
        run.stdout
            .contains("hung: its HTTP server did not answer within 5 s"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("dsr1-mute goes on running"), "{}", run.stderr);
}

#[test]
fn a_killed_server_is_started_again_and_a_stopped_one_is_not() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "again");
    let before = server.leader();
    let mut watch = server.watch(&[]);
    server.steer(
        &json!({ "say": "[2026-11-30 06:00:01] Subprocess scheduler_0 (pid=7) crashed with exit code -9." }),
    );
    signal("KILL", &before);
    watch.wait_for("READY on", SOON);
    server.has_event("restarting");
    assert_ne!(server.becomes("idle")["id"], before.as_str());

    home_stops(&server, watch);
    assert_eq!(
        server.events(),
        [
            "started",
            "ready",
            "crashed",
            "restarting",
            "started",
            "ready",
            "stopping",
            "stopped"
        ]
    );
}

/// A server that starts again goes on starting when the command that watches it is interrupted.
#[test]
fn ctrl_c_in_watch_leaves_a_server_that_starts_again() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "starting");
    let mut watch = server.watch(&[]);
    signal("KILL", &server.leader());
    watch.wait_for("load weights", SOON);
    watch.signal("INT");
    let run = watch.end().0.expect(130);
    assert!(
        run.stderr
            .contains("dsr1-starting goes on running, and nobody watches it now"),
        "{}",
        run.stderr
    );
    server.becomes("idle");
}

/// Stops a watched server: the command that watches it ends well.
fn home_stops(server: &Running<'_>, watch: Started) {
    server.home.run(&["stop", &server.name]).expect(0);
    let run = watch.end().0.expect(0);
    assert!(run.stderr.contains("was stopped"), "{}", run.stderr);
}

/// Two commands that start one server at once would end each other's.
#[test]
fn one_command_watches_a_server_and_one_starts_it_again() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "alone");
    let mut watch = server.watch(&[]);
    let second = site.home.run(&["watch", "alone"]).expect(7);
    let expected = format!(
        "error: dsr1-alone is watched already (process {} on ",
        watch.pid()
    );
    assert!(second.stderr.starts_with(&expected), "{}", second.stderr);

    // A restart by hand is followed, and a second one at the same time refused.
    let before = server.leader();
    let mut restart = site
        .home
        .start(&["restart", "alone", "--drain", "0", "--progress", "plain"]);
    restart.wait_for("start process", SOON);
    let other = site.home.run(&["restart", "alone"]).expect(7);
    assert!(
        other
            .stderr
            .starts_with("error: dsr1-alone is being started again already (process "),
        "{}",
        other.stderr
    );
    restart.end().0.expect(0);
    assert_ne!(server.leader(), before);

    // It is still watched.
    signal("KILL", &server.leader());
    watch.wait_for("start process dsr1-alone", SOON);
    home_stops(&server, watch);
    assert!(!server.events().iter().any(|event| event == "gave_up"));
}

/// A crash that no command watched is in the history, too.
#[test]
fn a_crash_is_noted_when_it_is_seen() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "noted");
    signal("KILL", &server.leader());
    server.becomes("crashed");
    server.becomes("crashed");
    assert_eq!(server.events(), ["started", "ready", "crashed"]);
}

#[test]
fn a_server_that_hangs_is_ended_and_started_again() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "stuck");
    let (before, scheduler) = (server.leader(), server.scheduler());
    let mut watch = server.watch(&[]);
    signal("STOP", &scheduler);
    server.has_event("hung");
    watch.wait_for("READY on", SOON);
    assert_ne!(server.becomes("idle")["id"], before.as_str());
    home_stops(&server, watch);
}

#[test]
fn a_server_is_left_after_a_cause_that_needs_a_person() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "left");
    let watch = server.watch(&[]);
    server.steer(&json!({ "say": "NVRM: Xid (PCI:0000:19:00): 79, pid=7, GPU has fallen off the bus." }));
    server.steer(&json!({ "exit": 1 }));
    let run = watch.end().0.expect(7);
    for text in [
        "error: dsr1-left is not started again\ncause: A GPU has fallen off the bus\ncause: a restart does not help",
        "hint: dsr1 diagnose dsr1-left",
    ] {
        assert!(run.stderr.contains(text), "no `{text}`:\n{}", run.stderr);
    }
    assert_eq!(server.events(), ["started", "ready", "crashed", "gave_up"]);
}

/// F15: a probe that fails now and then is no reason to do anything.
#[test]
fn a_flapping_probe_changes_nothing() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "flapping");
    let before = server.leader();
    let watch = server.watch(&[]);
    for status in [503, 200, 503, 200, 503] {
        server.steer(&json!({ "status": status }));
        std::thread::sleep(Duration::from_millis(700));
    }
    assert_eq!(server.leader(), before);
    watch.signal("TERM");
    watch.end().0.expect(130);
    assert_eq!(server.events(), ["started", "ready"]);
}

/// F3: an end that nobody asked for is a crash, whatever its exit code.
#[test]
fn exit_0_that_nobody_asked_for_is_a_crash() {
    for runtime in ["process", "docker"] {
        let site = stand_in::site(runtime);
        let server = Running::start(&site, "zero");
        server.steer(&json!({ "exit": 0 }));
        server.becomes("crashed");
        let check = site.home.run(&["status", "zero", "--check"]).expect(7);
        assert!(check.stderr.contains("dsr1-zero has crashed"), "{}", check.stderr);
        let asked = site.home.run(&["ask", "--server", "zero", "hello"]).expect(7);
        assert!(asked.stderr.contains("dsr1-zero has ended"), "{}", asked.stderr);
    }
}

#[test]
fn a_restart_leaves_nothing_of_the_old_server() {
    let site = stand_in::site("process");
    let server = Running::start(&site, "renewed");
    let (leader, scheduler) = (server.leader(), server.scheduler());
    let shown = site
        .home
        .run(&["restart", "renewed", "--dry-run"])
        .expect(0)
        .stdout;
    assert!(shown.contains("sglang.launch_server"), "{shown}");
    assert_eq!(server.leader(), leader);

    let run = site
        .home
        .run(&["restart", "renewed", "--progress", "plain"])
        .expect(0);
    assert!(run.stdout.contains("READY on"), "{}", run.stdout);
    for pid in [&leader, &scheduler] {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid}");
    }
    assert_ne!(server.leader(), leader);

    // One that ended is started, too, with and without its name.
    site.home.run(&["stop", "renewed"]).expect(0);
    site.home.run(&["restart"]).expect(0);
    assert_eq!(server.state(), "idle");
    let unknown = site.home.run(&["restart", "nobody"]).expect(2);
    assert!(
        unknown.stderr.contains("there is no server `nobody`"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_paused_container_hangs_and_one_that_docker_stops_was_asked_to() {
    let site = stand_in::site("docker");
    let server = Running::start(&site, "paused");
    must_run("docker", &["pause", "dsr1-paused"], "install docker");
    let hung = server.status();
    assert_eq!(
        (&hung["state"], &hung["cause"]),
        (
            &"hung".into(),
            &"its container is paused; docker unpause dsr1-paused resumes it".into()
        )
    );
    must_run("docker", &["unpause", "dsr1-paused"], "install docker");
    assert_eq!(server.state(), "idle");
    must_run("docker", &["pause", "dsr1-paused"], "install docker");
    site.home.run(&["restart", "paused", "--drain", "1"]).expect(0);
    assert_eq!(server.state(), "idle");

    let scheduler = must_run(
        "docker",
        &["top", "dsr1-paused", "-eo", "pid,args"],
        "install docker",
    );
    let scheduler = scheduler.lines().find(|line| line.contains("sum(range")).unwrap();
    let scheduler = scheduler.split_whitespace().next().unwrap().to_owned();
    signal("STOP", &scheduler);
    assert_eq!(server.state(), "hung");
    signal("CONT", &scheduler);

    server.steer(&json!({ "say": "[2026-11-30 06:01:00] SIGTERM received. signum=None frame=None. Draining requests and shutting down..." }));
    must_run("docker", &["stop", "dsr1-paused"], "install docker");
    assert_eq!(server.state(), "stopped");
}

#[test]
fn a_container_that_dies_is_started_again() {
    let site = stand_in::site("docker");
    let server = Running::start(&site, "renewed");
    let before = server.leader();
    let mut watch = server.watch(&[]);
    must_run("docker", &["kill", "dsr1-renewed"], "install docker");
    watch.wait_for("READY on", SOON);
    assert_ne!(server.becomes("idle")["id"], before.as_str());
    home_stops(&server, watch);
}
