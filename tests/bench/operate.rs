//! Time of `dsr1 logs --follow` of a container with 300,000 lines beside `docker logs --follow`, and of `dsr1 status` on a host
//! with 500 other containers beside `docker ps --all`. The two run alternately. Run `cargo bench --bench operate`; it needs a
//! Docker daemon with the base image of the `cpu` stack, and removes the containers that it makes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and reports a failure with a panic"
)]

mod measured;

use std::process::{Command, Stdio};

use measured::{Measured, measure};

/// Base image of the `cpu` stack.
const IMAGE: &str = "debian:bookworm-slim";
/// Lines of the log, 150 bytes each.
const LINES: u32 = 300_000;
/// Other containers on the host.
const CONTAINERS: u32 = 500;
/// Runs of each side.
const RUNS: usize = 7;

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Containers that are removed with the value.
struct Containers(Vec<String>);

impl Drop for Containers {
    fn drop(&mut self) {
        for some in self.0.chunks(50) {
            let _ = Command::new("docker")
                .args(["rm", "--force"])
                .args(some)
                .stdout(Stdio::null())
                .status();
        }
    }
}

fn program(path: &str, args: &[&str]) -> Measured {
    let mut command = Command::new(path);
    command.args(args);
    measure(command)
}

/// Runs both sides alternately and prints the medians.
fn compare(what: &str, ours: &dyn Fn() -> Measured, theirs: &dyn Fn() -> Measured, peer: &str) {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        own.push(ours().wall);
        others.push(theirs().wall);
    }
    own.sort();
    others.sort();
    let (own, other) = (own[RUNS / 2].as_secs_f64(), others[RUNS / 2].as_secs_f64());
    println!(
        "{what}: dsr1 {:.0} ms, {peer} {:.0} ms; ratio {:.2}",
        own * 1000.0,
        other * 1000.0,
        own / other
    );
}

fn main() {
    let dsr1 = env!("CARGO_BIN_EXE_dsr1");
    let name = format!("dsr1-bench-{}", std::process::id());
    let mut made = Containers(vec![name.clone()]);
    let labels = [
        "role=server",
        "port=1",
        "profile=bench",
        "stack=cpu",
        "model=m",
        "python=python3",
    ];
    let labels: Vec<String> = labels
        .iter()
        .map(|label| format!("--label=io.dsr1.{label}"))
        .chain([format!("--label=io.dsr1.name={name}")])
        .collect();
    let text = "x".repeat(140);
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo \"$i {text}\"; i=$((i+1)); done");
    // A daemon may rotate logs by default.
    let mut args = vec![
        "run",
        "--name",
        &name,
        "--network",
        "none",
        "--log-opt",
        "max-size=1g",
    ];
    args.extend(labels.iter().map(String::as_str));
    args.extend([IMAGE, "sh", "-c", &script]);
    let status = Command::new("docker")
        .args(&args)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let counted = Command::new(dsr1)
        .args(["logs", "--follow", &name])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&counted.stdout);
    assert_eq!(printed.lines().count(), LINES as usize);
    compare(
        &format!("logs --follow of {LINES} lines"),
        &|| program(dsr1, &["logs", "--follow", &name]),
        &|| program("docker", &["logs", "--follow", &name]),
        "docker logs --follow",
    );
    docker(&["rm", "--force", &name]);
    // A server that runs: one that ended is diagnosed, too, which `docker ps` does not do.
    let mut args = vec!["run", "--detach", "--name", &name, "--network", "none"];
    args.extend(labels.iter().map(String::as_str));
    args.extend([IMAGE, "sleep", "3600"]);
    docker(&args);
    for _ in 0..CONTAINERS {
        made.0
            .push(docker(&["create", "--network", "none", IMAGE, "true"]));
    }
    compare(
        &format!("status beside {CONTAINERS} containers"),
        &|| program(dsr1, &["status"]),
        &|| program("docker", &["ps", "--all"]),
        "docker ps --all",
    );
}
