//! Servers of a stand-in for SGLang: the behaviour of dsr1 with a running server, and with a start that is interrupted,
//! dies or loses its port. The stand-in is a user's stack, installed and started as any other; `tests/run --all` runs
//! the same scenarios with the real SGLang (`engine`).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::builders::image_by_both_builders;
use super::servers::{self, Site};
use crate::support::{Home, base_image, lock, must_run};

/// The program that stands in for the engine.
pub(crate) const LAUNCH_SERVER: &str = include_str!("stand_in/launch_server.py");

/// The installed files, below `site-packages`.
const FILES: [(&str, &str); 4] = [
    ("sglang/__init__.py", "__version__ = \"0.5.23\"\n"),
    ("sglang/launch_server.py", LAUNCH_SERVER),
    ("sglang/benchmark/serving.py", include_str!("stand_in/serving.py")),
    (
        "sglang/test/few_shot_gsm8k.py",
        include_str!("stand_in/few_shot_gsm8k.py"),
    ),
];

/// The requirements: two small packages, each in a layer of its own.
const REQUIREMENTS: [&str; 2] = [
    "six==1.17.0 sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
    "typing_extensions==4.16.0 sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8",
];

/// Writes a copy of the stack `cpu` with the stand-in instead of SGLang.
fn with_stack(home: Home) -> Home {
    with_files(home, "stand-in", &FILES)
}

/// Writes a stack with the stand-in, some of whose files are others.
pub(crate) fn with_other_stack(home: Home, name: &str, others: &[(&str, &str)]) -> Home {
    let mut files = FILES;
    for (path, text) in &mut files {
        if let Some((_, other)) = others.iter().find(|(other, _)| other == path) {
            *text = other;
        }
    }
    with_files(home, name, &files)
}

fn with_files(home: Home, name: &str, files: &[(&str, &str)]) -> Home {
    let cpu = home.run(&["stacks", "show", "cpu", "--yaml"]).expect(0).stdout;
    let (before, rest) = cpu.split_once("\ninstall:\n").unwrap();
    let (_, after) = rest.split_once("\nimage_python:").unwrap();
    let mut install = String::from("  apt: [python3, python3-venv]\n  venv: true\n  user: 10001\n  files:\n");
    for (path, text) in files {
        writeln!(install, "    {path}: |").unwrap();
        for line in text.lines() {
            writeln!(install, "      {line}").unwrap();
        }
    }
    install.push_str("  requirements:");
    for requirement in REQUIREMENTS {
        write!(install, "\n    - - {requirement}").unwrap();
    }
    let mut stack = format!("{before}\ninstall:\n{install}\nimage_python:{after}");
    for (key, value) in [
        ("name", name),
        ("install_bytes", "100000000"),
        ("memory_bytes", "100000000"),
    ] {
        let (before, rest) = stack.split_once(&format!("\n{key}: ")).unwrap();
        let (_, after) = rest.split_once('\n').unwrap_or((rest, ""));
        stack = format!("{before}\n{key}: {value}\n{after}");
    }
    let stacks = home.path().join(".config/dsr1/stacks");
    std::fs::create_dir_all(&stacks).unwrap();
    std::fs::write(stacks.join(format!("{name}.yaml")), stack).unwrap();
    home
}

pub(crate) fn site(runtime: &'static str) -> Site {
    let home = if runtime == "docker" {
        base_image();
        Home::new()
    } else {
        Home::new().with_shared_packages().without_docker()
    };
    Site::new(with_stack(home), runtime, "stand-in")
}

#[test]
fn the_life_of_a_server_as_a_process() {
    let site = site("process");
    servers::life_of_a_server(&site, "life", |home| {
        servers::evaluation_is_reported(home, "life");
        servers::evaluation_is_refused(home, "life");
    });
    assert_eq!(site.home.leftovers(), Vec::<String>::new());
}

#[test]
fn the_life_of_a_server_in_docker() {
    let site = site("docker");
    servers::life_of_a_server(&site, "boxed", |home| {
        servers::evaluation_is_reported(home, "boxed");
        servers::evaluation_is_refused(home, "boxed");
    });
}

#[test]
fn a_foreign_server_is_never_reported_as_ready() {
    let site = site("process");
    servers::a_foreign_server_is_never_reported_as_ready(&site);
}

#[test]
fn a_port_that_is_taken_and_silent_ends_the_start() {
    let site = site("process");
    servers::a_port_that_is_taken_and_silent_ends_the_start(&site);
}

#[test]
fn an_attached_server_ends_with_ctrl_c() {
    let site = site("process");
    servers::an_attached_server_ends_with_ctrl_c(&site);
}

#[test]
fn an_attached_server_that_is_stopped_elsewhere_says_so() {
    servers::an_attached_server_that_is_stopped_elsewhere_says_so(&site("process"));
}

#[test]
fn ctrl_c_during_the_load_leaves_nothing_behind() {
    let site = site("process");
    servers::ctrl_c_during_the_load_leaves_nothing_behind(&site);
}

#[test]
fn ctrl_c_during_the_load_in_docker_leaves_nothing_behind() {
    let site = site("docker");
    servers::ctrl_c_during_the_load_leaves_nothing_behind(&site);
}

#[test]
fn an_engine_killed_during_the_load_is_reported_at_once() {
    let site = site("process");
    servers::an_engine_killed_during_the_load_is_reported_at_once(&site);
}

#[test]
fn an_engine_killed_in_docker_is_reported_at_once_and_its_log_is_kept() {
    let site = site("docker");
    servers::an_engine_killed_in_docker_is_reported_at_once_and_its_log_is_kept(&site);
}

#[test]
fn a_stop_from_another_terminal_is_said_as_such() {
    servers::a_stop_from_another_terminal_is_said_as_such(&site("process"));
}

#[test]
fn a_stop_from_another_terminal_in_docker_is_said_as_such() {
    servers::a_stop_from_another_terminal_is_said_as_such(&site("docker"));
}

#[test]
fn ctrl_c_during_the_benchmark_of_a_rehearsal() {
    servers::ctrl_c_during_the_benchmark_of_a_rehearsal(&site("process"));
}

/// The client reads the size of the vocabulary where the engine sees the model: in a container, behind the links of the cache.
#[test]
fn a_load_is_measured_in_both_runtimes() {
    for runtime in ["process", "docker"] {
        let site = site(runtime);
        let port = crate::support::free_port().to_string();
        site.home.run(&site.serve_args("loaded", &port)).expect(0);
        let short = ["--duration", "0", "--num-prompts", "24", "--format", "json"];
        let run = site.home.run(&[&["bench", "loaded"], &short[..]].concat());
        site.home.run(&["stop", "loaded", "--drain", "0"]).expect(0);
        let result = &run.json()["steps"][0]["outcome"];
        assert_eq!(result["requests"]["completed"], 24, "{runtime}: {run:?}");
        assert_eq!(result["figures"]["mean_input_len"], 64.0, "{runtime}");
    }
}

/// A question to the engine in a container ends with its command.
#[test]
fn flags_sync_that_is_interrupted_leaves_no_container() {
    base_image();
    let slow = ("sglang/srt/server_args.py", "import time\ntime.sleep(600)\n");
    let home = with_files(Home::new(), "stand-in", &[&FILES[..], &[slow]].concat());
    let sync = ["--stack", "stand-in", "--runtime", "docker"];
    let built = home
        .run(&[&["build", "--format", "json"], &sync[..]].concat())
        .expect(0)
        .json();
    let mut running = home.start(&[&["flags", "sync", "--progress", "plain"], &sync[..]].concat());
    running.wait_for("ask the parser of the server", Duration::from_mins(1));
    let list = [
        "ps",
        "--all",
        "--format",
        "{{.Names}}",
        "--filter",
        "label=io.dsr1.role=once",
    ];
    let is_there = |name: &str| must_run("docker", &list, "install docker").contains(name);
    let name = format!("dsr1-once-{}-", running.pid());
    let begun = Instant::now();
    while !is_there(&name) {
        assert!(begun.elapsed() < Duration::from_secs(20), "no container");
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal("TERM");
    running.end().0.expect(130);
    assert!(!is_there(&name));
    let tag = built["steps"][0]["outcome"]["tag"].as_str().unwrap();
    must_run("docker", &["image", "rm", tag], "install docker");
}

#[test]
fn its_image_by_both_builders() {
    let _images = lock::daemon();
    base_image();
    image_by_both_builders(&with_stack(Home::new()), "stand-in", REQUIREMENTS.len());
}
