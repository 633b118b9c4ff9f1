//! Crash tests of `dsr1 pull`: kills, scarce resources, power cuts. At every moment each file with a final name is
//! correct, and the next pull resumes from the verified bytes.
//!
//! These tests need root, strace, e2fsprogs and mount with loop devices. `SEED=N` repeats the times of a
//! run; they are printed with `--nocapture`.

mod calls;
mod handover;
mod kills;
mod mending;
mod power;
mod scarce;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::hub::{Fault, Hub, RepoFile, entry, noise};
use crate::support::{self, Home, Run, small};
use serde_json::json;

const REPO: &str = "lab/tiny-r1";
/// Folder of the repository below a cache directory.
const FOLDER: &str = "models--lab--tiny-r1";
/// A sixteenth of a million bytes: what a million is with the real limits, which are sixteen times as large.
const M: usize = 1_000_000 / 16;
/// The same, for sums of bytes.
const MB: u64 = M as u64;
/// Bytes that a kill may cost for each file in work: a step of the journal (`transfer/partial`), and the data after it.
const LOST: u64 = small::LIMITS.journal_step + small::LIMITS.write as u64;
/// Bytes written between two syncs (`transfer/partial/durable`).
const SYNC: u64 = small::LIMITS.sync;
/// Size from which on the journal of a file is kept.
const RECORDED: usize = 4 << 16;

/// Returns a home for dsr1 with small limits, which shows the same with fewer bytes.
fn new_home() -> Home {
    Home::new().with_small_limits()
}

/// The files that a hub serves and a cache must hold.
struct Model {
    files: BTreeMap<String, RepoFile>,
    /// Blob names by path.
    oids: BTreeMap<String, String>,
    commit: String,
}

impl Model {
    fn new(files: impl IntoIterator<Item = (String, RepoFile)>) -> Self {
        let files: BTreeMap<_, _> = files.into_iter().collect();
        let oids = files.iter().map(|(path, file)| {
            let entry = entry(path, file);
            let oid = entry["lfs"]["oid"].as_str().or(entry["oid"].as_str()).unwrap();
            (path.clone(), oid.to_owned())
        });
        Self {
            oids: oids.collect(),
            commit: Hub::new(REPO, BTreeMap::new()).commit().to_owned(),
            files,
        }
    }

    /// Returns a model with shards of these sizes, an index, and `small` small files.
    fn of(shards: &[usize], small: usize) -> Self {
        let mut files = BTreeMap::new();
        let mut map = serde_json::Map::new();
        for (number, size) in shards.iter().enumerate() {
            let path = format!("model-{number}.safetensors");
            map.insert(format!("w{number}"), json!(path));
            let bytes = shard(number, *size);
            files.insert(path, RepoFile { bytes, large: true });
        }
        let mut plain = |path: &str, bytes: Vec<u8>| {
            files.insert(path.to_owned(), RepoFile { bytes, large: false });
        };
        let index = json!({ "metadata": {}, "weight_map": map }).to_string();
        plain("model.safetensors.index.json", index.into_bytes());
        plain("empty.txt", Vec::new());
        for number in 0..small {
            plain(
                &format!("notes/part{}/{number}.txt", number % 3),
                format!("# {number}\n").into_bytes(),
            );
        }
        Self::new(files)
    }

    fn hub(&self) -> Hub {
        Hub::new(REPO, self.files.clone())
    }

    fn blobs(&self) -> BTreeMap<&str, &[u8]> {
        let blobs = self.oids.iter();
        blobs
            .map(|(path, oid)| (oid.as_str(), self.files[path].bytes.as_slice()))
            .collect()
    }

    /// Returns every file with a final name and wrong contents. A branch or a manifest promises a complete snapshot.
    fn wrong(&self, cache: &Path) -> Vec<String> {
        let repo = cache.join(FOLDER);
        let mut wrong = Vec::new();
        let blobs = self.blobs();
        let mut there = BTreeSet::new();
        for path in names(&repo.join("blobs")) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            match (blobs.get(name.as_str()), std::fs::read(&path)) {
                (Some(right), Ok(bytes)) if *right == bytes => drop(there.insert(name)),
                (_, bytes) => wrong.push(format!("blob {name}: {:?} bytes", bytes.map(|bytes| bytes.len()))),
            }
        }
        let snapshot = repo.join("snapshots").join(&self.commit);
        let mut linked = 0;
        for (path, oid) in &self.oids {
            let Ok(link) = std::fs::read_link(snapshot.join(path)) else {
                continue;
            };
            linked += 1;
            if !link.ends_with(format!("blobs/{oid}")) || !there.contains(oid) {
                wrong.push(format!("link {path} to {}", link.display()));
            }
            // This also checks the number of `..` in the link.
            if std::fs::metadata(snapshot.join(path)).map_or(0, |meta| meta.len())
                != self.files[path].bytes.len() as u64
            {
                wrong.push(format!("link {path} leads elsewhere"));
            }
        }
        let manifest = repo.join(".dsr1").join(format!("verified-{}.json", self.commit));
        for claim in [repo.join("refs/main"), manifest] {
            if claim.exists() && linked < self.files.len() {
                wrong.push(format!("{} with {linked} links", claim.display()));
            }
        }
        if let Ok(commit) = std::fs::read_to_string(repo.join("refs/main"))
            && commit != self.commit
        {
            wrong.push(format!("refs/main is `{commit}`"));
        }
        wrong
    }

    /// Returns the files that are missing from a complete pull, and the files that it does not leave.
    fn differences(&self, cache: &Path) -> (Vec<String>, Vec<String>) {
        let mut wanted: BTreeSet<String> = ["refs/main", ".dsr1/lock", ".dsr1/proven.jsonl"]
            .map(str::to_owned)
            .into();
        wanted.insert(format!(".dsr1/verified-{}.json", self.commit));
        for (path, oid) in &self.oids {
            wanted.insert(format!("snapshots/{}/{path}", self.commit));
            wanted.insert(format!("blobs/{oid}"));
            if self.files[path].bytes.len() > RECORDED {
                wanted.insert(format!(".dsr1/{oid}.record"));
            }
        }
        let found: BTreeSet<String> = listed(&cache.join(FOLDER)).into_iter().collect();
        (
            wanted.difference(&found).cloned().collect(),
            found.difference(&wanted).cloned().collect(),
        )
    }

    /// Asserts that the pulled tree equals the hub's, byte for byte. Returns the other files.
    #[track_caller]
    fn assert_whole(&self, cache: &Path, when: &str) -> Vec<String> {
        assert_eq!(self.wrong(cache), Vec::<String>::new(), "{when}");
        let (missing, left) = self.differences(cache);
        // A journal serves repairs: a pull is complete without it.
        let missing: Vec<_> = missing.iter().filter(|name| !name.ends_with(".record")).collect();
        assert!(missing.is_empty(), "{when}: {missing:?} missing");
        left
    }

    /// Returns the path of a file's blob.
    fn blob(&self, cache: &Path, path: &str) -> PathBuf {
        cache.join(FOLDER).join("blobs").join(&self.oids[path])
    }

    /// Returns the bytes that the next pull has to fetch, and the number of its first request. No pull may run
    /// meanwhile. A request of a killed pull may still arrive at the hub, and must not count for the next pull, so this
    /// waits for it.
    fn start_of_next(&self, hub: &Hub, cache: &Path) -> (u64, usize) {
        let mut mark = hub.arrived();
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let now = hub.arrived();
            if now == mark {
                return (self.needed(cache), mark);
            }
            mark = now;
        }
    }

    /// Returns the maximum of bytes that the next pull has to fetch, including the cost of a kill.
    fn needed(&self, cache: &Path) -> u64 {
        let repo = cache.join(FOLDER);
        self.blobs()
            .iter()
            .filter(|(oid, _)| !repo.join("blobs").join(oid).exists())
            .map(|(oid, bytes)| {
                let part = parts(cache)
                    .into_iter()
                    .filter(|part| part.to_string_lossy().contains(oid));
                let length = part
                    .map(|part| part.metadata().map_or(0, |meta| meta.len()))
                    .max();
                let whole = bytes.len() as u64;
                length.map_or(whole, |length| whole.min(whole.saturating_sub(length) + LOST))
            })
            .sum()
    }

    /// Returns the phase that a pull reached.
    fn phase(&self, cache: &Path) -> &'static str {
        let repo = cache.join(FOLDER);
        if repo.join("refs/main").exists() {
            "done"
        } else if repo.join("snapshots").join(&self.commit).exists() {
            "snapshot partly"
        } else if !names(&repo.join("blobs")).is_empty() {
            "blobs"
        } else if !parts(cache).is_empty() {
            "parts"
        } else {
            "nothing"
        }
    }
}

/// Returns a shard with one tensor, in the format that `dsr1 weights verify` reads.
fn shard(number: usize, size: usize) -> Vec<u8> {
    const HEADER: usize = 256;
    let data = size - 8 - HEADER;
    let header =
        json!({ format!("w{number}"): { "dtype": "U8", "shape": [data], "data_offsets": [0, data] } });
    let mut bytes = (HEADER as u64).to_le_bytes().to_vec();
    bytes.extend(format!("{:HEADER$}", header.to_string()).bytes());
    bytes.extend(noise(u32::try_from(number).unwrap() + 40, data));
    bytes
}

/// Returns the paths in a directory; none if it does not exist.
fn names(dir: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(dir).into_iter().flatten().flatten();
    items.map(|item| item.path()).collect()
}

/// Returns the partial files.
fn parts(cache: &Path) -> Vec<PathBuf> {
    let mut found = names(&cache.join(FOLDER).join(".dsr1"));
    found.retain(|path| path.extension().is_some_and(|kind| kind == "part"));
    found
}

/// Returns every file and link below a directory by relative path, without following links.
fn listed(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in names(dir) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            found.extend(listed(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found
}

/// Returns the command of a pull into `cache`, not started.
fn pull(home: &Home, hub: &Hub, cache: &Path, more: &[&str]) -> Command {
    let mut args = vec!["pull", REPO, "--endpoint", &hub.endpoint, "--progress", "quiet"];
    args.extend(more);
    let mut command = home.command(&args);
    command.env("HF_HUB_CACHE", cache);
    command
}

/// Returns the command, run by another program.
fn under(command: &Command, program: &[&str]) -> Command {
    let mut wrapped = Command::new(program[0]);
    wrapped
        .args(&program[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .stdin(Stdio::null())
        .current_dir(command.get_current_dir().unwrap());
    wrapped
}

fn run(mut command: Command) -> Run {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    output
        .unwrap_or_else(|error| {
            panic!("cannot run {program} ({error}): see tests/run for what these tests need")
        })
        .into()
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    // A child that ended is not reaped yet, so its id belongs to no other process.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), signal);
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The counts of a sweep.
#[derive(Default)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn add(&mut self, what: &str, count: u64) {
        *self.0.entry(what.to_owned()).or_default() += count;
    }

    fn print(&self, test: &str) {
        let all: Vec<String> = self
            .0
            .iter()
            .map(|(what, count)| format!("{what} {count}"))
            .collect();
        eprintln!("{test}: silent wrong = 0; {}", all.join(", "));
    }
}

/// Returns the command with an injection into its system calls. `when=N` in `what` counts calls per thread.
fn injected(command: &Command, calls: &str, what: &str, more: &[&str]) -> Command {
    let trace = format!("trace={calls}");
    let inject = format!("inject={calls}:{what}");
    let mut strace = vec![
        "strace",
        "-f",
        "-qqq",
        "-o",
        "/dev/null",
        "-e",
        &trace,
        "-e",
        &inject,
    ];
    strace.extend(more);
    under(command, &strace)
}

/// Runs a pull with one worker and an injection into its N-th system calls.
fn pull_injected(home: &Home, hub: &Hub, cache: &Path, calls: &str, what: &str) -> Run {
    let pull = pull(home, hub, cache, &["--max-workers", "1"]);
    run(injected(&pull, calls, what, &[]))
}

/// Returns caches for a pull to start from: empty; with the files of a killed pull; with all blobs and no names. With
/// the last one the publishing thread is the first to make system calls, which otherwise follow those of all workers.
fn states(model: &Model, hub: &Hub, home: &Home) -> [(&'static str, PathBuf); 3] {
    let [empty, resumed, unnamed] =
        ["empty", "resumed", "unnamed"].map(|name| (name, home.path().join(name)));
    std::fs::create_dir(&empty.1).unwrap();
    hub.fault("blob/", Fault::Slow(20 * M), usize::MAX);
    let child = spawn(pull(home, hub, &resumed.1, &[]));
    wait_until("some parts have a record", || {
        let mut found = names(&resumed.1.join(FOLDER).join(".dsr1"));
        found.retain(|path| path.extension().is_some_and(|kind| kind == "record"));
        found
            .iter()
            .any(|path| path.metadata().is_ok_and(|meta| meta.len() > 0))
    });
    kill(child);
    assert!(!parts(&resumed.1).is_empty());
    hub.clear();
    run(pull(home, hub, &unnamed.1, &[])).expect(0);
    let repo = unnamed.1.join(FOLDER);
    for dir in ["refs", "snapshots", ".dsr1"] {
        std::fs::remove_dir_all(repo.join(dir)).unwrap();
    }
    assert_eq!(names(&repo.join("blobs")).len(), model.blobs().len());
    [empty, resumed, unnamed]
}

/// Waits for a condition that must become true. The time limit is only for a machine that hangs.
#[track_caller]
fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "not in a minute: {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a partial file is longer than `bytes`.
#[track_caller]
fn wait_for_part(what: &str, cache: &Path, bytes: u64) {
    wait_until(what, || {
        parts(cache)
            .iter()
            .any(|part| part.metadata().is_ok_and(|meta| meta.len() > bytes))
    });
}

fn copied(from: &Path, to: &Path) {
    support::must_run(
        "cp",
        &["-a", from.to_str().unwrap(), to.to_str().unwrap()],
        "install coreutils",
    );
}

/// Asserts that a run succeeded or reported an error, and that no file with a final name is wrong.
#[track_caller]
fn assert_right_or_loud(model: &Model, cache: &Path, ended: &Run, when: &str) {
    assert_eq!(
        model.wrong(cache),
        Vec::<String>::new(),
        "{when}: {}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("panicked"), "{when}: {}", ended.stderr);
    if ended.code == 0 {
        model.assert_whole(cache, when);
    } else {
        assert!(
            ended.code < 128 && ended.stderr.contains("error: "),
            "{when}: {} {}",
            ended.code,
            ended.stderr
        );
    }
}
