//! README.md and docs/*.md are correct. Every command of a console block runs: for real where that needs no GPU, as a
//! plan for the guide's host where it does, and up to "no server is running" where it needs a server (`tests/heavy` has
//! one). Every link has a target, and the tables agree with the binary.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::hub::{Hub, entry, small_model};
use crate::support::{self, Home, console_commands, documents, readme_commands};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    documents().swap_remove(0).1
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Returns a home with the files that the documents name, and `dsr1` on the path.
fn home() -> Home {
    let home = Home::new()
        .without_docker()
        .with("PIP_INDEX_URL", support::NOWHERE)
        .with("HF_ENDPOINT", support::NOWHERE);
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dsr1"), bin.join("dsr1")).unwrap();
    let mut facts: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/facts-b200.json")).unwrap();
    // The environment that `--python` names in the documents.
    facts["host"]["environment"] = serde_json::json!({
        "python": "/opt/sglang/bin/python3", "version": "3.12.3", "cuda": "12.9", "sha256": "0", "has_program": true,
        "path": "/opt/sglang/bin:/usr/bin",
        "packages": {"sglang": "0.5.19", "torch": "2.13.0+cu129", "sglang-kernel": "0.4.6.post1"},
    });
    std::fs::write(home.path().join("facts.json"), facts.to_string()).unwrap();
    std::fs::write(home.path().join("test.jsonl"), "{}\n").unwrap();
    std::fs::write(home.path().join("notes.txt"), "R1 reasons before it answers.\n").unwrap();
    // The files that the pulls before `mirror` made.
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
    assert_eq!(commands[1], "tests/run");
    assert!(
        read(".ci/run").contains("\ntests/run\n"),
        "the gate runs another command"
    );
}

/// Checks a command for developers, which runs elsewhere: the first in `tests/heavy/engine.rs`, the others in the gate.
fn developer_command(command: &str) {
    match command {
        "cargo run --release -- up --profile rehearsal" => {}
        // This is Cargo itself; this test runs the binary.
        "cargo install --path . --locked" => assert!(env!("CARGO_BIN_EXE_dsr1").ends_with("/dsr1")),
        "cargo static" => {
            assert!(read(".cargo/config.toml").contains("\nstatic = ["));
            let release = read("tests/support/dist.sh");
            let place = "/x86_64-unknown-linux-gnu/dist/dsr1";
            assert!(release.contains("\ncargo static\n") && release.contains(place));
            assert!(readme().contains(&format!("`target{place}`")));
        }
        "tests/run" | "tests/run --fast" => {
            let mode = std::fs::metadata(Path::new(ROOT).join("tests/run"))
                .unwrap()
                .permissions();
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&mode) & 0o111,
                0o111,
                "{command}"
            );
            assert!(read("tests/run").contains("--fast)"));
        }
        other => panic!("this test does not know how to check `{other}`"),
    }
}

/// Asserts that a request is well formed; `tests/heavy/engine.rs` sends it to a server.
fn request_is_well_formed(command: &str) {
    assert!(
        command.contains(" http://127.0.0.1:30000/v1/"),
        "not the default address: {command}"
    );
    if let Some((_, body)) = command.split_once(" -d '") {
        let body: serde_json::Value = serde_json::from_str(body.strip_suffix('\'').unwrap()).unwrap();
        assert!(body["messages"][0]["content"].is_string(), "{command}");
    }
}

/// Runs a pull from a hub on loopback that has the profile's repository; `tests/fast/pull.rs` tests the rest.
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

/// Runs a command about weights in a home without weights.
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
fn every_command_runs() {
    for (_, text) in documents() {
        let home = home();
        for command in console_commands(&text) {
            match command.split(' ').next().unwrap() {
                // Files for a server to come need none that runs.
                "dsr1" if command.contains(" --port 30001 --output ") => {
                    shell(&home, &command).expect(0);
                }
                "dsr1" => runs(&home, &command),
                "curl" => request_is_well_formed(&command),
                _ => developer_command(&command),
            }
        }
    }
}

/// Runs a command about servers where there is none.
fn runs_on_servers(home: &Home, command: &str, word: &str) {
    match word {
        "events" => {
            let listed = shell(home, command).expect(0);
            assert!(
                listed.stderr.contains("no server was started"),
                "{}",
                listed.stderr
            );
        }
        "top" => {
            // It needs a terminal, which tests/fast/top.rs has.
            let refused = shell(home, command).expect(2).stderr;
            assert!(refused.starts_with("error: dsr1 top draws a screen"), "{refused}");
        }
        "status" => {
            let code = if command.ends_with("--check") { 7 } else { 0 };
            assert!(!shell(home, command).expect(code).stdout.is_empty(), "{command}");
        }
        _ => {
            let run = shell(home, command).expect(2);
            assert!(
                run.stderr.starts_with("error: no server is running"),
                "{command}\n{}",
                run.stderr
            );
        }
    }
}

/// Runs a command about kept results, which are there.
fn report_runs(home: &Home, command: &str) {
    let result: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/results/trusted.json")).unwrap();
    for (second, name) in ["result.json", "result-1.json", "result-2.json"]
        .iter()
        .enumerate()
    {
        let mut run = result.clone();
        run["began"] = format!("2026-11-30T12:00:0{second}Z").into();
        std::fs::write(home.path().join(name), run.to_string()).unwrap();
    }
    assert!(!shell(home, command).expect(0).stdout.is_empty(), "{command}");
}

fn runs(home: &Home, command: &str) {
    let word = command.split(' ').nth(1).unwrap();
    match word {
        "plan" => {
            let planned = if command.contains("--facts") {
                command.to_owned()
            } else {
                format!("{command} --facts facts.json")
            };
            let run = shell(home, &planned);
            assert!(run.stdout.starts_with("profile  "), "{planned}: {}", run.stderr);
            // The guide's host has too old a driver for some stacks, which the plan says.
            let code = if run.stdout.contains("\nblocked  ") { 3 } else { 0 };
            run.expect(code);
        }
        "lock" => {
            assert!(
                shell(home, command)
                    .expect(0)
                    .stdout
                    .starts_with("wrote dsr1.lock: "),
                "{command}"
            );
        }
        "check" => {
            let lock = "dsr1 lock --profile fp8-low-latency --facts facts.json --force";
            shell(home, lock).expect(0);
            assert!(
                shell(home, command).expect(0).stdout.contains(": as locked"),
                "{command}"
            );
        }
        "flags" => {
            // This home has no engine, and the error says how to install one. With one, tests/heavy/engine.rs runs it.
            let run = shell(home, command);
            assert!(
                [3, 4].contains(&run.code) && run.stderr.contains("hint: "),
                "{command}\n{}",
                run.stderr
            );
        }
        "pull" if command.contains("--dry-run") || command.contains("--to-lock") => pull_runs(command),
        "weights" => weights_run(home, command),
        "up" | "serve" | "build" | "pull" => {
            if command.ends_with("--explain") {
                assert!(shell(home, command).expect(0).stdout.starts_with("guide "));
                return;
            }
            // `--verify` runs an engine: tests/heavy/engine.rs does that.
            let command = command.replace(" --verify", "");
            let planned = if command.contains("--dry-run") || command.contains("--facts") {
                command
            } else {
                let at = command.find(" -- ").unwrap_or(command.len());
                format!("{} --facts facts.json{}", &command[..at], &command[at..])
            };
            let run = shell(home, &planned);
            assert_eq!(run.code, 0, "{planned}\n{}", run.stderr);
            assert!(run.stdout.starts_with("#!/usr/bin/env bash\n"), "{planned}");
        }
        "image" => {
            // This home has no daemon. tests/heavy/docker/images.rs runs these commands with one.
            let run = shell(home, command).expect(4);
            assert!(
                run.stderr.starts_with("error: no Docker daemon at"),
                "{}",
                run.stderr
            );
        }
        "doctor" => {
            // This home has no environment with SGLang; the facts have one.
            let run = if command.contains("--python") && !command.contains("--facts") {
                shell(home, &format!("{command} --facts facts.json"))
            } else {
                shell(home, command)
            };
            assert!(
                [0, 3].contains(&run.code) && !run.stdout.is_empty(),
                "{command}\n{}",
                run.stderr
            );
        }
        "bench" if command.contains(" report ") => report_runs(home, command),
        "ask" | "chat" | "bench" | "eval" | "logs" | "stop" | "diagnose" | "restart" | "watch" | "events"
        | "status" | "top" | "monitoring" | "expose" | "upgrade" => {
            runs_on_servers(home, command, word);
        }
        "mirror" => {
            let here = command.replace("10.0.0.1:8490", "127.0.0.1:0");
            let run = shell(home, &format!("timeout --preserve-status 1 {here}")).expect(0);
            assert!(
                run.stdout.contains("HF_ENDPOINT=http://127.0.0.1:"),
                "{}",
                run.stdout
            );
        }
        "bundle" => {
            let listed = shell(home, command).expect(0).stdout;
            assert!(listed.contains("Look at the files before you send"), "{listed}");
        }
        "clean" | "export" | "profiles" | "stacks" | "explain" | "completions" | "man" => {
            let printed = shell(home, command).expect(0).stdout;
            // What goes into a file is read by the next command.
            assert!(command.contains(" > ") || !printed.is_empty(), "{command}");
        }
        other => panic!("this test does not know how to run `{other}`: {command}"),
    }
}

/// The first column of the table that begins with `head`.
fn first_column(text: &str, head: &str) -> Vec<String> {
    let begin = text.find(head).unwrap_or_else(|| panic!("no table `{head}`"));
    text[begin..]
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| "))
        .map(|row| row.split(" | ").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_table_of_commands_is_what_the_binary_has() {
    let help = Home::new().run(&["--help"]).expect(0).stdout;
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let has: BTreeSet<&str> = commands
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let rows = first_column(&readme(), "| command | ");
    let named: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| row.split(", "))
        .map(|name| name.trim_matches('`').split(' ').next().unwrap())
        .collect();
    assert_eq!(has, named);
}

#[test]
fn the_tables_of_exit_codes_are_what_the_binary_has() {
    let errors: Vec<String> = dsr1::error::Kind::ALL
        .iter()
        .map(|kind| kind.exit_code().to_string())
        .collect();
    let mut all = errors.clone();
    all.insert(0, "0".to_owned());
    assert_eq!(first_column(&readme(), "| code | "), all);
    assert_eq!(
        first_column(&read("docs/troubleshooting.md"), "| code | "),
        errors
    );
    // A check has a code of its own for "no server": that of a server that is not well.
    let code = dsr1::error::Kind::Server.exit_code();
    for text in [readme(), read("docs/troubleshooting.md")] {
        let row = text
            .lines()
            .find(|line| line.contains("`status --check`: none is ready"));
        assert!(row.unwrap().starts_with(&format!("| {code} | ")), "{row:?}");
    }
}

#[test]
fn the_transcripts_of_both_documents_agree() {
    let whole = read("docs/benchmarks.md");
    for text in [
        "READY on http://127.0.0.1:",
        "VERIFIED (wiring",
        "= Serving Benchmark Result =",
        "stopped",
        "in all",
    ] {
        assert!(readme().contains(text) && whole.contains(text), "{text}");
    }
    let served = format!("one model is listed: {}\n", dsr1::rehearsal::REPO);
    assert!(whole.contains(&served), "{served}");
    // README leaves lines out, and changes no line.
    let readme = readme();
    let short = readme
        .split("```text\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    for line in short.lines().filter(|line| line.trim() != "...") {
        assert!(whole.contains(&format!("\n{line}\n")), "{line}");
    }
}

#[test]
fn readme_is_short() {
    let lines = readme().lines().count();
    assert!(
        lines <= 200,
        "README.md has {lines} lines: move something to docs/"
    );
}

/// A document without its code, blocks and inline.
fn prose(text: &str) -> String {
    let blocks = text.split("\n```").step_by(2);
    let outside: Vec<String> = blocks
        .flat_map(|block| block.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    outside.join("`")
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The targets of a document's links.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect()
}

/// Returns the defect of a link in the document at `path`; `None` if it leads to a file and an anchor.
fn broken(path: &str, text: &str, link: &str) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = Path::new(ROOT).join(path).parent().unwrap().join(file);
    let there = if file.is_empty() {
        text.to_owned()
    } else {
        match std::fs::read_to_string(&target) {
            Ok(there) => there,
            Err(error) => return Some(format!("{path}: {link}: {error}")),
        }
    };
    (!anchor.is_empty() && !anchors(&there).contains(anchor))
        .then(|| format!("{path}: {link}: there is no heading for this anchor"))
}

#[test]
fn every_link_has_a_target() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let links = links(&text);
        assert!(!links.is_empty() || !text.contains("]("), "{path}");
        wrong.extend(links.iter().filter_map(|link| broken(&path, &text, link)));
    }
    assert_eq!(wrong, Vec::<String>::new());
    // The test finds a planted defect.
    assert!(broken("README.md", "", "docs/none.md").is_some());
    assert!(broken("docs/a.md", "# One\n", "#two").is_some());
    assert!(broken("docs/a.md", "# Flags after --\n", "#flags-after---").is_none());
    assert_eq!(
        links("[a](b.md) `[c](d)`\n```sh\n[e](f)\n```\n[g\nh](i.md#j)"),
        ["b.md", "i.md#j"]
    );
}

#[test]
fn readme_links_to_every_document() {
    let links = links(&readme());
    for (path, _) in documents().into_iter().skip(1) {
        assert!(links.contains(&path), "README.md has no link to {path}");
    }
}
