//! `dsr1 pull` that is killed, starved and cut off from power: whatever has a final name is right at every moment,
//! and the next pull goes on from what was proven.
//!
//! These tests need root, strace, e2fsprogs, mount with loop devices and libfaketime. `SEED=N` repeats the times of a
//! run; they are printed with `--nocapture`.
#![allow(
    clippy::doc_markdown,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking, and these say what they counted"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;
use support::disk::{self, Mounted};
use support::hub::{Fault, Hub, RepoFile, entry, noise};
use support::{Home, Run};

const REPO: &str = "lab/tiny-r1";
/// Below a cache directory.
const FOLDER: &str = "models--lab--tiny-r1";
/// What a kill costs for each file under way: a step of a record (`hub/part.rs`), and a piece that came after it.
const LOST: u64 = 5 << 20;
/// From this size on the record of a file is kept.
const RECORDED: usize = 4 << 20;

/// What a hub serves, and what must be in a cache.
struct Model {
    files: BTreeMap<String, RepoFile>,
    /// Names of blobs by path.
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

    /// Shards of these sizes with an index, and so many small files.
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

    /// Whatever has a final name and is not what the name promises; the names of a whole snapshot promise all of it.
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
            // The number of `..` in it, too.
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

    /// What is missing of a whole pull, and what is there beside it.
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

    /// The pulled tree is the hub's, byte for byte; returns what was left beside it.
    #[track_caller]
    fn assert_whole(&self, cache: &Path, when: &str) -> Vec<String> {
        assert_eq!(self.wrong(cache), Vec::<String>::new(), "{when}");
        let (missing, left) = self.differences(cache);
        // A record is for repairs: a pull is right without it.
        let missing: Vec<_> = missing.iter().filter(|name| !name.ends_with(".record")).collect();
        assert!(missing.is_empty(), "{when}: {missing:?} missing");
        left
    }

    /// Bytes that the next pull has to fetch, with all that a kill may cost.
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

    /// How far a pull came.
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

/// One tensor, in the format that `dsr1 weights verify` reads.
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

/// The paths in a directory; none where it is not there.
fn names(dir: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(dir).into_iter().flatten().flatten();
    items.map(|item| item.path()).collect()
}

/// Unfinished files.
fn parts(cache: &Path) -> Vec<PathBuf> {
    let mut found = names(&cache.join(FOLDER).join(".dsr1"));
    found.retain(|path| path.extension().is_some_and(|kind| kind == "part"));
    found
}

/// Every file and link below a directory by relative path; links are not followed.
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

/// A pull into `cache`, not started.
fn pull(home: &Home, hub: &Hub, cache: &Path, more: &[&str]) -> Command {
    let mut args = vec!["pull", REPO, "--endpoint", &hub.endpoint, "--progress", "quiet"];
    args.extend(more);
    let mut command = home.command(&args);
    command.env("HF_HUB_CACHE", cache);
    command
}

/// The command run by another program.
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
    // One that has ended is not reaped yet: this reaches nobody else.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), signal);
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Numbers without a pattern, the same for the same seed.
struct Random(u64);

impl Random {
    /// Of a test: another one each run, unless SEED says which.
    fn new(test: &str) -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let given = std::env::var("SEED")
            .ok()
            .map(|seed| seed.parse().expect("SEED is a number"));
        let seed = given.unwrap_or(u64::from(now.subsec_nanos()));
        eprintln!("{test}: SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    fn time(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(bound.as_micros()).unwrap()))
    }
}

/// What a sweep counted.
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

/// F1: kills at any time, each rerun to the end.
#[test]
fn two_hundred_kills_at_any_time_leave_nothing_wrong_and_cost_no_more_than_a_step() {
    const KILLS: usize = 200;
    const THREADS: usize = 2;
    /// Bytes a second of each stream.
    const RATE: usize = 40_000_000;
    let model = Model::of(&[21_000_000, 9_000_000, 3_000_000], 24);
    let counts = Mutex::new(Counts::default());
    let left = Mutex::new(BTreeSet::new());
    let mut random = Random::new("kills");
    let seeds: Vec<u64> = (0..THREADS).map(|_| random.below(u64::MAX) | 1).collect();
    std::thread::scope(|scope| {
        for seed in seeds {
            let (model, counts, left) = (&model, &counts, &left);
            scope.spawn(move || {
                let mut random = Random(seed);
                let hub = model.hub();
                let mut limit = Duration::ZERO;
                for round in 0..KILLS / THREADS {
                    let home = Home::new();
                    let cache = home.path().join("hub");
                    hub.fault("blob/", Fault::Slow(RATE), usize::MAX);
                    // How long a pull takes, measured again now and then: other tests share the machine.
                    if round % 25 == 0 {
                        let begun = Instant::now();
                        run(pull(&home, &hub, &home.path().join("measured"), &[])).expect(0);
                        limit = begun.elapsed();
                    }
                    let child = spawn(pull(&home, &hub, &cache, &[]));
                    // Naming takes a few milliseconds of each pull: every fourth kill waits for it.
                    if round % 4 == 3 {
                        let begun = Instant::now();
                        while model.phase(&cache) != "snapshot partly" && begun.elapsed() < limit * 4 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        std::thread::sleep(random.time(Duration::from_millis(12)));
                    } else {
                        std::thread::sleep(random.time(limit * 11 / 10));
                    }
                    kill(child);
                    hub.clear();
                    let when = format!("round {round}");
                    assert_eq!(model.wrong(&cache), Vec::<String>::new(), "{when}");
                    let (phase, needed, mark) = (model.phase(&cache), model.needed(&cache), hub.arrived());
                    run(pull(&home, &hub, &cache, &[])).expect(0);
                    let again = hub.bytes_sent_since(mark) as u64;
                    assert!(
                        again <= needed,
                        "{when} ({phase}): {again} fetched, {needed} allowed"
                    );
                    left.lock().unwrap().extend(model.assert_whole(&cache, &when));
                    let mut counts = counts.lock().unwrap();
                    counts.add(&format!("killed in `{phase}`"), 1);
                    counts.add("bytes fetched again", again);
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    counts.print("kills");
    for phase in ["nothing", "parts", "blobs", "snapshot partly", "done"] {
        assert!(
            counts.0.contains_key(&format!("killed in `{phase}`")),
            "no kill fell in `{phase}`"
        );
    }
    assert_eq!(
        left.into_inner().unwrap(),
        BTreeSet::new(),
        "left beside whole trees"
    );
}

/// F1: what kills leave in one cache does not add up.
#[test]
fn kills_one_after_another_leave_one_part_of_a_file_and_nothing_else() {
    const KILLS: usize = 30;
    let model = Model::of(&[21_000_000, 9_000_000, 3_000_000], 12);
    let (home, hub) = (Home::new(), model.hub());
    let cache = home.path().join("hub");
    let mut random = Random::new("kills in one cache");
    hub.fault("blob/", Fault::Slow(80_000_000), usize::MAX);
    let (mut most, mut named) = (0, 0);
    for round in 0..KILLS {
        let child = spawn(pull(&home, &hub, &cache, &[]));
        std::thread::sleep(random.time(Duration::from_millis(700)));
        kill(child);
        assert_eq!(model.wrong(&cache), Vec::<String>::new(), "kill {round}");
        let owned: Vec<PathBuf> = parts(&cache);
        for oid in model.blobs().keys() {
            let of_it = owned
                .iter()
                .filter(|part| part.to_string_lossy().contains(oid))
                .count();
            assert!(of_it <= 1, "kill {round}: {of_it} parts of {oid}");
        }
        // Beside parts and their records: what was about to get its name, and records whose parts just got theirs.
        let mut beside = model.differences(&cache).1;
        beside.retain(|name| {
            let path = cache.join(FOLDER).join(name);
            !owned.contains(&path) && !owned.contains(&path.with_extension("part"))
        });
        most = most.max(beside.len());
        assert!(beside.len() <= 9, "kill {round}: {beside:?}");
        // Names are given again, so that kills meet that too.
        if model.phase(&cache) == "done" {
            named += 1;
            for dir in ["refs", "snapshots"] {
                std::fs::remove_dir_all(cache.join(FOLDER).join(dir)).unwrap();
            }
            let manifest = format!(".dsr1/verified-{}.json", model.commit);
            std::fs::remove_file(cache.join(FOLDER).join(manifest)).unwrap();
        }
    }
    hub.clear();
    run(pull(&home, &hub, &cache, &[])).expect(0);
    assert_eq!(model.assert_whole(&cache, "at last"), Vec::<String>::new());
    eprintln!(
        "kills in one cache: silent wrong = 0; kills {KILLS}, done meanwhile {named}, at most {most} files beside parts"
    );
}

/// System calls that change what is on a disk, by what they do; a `?` is for processors that lack one.
const CHANGES: [(&str, &str, usize); 9] = [
    ("rename", "?rename,?renameat,renameat2", 1),
    ("fsync", "fsync,fdatasync", 1),
    ("symlink", "?symlink,symlinkat", 1),
    ("mkdir", "?mkdir,mkdirat", 1),
    ("unlink", "?unlink,unlinkat", 1),
    ("ftruncate", "ftruncate", 1),
    ("fallocate", "fallocate", 1),
    // A file is written in many pieces, all alike: every 7th is enough.
    ("pwrite64", "pwrite64", 7),
    // Also what is no file: what wakes threads.
    ("write", "write", 3),
];

/// A pull with something done to its N-th calls. `when` counts in each thread.
fn injected(home: &Home, hub: &Hub, cache: &Path, calls: &str, what: &str) -> Run {
    let trace = format!("trace={calls}");
    let inject = format!("inject={calls}:{what}");
    let strace = [
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
    run(under(&pull(home, hub, cache, &["--max-workers", "1"]), &strace))
}

/// Caches that a pull meets: empty; with what a killed one left; with all blobs and no names for them. The last lets
/// the thread that gives names meet its first calls, which come after all those of a worker.
fn states(model: &Model, hub: &Hub, home: &Home) -> [(&'static str, PathBuf); 3] {
    let [empty, resumed, unnamed] =
        ["empty", "resumed", "unnamed"].map(|name| (name, home.path().join(name)));
    std::fs::create_dir(&empty.1).unwrap();
    hub.fault("blob/", Fault::Slow(20_000_000), usize::MAX);
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

/// Waits for what must come; the time is only for a machine that hangs.
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

fn copied(from: &Path, to: &Path) {
    support::must_run(
        "cp",
        &["-a", from.to_str().unwrap(), to.to_str().unwrap()],
        "install coreutils",
    );
}

/// F1, at the places that matter: before each call that changes the disk.
#[test]
fn a_kill_before_any_change_of_the_disk_leaves_nothing_wrong() {
    let model = Model::of(&[9_000_000, 300_000], 3);
    let (home, hub) = (Home::new(), model.hub());
    let states = states(&model, &hub, &home);
    let mut work: Vec<_> = Vec::new();
    for state in &states {
        work.extend(CHANGES.iter().map(|change| (state, change)));
    }
    let (work, counts) = (Mutex::new(work), Mutex::new(Counts::default()));
    let (left, costly) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Its own, which counts what its own pulls fetch.
                let hub = model.hub();
                loop {
                    let Some(((state, template), (name, calls, step))) = work.lock().unwrap().pop() else {
                        return;
                    };
                    let mut hit = 0;
                    for number in (1..).step_by(*step) {
                        let when = format!("{state} cache, {name} {number}");
                        let home = Home::new();
                        let cache = home.path().join("hub");
                        copied(template, &cache);
                        let ended = injected(
                            &home,
                            &hub,
                            &cache,
                            calls,
                            &format!("signal=SIGKILL:when={number}"),
                        );
                        assert_eq!(model.wrong(&cache), Vec::<String>::new(), "{when}");
                        if ended.code == 0 {
                            model.assert_whole(&cache, &when);
                            break;
                        }
                        assert_eq!(ended.code, 137, "{when}: {}", ended.stderr);
                        hit += 1;
                        let (needed, mark) = (model.needed(&cache), hub.arrived());
                        run(pull(&home, &hub, &cache, &[])).expect(0);
                        for name in model.assert_whole(&cache, &when) {
                            left.lock().unwrap().insert(name, when.clone());
                        }
                        let again = hub.bytes_sent_since(mark) as u64;
                        if again > needed {
                            costly
                                .lock()
                                .unwrap()
                                .push(format!("{when}: {again} fetched, {needed} allowed"));
                        }
                    }
                    counts.lock().unwrap().add(&format!("{state}/{name}"), hit);
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    counts.print("kills before calls");
    for name in ["rename", "fsync", "symlink", "mkdir", "ftruncate", "pwrite64"] {
        assert!(
            counts
                .0
                .iter()
                .any(|(what, count)| what.ends_with(name) && *count > 0),
            "no {name} was hit"
        );
    }
    assert_eq!(
        left.into_inner().unwrap(),
        BTreeMap::new(),
        "left beside whole trees, and after which kill"
    );
    // See `a_kill_while_a_part_changes_hands_costs_no_more_than_a_step`.
    let costly = costly.into_inner().unwrap();
    let others: Vec<_> = costly
        .iter()
        .filter(|when| !when.starts_with("resumed cache, rename"))
        .collect();
    assert_eq!(others, Vec::<&String>::new());
}

/// What an error must be like: told, and nothing wrong has a name.
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

/// F9, F19: a system that says no.
#[test]
fn errors_of_the_system_are_told_and_leave_nothing_wrong() {
    /// A file is opened a hundred times before the first of ours, and libraries are first.
    const OPENED: std::ops::Range<usize> = 8..200;
    let model = Model::of(&[9_000_000, 300_000], 3);
    let (home, hub) = (Home::new(), model.hub());
    let states = states(&model, &hub, &home);
    let mut counts = Counts::default();
    let mut check = |calls: &str, what: &str, state: &(&str, PathBuf)| {
        let when = format!("{} cache, {calls} {what}", state.0);
        let home = Home::new();
        let cache = home.path().join("hub");
        copied(&state.1, &cache);
        let blobs = names(&cache.join(FOLDER).join("blobs"));
        let ended = injected(&home, &hub, &cache, calls, what);
        // A program whose libraries cannot be opened never begins.
        if ended.code != 127 {
            assert_right_or_loud(&model, &cache, &ended, &when);
        }
        let lost = blobs.iter().filter(|blob| !blob.exists()).count();
        assert_eq!(lost, 0, "{when}: proven blobs were removed");
        counts.add(&format!("exit {}", ended.code), 1);
        run(pull(&home, &hub, &cache, &[])).expect(0);
        model.assert_whole(&cache, &when);
        ended.code
    };
    for (calls, error) in [
        ("fsync,fdatasync", "EIO"),
        ("fsync,fdatasync", "ENOSPC"),
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("?rename,?renameat,renameat2", "EIO"),
        ("?rename,?renameat,renameat2", "ENOSPC"),
        ("?symlink,symlinkat", "ENOSPC"),
        ("?mkdir,mkdirat", "ENOSPC"),
    ] {
        for state in &states {
            for number in [1, 2, 5] {
                check(calls, &format!("error={error}:when={number}+"), state);
            }
        }
    }
    for state in &states {
        for number in OPENED.step_by(11) {
            check("openat", &format!("error=EMFILE:when={number}+"), state);
        }
    }
    counts.print("errors of the system");
}

/// F9: a disk that is too small is known before the first byte.
#[test]
fn a_disk_that_is_too_small_is_refused_before_the_first_byte() {
    let model = Model::of(&[21_000_000, 9_000_000], 3);
    let (home, hub) = (Home::new(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "25m");
    let ended = run(pull(&home, &hub, &disk.at, &[])).expect(3);
    assert!(
        ended.stderr.contains("error: not enough disk") && ended.stderr.contains("hint: "),
        "{}",
        ended.stderr
    );
    let fetched = hub
        .asked()
        .into_iter()
        .filter(|asked| asked.on_cdn || asked.path.contains("/resolve/"));
    assert_eq!(fetched.count(), 0);
}

/// F9: a disk that somebody else fills meanwhile.
#[test]
fn a_disk_that_fills_in_the_middle_keeps_what_is_proven() {
    let model = Model::of(&[21_000_000, 9_000_000], 3);
    let (home, hub) = (Home::new(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "40m");
    hub.fault("blob/", Fault::Slow(10_000_000), usize::MAX);
    let mut command = pull(&home, &hub, &disk.at, &[]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = |least: u64| {
        let sum: u64 = parts(&disk.at)
            .iter()
            .filter_map(|part| Some(part.metadata().ok()?.len()))
            .sum();
        sum >= least
    };
    wait_until("both shards are under way", || written(12_000_000));
    let filler = std::fs::File::create(disk.at.join("filler")).unwrap();
    let mut filler = std::io::BufWriter::new(filler);
    let full = std::io::copy(&mut std::io::repeat(1), &mut filler).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let ended = Run::from(child.wait_with_output().unwrap()).expect(3);
    assert!(
        ended
            .stderr
            .contains("hint: free some space and pull again: what is here is kept"),
        "{}",
        ended.stderr
    );
    assert_eq!(model.wrong(&disk.at), Vec::<String>::new());
    hub.clear();
    disk.resize("80m");
    let (needed, mark) = (model.needed(&disk.at), hub.arrived());
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    let again = hub.bytes_sent_since(mark) as u64;
    assert!(
        again <= needed && needed < 30_000_000,
        "{again} fetched, {needed} allowed"
    );
    assert_eq!(
        model.assert_whole(&disk.at, "a larger disk"),
        Vec::<String>::new()
    );
    eprintln!("a disk that fills: silent wrong = 0; {again} bytes fetched again of 30000000");
}

/// F19: a process that may open few files.
#[test]
fn few_open_files_end_right_or_loud() {
    let model = Model::of(&[9_000_000, 3_000_000, 300_000], 9);
    let (home, hub) = (Home::new(), model.hub());
    let [empty, _, unnamed] = states(&model, &hub, &home);
    let mut counts = Counts::default();
    let mut lost = Vec::new();
    for (state, template) in [empty, unnamed] {
        for limit in (8..=64).step_by(4) {
            let home = Home::new();
            let cache = home.path().join("hub");
            copied(&template, &cache);
            let blobs = names(&cache.join(FOLDER).join("blobs"));
            let nofile = format!("--nofile={limit}:{limit}");
            let ended = run(under(&pull(&home, &hub, &cache, &[]), &["prlimit", &nofile]));
            let when = format!("{state} cache, at most {limit} files");
            assert_right_or_loud(&model, &cache, &ended, &when);
            counts.add(&format!("exit {}", ended.code), 1);
            let gone = blobs.iter().filter(|blob| !blob.exists()).count();
            if gone > 0 {
                lost.push(format!("{when}: {gone} of {}", blobs.len()));
            }
            run(pull(&home, &hub, &cache, &[])).expect(0);
            assert_eq!(model.assert_whole(&cache, &when), Vec::<String>::new());
        }
    }
    counts.print("few open files");
    // See `a_blob_that_cannot_be_read_now_is_not_removed`.
    eprintln!("few open files: blobs removed: {lost:?}");
}

/// Two pulls at once, one of which is killed: the other takes over.
#[test]
fn a_pull_takes_over_from_one_that_is_killed() {
    const ROUNDS: usize = 12;
    let model = Model::of(&[21_000_000, 9_000_000], 3);
    let hub = model.hub();
    let mut random = Random::new("two pulls");
    let mut counts = Counts::default();
    for round in 0..ROUNDS {
        let home = Home::new();
        let cache = home.path().join("hub");
        hub.fault("blob/", Fault::Slow(40_000_000), usize::MAX);
        let first = spawn(pull(&home, &hub, &cache, &[]));
        wait_until("one holds the lock", || !parts(&cache).is_empty());
        let second = pull(&home, &hub, &cache, &[])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(random.time(Duration::from_millis(500)));
        // The one that waits asked for the list only; what the other still brings is less to fetch.
        let (mark, needed) = (hub.arrived(), model.needed(&cache));
        kill(first);
        Run::from(second.wait_with_output().unwrap()).expect(0);
        let when = format!("round {round}");
        let again = hub.bytes_sent_since(mark) as u64;
        assert!(again <= needed, "{when}: {again} fetched, {needed} allowed");
        assert_eq!(model.assert_whole(&cache, &when), Vec::<String>::new());
        counts.add("rounds", 1);
        counts.add("bytes fetched again", again);
        hub.clear();
    }
    counts.print("two pulls, one killed");
}

/// F11: a filesystem whose locks every caller gets, as some networked ones do, or that has none.
#[test]
fn two_pulls_without_working_locks_end_right() {
    let model = Model::of(&[21_000_000, 9_000_000], 9);
    let hub = model.hub();
    for lie in ["retval=0", "error=ENOLCK", "error=ENOSYS", "error=EOPNOTSUPP"] {
        for round in 0..3 {
            let home = Home::new();
            let cache = home.path().join("hub");
            hub.fault("blob/", Fault::Slow(60_000_000), usize::MAX);
            let inject = format!("inject=flock:{lie}");
            let strace = [
                "strace",
                "-f",
                "-qqq",
                "-o",
                "/dev/null",
                "-e",
                "trace=flock",
                "-e",
                &inject,
            ];
            let start = || {
                let mut command = under(&pull(&home, &hub, &cache, &[]), &strace);
                command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            };
            let both = [start(), start()];
            for one in both {
                let ended = Run::from(one.wait_with_output().unwrap());
                assert_eq!(ended.code, 0, "{lie}, round {round}: {}", ended.stderr);
            }
            hub.clear();
            run(pull(&home, &hub, &cache, &[])).expect(0);
            let left = model.assert_whole(&cache, lie);
            assert_eq!(left, Vec::<String>::new(), "{lie}, round {round}");
        }
    }
    eprintln!("two pulls without locks: silent wrong = 0; rounds 12");
}

/// F12: signals at any time.
#[test]
fn signals_at_any_time_end_a_pull_at_once_and_it_goes_on_later() {
    const TIMES: usize = 20;
    let model = Model::of(&[21_000_000, 9_000_000], 3);
    let hub = model.hub();
    let mut random = Random::new("signals");
    let (mut counts, mut slowest) = (Counts::default(), Duration::ZERO);
    let mut limit = Duration::ZERO;
    for (number, name) in [(2, "INT"), (15, "TERM"), (1, "HUP")] {
        for round in 0..TIMES {
            let home = Home::new();
            let cache = home.path().join("hub");
            hub.fault("blob/", Fault::Slow(40_000_000), usize::MAX);
            if round == 0 {
                let begun = Instant::now();
                run(pull(&home, &hub, &home.path().join("measured"), &[])).expect(0);
                limit = begun.elapsed();
            }
            let before = hub.arrived();
            let mut command = pull(&home, &hub, &cache, &[]);
            let child = command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::thread::sleep(random.time(limit));
            let asked = hub.arrived() - before;
            let begun = Instant::now();
            signal(&child, rustix::process::Signal::from_named_raw(number).unwrap());
            let ended = Run::from(child.wait_with_output().unwrap());
            let took = begun.elapsed();
            slowest = slowest.max(took);
            let when = format!("SIG{name}, round {round}");
            assert!(took < Duration::from_secs(10), "{when}: {took:?}");
            match ended.code {
                0 => drop(model.assert_whole(&cache, &when)),
                130 if ended.stderr.contains("error: interrupted by") => {}
                // Before dsr1 listens for signals it has done nothing; SIGINT itself ends a process with this code too.
                code => assert!(
                    code == 128 + number && asked == 0,
                    "{when}: exit {code}: {}",
                    ended.stderr
                ),
            }
            counts.add(&format!("{name} exit {}", ended.code), 1);
            hub.clear();
            assert_eq!(model.wrong(&cache), Vec::<String>::new(), "{when}");
            let (needed, mark) = (model.needed(&cache), hub.arrived());
            run(pull(&home, &hub, &cache, &[])).expect(0);
            let again = hub.bytes_sent_since(mark) as u64;
            assert!(again <= needed, "{when}: {again} fetched, {needed} allowed");
            assert_eq!(model.assert_whole(&cache, &when), Vec::<String>::new(), "{when}");
        }
    }
    counts.print("signals");
    eprintln!("signals: the slowest end took {slowest:?}");
}

/// F17: no time of day is believed.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let model = Model::of(&[9_000_000, 300_000], 3);
    let hub = model.hub();
    for (before, after) in [("-10y", "+10y"), ("+10y", "-10y")] {
        let home = Home::new();
        let cache = home.path().join("hub");
        // Steps change the time of day, and not the clock that waits are measured by.
        let at = |offset| {
            let mut command = under(&pull(&home, &hub, &cache, &[]), &["faketime", "-f", offset]);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            command
        };
        hub.fault("blob/", Fault::Slow(10_000_000), usize::MAX);
        let child = spawn(at(before));
        wait_until("a shard is under way", || {
            parts(&cache)
                .iter()
                .any(|part| part.metadata().is_ok_and(|meta| meta.len() > 5_000_000))
        });
        // faketime replaces itself with what it runs.
        kill(child);
        hub.clear();
        let (needed, mark) = (model.needed(&cache), hub.arrived());
        run(at(after)).expect(0);
        let again = hub.bytes_sent_since(mark) as u64;
        assert!(again <= needed, "{after}: {again} fetched, {needed} allowed");
        assert_eq!(model.assert_whole(&cache, after), Vec::<String>::new());
        run(at(before)).expect(0);
        assert_eq!(
            hub.bytes_sent_since(mark) as u64,
            again,
            "fetched again at another time"
        );
    }
    eprintln!("clocks: silent wrong = 0; rounds 2");
}

/// Commands on a cache of a disk after a power cut: all that was said to be done is there, and nothing is asked for.
#[track_caller]
fn assert_proven_offline(home: &Home, hub: &Hub, cache: &Path, when: &str) {
    let asked = hub.arrived();
    for args in [
        &["weights", "verify", REPO, "--fast"][..],
        &["weights", "verify", REPO],
        &["pull", REPO],
    ] {
        let mut command = home.command(args);
        command.env("HF_HUB_CACHE", cache).env("HF_HUB_OFFLINE", "1");
        let ended = run(command);
        assert_eq!(ended.code, 0, "{when}, {args:?}: {}", ended.stderr);
    }
    assert_eq!(hub.arrived(), asked, "{when}");
}

/// F13: the disk as it is at the time of a power cut.
#[test]
fn power_cuts_at_any_time_leave_nothing_wrong_and_all_that_was_done() {
    const CUTS: usize = 50;
    /// Of them, right after dsr1 said that it is done.
    const DONE: usize = 18;
    /// Of those, with a blob from another client, which syncs nothing.
    const FOREIGN: usize = 6;
    const DISK: u64 = 64 << 20;
    let model = Model::of(&[9_000_000, 3_000_000, 300_000], 6);
    let hub = model.hub();
    // In memory: what is cut is the filesystem on it, and its journal.
    let memory = tempfile::Builder::new()
        .prefix("dsr1-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let (image, copy) = (memory.path().join("disk"), memory.path().join("copy"));
    let mut random = Random::new("power cuts");
    let mut counts = Counts::default();
    let mut limit = Duration::from_millis(500);
    for round in 0..CUTS {
        let when = format!("cut {round}");
        let home = Home::new();
        disk::make_image(&image, DISK);
        let disk = Mounted::image(&home.path().join("disk"), &image);
        let cache = disk.at.join("hub");
        hub.fault("blob/", Fault::Slow(10_000_000), usize::MAX);
        let done = round < DONE;
        if round < FOREIGN {
            let blobs = cache.join(FOLDER).join("blobs");
            std::fs::create_dir_all(&blobs).unwrap();
            for (oid, bytes) in model.blobs() {
                std::fs::write(blobs.join(oid), bytes).unwrap();
            }
        }
        let command = pull(&home, &hub, &cache, &[]);
        if done {
            let begun = Instant::now();
            run(command).expect(0);
            if round >= FOREIGN {
                limit = begun.elapsed();
            }
        } else {
            let child = spawn(command);
            std::thread::sleep(random.time(limit));
            kill(child);
        }
        disk::cut(&image, &copy);
        hub.clear();
        counts.add(&format!("cut in `{}`", model.phase(&cache)), 1);
        drop(disk);
        let disk = Mounted::image(&home.path().join("after"), &copy);
        let cache = disk.at.join("hub");
        assert_eq!(model.wrong(&cache), Vec::<String>::new(), "{when}");
        counts.add(&format!("found in `{}`", model.phase(&cache)), 1);
        if done {
            model.assert_whole(&cache, &when);
            assert_proven_offline(&home, &hub, &cache, &when);
        }
        run(pull(&home, &hub, &cache, &[])).expect(0);
        model.assert_whole(&cache, &when);
        assert_proven_offline(&home, &hub, &cache, &when);
    }
    counts.print("power cuts");
}

/// Whether the harness of power cuts finds what it looks for: a file that is named before it is synced.
#[test]
fn a_power_cut_damages_what_is_named_and_not_synced() {
    let model = Model::of(&[3_000_000], 1);
    let home = Home::new();
    let memory = tempfile::Builder::new()
        .prefix("dsr1-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let (image, copy) = (memory.path().join("disk"), memory.path().join("copy"));
    disk::make_image(&image, 64 << 20);
    let disk = Mounted::image(&home.path().join("disk"), &image);
    let blobs = disk.at.join("hub").join(FOLDER).join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    for (oid, bytes) in model.blobs() {
        std::fs::write(blobs.join("temporary"), bytes).unwrap();
        std::fs::rename(blobs.join("temporary"), blobs.join(oid)).unwrap();
    }
    // The journal is written, and with it the names.
    std::fs::File::open(&blobs).unwrap().sync_all().unwrap();
    disk::cut(&image, &copy);
    assert_eq!(
        model.wrong(&disk.at.join("hub")),
        Vec::<String>::new(),
        "before the cut"
    );
    drop(disk);
    let disk = Mounted::image(&home.path().join("after"), &copy);
    let wrong = model.wrong(&disk.at.join("hub"));
    assert!(
        !wrong.is_empty(),
        "the control was not damaged: power cuts prove nothing"
    );
    eprintln!("control of power cuts: damaged = {}", wrong.len());
}

/// What a power cut on ext4 cannot show, since its journal holds all names in their order: every directory is synced
/// after the last name in it, and every blob, whoever wrote it.
#[test]
fn every_name_and_every_blob_is_synced_before_a_pull_is_done() {
    let model = Model::of(&[9_000_000, 300_000], 6);
    let hub = model.hub();
    for foreign in [false, true] {
        let home = Home::new();
        let cache = home.path().join("cache/hub");
        if foreign {
            let blobs = cache.join(FOLDER).join("blobs");
            std::fs::create_dir_all(&blobs).unwrap();
            for (oid, bytes) in model.blobs() {
                std::fs::write(blobs.join(oid), bytes).unwrap();
            }
        }
        let log = home.path().join("calls");
        let trace = "trace=fsync,fdatasync,?rename,?renameat,renameat2,?symlink,symlinkat,?mkdir,mkdirat";
        let strace = [
            "strace",
            "-f",
            "-y",
            "-s",
            "4096",
            "-qqq",
            "-o",
            log.to_str().unwrap(),
            "-e",
            trace,
        ];
        run(under(
            &pull(&home, &hub, &cache, &["--max-workers", "1"]),
            &strace,
        ))
        .expect(0);
        let mut unsynced: BTreeSet<PathBuf> = BTreeSet::new();
        let blobs = cache.join(FOLDER).join("blobs");
        if foreign {
            unsynced.extend(names(&blobs));
        }
        let log = std::fs::read_to_string(log).unwrap();
        for line in log.lines() {
            assert!(
                !line.contains("unfinished"),
                "calls of two threads at once cannot be put in order: {line}"
            );
            if line.contains("sync(") {
                let path = line.split(['<', '>']).nth(1).expect("a path behind the number");
                unsynced.remove(Path::new(path));
            } else if line.ends_with("= 0") {
                // The last path of a call is what gets the name.
                let path = PathBuf::from(line.rsplit('"').nth(1).expect("a path in quotes"));
                // Unfinished files and records are proven by what is in them.
                if !path.parent().unwrap().ends_with(".dsr1")
                    || path.extension().is_some_and(|kind| kind == "json")
                {
                    unsynced.insert(path.parent().unwrap().to_owned());
                }
            }
        }
        assert_eq!(
            unsynced,
            BTreeSet::new(),
            "not synced after the last change; foreign blobs: {foreign}"
        );
    }
}

// This fails: `part::adopt` renames the part before its record, and what has no record is not proven.
/// A part changes hands in two renames: a kill between them must not lose what was proven.
#[test]
fn a_kill_while_a_part_changes_hands_costs_no_more_than_a_step() {
    let model = Model::of(&[21_000_000], 0);
    let (home, hub) = (Home::new(), model.hub());
    let resumed = home.path().join("resumed");
    hub.fault("blob/", Fault::Slow(40_000_000), usize::MAX);
    let child = spawn(pull(&home, &hub, &resumed, &[]));
    wait_until("most of it is there", || {
        parts(&resumed)
            .iter()
            .any(|part| part.metadata().is_ok_and(|meta| meta.len() > 14_000_000))
    });
    kill(child);
    hub.clear();
    let mut costly = Vec::new();
    for number in 1..=3 {
        let home = Home::new();
        let cache = home.path().join("hub");
        copied(&resumed, &cache);
        let calls = "?rename,?renameat,renameat2";
        injected(
            &home,
            &hub,
            &cache,
            calls,
            &format!("signal=SIGKILL:when={number}"),
        )
        .expect(137);
        let (needed, mark) = (model.needed(&cache), hub.arrived());
        run(pull(&home, &hub, &cache, &[])).expect(0);
        let again = hub.bytes_sent_since(mark) as u64;
        if again > needed {
            costly.push(format!("rename {number}: {again} fetched, {needed} allowed"));
        }
        assert_eq!(model.assert_whole(&cache, "resumed"), Vec::<String>::new());
    }
    assert_eq!(costly, Vec::<String>::new());
}

// This fails: `fetch::have` takes a file that cannot be read for a wrong one, and removes it.
/// A disk, or a limit of open files, that refuses to read a proven blob says nothing against its bytes.
#[test]
fn a_blob_that_cannot_be_read_now_is_not_removed() {
    let model = Model::of(&[9_000_000], 0);
    let (home, hub) = (Home::new(), model.hub());
    let [_, _, (_, unnamed)] = states(&model, &hub, &home);
    let mut removed = Vec::new();
    for error in ["EMFILE", "EIO", "EACCES"] {
        let home = Home::new();
        let cache = home.path().join("hub");
        copied(&unnamed, &cache);
        let blob = cache
            .join(FOLDER)
            .join("blobs")
            .join(&model.oids["model-0.safetensors"]);
        let written = || std::fs::metadata(&blob).and_then(|meta| meta.modified()).ok();
        let before = written();
        let inject = format!("inject=openat:error={error}");
        let path = blob.to_str().unwrap();
        let strace = [
            "strace",
            "-f",
            "-qqq",
            "-o",
            "/dev/null",
            "-P",
            path,
            "-e",
            "trace=openat",
            "-e",
            &inject,
        ];
        let ended = run(under(&pull(&home, &hub, &cache, &[]), &strace));
        assert_right_or_loud(&model, &cache, &ended, error);
        if written() != before {
            removed.push(error);
        }
        run(pull(&home, &hub, &cache, &[])).expect(0);
        model.assert_whole(&cache, error);
    }
    assert_eq!(removed, Vec::<&str>::new(), "a proven blob was removed");
}
