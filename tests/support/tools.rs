//! Runs the tools on the files that `export` writes: bash, systemd, Compose and Podman's generator.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "each test binary uses a part, and prints the checks that it skips"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::read;

/// Returns whether a program is installed; if not, prints the check that is skipped.
pub fn found(program: &str) -> bool {
    let there = Command::new("sh")
        .args(["-c", "command -v \"$0\" > /dev/null", program])
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        eprintln!("{program} is not installed: its files are checked only by the reader of the tests");
    }
    there
}

/// Returns the words that bash passes to `docker` when it runs these scripts, one list per call.
pub fn in_bash(scripts: &[String]) -> Vec<Vec<String>> {
    let mut script = "docker() { printf '%s\\0' \"$@\"; printf '\\n\\0'; }\nPATH=\n".to_owned();
    for text in scripts {
        script.push_str(text);
        script.push('\n');
    }
    let mut bash = Command::new("bash")
        .args(["--norc", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(script.as_bytes()).unwrap());
    let output = bash.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.stderr, b"");
    let mut calls = vec![vec!["docker".to_owned()]];
    for word in std::str::from_utf8(&output.stdout)
        .unwrap()
        .split_terminator('\0')
    {
        if word == "\n" {
            calls.push(vec!["docker".to_owned()]);
        } else {
            calls.last_mut().unwrap().push(word.to_owned());
        }
    }
    calls.pop();
    calls
}

/// Returns the command lines as systemd reads them, in the order of its stages. Variables are replaced later.
pub fn in_systemd(service: &str) -> Vec<Vec<String>> {
    shown_by_systemd(service)
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Command Line: "))
        .map(|line| {
            let words = shown_words(line);
            words.iter().map(|word| read::halved(word, '$')).collect()
        })
        .collect()
}

/// Returns the output of systemd about a service that it has read.
pub fn shown_by_systemd(service: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dsr1-test.service");
    std::fs::write(&file, service).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", file.to_str().unwrap()])
        .env("SYSTEMD_LOG_LEVEL", "debug")
        .output()
        .unwrap();
    // Docker and the venv may be missing.
    let ours = |line: &&str| {
        line.contains("dsr1-test.service:")
            && !line.contains(" job ")
            && !line.ends_with("job")
            && !line.contains("is not executable: No such file")
    };
    let complaints: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(ours)
        .map(str::to_owned)
        .collect();
    assert_eq!(complaints, Vec::<String>::new());
    let shown = String::from_utf8(output.stdout).unwrap();
    let from = shown
        .find("Unit dsr1-test.service")
        .expect("systemd shows the service");
    shown[from..].to_owned()
}

/// Parses words as systemd shows them: double quotes where needed, and a backslash before four characters.
fn shown_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut rest) = (false, line.chars());
    while let Some(c) = rest.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => words.last_mut().unwrap().extend(rest.next()),
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Returns the services as Compose itself reads them, by name. `None` if Compose is not installed (`docker-compose`, or
/// the program in COMPOSE).
pub fn in_compose(files: &[String]) -> Option<serde_json::Map<String, serde_json::Value>> {
    let program = std::env::var("COMPOSE").unwrap_or_else(|_| "docker-compose".to_owned());
    if !found(&program) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut compose = Command::new(program);
    for (index, text) in files.iter().enumerate() {
        let name = format!("{index}.yaml");
        // Compose 1 has no such option, and creates no directory.
        let text = text.replace("        bind:\n          create_host_path: false\n", "");
        std::fs::write(dir.path().join(&name), text).unwrap();
        compose.args(["-f", &name]);
    }
    // Compose 1 prints only YAML 1.1, which a parser of YAML 1.2 reads differently.
    let json = "import sys, yaml, json; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let output = Command::new("bash")
        .args([
            "-c",
            "set -o pipefail; if \"$@\" --format json > out.json 2> err.txt && test -s out.json; then cat out.json; \
                      else \"$@\" | /usr/bin/python3 -c \"$JSON\"; fi",
            "bash",
        ])
        .arg(compose.get_program())
        .args(compose.get_args())
        .arg("config")
        .current_dir(dir.path())
        .env("JSON", json)
        .env("HOME", "/home/of-the-reader")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        files.first().map_or("", String::as_str)
    );
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(document["services"].as_object().unwrap().clone())
}

/// Returns the services that Podman's generator makes of Quadlets, in their order. `None` if it is not installed.
pub fn in_quadlet(files: &[String]) -> Option<Vec<String>> {
    let program = std::env::var("QUADLET").ok().or_else(|| {
        ["/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet"]
            .map(str::to_owned)
            .into_iter()
            .find(|path| Path::new(path).exists())
    });
    let Some(program) = program else {
        eprintln!(
            "Podman's quadlet is not installed (set QUADLET to its path): its files are checked only by the reader of the tests"
        );
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    for (index, text) in files.iter().enumerate() {
        std::fs::write(dir.path().join(format!("q{index:04}.container")), text).unwrap();
    }
    let output = Command::new(program)
        .arg("-dryrun")
        .env("QUADLET_UNIT_DIRS", dir.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let mut services = BTreeMap::new();
    for part in format!("\n{text}").split("\n---q") {
        if let Some((number, service)) = part.split_once(".service---\n") {
            services.insert(number.parse::<usize>().unwrap(), service.to_owned());
        }
    }
    assert_eq!(
        services.len(),
        files.len(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(services.into_values().collect())
}
