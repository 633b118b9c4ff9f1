//! What a new user stumbled over in the first hour, each with a test.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use clap::CommandFactory;
use dsr1::cli::{Cli, SHORT_HELP};
use dsr1::effects::Effects;
use dsr1::effects::env::Env;
use dsr1::event::{Event, Reporter};
use dsr1::plan::{Plan, ServeMirror, Step, WriteModel};
use serde_json::{Value, json};

use crate::support::{self, Home, Run};

const B200: &str = include_str!("../fixtures/facts-b200.json");
const LAPTOP: &str = include_str!("../fixtures/facts-laptop.json");

/// A home with facts in `facts.json`.
fn home_with(facts: &Value) -> Home {
    let home = Home::new().without_docker();
    std::fs::write(home.path().join("facts.json"), facts.to_string()).unwrap();
    home
}

fn facts(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn plan(facts: &Value, args: &[&str]) -> Run {
    let all = [&["plan", "rehearsal", "--facts", "facts.json"], args].concat();
    home_with(facts).run(&all)
}

/// The kinds of the steps of a plan.
fn steps(plan: &Value) -> Vec<String> {
    let name = |step: &Value| step["step"].as_str().unwrap().to_owned();
    plan["steps"].as_array().unwrap().iter().map(name).collect()
}

/// `up` does what is missing: a server that runs, from the same plan, is verified and measured, and goes on running.
#[test]
fn up_uses_a_server_that_runs_from_the_same_plan() {
    let mut facts = facts(LAPTOP);
    let before = plan(&facts, &["--format", "json"]).expect(0).json();
    let is_start = |name: &String| name.starts_with("start_");
    let start = before["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| is_start(&step["step"].as_str().unwrap().to_owned()))
        .unwrap();
    let labels = &start["labels"];
    let running = |inputs: &Value| {
        json!({ "dsr1-rehearsal": {
            "port": 30000,
            "runtime": start["step"].as_str().unwrap().trim_start_matches("start_").replace("container", "docker"),
            "model": labels["io.dsr1.model"],
            "inputs": inputs,
        }})
    };
    facts["servers"] = running(&labels["io.dsr1.inputs"]);
    facts["host"]["ports_taken"] = json!({ "30000": "python3 (pid 7)" });
    let run = plan(&facts, &["--format", "json"]).expect(0);
    let adopted = run.json();
    assert_eq!(adopted["blockers"], json!([]), "{adopted:#}");
    assert!(!steps(&adopted).iter().any(is_start), "{adopted:#}");
    assert!(
        !steps(&adopted).contains(&"stop_server".to_owned()),
        "{adopted:#}"
    );
    assert!(
        adopted["notes"]
            .to_string()
            .contains("dsr1-rehearsal runs already, from the same plan")
    );
    // What its log said before is not this start, and an interruption leaves it.
    let plan_of = |value: Value| serde_json::from_value::<dsr1::plan::Plan>(value).unwrap();
    let (first, adopted) = (plan_of(before.clone()), plan_of(adopted));
    for at in 0..adopted.steps.len() {
        let left = adopted.left_running(at).map(dsr1::plan::Server::name);
        assert_eq!(left, Some("dsr1-rehearsal"));
        assert_eq!(first.left_running(at), None, "the rehearsal stops its server");
    }
    // A server that its own `up` stops is not adopted.
    facts["servers"]["dsr1-rehearsal"]["temporary"] = json!(true);
    let run = plan(&facts, &[]).expect(3);
    assert!(run.stdout.contains("stops it at its end"), "{}", run.stdout);
    // Another plan, and a server of an earlier dsr1, are not the same.
    for inputs in [json!("other"), json!("")] {
        facts["servers"] = running(&inputs);
        let run = plan(&facts, &[]).expect(3);
        assert!(
            run.stdout.contains("dsr1-rehearsal runs already"),
            "{}",
            run.stdout
        );
    }
    facts["servers"] = running(&labels["io.dsr1.inputs"]);
    plan(&facts, &["--", "--log-requests"]).expect(3);
}

/// The size of an installation is said if something is installed, and is true.
#[test]
fn the_size_of_an_installation_is_said_only_if_one_is_needed() {
    let mut facts = facts(LAPTOP);
    let first = plan(&facts, &["--runtime", "process", "--format", "json"]).json();
    let note = "install: 183 packages of stack cpu, about 6.8 GB on disk";
    assert!(first["notes"].to_string().contains(note), "{first:#}");
    let dir = first["steps"][0]["dir"].clone();
    facts["paths"]["ready_venvs"] = json!([dir]);
    let again = plan(&facts, &["--runtime", "process", "--format", "json"]).json();
    assert!(!again["notes"].to_string().contains("install:"), "{again:#}");
}

/// `doctor` names what would be fetched from where, and what cannot be.
#[test]
fn doctor_looks_at_base_image_package_index_and_hub() {
    let mut laptop = facts(LAPTOP);
    let doctor = |facts: &Value, args: &[&str]| {
        let home = home_with(facts);
        home.run(&[&["doctor", "--facts", "facts.json"], args].concat())
    };
    laptop["docker"] = json!({
        "version": "29.1.3",
        "endpoint": "unix:///var/run/docker.sock",
        "not_pullable": { "debian:bookworm-slim": "no such host" },
    });
    laptop["docker"]["root_dir"] = json!("/var/lib/docker");
    laptop["docker"]["root_free_bytes"] = json!(5_000_000_000_u64);
    laptop["sources"] =
        json!({ "packages": { "refused": "it cannot be reached", "fix": "check the network" } });
    let docker = doctor(&laptop, &["rehearsal", "--runtime", "docker"]).expect(3);
    assert!(
        docker
            .stdout
            .contains("base image debian:bookworm-slim is not present and cannot be pulled: no such host")
            && docker.stdout.contains("debootstrap --variant=minbase bookworm")
            && docker
                .stdout
                .contains("image: 5.0 GB free at /var/lib/docker, 10.2 GB needed"),
        "{}",
        docker.stdout
    );
    let process = doctor(&laptop, &["rehearsal", "--runtime", "process"]).expect(3);
    assert!(
        process.stdout.contains("the package index: it cannot be reached"),
        "{}",
        process.stdout
    );
    let mut b200 = facts(B200);
    b200["sources"] = json!({ "weights": { "refused": "401", "fix": "set HF_TOKEN" } });
    b200["snapshots"] = json!({});
    let weights = doctor(&b200, &["fp8-low-latency"]).expect(3);
    assert!(weights.stdout.contains("the hub: 401"), "{}", weights.stdout);
    // A pull names the same size.
    assert!(weights.stdout.contains("723.4 GB needed"), "{}", weights.stdout);
}

/// A hub that gives nothing is known before anything is installed or started.
#[test]
fn a_hub_that_cannot_be_reached_stops_up_in_its_first_second() {
    let mut facts = facts(B200);
    facts["sources"] = json!({ "weights": {
        "source": "http://hub", "refused": "connection refused", "fix": "check the network",
    }});
    facts["snapshots"] = json!({});
    let home = home_with(&facts);
    let args = ["plan", "fp8-low-latency", "--facts", "facts.json", "--endpoint"];
    let run = home.run(&[&args[..], &["http://hub"]].concat()).expect(3);
    let text = "the hub does not give the weights";
    assert!(run.stdout.contains(text), "{}", run.stdout);
    // Another hub was not asked.
    let other = home.run(&[&args[..], &["http://other"]].concat());
    assert!(!other.stdout.contains(text), "{}", other.stdout);
}

/// The only profile for a host without GPUs is named.
#[test]
fn a_host_without_gpus_is_told_which_profile_runs_on_it() {
    let mut laptop = facts(LAPTOP);
    laptop["host"]["gpus"] = json!([]);
    let home = home_with(&laptop);
    let run = home
        .run(&["doctor", "fp8-low-latency", "--facts", "facts.json"])
        .expect(3);
    assert!(
        run.stdout
            .contains("without GPUs only `rehearsal` runs: dsr1 up rehearsal"),
        "{}",
        run.stdout
    );
}

fn write(home: &Home, path: &str, text: &str) {
    let path = home.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What is not used any more can be removed, what would be used stays, and the sizes are said.
#[test]
fn clean_removes_what_is_not_used_and_says_what_stays() {
    let home = Home::new().without_docker();
    write(&home, ".cache/dsr1/venvs/cpu-000000000000/dsr1-inputs", "x");
    write(
        &home,
        ".cache/dsr1/venvs/cpu-000000000000/lib/big",
        &"x".repeat(50_000),
    );
    write(
        &home,
        ".cache/dsr1/venvs/cpu-000000000000/pyvenv.cfg",
        "version = 3.11.7\n",
    );
    write(&home, ".cache/dsr1/venvs/cpu-111111111111/half", "x");
    // Of a stack that is not configured, and with an unknown Python.
    write(&home, ".cache/dsr1/venvs/mine-222222222222/dsr1-inputs", "x");
    write(&home, ".cache/dsr1/venvs/cpu-333333333333/dsr1-inputs", "x");
    write(&home, ".cache/dsr1/rehearsal/model", "x");
    write(&home, ".local/state/dsr1/servers/dsr1-a.log", "# dsr1 {}");
    write(
        &home,
        ".local/state/dsr1/results/dsr1-a-bench-20261129T120000Z.json",
        "{}",
    );
    let exists = |path: &str| Path::new(&home.path().join(path)).exists();
    let dry = home
        .run(&["clean", "--dry-run", "--format", "json"])
        .expect(0)
        .json();
    let fate = |name: &str| {
        let items = dry["items"].as_array().unwrap();
        let item = items
            .iter()
            .find(|item| item["name"].as_str().unwrap().ends_with(name));
        let item = item.unwrap_or_else(|| panic!("{name}: {dry:#}"));
        (
            item["kind"].as_str().unwrap().to_owned(),
            item["remove"].as_bool().unwrap(),
        )
    };
    assert_eq!(fate("cpu-000000000000"), ("venv".to_owned(), true));
    assert_eq!(fate("mine-222222222222"), ("venv".to_owned(), false));
    assert_eq!(fate("cpu-333333333333"), ("venv".to_owned(), false));
    assert_eq!(fate("cpu-111111111111"), ("unfinished".to_owned(), true));
    assert_eq!(fate("rehearsal"), ("model".to_owned(), false));
    assert_eq!(fate("dsr1-a.log"), ("log".to_owned(), false));
    assert_eq!(fate("120000Z.json"), ("result".to_owned(), false));
    assert!(
        exists(".cache/dsr1/venvs/cpu-000000000000"),
        "a dry run removes nothing"
    );
    let run = home.run(&["clean", "--yes"]).expect(0);
    assert!(
        run.stdout.contains("removed  venv") && run.stdout.contains("freed "),
        "{}",
        run.stdout
    );
    assert!(!exists(".cache/dsr1/venvs/cpu-000000000000") && !exists(".cache/dsr1/venvs/cpu-111111111111"));
    assert!(
        exists(".local/state/dsr1/results/dsr1-a-bench-20261129T120000Z.json")
            && exists(".cache/dsr1/rehearsal/model")
    );
    home.run(&["clean", "--all", "--older-than", "0", "--yes"])
        .expect(0);
    assert!(!exists(".cache/dsr1/venvs/cpu-333333333333") && exists(".cache/dsr1/venvs/mine-222222222222"));
    std::fs::remove_dir_all(home.path().join(".cache/dsr1/venvs/mine-222222222222")).unwrap();
    assert!(
        !exists(".local/state/dsr1/results/dsr1-a-bench-20261129T120000Z.json")
            && !exists(".cache/dsr1/rehearsal")
    );
    assert!(!exists(".local/state/dsr1/servers/dsr1-a.log"));
    let nothing = home.run(&["clean"]).expect(0);
    assert!(
        nothing
            .stdout
            .contains("nothing of dsr1 was found, but not every place"),
        "{}",
        nothing.stdout
    );
}

/// While `clean` removes, it says how many bytes of how many are gone.
#[test]
fn clean_shows_the_bytes_while_it_removes() {
    let home = Home::new().without_docker();
    let venv = ".cache/dsr1/venvs/cpu-000000000000";
    write(&home, &format!("{venv}/dsr1-inputs"), "x");
    write(&home, &format!("{venv}/lib/big"), &"x".repeat(5_000_000));
    write(&home, &format!("{venv}/pyvenv.cfg"), "version = 3.11.7\n");
    write(
        &home,
        ".cache/dsr1/venvs/cpu-111111111111/half",
        &"x".repeat(500_000),
    );
    let run = home.run(&["clean", "--yes", "--progress", "json"]).expect(0);
    let lines = run
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let progress: Vec<Value> = lines.filter(|line| line["event"] == "progress").collect();
    assert!(
        progress[0]["item"].as_str().unwrap().starts_with("1 of 2: venv"),
        "{progress:#?}"
    );
    assert!(
        progress
            .iter()
            .all(|line| line["total_bytes"].as_u64() >= Some(5_500_000)),
        "{progress:#?}"
    );
}

/// The measurements of starts, the shapes of models and the answers of engines are listed and removed like everything else.
#[test]
fn clean_knows_the_kept_answers() {
    let home = Home::new().without_docker();
    write(&home, ".cache/dsr1/proofs/0123.json", "{}");
    write(&home, ".cache/dsr1/models-1/owner--name@0123.json", "{}");
    write(&home, ".local/state/dsr1/starts/0123.json", "{}");
    let kinds = |args: &[&str]| -> Vec<(String, bool)> {
        let listed = home.run(&[&["clean", "--dry-run", "--format", "json"], args].concat());
        let items = listed.expect(0).json()["items"].clone();
        let item = |item: &Value| {
            let kind = item["kind"].as_str().unwrap().to_owned();
            assert!(item["bytes"].as_u64().unwrap() > 0, "{item}");
            (kind, item["remove"].as_bool().unwrap())
        };
        items.as_array().unwrap().iter().map(item).collect()
    };
    let all = |remove: [bool; 3]| -> Vec<(String, bool)> {
        let names = ["start", "model_shape", "engine_answer"].map(str::to_owned);
        let mut all: Vec<_> = names.into_iter().zip(remove).collect();
        all.sort_by_key(|(_, remove)| !remove);
        all
    };
    assert_eq!(kinds(&[]), all([false; 3]));
    assert_eq!(kinds(&["--older-than", "0"]), all([false, true, true]));
    assert_eq!(kinds(&["--all", "--older-than", "0"]), all([true; 3]));
    home.run(&["clean", "--all", "--older-than", "0", "--yes"])
        .expect(0);
    assert_eq!(kinds(&[]), []);
}

/// `stop` keeps the log of a process, and a failed container leaves its own: `logs` prints them and says that the server ended.
#[test]
fn logs_prints_the_log_that_an_ended_server_left() {
    let home = Home::new().without_docker();
    ended_server(&home, "dsr1-a", 30_000);
    let log = ".local/state/dsr1/servers/dsr1-a.log";
    let begin = std::fs::read_to_string(home.path().join(log)).unwrap();
    write(
        &home,
        log,
        &format!("{begin}first line\nlast line\n# dsr1 stopped\n"),
    );
    write(
        &home,
        ".local/state/dsr1/servers/dsr1-b.ended.log",
        "out of memory\n",
    );
    for name in ["dsr1-a", "a"] {
        let run = home.run(&["logs", name]).expect(0);
        assert!(run.stdout.contains("first line\nlast line\n"), "{}", run.stdout);
        assert!(
            run.stderr
                .contains("dsr1-a has ended; this is the log that it left: ")
                && run.stderr.contains(log),
            "{}",
            run.stderr
        );
    }
    let last = home.run(&["logs", "a", "-n", "1", "-f"]).expect(0);
    assert!(!last.stdout.contains("first line"), "{}", last.stdout);
    assert_eq!(home.run(&["logs", "b"]).expect(0).stdout, "out of memory\n");
    let unknown = home.run(&["logs", "../servers/dsr1-a"]).expect(2);
    assert!(
        unknown.stderr.contains("there is no server"),
        "{}",
        unknown.stderr
    );
    let unnamed = home.run(&["logs"]).expect(2);
    assert!(
        unnamed.stderr.starts_with("error: no server is running")
            && unnamed
                .stderr
                .contains("prints the log of the last server that ended"),
        "{}",
        unnamed.stderr
    );
}

/// The log of a start that crashed is kept when the server starts again, and `--previous` reads it.
#[test]
fn the_log_of_the_start_before_the_last_one_can_be_read() {
    let home = Home::new().without_docker();
    ended_server(&home, "dsr1-a", 30_000);
    let folder = ".local/state/dsr1/servers/dsr1-a";
    write(
        &home,
        &format!("{folder}.ended.log"),
        "torch.OutOfMemoryError: CUDA out of memory.\n",
    );
    write(&home, &format!("{folder}.ended.2.log"), "the first start\n");
    for args in [["logs", "a", "--previous"], ["logs", "a", "-p"]] {
        let run = home.run(&args).expect(0);
        assert_eq!(run.stdout, "torch.OutOfMemoryError: CUDA out of memory.\n");
        assert!(
            run.stderr
                .contains("this is the log of the start of dsr1-a before the last one: "),
            "{}",
            run.stderr
        );
    }
    let older = home.run(&["logs", "--previous=2", "a"]).expect(0);
    assert_eq!(older.stdout, "the first start\n");
    let none = home.run(&["logs", "a", "--previous=3"]).expect(2);
    assert!(
        none.stderr
            .starts_with("error: there is no log of dsr1-a from 3 starts before the last one\n")
            && none.stderr.contains("dsr1 has 3 logs of dsr1-a"),
        "{}",
        none.stderr
    );
    let found = home
        .run(&["diagnose", "a", "--previous", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(found["verdict"], "failure", "{found}");
    assert_eq!(found["server"], Value::Null);
}

/// A server that was stopped is known by its plan and its history: `status` shows it, and a second `stop` has nothing to do.
#[test]
fn a_server_that_was_stopped_is_still_known_by_its_name() {
    let home = Home::new().without_docker();
    stopped_server(&home, "dsr1-a", 30_000);
    assert_eq!(
        home.run(&["status"]).expect(0).stdout,
        "no servers; processes of other users are not listed\n"
    );
    for args in [vec!["status", "a"], vec!["ps", "-a"]] {
        let run = home.run(&args).expect(0);
        assert!(
            run.stdout.contains("dsr1-a  stopped")
                && run
                    .stdout
                    .contains("dsr1-a does not run: a command of dsr1 stopped it at 2026-11-30T10:00:00Z"),
            "{}",
            run.stdout
        );
    }
    let check = home.run(&["status", "a", "--check"]).expect(7);
    assert!(
        check.stderr.starts_with("error: dsr1-a is stopped\n"),
        "{}",
        check.stderr
    );
    let again = home.run(&["stop", "a"]).expect(0);
    assert!(again.stderr.contains("dsr1-a does not run: "), "{}", again.stderr);
    let asked = home.run(&["ask", "--server", "a", "hello"]).expect(2);
    assert!(
        asked
            .stderr
            .starts_with("error: dsr1-a was stopped\ncause: a command of dsr1 stopped it at ")
            && asked.stderr.contains("dsr1 restart dsr1-a starts it again"),
        "{}",
        asked.stderr
    );
    // A name that is only like it gets the right one.
    ended_server(&home, "dsr1-rehearsal", 30_001);
    let like = home.run(&["status", "rehersal"]).expect(2);
    assert!(
        like.stderr.contains("did you mean dsr1-rehearsal?"),
        "{}",
        like.stderr
    );
}

/// A server that was killed logs nothing: `diagnose` says that it has ended, and where the kernel says more.
#[test]
fn diagnose_says_that_a_server_was_killed_without_a_word() {
    let home = Home::new().without_docker();
    ended_server(&home, "dsr1-a", 30_000);
    let run = home.run(&["diagnose", "a", "--check"]).expect(7);
    assert!(
        run.stdout
            .starts_with("state  dsr1-a has ended: its process is gone; its log shows no cause\n")
            && run.stdout.contains("dmesg")
            && run.stdout.contains("no failure found in "),
        "{}",
        run.stdout
    );
    let found = home.run(&["diagnose", "a", "--format", "json"]).expect(0).json();
    assert_eq!(found["server"]["state"], "crashed", "{found}");
}

/// A script can ask whether a server is well.
#[test]
fn status_fails_on_request_if_no_server_is_ready() {
    let home = Home::new().without_docker();
    home.run(&["status"]).expect(0);
    // A watchdog asks for servers, with or without a daemon.
    let check = home.run(&["status", "--check"]).expect(7);
    assert!(
        check.stderr.contains("containers were not looked at"),
        "{}",
        check.stderr
    );
    let named = home.run(&["status", "nobody", "--check"]).expect(2);
    assert!(
        named.stderr.starts_with("error: there is no server `nobody`"),
        "{}",
        named.stderr
    );
    // A server that ended is not ready, which the tables of exit codes say, too.
    ended_server(&home, "dsr1-a", 30_000);
    home.run(&["status", "--check"]).expect(7);
}

/// A profile to start from is a document, too.
#[test]
fn profiles_new_is_a_document_for_programs() {
    let home = Home::new().without_docker();
    let new = home
        .run(&["profiles", "new", "mine", "--format", "json"])
        .expect(0)
        .json();
    let text = home.run(&["profiles", "new", "mine"]).expect(0).stdout;
    assert_eq!(
        (new["name"].as_str(), new["text"].as_str()),
        (Some("mine"), Some(&*text))
    );
}

/// Every line of progress has its time, and a step that fails says so.
#[test]
fn progress_for_programs_has_times_and_failures() {
    let home = Home::new().without_docker();
    let run = home
        .with("HF_ENDPOINT", "http://127.0.0.1:9")
        .run(&["pull", "a/b", "--progress", "json"])
        .expect(5);
    let lines: Vec<Value> = run
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(
        lines
            .iter()
            .all(|line| line["time"].as_str().unwrap().ends_with('Z')),
        "{}",
        run.stderr
    );
    let last = lines.last().unwrap();
    assert_eq!(
        (
            last["event"].as_str(),
            last["step"].as_u64(),
            last["kind"].as_str()
        ),
        (Some("step_failed"), Some(1), Some("hub")),
        "{}",
        run.stderr
    );
}

/// Sentences that sent a user in a circle, or named a remedy that did not fit.
#[test]
fn a_remedy_fits_its_cause() {
    let mut laptop = facts(LAPTOP);
    laptop["host"]["memory_bytes"] = json!(24_000_000_000_u64);
    laptop["host"]["memory_available_bytes"] = json!(22_000_000_000_u64);
    let small = home_with(&laptop).run(&["doctor", "fp8-low-latency", "--facts", "facts.json"]);
    let text = "this host has 24.0 GB in all: use a larger one";
    assert!(small.stdout.contains(text), "{}", small.stdout);
    let home = Home::new().without_docker();
    write(&home, "tab.yaml", "name: x\n\ttitle: y\n");
    let tab = home.run(&["profiles", "validate", "tab.yaml"]).expect(2);
    assert!(
        tab.stderr
            .contains("hint: indent with spaces: YAML takes no tabs"),
        "{}",
        tab.stderr
    );
    let named = home.run(&["plan", "rehearsal", "--name", "dsr1-mine", "--runtime", "process"]);
    assert!(!named.stdout.contains("dsr1-dsr1-mine"), "{}", named.stdout);
}

/// A server that `up` leaves running goes on if a later step is interrupted; before READY it is removed.
#[test]
fn a_server_that_stays_is_left_by_an_interruption() {
    let kept = plan(&facts(LAPTOP), &["--keep", "--format", "json"]).json();
    let steps = steps(&kept);
    let kept: dsr1::plan::Plan = serde_json::from_value(kept).unwrap();
    let ready = steps.iter().position(|step| step == "await_ready").unwrap();
    assert_eq!(kept.left_running(ready), None);
    assert!(kept.left_running(ready + 1).is_some());
}

/// An option is explained under each of its spellings, and a number is asked for in words.
#[test]
fn an_option_has_more_than_one_spelling_and_a_number_one_sentence() {
    let home = Home::new().without_docker();
    for name in ["tp", "tp_size", "--tp", "--tensor-parallel-size"] {
        let text = home.run(&["explain", name]).expect(0).stdout;
        assert!(text.contains("engine.tensor_parallel"), "{name}: {text}");
    }
    for wrong in ["abc", "80", "65536", "1e5", ""] {
        let text = home
            .run(&["serve", "rehearsal", "--port", wrong])
            .expect(2)
            .stderr;
        assert!(
            text.contains("it takes a whole number from 1024 to 65535"),
            "{text}"
        );
    }
}

struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event) {}
}

/// The port of the mirror is free when a plan is made, and may be taken an installation later.
#[tokio::test]
async fn a_mirror_whose_port_was_taken_meanwhile_listens_on_another() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let dir = home.path().to_str().unwrap().to_owned();
    let env = Env::from_lookup(|name| (name == "HOME").then(|| dir.clone()));
    let (source, cache) = (format!("{dir}/source"), format!("{dir}/cache"));
    let whole: Plan = plan(&facts(LAPTOP), &["--format", "json"]).json_as();
    let pull = whole.steps.into_iter().find_map(|step| match step {
        Step::PullSnapshot(pull) => Some(pull),
        _ => None,
    });
    let mut pull = pull.unwrap();
    pull.endpoint = format!("http://{listen}");
    pull.cache_dir.clone_from(&cache);
    let steps = vec![
        Step::WriteModel(WriteModel {
            repo: pull.repo.clone(),
            cache_dir: source.clone(),
        }),
        Step::ServeMirror(ServeMirror {
            cache_dir: source,
            listen,
        }),
        Step::PullSnapshot(pull),
    ];
    let effects = Effects::new(env);
    let done = effects.execute(&Plan::new("up", steps), &Silent).await;
    assert_eq!(done.unwrap().steps.len(), 3);
    assert!(Path::new(&cache).is_dir());
}

/// An option of another command is not a remedy.
#[test]
fn a_hint_names_options_of_the_command_only() {
    let home = Home::new().without_docker();
    let image = home.run(&["image", "list"]).expect(4).stderr;
    assert!(
        image.contains("hint: start Docker") && !image.contains("--runtime"),
        "{image}"
    );
    let cache = home.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let args = [
        "mirror",
        "--listen",
        &listen,
        "--cache-dir",
        cache.to_str().unwrap(),
    ];
    let mirror = home.run(&args).expect(3).stderr;
    assert!(
        mirror.contains("choose another address with --listen"),
        "{mirror}"
    );
}

/// What pip of this host is asked says nothing of a build that has other settings.
#[test]
fn the_build_of_an_image_gets_the_certificates_of_pips_configuration() {
    let mut laptop = facts(LAPTOP);
    laptop["paths"]["pip_cert"] = json!("/etc/site-ca.pem");
    let home = home_with(&laptop);
    let args = [
        "build",
        "--stack",
        "cpu",
        "--runtime",
        "docker",
        "--facts",
        "facts.json",
    ];
    let script = home.run(&args).expect(0).stdout;
    assert!(script.contains("src=/etc/site-ca.pem"), "{script}");
    laptop["sources"] = json!({ "packages": { "source": "index-url" } });
    laptop["docker"] = json!({ "version": "29.1.3", "endpoint": "unix:///var/run/docker.sock" });
    let args = [
        "doctor",
        "rehearsal",
        "--runtime",
        "docker",
        "--facts",
        "facts.json",
    ];
    let doctor = home_with(&laptop).run(&args).stdout;
    assert!(
        doctor.contains("the build of an image does not read these settings (index-url)")
            && doctor.contains("--secret pip_conf=FILE"),
        "{doctor}"
    );
}

/// Docker is not the cause if no server runs.
#[test]
fn a_daemon_that_cannot_be_used_is_no_cause_of_a_missing_server() {
    let home = Home::new().without_docker();
    for args in [&["logs"][..], &["stop"], &["ask", "hi"]] {
        let run = home.run(args).expect(2);
        let first = "error: no server is running; the containers were not looked at: `/nonexistent/docker.sock` does not exist";
        assert!(
            run.stderr.starts_with(first) && !run.stderr.contains("cause:"),
            "{}",
            run.stderr
        );
    }
}

/// A venv that is ready is used with Docker and without it, so nothing is said about Docker.
#[test]
fn docker_is_named_only_where_it_makes_a_difference() {
    let mut laptop = facts(LAPTOP);
    laptop["docker"] = json!({ "unreachable": "no Docker daemon: permission denied" });
    let first = plan(&laptop, &["--format", "json"]).json();
    assert!(
        first["notes"].to_string().contains("permission denied"),
        "{first:#}"
    );
    laptop["paths"]["ready_venvs"] = json!([first["steps"][0]["dir"]]);
    let again = plan(&laptop, &["--format", "json"]).json();
    assert!(
        !again["notes"].to_string().contains("permission denied"),
        "{again:#}"
    );
}

/// `echo hi | dsr1 ask` is a question.
#[test]
fn a_question_comes_through_a_pipe() {
    let home = Home::new().without_docker();
    let ask = |text: &str| {
        let mut child = home
            .command(&["ask", "--url", "http://127.0.0.1:9"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Run::from(child.wait_with_output().unwrap())
    };
    let asked = ask("hi\n");
    assert!(asked.stderr.contains("127.0.0.1:9"), "{}", asked.stderr);
    let empty = ask("\n").expect(2);
    assert!(empty.stderr.contains("the question is empty"), "{}", empty.stderr);
}

/// Without a terminal nobody can agree: each command that removes something says the line to type.
#[test]
fn nothing_is_removed_without_a_yes() {
    let home = Home::new().without_docker();
    let venv = ".cache/dsr1/venvs/cpu-000000000000/dsr1-inputs";
    write(&home, venv, "x");
    let clean = home.run(&["clean", "--all", "--older-than", "0"]).expect(2);
    let line = "hint: dsr1 clean --all --older-than 0 --yes removes it; dsr1 clean --all --older-than 0 --dry-run lists it";
    assert!(clean.stderr.contains(line), "{}", clean.stderr);
    home.run(&["clean", "--all", "--format", "json"]).expect(2);
    assert!(home.path().join(venv).exists());
    home.run(&["clean", "--all", "--yes"]).expect(0);
    // With nothing to remove there is nothing to agree to.
    home.run(&["clean", "--all"]).expect(0);
}

/// Weights have the same names for each command.
#[test]
fn a_profile_names_the_weights_to_remove() {
    let home = Home::new().without_docker();
    for args in [&["rehearsal"][..], &["--profile", "rehearsal"]] {
        let run = home.run(&[&["weights", "rm"], args].concat()).expect(5);
        assert!(
            run.stderr.contains("dsr1/rehearsal-qwen2 is not in the cache"),
            "{}",
            run.stderr
        );
    }
    home.run(&["weights", "rm"]).expect(2);
}

/// A tip gives no line about which the next answer complains, and a misspelt option has an answer.
#[test]
fn options_of_sglang_are_named_in_full() {
    let home = home_with(&facts(B200));
    for (short, full) in [
        ("--tp", "--tp-size"),
        ("--dp", "--dp-size"),
        ("--pp", "--pp-size"),
    ] {
        let run = home.run(&["serve", "fp8", short, "8"]).expect(2);
        assert!(run.stderr.contains(&format!("-- {full} 8")), "{}", run.stderr);
        let args = [
            "plan",
            "fp8-low-latency",
            "--facts",
            "facts.json",
            "--",
            full,
            "8",
        ];
        let stdout = home.run(&args).stdout;
        assert!(!stdout.contains("short form"), "{stdout}");
    }
    let unknown = |option| {
        let args = [
            "serve",
            "fp8-low-latency",
            "--dry-run",
            "--facts",
            "facts.json",
            "--",
            option,
            "2",
        ];
        home.run(&args).expect(2).stderr
    };
    assert!(
        unknown("--tpp").contains("did you mean --tp-size?"),
        "{}",
        unknown("--tpp")
    );
    assert!(
        unknown("--xyzzy").contains("dsr1 explain NAME"),
        "{}",
        unknown("--xyzzy")
    );
    let explained = home.run(&["explain", "--tpp"]).expect(2).stderr;
    assert!(explained.contains("did you mean `--tp-size`?"), "{explained}");
}

/// A profile that serves a part of the load does not fit it.
#[test]
fn a_limited_profile_is_not_said_to_fit() {
    let mut newer = facts(B200);
    newer["host"]["driver"] = json!("580.65.06");
    let load = ["--isl", "1024", "--osl", "1024", "--concurrency", "64"];
    let args = [&["profiles", "advise", "--facts", "facts.json"], &load[..]].concat();
    let advice = home_with(&newer).run(&args).expect(0).stdout;
    let limits = advice
        .lines()
        .filter(|line| line.contains("limited to 32 requests at once"));
    let limits: Vec<&str> = limits.collect();
    assert!(!limits.is_empty(), "{advice}");
    assert!(limits.iter().all(|line| line.starts_with("limited ")), "{advice}");
}

/// `dsr1` alone fits on a terminal of 80 columns and 24 rows, and names every command.
#[test]
fn help_fits_on_a_terminal() {
    let bare = Home::new().run(&[]).expect(2);
    assert_eq!(bare.stderr, SHORT_HELP);
    assert!(SHORT_HELP.lines().count() < 24);
    let words: Vec<&str> = SHORT_HELP.split([' ', ',', '\n']).collect();
    let root = Cli::command();
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(words.contains(&command.get_name()), "{}", command.get_name());
    }
    let texts = std::iter::once(&root).chain(root.get_subcommands());
    let texts = texts.filter_map(|command| command.get_after_help().map(ToString::to_string));
    for text in texts.chain([SHORT_HELP.to_owned()]) {
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

/// Returns what a terminal of 80 columns and 24 rows shows of a command line.
fn on_terminal(home: &Home, line: &str) -> String {
    on_terminal_of(home, (80, 24), line)
}

/// Returns what a terminal of these columns and rows shows of a command line.
fn on_terminal_of(home: &Home, size: (usize, usize), line: &str) -> String {
    let shown = terminal(home, size, line)
        .stdin(Stdio::null())
        .output()
        .expect("install bsdutils, which has `script`");
    String::from_utf8(shown.stdout).unwrap().replace('\r', "")
}

/// Returns the command that runs a command line on a terminal of these columns and rows.
pub(crate) fn terminal(home: &Home, size: (usize, usize), line: &str) -> std::process::Command {
    let program = env!("CARGO_BIN_EXE_dsr1");
    terminal_shell(home, size, &format!("exec {program} {line}"))
}

/// Returns the command that runs a line of a shell on a terminal of these columns and rows.
pub(crate) fn terminal_shell(
    home: &Home,
    (columns, rows): (usize, usize),
    line: &str,
) -> std::process::Command {
    let of_home = home.command(&[]);
    let envs = of_home.get_envs().filter_map(|(key, value)| Some((key, value?)));
    let mut command = std::process::Command::new("script");
    command
        .args(["--quiet", "--return", "--command"])
        .arg(format!("stty cols {columns} rows {rows}; {line}"))
        .arg("/dev/null")
        .env_clear()
        .envs(envs)
        .current_dir(home.path());
    command
}

/// Tables, results, errors and tips are broken between words at the edge of a terminal, and not in a pipe.
#[test]
fn nothing_that_is_printed_is_cut_by_a_terminal() {
    let home = home_with(&facts(B200));
    for line in [
        "profiles list",
        "profiles advise --isl 1024 --osl 1024 --concurrency 64 --facts facts.json",
        "profiles diff fp8-low-latency b200-fp8-low-latency",
        "explain --tp-size",
        "stacks list",
        "stacks show cpu",
        "build --explain",
        "weights du",
        "clean --dry-run",
        "logs nobody",
        "weights rm",
        "serve fp8 --tp 8",
    ] {
        let shown = on_terminal(&home, line);
        let is_word = |line: &str| !line.trim().contains(' ');
        let long = shown
            .lines()
            .find(|line| line.chars().count() > 80 && !is_word(line));
        assert!(!shown.is_empty() && long.is_none(), "{line}: {long:?}");
    }
    let asked = on_terminal(&home, "ask");
    assert!(
        asked.contains("there is no question") && asked.contains("dsr1 ask - reads it"),
        "{asked}"
    );
    let piped = home.run(&["profiles", "list"]).expect(0).stdout;
    assert!(piped.lines().any(|line| line.len() > 80), "{piped}");
}

/// A text that is longer than the terminal is wide is broken once: each line is as long as its words let it be, and all begin
/// in one column.
#[test]
fn an_explanation_is_wrapped_once() {
    for option in [
        "--mem-fraction-static",
        "--moe-runner-backend",
        "--chunked-prefill-size",
    ] {
        let shown = on_terminal(&Home::new(), &format!("explain {option}"));
        let lines = shown.lines().skip(1);
        let text: Vec<&str> = lines.take_while(|line| line.starts_with(' ')).collect();
        assert!(!text.is_empty(), "{shown}");
        for pair in text.windows(2) {
            let begin = |line: &str| line.len() - line.trim_start().len();
            assert_eq!(begin(pair[0]), begin(pair[1]), "{shown}");
            let next = pair[1].split_whitespace().next().unwrap();
            assert!(pair[0].len() + 1 + next.len() > 80, "{shown}");
        }
    }
}

/// On a terminal the manual is shown by `man`; without it the answer is a line to type. A pipe gets the text.
#[test]
fn the_manual_is_shown_on_a_terminal() {
    let home = Home::new();
    let tools = |names: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::os::unix::fs::symlink(Path::new("/bin").join(name), dir.path().join(name)).unwrap();
        }
        dir
    };
    let with_path = |dir: &Path| Home::new().with("PATH", dir.to_str().unwrap());
    let without = tools(&["script", "sh", "stty"]);
    let refused = on_terminal(&with_path(without.path()), "man");
    assert!(
        refused.starts_with("error: cannot show the manual: there is no `man` on this host")
            && refused.contains("dsr1 man > dsr1.1"),
        "{refused}"
    );
    let with = tools(&["script", "sh", "stty", "head"]);
    write_program(
        &with.path().join("man"),
        "#!/bin/sh\necho \"man $*\"\nhead -c 3\n",
    );
    let shown = on_terminal(&with_path(with.path()), "man");
    assert!(
        shown.starts_with("man -l -\n.ie") || shown.starts_with("man -l -\n.TH"),
        "{shown}"
    );
    let piped = home.run(&["man"]).expect(0).stdout;
    assert!(piped.contains(".TH dsr1 1"), "{piped}");
}

/// `man COMMAND` shows the page of a command. Only a path makes a folder of pages, so that no wrong word does.
#[test]
fn a_word_behind_man_is_a_command_and_a_path_is_a_folder() {
    let home = Home::new();
    for (args, title) in [
        (&["man", "serve"][..], ".TH dsr1-serve 1"),
        (&["man", "run"], ".TH dsr1-serve 1"),
        (&["man", "profiles", "new"], ".TH dsr1-profiles-new 1"),
    ] {
        let page = home.run(args).expect(0).stdout;
        assert!(page.contains(title), "{args:?}\n{page}");
    }
    for (args, tip) in [
        (&["man", "srve"][..], "did you mean `serve`?"),
        (&["man", "images"], "dsr1 image list"),
        (&["man", "zzz"], "dsr1 man ./zzz writes all pages"),
        (&["man", "profiles", "nw"], "there is only list, show"),
        (&["help", "srve"], "did you mean `serve`?"),
    ] {
        let refused = home.run(args).expect(2);
        assert!(
            refused.stderr.starts_with("error: there is no command `"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains(tip), "{args:?}\n{}", refused.stderr);
    }
    let before = support::tree(home.path());
    assert!(!before.keys().any(|path| path.ends_with(".1")), "{before:?}");
    std::fs::create_dir(home.path().join("there")).unwrap();
    for path in ["./serve", "there"] {
        let run = home.run(&["man", path]).expect(0);
        assert!(
            run.stdout.contains(&format!("manual pages are in `{path}`")),
            "{}",
            run.stdout
        );
        assert!(home.path().join(path).join("dsr1-profiles-new.1").exists());
    }
    // A folder of the name of a command is none without a slash.
    assert!(
        home.run(&["man", "serve"])
            .expect(0)
            .stdout
            .contains(".TH dsr1-serve 1")
    );
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The log of a process server of this name, at a port, that ended by itself.
pub(crate) fn ended_server(home: &Home, name: &str, port: u16) {
    let labels = json!({
        "io.dsr1.name": name, "io.dsr1.port": port.to_string(), "io.dsr1.profile": "rehearsal",
        "io.dsr1.stack": "cpu", "io.dsr1.model": "m", "io.dsr1.python": "python3",
    });
    let log = format!("# dsr1 {labels}\n");
    write(home, &format!(".local/state/dsr1/servers/{name}.log"), &log);
}

/// Leaves what a server leaves that a command of dsr1 stopped at 10 o'clock: a log, a history, and the plan of its next start.
pub(crate) fn stopped_server(home: &Home, name: &str, port: u16) {
    let port = port.to_string();
    let args = [
        "serve",
        "rehearsal",
        "--name",
        name,
        "--runtime",
        "process",
        "--port",
        &port,
    ];
    let plan = home
        .run(&[&args[..], &["--dry-run", "--format", "json"]].concat())
        .expect(0);
    let state = ".local/state/dsr1/servers";
    write(home, &format!("{state}/{name}.plan"), &plan.stdout);
    ended_server(home, name, port.parse().unwrap());
    let log = home.path().join(format!("{state}/{name}.log"));
    let begin = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, begin + "# dsr1 stopped\n").unwrap();
    let event = |at: &str, what: &str| format!("{}\n", json!({"at": at, "server": name, "what": what}));
    let events = event("2026-11-30T09:00:00Z", "ready") + &event("2026-11-30T10:00:00Z", "stopped");
    write(home, &format!("{state}/{name}.events"), &events);
}

/// Starts a process that writes to the log of a server, as its engine does.
pub(crate) fn running_server(home: &Home, name: &str) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let log = home.path().join(format!(".local/state/dsr1/servers/{name}.log"));
    std::process::Command::new("sleep")
        .arg("60")
        .process_group(0)
        .stdout(std::fs::File::options().append(true).open(log).unwrap())
        .spawn()
        .unwrap()
}

/// The log of a server by time and by pattern: an engine writes its local time, whatever that of the host is.
#[test]
fn logs_are_printed_by_time_and_by_pattern() {
    let home = Home::new().without_docker();
    ended_server(&home, "dsr1-a", 30_000);
    let log = home.path().join(".local/state/dsr1/servers/dsr1-a.log");
    let text = "before any time\n[2026-11-30 06:00:00] old\n  of the old one\n[2026-11-30 06:49:00] an error\n  of it\n\
                [2026-11-30 07:00:00] last\n";
    std::fs::write(&log, std::fs::read_to_string(&log).unwrap() + text).unwrap();
    let printed = |args: &[&str]| home.run(&[&["logs", "a"], args].concat()).expect(0);
    let recent = "[2026-11-30 06:49:00] an error\n  of it\n[2026-11-30 07:00:00] last\n";
    assert_eq!(printed(&["--since", "30m"]).stdout, recent);
    assert_eq!(
        printed(&["--since", "2d"]).stdout,
        text.split_once('\n').unwrap().1
    );
    assert_eq!(printed(&["--grep", "old|last$"]).stdout.lines().count(), 3);
    let none = printed(&["--grep", "nothing"]);
    assert_eq!(none.stdout, "");
    assert!(
        none.stderr.contains("none of the 6 lines of dsr1-a fits --grep"),
        "{}",
        none.stderr
    );

    // Nothing was written in the last hour.
    let hours = std::time::SystemTime::now() - std::time::Duration::from_hours(3);
    std::fs::File::options()
        .write(true)
        .open(&log)
        .unwrap()
        .set_modified(hours)
        .unwrap();
    let none = printed(&["--since", "1h"]);
    assert_eq!(none.stdout, "");
    assert!(
        none.stderr.contains("has logged nothing in that time"),
        "{}",
        none.stderr
    );

    let broken = home.run(&["logs", "a", "--grep", "("]).expect(2).stderr;
    assert!(
        broken.starts_with("error: --grep is not a pattern\ncause: unclosed group\nhint: "),
        "{broken}"
    );
    let unit = home.run(&["logs", "a", "--since", "10"]).expect(2).stderr;
    assert!(unit.contains("such as 90s, 10m, 2h or 1d"), "{unit}");
}

/// `status` says the name that a client writes into a request: that of the model's path is none.
#[test]
fn status_says_the_name_of_the_model_in_requests() {
    let home = Home::new().without_docker();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    ended_server(&home, "dsr1-rehearsal", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let body = r#"{"data":[{"id":"dsr1/rehearsal-qwen2"}]}"#;
            let lines = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
            let answer = format!("{lines}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let mut server = running_server(&home, "dsr1-rehearsal");
    let listed = home.run(&["status", "--format", "json"]);
    server.kill().unwrap();
    server.wait().unwrap();
    let listed = listed.expect(0).json();
    assert_eq!(listed["servers"][0]["state"], "ready", "{listed:#}");
    assert_eq!(listed["servers"][0]["served_model"], "dsr1/rehearsal-qwen2");
    let ended = home.run(&["status", "--format", "json"]).expect(0).json();
    assert!(ended["servers"][0]["served_model"].is_null(), "{ended:#}");
}

/// The full name of a server is no question: it names the server that is asked. A short one may be a word of the question.
#[test]
fn a_server_is_named_by_the_first_word_of_ask() {
    let home = Home::new().without_docker();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    ended_server(&home, "dsr1-rehearsal", port);
    let mut server = running_server(&home, "dsr1-rehearsal");
    let asked = std::thread::spawn(move || {
        let mut heard = String::new();
        while !heard.starts_with("POST ") {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            heard.clear();
            let is_whole = |heard: &str| heard.contains("What is it?") || heard.starts_with("GET ");
            while !(heard.contains("\r\n\r\n") && is_whole(&heard)) {
                match std::io::Read::read(&mut stream, &mut bytes).unwrap() {
                    0 => break,
                    count => heard.push_str(&String::from_utf8_lossy(&bytes[..count])),
                }
            }
            let body = if heard.starts_with("GET ") {
                r#"{"data":[{"id":"m"}]}"#
            } else {
                "{}"
            };
            let lines = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
            let answer = format!("{lines}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
        heard
    });
    let run = home.run(&["ask", "dsr1-rehearsal", "What", "is", "it?"]);
    server.kill().unwrap();
    server.wait().unwrap();
    run.expect(7);
    let request = asked.join().unwrap();
    assert!(request.contains("\"What is it?\""), "{request}");
    let short = home.run(&["ask", "rehearsal", "is", "what?"]).expect(7).stderr;
    assert!(
        short.contains("`rehearsal` is asked as a word of the question")
            && short.contains("write --server dsr1-rehearsal")
            && short.contains("dsr1-rehearsal has ended"),
        "{short}"
    );
    let other = home.run(&["ask", "hello"]).expect(7).stderr;
    assert!(!other.contains("--server dsr1-rehearsal"), "{other}");
    let alone = on_terminal(&home, "ask dsr1-rehearsal");
    assert!(
        alone.contains("there is no question") && alone.contains("ask --server dsr1-rehearsal"),
        "{alone}"
    );
}

/// A plan says which of its steps are done on the host: packages, an image, weights of a fixed commit.
#[test]
fn a_plan_marks_the_steps_that_are_done() {
    let mut b200 = facts(B200);
    let run = |facts: &Value, args: &[&str]| {
        home_with(facts).run(&[&["plan", "--facts", "facts.json"], args].concat())
    };
    let json = ["fp8-low-latency", "--format", "json"];
    b200["snapshots"] = json!({});
    let bare = run(&b200, &json).json();
    assert_eq!(bare["done"], json!([]), "{bare:#}");
    let of = |kind: &str| {
        let found = bare["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["step"] == kind);
        found.unwrap().clone()
    };
    let (image, pull) = (of("build_image"), of("pull_snapshot"));
    let reference = format!(
        "{}@{}",
        pull["repo"].as_str().unwrap(),
        pull["revision"].as_str().unwrap()
    );
    b200["snapshots"] = json!({ reference: pull["revision"] });
    b200["docker"]["images"][image["tag"].as_str().unwrap()] = json!("sha256:ab");
    let ready = run(&b200, &json).json();
    assert_eq!(ready["done"], json!([1, 3]), "{ready:#}");
    let text = run(&b200, &["fp8-low-latency"]).stdout;
    let marked = text.lines().filter(|line| line.ends_with(" (already done)"));
    let marked: Vec<&str> = marked.collect();
    assert!(
        marked.len() == 2
            && marked[0].starts_with("  1/8 build image")
            && marked[1].starts_with("  3/8 pull"),
        "{text}"
    );
    // Packages, too; the commit of the rehearsal's model is known before it is pulled.
    let mut laptop = facts(LAPTOP);
    let json = ["rehearsal", "--runtime", "process", "--format", "json"];
    laptop["paths"]["ready_venvs"] = json!([run(&laptop, &json).json()["steps"][0]["dir"]]);
    assert_eq!(run(&laptop, &json).json()["done"], json!([1]));
}

/// Two stacks or profiles that do not fit beside each other are below each property, all in one form.
#[test]
fn a_comparison_has_one_form_on_each_terminal() {
    let home = Home::new();
    for (line, columns) in [
        ("stacks diff guide current", 80),
        ("profiles diff fp8-low-latency b200-fp8-low-latency", 60),
    ] {
        let wide = on_terminal_of(&home, (400, 50), line);
        let properties = |text: &str| -> Vec<String> {
            let rows = text.lines().take_while(|line| !line.is_empty());
            let rows = rows.filter(|line| !line.starts_with(' '));
            let first = |line: &str| line.split_whitespace().next().unwrap().to_owned();
            rows.map(first).collect()
        };
        let narrow = on_terminal_of(&home, (columns, 24), line);
        assert_eq!(properties(&narrow), properties(&wide)[1..], "{narrow}");
        let sides = narrow.lines().take_while(|line| !line.is_empty());
        let values = sides.filter(|line| line.starts_with("  ") && !line.starts_with("    "));
        assert_eq!(values.count(), properties(&narrow).len() * 2, "{narrow}");
    }
}

/// A finding of `doctor` names its subject once.
#[test]
fn doctor_says_nothing_twice() {
    let mut b200 = facts(B200);
    b200["sources"] = json!({ "weights": {
        "refused": "cannot reach the hub: no answer from http://hub", "fix": "check the network",
    }});
    b200["snapshots"] = json!({});
    let home = home_with(&b200);
    let run = home.run(&["doctor", "fp8-low-latency", "--facts", "facts.json"]);
    assert!(
        !run.stdout.contains("the hub: cannot reach the hub"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("weights: "), "{}", run.stdout);
    b200["sources"]["weights"]["refused"] = json!("401");
    let run = home_with(&b200).run(&["doctor", "fp8-low-latency", "--facts", "facts.json"]);
    assert!(run.stdout.contains("the hub: 401"), "{}", run.stdout);
}

/// Every origin is in the same column, also beside an argument that is longer than the terminal has room for.
#[test]
fn origins_are_in_one_column_on_each_terminal() {
    let home = home_with(&facts(B200));
    let line = "plan fp8-low-latency --facts facts.json --origin";
    let command = |columns| -> Vec<String> {
        let shown = on_terminal_of(&home, (columns, 50), line);
        let lines = shown.lines().skip_while(|line| *line != "command").skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let wide = command(140);
    let columns = |from: &str| -> Vec<usize> {
        let with = wide.iter().filter_map(|line| line.find(from));
        with.collect()
    };
    for from in ["  profiles/fp8-low-latency.yaml:", "  engine."] {
        let found = columns(from);
        assert!(
            found.len() > 3 && found.iter().all(|at| *at == found[0]),
            "{wide:#?}"
        );
    }
    assert!(wide.iter().all(|line| line.chars().count() <= 140), "{wide:#?}");
    // Without room for columns each origin is below its argument.
    let narrow = command(80);
    let at = narrow.iter().position(|line| line == "  --ep-size 8").unwrap();
    assert_eq!(
        narrow[at + 1],
        "      engine.expert_parallel, profiles/fp8-low-latency.yaml:22"
    );
    let piped = home.run(&["plan", "fp8-low-latency", "--facts", "facts.json", "--origin"]);
    assert!(
        piped
            .stdout
            .lines()
            .any(|line| line.starts_with("  --model-path") && line.contains("  profile, model"))
    );
}

#[test]
fn the_rehearsal_takes_no_other_model() {
    let home = Home::new().without_docker();
    let run = home
        .run(&[
            "up",
            "rehearsal",
            "--model",
            "Qwen/Qwen2.5-0.5B",
            "--runtime",
            "process",
        ])
        .expect(2);
    assert!(
        run.stderr.contains("the rehearsal serves its own model"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_url_without_a_scheme_is_completed_in_the_hint() {
    let run = Home::new()
        .run(&["ask", "--url", "127.0.0.1:31000", "hello"])
        .expect(2);
    assert!(
        run.stderr.contains("write it as --url http://127.0.0.1:31000"),
        "{}",
        run.stderr
    );
}

#[test]
fn both_words_for_the_lengths_of_a_load_are_taken() {
    let home = Home::new().without_docker();
    let advise = [
        "profiles",
        "advise",
        "--input-len",
        "1024",
        "--output-len",
        "64",
        "--concurrency",
        "4",
    ];
    home.run(&advise).expect(0);
    // The words are read; no server runs.
    let run = home.run(&["bench", "--isl", "64", "--osl", "16"]).expect(2);
    assert!(run.stderr.contains("no server is running"), "{}", run.stderr);
}

/// A usage line names the whole command, also one with a digit in its name.
#[test]
fn the_usage_line_names_the_whole_command() {
    let run = Home::new().run(&["eval", "gsm8k"]).expect(2);
    assert!(
        run.stderr.contains("Usage: dsr1 eval gsm8k [OPTIONS] --data"),
        "{}",
        run.stderr
    );
}

/// A URL behind which something else than a server answers is told as one.
#[test]
fn a_url_of_no_server_of_a_model_is_told() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in other.incoming() {
            let mut connection = connection.unwrap();
            let _ = std::io::Read::read(&mut connection, &mut [0; 4096]);
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
            let _ = std::io::Write::write_all(&mut connection, answer.as_bytes());
        }
    });
    let run = Home::new().run(&["ask", "--url", &url, "hello"]).expect(7);
    assert_eq!(
        run.stderr,
        "error: the server did not return the list of models\n\
         cause: status 404: no JSON in the answer\n\
         hint: --url is the base URL of a server with the OpenAI API, such as http://127.0.0.1:30000\n"
    );
}
