//! `dsr1 bench sweep --profiles`: the plan of servers that are started, measured and stopped, and its refusal at once. The servers
//! themselves are in the heavy tests.

use std::process::Command;

use serde_json::Value;

use crate::support::{Home, Run};

fn home() -> Home {
    Home::new().without_docker()
}

fn sweep(home: &Home, args: &[&str]) -> Run {
    home.run(&[&["bench", "sweep", "--concurrency", "1,16"], args].concat())
}

/// Lengths for profiles that have different ones.
const LENGTHS: [&str; 6] = ["--isl", "512", "--osl", "256", "--range-ratio", "1"];

#[test]
fn each_server_is_started_verified_measured_and_stopped_before_the_next() {
    let args = [
        "--profiles",
        "fp8-low-latency,fp8-high-throughput",
        "--stacks",
        "cuda12,current",
        "--runtime",
        "docker",
        "--dry-run",
    ];
    let args = [&args[..], &LENGTHS].concat();
    let home = home();
    let plan = sweep(&home, &[&args[..], &["--format", "json"]].concat())
        .expect(0)
        .json();
    let steps = plan["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .filter(|name| *name != "prove_arguments")
        .collect();
    let one = [
        "check_snapshot",
        "start_container",
        "await_ready",
        "verify_answers",
        "measure_course",
        "stop_server",
    ];
    assert_eq!(names, one.repeat(4));
    let of = |name: &str, key: &str| -> Vec<String> {
        let own = steps.iter().filter(|step| step["step"] == name);
        own.map(|step| step[key].to_string()).collect()
    };
    // The servers of one profile have one name, one after the other; their points are kept apart.
    let mut kept = of("measure_course", "partial");
    kept.dedup();
    assert_eq!(kept.len(), 4);
    let temporary = steps
        .iter()
        .filter(|step| step["labels"]["io.dsr1.temporary"] == "true");
    assert_eq!(temporary.count(), 4);
    let script = sweep(&home, &args).expect(0).stdout;
    assert!(
        script.contains("# server: fp8-low-latency on cuda12") && script.contains("bench sweep"),
        "{script}"
    );
}

#[test]
fn all_that_keeps_a_server_from_its_start_is_told_at_once() {
    let home = home();
    let process = ["--runtime", "process"];
    let refused = |args: &[&str], code: i32| sweep(&home, args).expect(code).stderr;
    let unknown = refused(&["--profiles", "rehearsl", "--stacks", "cpu,curren"], 2);
    assert!(
        unknown.contains("error: the sweep cannot start 2 of 2 servers")
            && unknown.contains("hint: did you mean `rehearsal`?"),
        "{unknown}"
    );
    let stack = refused(
        &[&["--profiles", "rehearsal", "--stacks", "curren"][..], &process].concat(),
        2,
    );
    assert!(stack.contains("hint: did you mean `current`?"), "{stack}");
    let absent = refused(&[&["--profiles", "rehearsal"][..], &process].concat(), 3);
    assert!(
        absent.contains("the venv of stack cpu is not on this host: a sweep over servers installs nothing")
            && absent.contains("dsr1/rehearsal-qwen2@main is not in the cache")
            && absent.contains("hint: dsr1 build --stack cpu --runtime process"),
        "{absent}"
    );
    let other = refused(
        &["--profiles", "fp8-low-latency,fp8-high-throughput", "--dry-run"],
        2,
    );
    assert!(
        other.contains("error: the profiles have different loads") && other.contains("--isl N"),
        "{other}"
    );
    let twice = refused(
        &[&["--profiles", "rehearsal,rehearsal", "--dry-run"][..], &process].concat(),
        2,
    );
    assert!(twice.contains("the sweep has rehearsal on cpu twice"), "{twice}");
    for args in [
        &["--profiles", "rehearsal", "--url", "http://127.0.0.1:9"][..],
        &["--profiles", "rehearsal", "a-server"],
        &["--stacks", "cpu"],
        &["--port", "30001"],
        &["--runtime", "process"],
    ] {
        refused(args, 2);
    }
}

#[test]
fn a_port_that_a_process_has_is_told_at_once() {
    let home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = [
        "--profiles",
        "rehearsal",
        "--runtime",
        "process",
        "--port",
        &port,
        "--dry-run",
        "--format",
        "json",
    ];
    let plan: Value = sweep(&home, &args).expect(0).json();
    let blockers = plan["blockers"].to_string();
    assert!(blockers.contains(&port), "{blockers}");
    let refused = sweep(&home, &args[..6]).expect(3);
    assert!(
        refused.stderr.contains(&format!("port {port}")),
        "{}",
        refused.stderr
    );
}

#[test]
fn points_that_this_host_has_no_room_for_are_refused_before_any_server_starts() {
    let home = home();
    let own = [
        "bench",
        "sweep",
        "--profiles",
        "rehearsal",
        "--runtime",
        "process",
    ];
    let refused = |args: &[&str]| home.run(&[&own[..], args].concat()).expect(3).stderr;
    // No host has so many ports.
    let slots = refused(&["--concurrency", "1,100000"]);
    assert!(
        slots.contains("error: --concurrency 100000 is more than this host has room for"),
        "{slots}"
    );
    let rates = refused(&["--rates", "1,2", "--max-concurrency", "100000"]);
    assert!(
        rates.contains("error: --max-concurrency 100000 is more than this host has room for"),
        "{rates}"
    );
}

/// Runs the binary where a process may open 512 files.
fn with_few_files(home: &Home, args: &[&str]) -> Run {
    let inner = home.command(args);
    let variables = inner.get_envs().filter_map(|(key, value)| Some((key, value?)));
    let mut outer = Command::new("sh");
    outer
        .args(["-c", "ulimit -n 512 && exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(variables)
        .current_dir(home.path());
    outer.output().unwrap().into()
}

#[test]
fn points_of_a_preset_that_this_host_has_no_room_for_are_refused() {
    let home = home();
    for server in [
        &["--profiles", "rehearsal", "--runtime", "process"][..],
        &["--url", "http://127.0.0.1:9"],
    ] {
        let args = [&["bench", "sweep", "--preset", "mlperf"], server].concat();
        let refused = with_few_files(&home, &args).expect(3).stderr;
        assert!(
            refused.contains("error: --concurrency 1024 is more than this host has room for")
                && refused.contains("--preset has a point of 1024 in flight"),
            "{refused}"
        );
    }
}
