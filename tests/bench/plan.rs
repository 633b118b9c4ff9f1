//! Time of a plan, including the start of the process, compared with the only other program that checks SGLang's flags
//! before a start: SGLang's own parser. Run `cargo bench --bench plan`; the parser needs
//! `tests/support/sglang-wheels.sh 0.5.23` first. `DSR1_BENCH_BEFORE` names another dsr1 to compare with.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and reports a failure with a panic"
)]

mod measured;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use measured::before;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the wall times of `runs` runs, sorted, after two runs that do not count.
fn time(runs: usize, mut command: impl FnMut() -> Command) -> Vec<Duration> {
    let mut times = Vec::new();
    for run in 0..runs + 2 {
        let mut command = command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        assert!(command.status().unwrap().success(), "{command:?}");
        if run >= 2 {
            times.push(begun.elapsed());
        }
    }
    times.sort();
    times
}

fn report(what: &str, times: &[Duration]) -> Duration {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let median = times[times.len() / 2];
    println!(
        "{what:<46} min {:8.1} ms  median {:8.1} ms  max {:8.1} ms  ({} runs)",
        ms(times[0]),
        ms(median),
        ms(times[times.len() - 1]),
        times.len()
    );
    median
}

fn main() {
    let home = std::env::temp_dir();
    let facts = root().join("tests/fixtures/facts-b200.json");
    let run = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", &home)
            .env("PATH", std::env::var("PATH").unwrap());
        // Without a daemon; the time includes the check for one.
        command
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .args(args);
        command
    };
    let dsr1 = |args: &[&str]| run(Path::new(env!("CARGO_BIN_EXE_dsr1")), args);
    let facts = facts.to_str().unwrap();
    let of_file = ["plan", "--profile", "fp8-high-throughput", "--facts", facts];
    let known = time(100, || dsr1(&of_file));
    let plan = report("dsr1 plan, facts from a file", &known);
    if let Some(before) = before() {
        let (mut now, mut then) = (Vec::new(), Vec::new());
        // In turns, because the machine is faster at times.
        for _ in 0..20 {
            then.extend(time(5, || run(&before, &of_file)));
            now.extend(time(5, || dsr1(&of_file)));
        }
        now.sort();
        then.sort();
        let now = report("dsr1 plan, in turns with the build before", &now);
        let then = report("the build before", &then);
        println!(
            "ratio of the medians: {:.2}",
            now.as_secs_f64() / then.as_secs_f64()
        );
    }
    let here = time(100, || dsr1(&["plan", "--profile", "fp8-high-throughput"]));
    report("dsr1 plan, facts of this host, no Docker", &here);
    let wrong = time(100, || {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "{} plan --profile fp8-high-throughput --facts {facts} -- --no-such-flag; [ $? = 2 ]",
            env!("CARGO_BIN_EXE_dsr1")
        ));
        command
    });
    report("dsr1 plan, a wrong flag refused (through sh)", &wrong);

    let wheels = root().join("target/sglang-wheels");
    if !wheels.join("0.5.23/complete").exists() {
        println!("SGLang's parser was not measured: run tests/support/sglang-wheels.sh 0.5.23");
        return;
    }
    let line = r#"[["--model-path", "M", "--tp-size", "8", "--attn-dp-size", "8", "--mem-fraction-static", "0.89"]]"#;
    let input = std::env::temp_dir().join("dsr1-bench-line.json");
    std::fs::write(&input, line).unwrap();
    // Without torch, whose import alone takes longer than the rest of this benchmark.
    let peer = time(5, || {
        let mut command = Command::new(wheels.join("venv/bin/python3"));
        command.arg("-B").arg(root().join("tests/support/parse.py"));
        command.args([wheels.join("0.5.23").to_str().unwrap(), "server"]);
        command.stdin(std::fs::File::open(&input).unwrap());
        command
    });
    let peer = report("SGLang 0.5.23's own parser, without torch", &peer);
    println!(
        "ratio of the medians: {:.0}",
        peer.as_secs_f64() / plan.as_secs_f64()
    );
}
