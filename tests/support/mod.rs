//! Shared code of the tests: the binary in an environment of its own, and a hub with faults on request.
//! Only remote sides are faked here, never a type of dsr1.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::needless_pass_by_value,
    reason = "each test binary uses a part"
)]

pub mod cache;
pub mod disk;
pub mod hub;
pub mod lock;
pub mod manifests;
pub mod nginx;
pub mod pulled;
pub mod rack;
pub mod random;
pub mod read;
pub mod small;
pub mod tls;
pub mod tools;
pub mod truth;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An environment for the binary: home, caches and state in a directory that is removed with this value.
pub struct Home {
    dir: tempfile::TempDir,
    vars: Vec<(String, String)>,
    has_small_limits: bool,
}

/// The result of a run of the binary.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Panics with the whole output unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    pub fn json(&self) -> serde_json::Value {
        self.json_as()
    }

    /// Reads the output as a value of a type of dsr1.
    pub fn json_as<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: std::os::unix::process::ExitStatusExt::signal(&output.status)
                .map_or_else(|| output.status.code().unwrap(), |signal| 128 + signal),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A URL at which nothing listens.
pub const NOWHERE: &str = "http://127.0.0.1:9";

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("dsr1-test-").tempdir().unwrap();
        Self {
            dir,
            vars: Vec::new(),
            has_small_limits: false,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.vars.push((key.to_owned(), value.into()));
        self
    }

    /// Returns the home with small limits of time and size ([`small`]).
    #[must_use]
    pub fn with_small_limits(mut self) -> Self {
        self.has_small_limits = true;
        self
    }

    /// Returns the home without a Docker daemon.
    #[must_use]
    pub fn without_docker(self) -> Self {
        self.with("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    }

    /// Returns the home with packages that all tests of one target directory share, so that they are installed once.
    #[must_use]
    pub fn with_shared_packages(self) -> Self {
        let cache = target().join("rehearsal-cache");
        std::fs::create_dir_all(&cache).unwrap();
        self.with("XDG_CACHE_HOME", cache.to_str().unwrap())
    }

    /// Returns the command of the binary with arguments, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = if self.has_small_limits {
            small::command(args)
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dsr1"));
            command.args(args).env_clear();
            command
        };
        command.stdin(Stdio::null()).current_dir(self.path());
        command
            .env("HOME", self.path())
            .env("PATH", std::env::var("PATH").unwrap())
            .env("TERM", "dumb");
        for key in [
            "PIP_CERT",
            "SSL_CERT_FILE",
            "PIP_INDEX_URL",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "no_proxy",
        ] {
            if let Ok(value) = std::env::var(key) {
                command.env(key, value);
            }
        }
        command.envs(self.vars.iter().map(|(key, value)| (key, value)));
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// Starts the binary; it is killed when the handle is dropped.
    pub fn start(&self, args: &[&str]) -> Started {
        let stdout = self.path().join(format!("out-{}", unique()));
        let stderr = self.path().join(format!("err-{}", unique()));
        let child = self
            .command(args)
            .stdout(std::fs::File::create(&stdout).unwrap())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Started {
            child,
            stdout,
            stderr,
        }
    }

    /// Returns the processes whose environment or command line names this home: those that an interrupted run left.
    pub fn leftovers(&self) -> Vec<String> {
        let needle = self.path().to_str().unwrap();
        let read = |pid: &str, file: &str| {
            String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default())
                .replace('\0', " ")
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|pid| pid.chars().all(|c| c.is_ascii_digit()))
            .map(|pid| (read(&pid, "cmdline"), read(&pid, "environ")))
            .filter(|(line, environ)| line.contains(needle) || environ.contains(needle))
            .map(|(line, _)| line)
            .collect()
    }
}

/// A running binary.
pub struct Started {
    child: std::process::Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Started {
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits until stderr holds `text`; panics if the binary ends or `limit` passes before that.
    pub fn wait_for(&mut self, text: &str, limit: Duration) {
        self.wait_for_count(text, 1, limit);
    }

    /// Waits until stderr holds `text` so many times; panics as [`Self::wait_for`].
    pub fn wait_for_count(&mut self, text: &str, count: usize, limit: Duration) {
        let begun = Instant::now();
        let is_there = |stderr: String| stderr.matches(text).count() >= count;
        while !is_there(self.stderr()) {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(
                    is_there(self.stderr()),
                    "ended with {status} before `{text}`:\n{}",
                    self.stderr()
                );
                return;
            }
            assert!(
                begun.elapsed() < limit,
                "no `{text}` in {limit:?}:\n{}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> Run {
        let status = self.child.wait().unwrap();
        Run {
            code: std::os::unix::process::ExitStatusExt::signal(&status)
                .map_or_else(|| status.code().unwrap(), |signal| 128 + signal),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Waits for the end, and returns the waiting time.
    pub fn end(mut self) -> (Run, Duration) {
        let begun = Instant::now();
        (self.wait(), begun.elapsed())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Returns a number that no other call in this process returns.
pub fn unique() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Returns README.md and each file of docs/ with its path in the repository; README is first.
pub fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<String> = std::fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        // The folder of examples has none.
        .filter(|path| Path::new(path).extension().is_some_and(|kind| kind == "md"))
        .collect();
    paths.sort();
    paths.insert(0, "README.md".to_owned());
    let read = |path: String| {
        let text = std::fs::read_to_string(root.join(&path)).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Returns the lines after `$ ` in the console blocks of a document.
pub fn console_commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line {
            "```console" => inside = true,
            line if line.starts_with("```") => inside = false,
            line if inside => found.push(
                line.strip_prefix("$ ")
                    .unwrap_or_else(|| panic!("not a command: {line}"))
                    .to_owned(),
            ),
            _ => {}
        }
    }
    found
}

/// Returns the commands of README.
pub fn readme_commands() -> Vec<String> {
    console_commands(&documents()[0].1)
}

/// Returns the arguments of the README's first command, without those of cargo.
pub fn first_command() -> Vec<String> {
    let commands = readme_commands();
    let (_, args) = commands[0].split_once(" -- ").expect("cargo run ... -- ARGS");
    args.split(' ').map(str::to_owned).collect()
}

/// Returns a TCP port that is free now.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    // Below the ephemeral ports of the system, because an engine uses some of those while it starts.
    loop {
        let random = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        let port = 10_240 + u16::try_from(random % 20_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Returns the target directory, where tests keep files that are expensive to make.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Runs a program that a test needs; panics if it is missing, with the name of the package to install.
#[track_caller]
pub fn must_run(program: &str, args: &[&str], install: &str) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program} ({error}): {install}"));
    assert!(
        output.status.success(),
        "{program} {args:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Returns every regular file below `dir` by relative path, with its bytes; links are followed.
pub fn tree(dir: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, prefix: &str, found: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if std::fs::metadata(entry.path()).unwrap().is_dir() {
                walk(&entry.path(), &format!("{path}/"), found);
            } else {
                found.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut found = std::collections::BTreeMap::new();
    walk(dir, "", &mut found);
    found
}

/// Makes the base image of the `cpu` stack if no registry is reachable.
pub fn base_image() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/base-image.sh");
        must_run(
            "bash",
            &[script],
            "these tests need a Docker daemon and debootstrap",
        );
    });
}

/// Runs a script of `tests/support` that makes a tool or finds it, and returns the path that it prints.
#[track_caller]
pub fn tool(script: &str, needs: &str) -> PathBuf {
    let script = format!("{}/tests/support/{script}", env!("CARGO_MANIFEST_DIR"));
    PathBuf::from(must_run("bash", &[&script], needs).trim())
}

/// Returns `hf` in a venv that later runs reuse.
pub fn hf() -> PathBuf {
    static CLIENT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let made = || tool("hf.sh", "the package index must be reachable");
    CLIENT.get_or_init(made).clone()
}
