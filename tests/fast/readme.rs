//! Every console block of README runs: for real where that needs no GPU, as a plan for the guide's host where it
//! does, and up to "no server is running" where it wants one (`tests/engine.rs` runs those on a server).

use std::path::Path;
use std::process::Command;

use crate::support::hub::{Hub, entry, small_model};
use crate::support::{self, Home, readme_commands};

const README: &str = include_str!("../../README.md");

/// A home in which the README's files are, and `dsr1` on the path.
fn home() -> Home {
    let home = Home::new().without_docker();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dsr1"), bin.join("dsr1")).unwrap();
    std::fs::write(
        home.path().join("facts.json"),
        include_str!("../fixtures/facts-b200.json"),
    )
    .unwrap();
    std::fs::write(home.path().join("test.jsonl"), "{}\n").unwrap();
    // What the pulls before `mirror` made.
    std::fs::create_dir_all(home.path().join(".cache/huggingface/hub")).unwrap();
    let yaml = home
        .run(&["profiles", "show", "fp8-low-latency", "--yaml"])
        .expect(0)
        .stdout;
    std::fs::write(
        home.path().join("mine.yaml"),
        yaml.replace("name: fp8-low-latency", "name: mine"),
    )
    .unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    home.with("PATH", path)
}

/// A lock of what a hub has.
fn lock(hub: &Hub) -> String {
    let files = small_model().into_iter().map(|(path, file)| {
        let stated = entry(&path, &file);
        let hash = stated["lfs"]["oid"].as_str().or(stated["oid"].as_str()).unwrap();
        serde_json::json!({ "path": path, "size": file.bytes.len(), "hash": hash })
    });
    let lock = serde_json::json!({
        "schema": "dsr1.lock/1", "dsr1": "0.1.0",
        "profile": { "name": "x", "sha256": "0" }, "stack": { "name": "cpu", "sha256": "0" },
        "engine": { "runtime": "process", "packages": "x", "python": "3.11" },
        "weights": {
            "repo": "deepseek-ai/DeepSeek-R1-0528", "commit": hub.commit(),
            "files": files.collect::<Vec<_>>(),
        },
        "argv": [], "env": {},
    });
    lock.to_string()
}

fn shell(home: &Home, command: &str) -> support::Run {
    let mut bash = home.command(&[]);
    let envs: Vec<_> = bash
        .get_envs()
        .map(|(key, value)| (key.to_owned(), value.unwrap().to_owned()))
        .collect();
    bash = Command::new("bash");
    bash.args(["-c", command])
        .current_dir(home.path())
        .env_clear()
        .envs(envs);
    bash.output().unwrap().into()
}

#[test]
fn the_first_two_commands_are_what_the_tests_run() {
    let commands = readme_commands();
    assert_eq!(commands[0], "cargo run --release -- up --profile rehearsal");
    assert!(include_str!("../heavy/engine.rs").contains("support::first_command()"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(commands[1]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(script).unwrap().permissions());
    assert_eq!(mode & 0o111, 0o111);
    assert!(
        include_str!("../../.ci/run").contains("\ntests/run\n"),
        "the gate runs another command"
    );
}

/// For real, from a hub on loopback that has the profile's repository; tests/pull.rs has the rest.
fn pull_runs(command: &str) {
    let hub = Hub::new("deepseek-ai/DeepSeek-R1-0528", small_model());
    let home = home().with("HF_ENDPOINT", &hub.endpoint);
    std::fs::write(home.path().join("dsr1.lock"), lock(&hub)).unwrap();
    let run = shell(&home, command).expect(0);
    assert!(
        run.stdout.contains("deepseek-ai/DeepSeek-R1-0528"),
        "{}",
        run.stdout
    );
}

/// Where nothing was pulled.
fn weights_run(home: &Home, command: &str) {
    let run = shell(home, command);
    let said = format!("{}{}", run.stdout, run.stderr);
    let known = ["no weights", "is not in the cache", "total "];
    assert!(
        known.iter().any(|known| said.contains(known)),
        "{command}\n{said}"
    );
}

#[test]
fn every_other_command_runs() {
    let home = home();
    for command in &readme_commands()[2..] {
        let word = command.split(' ').nth(1).unwrap();
        match word {
            "plan" => {
                let planned = if command.contains("--facts") {
                    (*command).to_owned()
                } else {
                    format!("{command} --facts facts.json")
                };
                let run = shell(&home, &planned).expect(0);
                assert!(run.stdout.starts_with("profile  "), "{planned}");
            }
            "lock" => {
                assert!(
                    shell(&home, command)
                        .expect(0)
                        .stdout
                        .starts_with("dsr1.lock holds"),
                    "{command}"
                );
            }
            "check" => {
                assert!(
                    shell(&home, command).expect(0).stdout.ends_with("as locked\n"),
                    "{command}"
                );
            }
            "flags" => {
                // Nothing is installed in this home: it says how to. With an engine, tests/engine.rs runs it.
                let run = shell(&home, command);
                assert!(
                    [3, 4].contains(&run.code) && run.stderr.contains("hint: "),
                    "{command}\n{}",
                    run.stderr
                );
            }
            "pull" if command.contains("--dry-run") || command.contains("--to-lock") => pull_runs(command),
            "weights" => weights_run(&home, command),
            "up" | "serve" | "build" | "pull" => {
                if command.ends_with("--explain") {
                    assert!(shell(&home, command).expect(0).stdout.starts_with("guide "));
                    continue;
                }
                // What verifies runs an engine: tests/engine.rs does.
                let command = command.replace(" --verify", "");
                let planned = if command.contains("--dry-run") || command.contains("--facts") {
                    command.clone()
                } else {
                    let at = command.find(" -- ").unwrap_or(command.len());
                    format!("{} --facts facts.json{}", &command[..at], &command[at..])
                };
                let run = shell(&home, &planned);
                assert_eq!(run.code, 0, "{planned}\n{}", run.stderr);
                assert!(run.stdout.starts_with("#!/usr/bin/env bash\n"), "{planned}");
            }
            "image" => {
                // No daemon in this home. With one, tests/docker/images.rs runs them.
                let run = shell(&home, command).expect(4);
                assert!(
                    run.stderr.starts_with("error: no Docker daemon at"),
                    "{}",
                    run.stderr
                );
            }
            "doctor" => {
                let run = shell(&home, command);
                assert!(
                    [0, 3].contains(&run.code) && !run.stdout.is_empty(),
                    "{command}\n{}",
                    run.stderr
                );
            }
            "ask" | "bench" | "eval" | "logs" | "stop" => {
                let run = shell(&home, command).expect(2);
                assert!(
                    run.stderr.starts_with("error: no server is running"),
                    "{command}\n{}",
                    run.stderr
                );
            }
            "mirror" => {
                let here = command.replace("10.0.0.1:8490", "127.0.0.1:0");
                let run = shell(&home, &format!("timeout --preserve-status 1 {here}")).expect(0);
                assert!(
                    run.stdout.contains("HF_ENDPOINT=http://127.0.0.1:"),
                    "{}",
                    run.stdout
                );
            }
            "export" | "status" | "profiles" | "stacks" | "explain" | "completions" | "man" => {
                assert!(!shell(&home, command).expect(0).stdout.is_empty(), "{command}");
            }
            other => panic!("nobody says how to run `{other}`: {command}"),
        }
    }
}

#[test]
fn every_command_and_exit_code_is_in_the_tables() {
    let help = Home::new().run(&["--help"]).expect(0).stdout;
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    for line in commands.lines() {
        let name = line.split_whitespace().next().unwrap();
        assert!(
            README.contains(&format!("`{name}`")) || README.contains(&format!("`{name} ")),
            "{name}"
        );
    }
    for kind in dsr1::error::Kind::ALL {
        assert!(
            README.contains(&format!("\n| {} | ", kind.exit_code())),
            "{kind:?}"
        );
    }
}

#[test]
fn the_transcript_is_one() {
    for text in [
        "READY on http://127.0.0.1:",
        "VERIFIED (wiring",
        "= Serving Benchmark Result =",
        "stopped",
        "in all",
    ] {
        assert!(README.contains(text), "{text}");
    }
}
