//! What a pull fetches and where to: selections, directories, locks, licences, code; and how workers share large files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::hub::{Fault, Hub, RepoFile, entry, noise, safetensors, small_model};
use crate::support::pulled::{REPO, args, pull, repo, setup, snapshot, verify};
use crate::support::{self, Home, Run};
use serde_json::json;

const SHARD: &str = "model-1.safetensors";

fn files(home: &Home, hub: &Hub) -> BTreeMap<String, Vec<u8>> {
    support::tree(&snapshot(home, hub))
}

fn bytes(files: &BTreeMap<String, RepoFile>) -> BTreeMap<String, Vec<u8>> {
    files
        .iter()
        .map(|(path, file)| (path.clone(), file.bytes.clone()))
        .collect()
}

/// Files below a directory of `--local-dir`, without ours.
fn directory(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = support::tree(dir);
    files.retain(|path, _| !path.starts_with(".dsr1/"));
    files
}

fn with_code() -> BTreeMap<String, RepoFile> {
    let mut files = small_model();
    let code = RepoFile {
        bytes: b"print('hello')\n".to_vec(),
        large: false,
    };
    files.insert("modeling_evil.py".to_owned(), code);
    files
}

#[test]
fn a_selection_is_pulled_and_a_later_pull_completes_it() {
    let (home, hub) = setup();
    pull(&home, &hub, &["--include", "*.json", "--include", "figures/"]).expect(0);
    let found: Vec<String> = files(&home, &hub).into_keys().collect();
    assert_eq!(
        found,
        ["config.json", "figures/notes.md", "model.safetensors.index.json"]
    );
    // The same pull again: it fetches nothing, although it requests the listing.
    let sent = hub.bytes_sent();
    let again = pull(&home, &hub, &["--include", "*.json"]).expect(0);
    assert!(again.stderr.contains("(cached)"), "{}", again.stderr);
    assert_eq!(hub.bytes_sent(), sent);
    // A partial snapshot is not a model: `serve` refuses it, and says why.
    let offline = home
        .run(&["pull", REPO, "--endpoint", "http://127.0.0.1:9"])
        .expect(5);
    assert!(offline.stderr.contains("cannot reach"), "{}", offline.stderr);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("verified, partial"), "{listed}");
    pull(&home, &hub, &["--exclude", SHARD]).expect(0);
    assert_eq!(files(&home, &hub).len(), 5);
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(files(&home, &hub), bytes(&small_model()));
    let total: usize = small_model().values().map(|file| file.bytes.len()).sum();
    assert_eq!(hub.bytes_sent(), total, "something came twice");
    let cached = pull(&home, &hub, &[]).expect(0);
    assert!(cached.stderr.contains("(cached)"), "{}", cached.stderr);
}

#[test]
fn patterns_that_match_nothing_or_are_invalid_are_refused() {
    let (home, hub) = setup();
    let run = pull(&home, &hub, &["--include", "*.gguf"]).expect(2);
    assert!(
        run.stderr.contains("error: no file of lab/tiny-r1 is selected"),
        "{}",
        run.stderr
    );
    let run = pull(&home, &hub, &["--exclude", "a["]).expect(2);
    assert!(
        run.stderr.contains("error: `a[` is not a pattern for --exclude"),
        "{}",
        run.stderr
    );
    assert!(!repo(&home).exists());
}

#[test]
fn a_directory_gets_the_files_under_their_own_names() {
    let mut files = small_model();
    let shard = files[SHARD].clone();
    files.insert("copies/same.safetensors".to_owned(), shard);
    let (home, hub) = (Home::new(), Hub::new(REPO, files.clone()));
    let dir = home.path().join("model");
    let to = dir.to_str().unwrap();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mine.txt"), "keep me").unwrap();
    let run = pull(&home, &hub, &["--local-dir", to]).expect(0);
    assert!(run.stdout.contains(to), "{}", run.stdout);
    let mut expected = bytes(&files);
    expected.insert("mine.txt".to_owned(), b"keep me".to_vec());
    assert_eq!(directory(&dir), expected);
    assert!(!repo(&home).exists());
    let total: usize = small_model().values().map(|file| file.bytes.len()).sum();
    assert_eq!(hub.bytes_sent(), total, "the same bytes came twice");
    assert!(
        pull(&home, &hub, &["--local-dir", to])
            .expect(0)
            .stderr
            .contains("(cached)")
    );

    // The directory is checked and repaired in place, and its claim names its repository.
    home.run(&["weights", "verify", "--local-dir", to, "--fast"])
        .expect(0);
    std::fs::write(dir.join(SHARD), b"short").unwrap();
    home.run(&["weights", "verify", "--local-dir", to]).expect(6);
    let repaired = [
        "weights",
        "verify",
        "--local-dir",
        to,
        "--repair",
        "--endpoint",
        &hub.endpoint,
    ];
    home.run(&repaired).expect(0);
    assert_eq!(directory(&dir), expected);
    // A pull repairs it too, and names the file that it replaces.
    std::fs::write(dir.join("config.json"), b"mine").unwrap();
    let run = pull(&home, &hub, &["--local-dir", to]).expect(0);
    assert!(
        run.stderr
            .contains("`config.json` is corrupt and will be replaced"),
        "{}",
        run.stderr
    );
    assert_eq!(directory(&dir), expected);
}

#[test]
fn nothing_is_written_through_a_link_or_over_files_of_dsr1() {
    let (home, hub) = setup();
    let dir = home.path().join("model");
    let outside = home.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(&outside, dir.join("figures")).unwrap();
    let run = pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(3);
    assert!(run.stderr.contains("is a link"), "{}", run.stderr);
    assert_eq!(support::tree(&outside), BTreeMap::new());
    for path in [
        ".dsr1/verified.json",
        ".DSR1/x",
        ".cache/huggingface/download/x.metadata",
    ] {
        let file = RepoFile {
            bytes: b"x".to_vec(),
            large: false,
        };
        hub.listing(json!([entry(path, &file)]));
        let other = home.path().join("other");
        let run = pull(&home, &hub, &["--local-dir", other.to_str().unwrap()]).expect(6);
        assert!(
            run.stderr.contains("is reserved for hub clients or git"),
            "{}",
            run.stderr
        );
        assert!(!other.exists());
    }
}

#[test]
fn a_dry_run_lists_the_files_and_fetches_nothing() {
    let (home, hub) = setup();
    hub.license("mit");
    let shown = pull(&home, &hub, &["--dry-run", "--limit-rate", "100k"])
        .expect(0)
        .stdout;
    for text in [
        "model-1.safetensors",
        "900.0 kB",
        "to fetch",
        "licence   mit",
        "6 files",
        " at 102.4 kB/s",
        "free",
    ] {
        let text = if text == "6 files" {
            "files     6, 1.2 MB"
        } else {
            text
        };
        assert!(shown.contains(text), "{text}\n{shown}");
    }
    assert!(!repo(&home).exists());
    assert_eq!(hub.bytes_sent(), 0);
    pull(&home, &hub, &["--exclude", SHARD]).expect(0);
    let survey = pull(&home, &hub, &["--dry-run", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(survey["schema"], "dsr1.pull-survey/1");
    assert_eq!(survey["missing_bytes"], 900_000);
    let shard = survey["files"].as_array().unwrap().iter();
    let states: Vec<bool> = shard.map(|file| file["proven"].as_bool().unwrap()).collect();
    assert_eq!(states.iter().filter(|proven| **proven).count(), 5);
}

/// A dry run fails as the pull would before its first byte, after it printed its list.
#[test]
fn a_dry_run_ends_as_the_pull_would() {
    let (home, hub) = (Home::new(), Hub::new(REPO, with_code()));
    let run = pull(&home, &hub, &["--dry-run"]).expect(6);
    assert!(
        run.stdout.contains("code, refused without --allow-code"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("holds unknown code"), "{}", run.stderr);
    let survey = pull(&home, &hub, &["--dry-run", "--format", "json"])
        .expect(6)
        .json();
    assert!(
        survey["refusal"].as_str().unwrap().contains("holds unknown code"),
        "{survey}"
    );
    hub.license("nvidia-open-model-license");
    let run = pull(&home, &hub, &["--dry-run", "--allow-code"]).expect(2);
    assert!(run.stderr.contains("--accept-license"), "{}", run.stderr);
    let fine = [
        "--dry-run",
        "--allow-code",
        "--accept-license",
        "--format",
        "json",
    ];
    assert!(pull(&home, &hub, &fine).expect(0).json()["refusal"].is_null());
    assert_eq!(hub.bytes_sent(), 0);
}

#[test]
fn a_licence_that_must_be_accepted_is_asked_for() {
    let (home, hub) = setup();
    hub.license("nvidia-open-model-license");
    let run = pull(&home, &hub, &[]).expect(2);
    assert!(
        run.stderr
            .contains("the licence of lab/tiny-r1 must be accepted: `nvidia-open-model-license`")
            && run.stderr.contains("--accept-license"),
        "{}",
        run.stderr
    );
    assert_eq!(hub.bytes_sent(), 0);
    let run = pull(&home, &hub, &["--accept-license"]).expect(0);
    assert!(
        run.stderr.contains("licence: nvidia-open-model-license"),
        "{}",
        run.stderr
    );
    // Once the weights are here, the licence is not asked for again.
    pull(&home, &hub, &[]).expect(0);
}

#[test]
fn code_is_fetched_only_if_it_is_known() {
    let (home, hub) = (Home::new(), Hub::new(REPO, with_code()));
    let run = pull(&home, &hub, &[]).expect(6);
    assert!(
        run.stderr
            .contains("error: lab/tiny-r1 holds unknown code: `modeling_evil.py`"),
        "{}",
        run.stderr
    );
    assert!(!repo(&home).exists());
    assert_eq!(hub.bytes_sent(), 0);
    pull(&home, &hub, &["--exclude", "*.py"]).expect(0);
    assert_eq!(files(&home, &hub), bytes(&small_model()));
    pull(&home, &hub, &["--allow-code"]).expect(0);
    assert_eq!(files(&home, &hub), bytes(&with_code()));
}

/// A lock with these weights; a pull does not read the rest of it.
fn lock(home: &Home, hub: &Hub, files: &serde_json::Value) -> PathBuf {
    let lock = json!({
        "schema": "dsr1.lock/1", "dsr1": "0.1.0",
        "profile": { "name": "x", "sha256": "0" }, "stack": { "name": "cpu", "sha256": "0" },
        "engine": { "runtime": "process", "packages": "x", "python": "3.11" },
        "weights": { "repo": REPO, "commit": hub.commit(), "files": files },
        "argv": [], "env": {},
    });
    let path = home.path().join("dsr1.lock");
    std::fs::write(&path, lock.to_string()).unwrap();
    path
}

fn locked(files: &BTreeMap<String, RepoFile>) -> Vec<serde_json::Value> {
    let file = |(path, file): (&String, &RepoFile)| {
        let stated = entry(path, file);
        let hash = stated["lfs"]["oid"].as_str().or(stated["oid"].as_str()).unwrap();
        json!({ "path": path, "size": file.bytes.len(), "hash": hash })
    };
    files.iter().map(file).collect()
}

/// A pull to a lock fetches a part of a larger repository. Offline, too, that part matches the lock or is refused.
#[test]
fn offline_a_partial_pull_matches_the_lock_or_is_refused() {
    let mut all = with_code();
    let more = RepoFile {
        bytes: b"more".to_vec(),
        large: false,
    };
    all.insert("more.txt".to_owned(), more);
    let hub = Hub::new(REPO, all);
    let to_lock = ["pull", "--to-lock", "--endpoint", &hub.endpoint];
    let home = Home::new();
    lock(&home, &hub, &json!(locked(&with_code())));
    home.run(&to_lock).expect(0);
    let home = home.with("HF_HUB_OFFLINE", "1");
    home.run(&to_lock).expect(0);
    let commit = hub.commit();
    let code = "holds unknown code: `modeling_evil.py`";
    lock(&home, &hub, &json!(locked(&small_model())));
    let asks: [(&[&str], &str); 2] = [
        (
            &["pull", REPO, "--revision", commit, "--endpoint", &hub.endpoint],
            code,
        ),
        (
            &to_lock,
            "`modeling_evil.py` of lab/tiny-r1 is here but not in the lock",
        ),
    ];
    for (args, why) in asks {
        let run = home.run(args).expect(6);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
    let mut other = with_code();
    other.get_mut("config.json").unwrap().bytes[0] ^= 1;
    lock(&home, &hub, &json!(locked(&other)));
    let run = home.run(&to_lock).expect(6);
    assert!(
        run.stderr
            .contains("`config.json` of lab/tiny-r1 does not match the lock"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_pull_to_a_lock_fetches_only_the_locked_files() {
    let (home, hub) = (Home::new(), Hub::new(REPO, with_code()));
    let to_lock = |home: &Home| {
        home.run(&[
            "pull",
            "--to-lock",
            "--endpoint",
            &hub.endpoint,
            "--progress",
            "plain",
        ])
    };
    // The lock lists no code: a file that the hub added later is left out.
    lock(&home, &hub, &json!(locked(&small_model())));
    to_lock(&home).expect(0);
    assert_eq!(files(&home, &hub), bytes(&small_model()));
    // This lock lists the code.
    lock(&home, &hub, &json!(locked(&with_code())));
    to_lock(&home).expect(0);
    assert_eq!(files(&home, &hub), bytes(&with_code()));
    // One byte differs.
    let mut changed = with_code();
    changed.get_mut("modeling_evil.py").unwrap().bytes[0] ^= 1;
    for (stated, cause) in [
        (changed, "the lock states"),
        (
            BTreeMap::from([("gone.json".to_owned(), small_model()["config.json"].clone())]),
            "does not list it",
        ),
    ] {
        let home = Home::new();
        lock(&home, &hub, &json!(locked(&stated)));
        let run = to_lock(&home).expect(6);
        assert!(
            run.stderr.contains("does not match the lock") && run.stderr.contains(cause),
            "{}",
            run.stderr
        );
        assert!(!repo(&home).exists());
    }
    lock(&home, &hub, &serde_json::Value::Null);
    let run = to_lock(&home).expect(2);
    assert!(
        run.stderr.contains("has no hashes of weights")
            && run.stderr.ends_with(
                "hint: dsr1 pull --profile x, then dsr1 lock --profile x --output dsr1.lock --force\n"
            ),
        "{}",
        run.stderr
    );
    let run = home.run(&["pull", "--to-lock", "gone.lock"]).expect(2);
    assert!(
        run.stderr
            .ends_with("hint: dsr1 lock --profile NAME writes a lock; --to-lock FILE names another file\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_shard_that_is_not_safetensors_is_refused() {
    let mut files = small_model();
    files.get_mut(SHARD).unwrap().bytes[8] = b'x';
    let (home, hub) = (Home::new(), Hub::new(REPO, files));
    let run = pull(&home, &hub, &[]).expect(6);
    assert!(
        run.stderr.contains(&format!(
            "`{SHARD}` of lab/tiny-r1 is not a valid safetensors file"
        )),
        "{}",
        run.stderr
    );
    assert!(!repo(&home).join("refs/main").exists());
}

#[test]
fn a_check_verifies_the_snapshot_of_another_client() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    std::fs::remove_dir_all(repo(&home).join(".dsr1")).unwrap();
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("not checked"), "{listed}");
    let run = home.run(&["weights", "verify", REPO]).expect(0);
    assert!(
        run.stdout.contains("complete  unknown: no hub was asked"),
        "{}",
        run.stdout
    );
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("verified, files may be missing"), "{listed}");
    // A pull accepts it as it is.
    let sent = hub.bytes_sent();
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(hub.bytes_sent(), sent);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("  verified\n"), "{listed}");
}

/// Returns a companion of the partial file, by its kind.
fn beside(home: &Home, kind: &str) -> Option<PathBuf> {
    let items = std::fs::read_dir(repo(home).join(".dsr1"));
    let mut paths = items.into_iter().flatten().flatten().map(|item| item.path());
    paths.find(|path| path.extension().is_some_and(|found| found == kind))
}

/// Size of a chunk with small limits.
const CHUNK: usize = 2 << 20;

/// Returns a hub with one file of this size.
fn one_of_size(size: usize) -> (Hub, Vec<u8>) {
    let bytes = safetensors("a", 7, size);
    let file = RepoFile {
        bytes: bytes.clone(),
        large: true,
    };
    let files = BTreeMap::from([("model.safetensors".to_owned(), file)]);
    (Hub::new(REPO, files), bytes)
}

/// Returns a home with small limits, and a hub with a file of more than five chunks.
fn one_large() -> (Home, Hub, Vec<u8>) {
    let (hub, bytes) = one_of_size(5 * CHUNK + CHUNK / 2);
    (Home::new().with_small_limits(), hub, bytes)
}

#[test]
fn workers_without_a_file_help_with_a_large_one() {
    let (home, hub, bytes) = one_large();
    // The file's own worker is slow: the others fetch most of the file.
    hub.fault("blob/model.safetensors", Fault::Slow(2_500_000), 1);
    // One of their chunks breaks off.
    hub.fault("blob/model.safetensors", Fault::Reset(190_000), 1);
    // A rate at which workers keep up: bytes in the buffers of a socket count as sent, and are many for a small file.
    hub.fault("blob/model.safetensors", Fault::Slow(20_000_000), usize::MAX);
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(files(&home, &hub)["model.safetensors"], bytes);
    let asked = hub.asked();
    let ranges: Vec<_> = asked
        .iter()
        .filter(|asked| asked.on_cdn)
        .filter_map(|asked| asked.range.as_deref())
        .collect();
    assert!(ranges.len() >= 4, "{ranges:?}");
    assert!(
        hub.bytes_sent() < bytes.len() + CHUNK * 5 / 4,
        "{} of {}",
        hub.bytes_sent(),
        bytes.len()
    );
}

/// A chunk with a wrong byte is found by the file's hash, and the whole file is fetched again, once.
#[test]
fn a_wrong_byte_in_a_helpers_chunk_is_found() {
    let (home, hub, bytes) = one_large();
    hub.fault("blob/model.safetensors", Fault::Slow(10_000_000), 1);
    hub.fault("blob/model.safetensors", Fault::Flip(60_000), 1);
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("failed its checksum and is fetched again"),
        "{}",
        run.stderr
    );
    assert_eq!(files(&home, &hub)["model.safetensors"], bytes);
}

/// F1 for chunks: chunks that helpers finished are not fetched again, except those that a disk lost.
#[test]
fn a_kill_costs_only_the_chunks_in_progress() {
    /// Bytes in the buffers of two sockets, which a stream still receives when it reaches a chunk that exists. They are
    /// the reason why this test has the real limits.
    const ON_ITS_WAY: u64 = 12 << 20;
    let (hub, bytes) = one_of_size(180_000_000);
    for (round, damage) in [(0_u64, false), (1, false), (2, true)] {
        let home = Home::new();
        hub.clear();
        // The file's own worker is slow, so that most of the present bytes are in chunks.
        hub.fault("blob/model.safetensors", Fault::Slow(15_000_000), 1);
        hub.fault("blob/model.safetensors", Fault::Slow(60_000_000), 99);
        let running = home.start(&["pull", REPO, "--endpoint", &hub.endpoint, "--progress", "quiet"]);
        let ahead = || beside(&home, "ahead");
        let begun = Instant::now();
        while ahead().is_none() {
            assert!(begun.elapsed() < Duration::from_mins(1), "no chunk came");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(200 * round));
        running.signal("KILL");
        running.end();
        hub.clear();
        // Space for the whole file is reserved, and not all of its bytes are here.
        let listed = home.run(&["weights", "list"]).expect(0).stdout;
        let all = format!("{}.{} MB", bytes.len() / 1_000_000, bytes.len() / 100_000 % 10);
        assert!(
            listed.contains("unfinished") && !listed.contains(&all),
            "{listed}"
        );
        let ahead = ahead();
        let chunks = ahead
            .as_ref()
            .map_or(0, |path| path.metadata().unwrap().len() / 48);
        if damage {
            use std::os::unix::fs::FileExt;
            let part = ahead.unwrap().with_extension("part");
            let file = std::fs::OpenOptions::new().write(true).open(part).unwrap();
            file.write_all_at(&noise(9, 100), bytes.len() as u64 - 1000)
                .unwrap();
        }
        let mark = hub.arrived();
        pull(&home, &hub, &[]).expect(0);
        assert_eq!(files(&home, &hub)["model.safetensors"], bytes);
        let again = hub.bytes_sent_since(mark) as u64;
        let kept = (chunks - u64::from(damage)) * (32 << 20);
        assert!(
            again <= bytes.len() as u64 - kept + ON_ITS_WAY,
            "round {round}: {again} came, {chunks} chunks were there"
        );
        assert!(
            !repo(&home)
                .join(".dsr1")
                .read_dir()
                .unwrap()
                .flatten()
                .any(|item| {
                    let kind = item.path().extension().map(std::ffi::OsStr::to_owned);
                    kind.is_some_and(|kind| kind == "ahead" || kind == "part")
                })
        );
    }
}

/// The next pull does not download files that a failed pull finished.
#[test]
fn finished_files_are_not_read_again() {
    let (home, hub) = setup();
    hub.fault("blob/model-2", Fault::Status(404, "", ""), 1);
    // One stream, the largest file first: that file is finished when the next one fails.
    pull(&home, &hub, &["--max-workers", "1"]).expect(5);
    let log = std::fs::read_to_string(repo(&home).join(".dsr1/proven.jsonl")).unwrap();
    assert!(log.lines().count() >= 1, "{log}");
    let sent = hub.bytes_sent();
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(files(&home, &hub), bytes(&small_model()));
    assert!(hub.bytes_sent() - sent < 400_000, "the finished shard came again");
}

#[test]
fn a_stalled_stream_is_dropped_after_hf_hub_download_timeout() {
    let (home, hub) = setup();
    let home = home.with("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    hub.fault(&format!("blob/{SHARD}"), Fault::Stall(300), 1);
    let begun = Instant::now();
    pull(&home, &hub, &[]).expect(0);
    // The limit is shorter than the stall of the hub, and than the default timeout.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(files(&home, &hub), bytes(&small_model()));
    let tries = hub
        .asked()
        .iter()
        .filter(|asked| asked.on_cdn && asked.path.contains(SHARD))
        .count();
    assert!(tries >= 1, "{tries}");
}

/// A directory belongs to its user: a file that is written during a pull does not count as verified.
#[test]
fn a_file_that_changes_during_the_pull_does_not_count_as_verified() {
    let (home, hub) = setup();
    let dir = home.path().join("mine");
    let to = dir.to_str().unwrap();
    hub.fault("blob/model-2", Fault::Slow(100_000), usize::MAX);
    let running = home.start(&args(&hub, &["--local-dir", to]));
    let (config, log) = (dir.join("config.json"), dir.join(".dsr1/proven.jsonl"));
    let is_noted = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"config.json\""));
    let begun = Instant::now();
    while !is_noted() {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "config.json does not come"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    // The same length, and later than the tick of any clock.
    std::thread::sleep(Duration::from_millis(20));
    let mut changed = std::fs::read(&config).unwrap();
    changed[2] ^= 1;
    std::fs::write(&config, &changed).unwrap();
    hub.clear();
    let run = running.end().0.expect(6);
    assert!(
        run.stderr
            .contains("error: `config.json` changed during the pull"),
        "{}",
        run.stderr
    );
    assert_eq!(verify(&home, &hub, &["--local-dir", to, "--fast"]).code, 5);
    pull(&home, &hub, &["--local-dir", to]).expect(0);
    assert_eq!(directory(&dir), bytes(&small_model()));
    verify(&home, &hub, &["--local-dir", to, "--fast"]).expect(0);
}

/// Two names of the same bytes: both are repaired, and both count as verified from then on.
#[test]
fn a_repaired_file_and_its_duplicate_both_count_as_verified() {
    let mut model = small_model();
    let twin = model[SHARD].clone();
    model.insert("twin.safetensors".to_owned(), twin);
    let (home, hub) = (Home::new(), Hub::new(REPO, model.clone()));
    let dir = home.path().join("mine");
    let to = ["--local-dir", dir.to_str().unwrap()];
    pull(&home, &hub, &to).expect(0);
    for name in [SHARD, "twin.safetensors"] {
        let mut bytes = model[name].bytes.clone();
        bytes[500_000] ^= 1;
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    verify(&home, &hub, &[&to[..], &["--repair"]].concat()).expect(0);
    assert_eq!(directory(&dir), bytes(&model));
    verify(&home, &hub, &[&to[..], &["--fast"]].concat()).expect(0);
}

/// Two repositories into one new directory: the second is refused, also when both begin at once, or the first is killed.
#[test]
fn a_directory_belongs_to_the_first_repository_that_is_pulled_into_it() {
    let (home, hub) = setup();
    let other = Hub::new("lab/other", small_model());
    let dir = home.path().join("mine");
    let to = ["--local-dir", dir.to_str().unwrap()];
    hub.fault("blob/", Fault::Slow(200_000), usize::MAX);
    let first = home.start(&args(&hub, &to));
    let begun = Instant::now();
    while !dir.join(".dsr1/repository.json").exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is claimed");
        std::thread::sleep(Duration::from_millis(2));
    }
    let run = pull(&home, &other, &to).expect(2);
    assert!(run.stderr.contains("holds lab/tiny-r1"), "{}", run.stderr);
    first.signal("KILL");
    first.end();
    let run = pull(&home, &other, &to).expect(2);
    assert!(run.stderr.contains("holds lab/tiny-r1"), "{}", run.stderr);
    let check = ["weights", "verify", to[0], to[1]];
    let run = home.run(&check).expect(5);
    assert!(
        run.stderr.contains("does not hold all of lab/tiny-r1")
            && run.stderr.contains("dsr1 pull lab/tiny-r1 --local-dir"),
        "{}",
        run.stderr
    );
    hub.clear();
    pull(&home, &hub, &to).expect(0);
    home.run(&check).expect(0);
    assert_eq!(directory(&dir), bytes(&small_model()));
}

#[test]
fn two_repositories_that_are_pulled_at_once_do_not_mix() {
    let (home, hub) = setup();
    let other = Hub::new("lab/other", small_model());
    for round in 0..4 {
        let dir = home.path().join(format!("mine-{round}"));
        let to = ["--local-dir", dir.to_str().unwrap()];
        let both = [&hub, &other].map(|hub| home.start(&args(hub, &to)));
        let mut codes = both.map(|one| one.end().0.code);
        codes.sort_unstable();
        assert_eq!(codes, [0, 2], "round {round}");
        assert_eq!(directory(&dir), bytes(&small_model()));
    }
}

/// The commit in a directory is the one that was pulled last, even if a check recorded another one later.
#[test]
fn a_directory_is_checked_against_the_commit_that_was_pulled_last() {
    let (home, hub) = setup();
    let dir = home.path().join("mine");
    let to = ["--local-dir", dir.to_str().unwrap()];
    pull(&home, &hub, &to).expect(0);
    // An earlier commit with the same files, whose manifest was written later.
    let manifest = |commit: &str| dir.join(format!(".dsr1/verified-{commit}.json"));
    let earlier = "b".repeat(40);
    let text = std::fs::read_to_string(manifest(hub.commit())).unwrap();
    std::fs::write(manifest(&earlier), text.replace(hub.commit(), &earlier)).unwrap();
    let checked = home.run(&["weights", "verify", to[0], to[1], "--format", "json"]);
    assert_eq!(checked.expect(0).json()["commit"], hub.commit());
}

/// Ctrl-C keeps the bytes that helpers fetched, also of unfinished chunks; a broken stream loses at most a step.
#[test]
fn the_bytes_of_an_unfinished_chunk_are_kept() {
    let (home, hub, bytes) = one_large();
    let workers = ["--max-workers", "3"];
    // A chunk takes almost a second.
    hub.fault("blob/model.safetensors", Fault::Slow(2_500_000), usize::MAX);
    let json = ["--progress", "json"];
    let running = home.start(&[&["pull", REPO, "--endpoint", &hub.endpoint][..], &workers, &json].concat());
    let fetched = || {
        let events = running.stderr();
        let events = events
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.filter_map(|event| event["fetched_bytes"].as_u64()).max()
    };
    let begun = Instant::now();
    while fetched() < Some(2 * CHUNK as u64) {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "{:?} bytes were fetched",
            fetched()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal("INT");
    running.end();
    hub.clear();
    let mark = hub.arrived();
    pull(&home, &hub, &workers).expect(0);
    assert_eq!(files(&home, &hub)["model.safetensors"], bytes);
    // Each of the three streams loses at most a step of the journal, and no chunk had to be whole.
    let again = hub.bytes_sent_since(mark);
    assert!(again <= bytes.len() - CHUNK * 3 / 2, "{again}");
    // Streams that break in the middle of their chunks.
    let home = Home::new().with_small_limits();
    hub.fault("blob/model.safetensors", Fault::Truncate(1_250_000), 12);
    let mark = hub.arrived();
    pull(&home, &hub, &workers).expect(0);
    assert_eq!(files(&home, &hub)["model.safetensors"], bytes);
    let sent = hub.bytes_sent_since(mark);
    assert!(sent <= bytes.len() + CHUNK, "{sent}");
}

/// A whole snapshot stays whole after a pull of some of its files, from the same hub or from another.
#[test]
fn a_pull_of_a_selection_leaves_a_complete_snapshot_complete() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let elsewhere = Hub::new(REPO, small_model());
    for hub in [&hub, &elsewhere] {
        pull(&home, hub, &["--include", "config.json"]).expect(0);
    }
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(
        listed.contains("verified") && !listed.contains("partial"),
        "{listed}"
    );
    let asked = hub.arrived();
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(hub.arrived() - asked, 1, "more than the commit was asked for");
    // If another hub has other bytes for the file, the result is the commit of neither hub.
    let mut other = small_model();
    other.get_mut("config.json").unwrap().bytes = b"{ }".to_vec();
    let other = Hub::new(REPO, other);
    pull(&home, &other, &["--include", "config.json"]).expect(0);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("part"), "{listed}");
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(files(&home, &hub), bytes(&small_model()));
    // The same holds if a user removed some of the other files.
    std::fs::remove_file(snapshot(&home, &hub).join(SHARD)).unwrap();
    pull(&home, &hub, &["--include", "config.json"]).expect(0);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("part"), "{listed}");
}

/// A selection says nothing about the files that it leaves out, which may be corrupt.
#[test]
fn a_selection_verifies_only_the_files_that_it_selects() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let blob = std::fs::canonicalize(snapshot(&home, &hub).join(SHARD)).unwrap();
    let mut wrong = std::fs::read(&blob).unwrap();
    wrong[500_000] ^= 1;
    std::fs::write(&blob, wrong).unwrap();
    let only = ["--include", "config.json", "--format", "json"];
    let asked = |offline: bool, args: &[&str]| {
        let mut command = home.command(&["pull", REPO, "--endpoint", &hub.endpoint]);
        command.args(args);
        if offline {
            command.env("HF_HUB_OFFLINE", "1");
        }
        Run::from(command.output().unwrap())
    };
    for offline in [false, true] {
        let told = asked(offline, &only).expect(0).json();
        assert_eq!(told["steps"][0]["outcome"]["files"], 1, "{told}");
    }
    let named = ["--include", SHARD];
    assert!(asked(true, &named).expect(6).stderr.contains(SHARD));
    asked(true, &["--include", "config.jsn"]).expect(2);
    // As in an empty cache.
    let none = ["--include", "config.jsn"];
    assert!(asked(false, &none).expect(2).stderr.contains("is selected"));
    // The snapshot is known to be corrupt, whatever was selected of it meanwhile.
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(
        listed.contains("changed since it was verified") && !listed.contains("partial"),
        "{listed}"
    );
    // For a snapshot that was never complete, it is unknown which other files would be selected.
    let other = Home::new();
    let mut command = other.command(&["pull", REPO, "--endpoint", &hub.endpoint]);
    Run::from(command.args(&only[..2]).output().unwrap()).expect(0);
    let mut command = other.command(&["pull", REPO]);
    command.args(&only[..2]).env("HF_HUB_OFFLINE", "1");
    Run::from(command.output().unwrap()).expect(5);
}

/// A pull that allowed code does not stop a later pull of fewer files.
#[test]
fn a_pull_of_fewer_files_after_one_with_code_needs_no_allow_code() {
    let (home, hub) = (Home::new(), Hub::new(REPO, with_code()));
    pull(&home, &hub, &["--allow-code"]).expect(0);
    pull(&home, &hub, &["--exclude", "*.py"]).expect(0);
    pull(&home, &hub, &["--include", "config.json"]).expect(0);
    assert_eq!(pull(&home, &hub, &[]).code, 6);
    pull(&home, &hub, &["--allow-code"]).expect(0);
}

/// A pull of another commit into the same directory removes the files that only the old commit had.
#[test]
fn files_of_an_older_commit_are_removed_from_a_directory() {
    let mut older = small_model();
    let template = RepoFile {
        bytes: b"{{ old }}\n".to_vec(),
        large: false,
    };
    older.insert("chat_template.jinja".to_owned(), template.clone());
    older.insert("notes/old.txt".to_owned(), template.clone());
    older.insert("notes/theirs.txt".to_owned(), template);
    let (home, old, new) = (
        Home::new(),
        Hub::new(REPO, older.clone()),
        Hub::new(REPO, small_model()),
    );
    let dir = home.path().join("mine");
    let to = ["--local-dir", dir.to_str().unwrap()];
    // One of them was there before: a pull verifies it, and it stays the user's file.
    std::fs::create_dir_all(dir.join("notes")).unwrap();
    std::fs::write(dir.join("notes/theirs.txt"), "{{ old }}\n").unwrap();
    pull(&home, &old, &to).expect(0);
    // The state as if it had been another commit.
    let earlier = "b".repeat(40);
    let manifest = |commit: &str| dir.join(format!(".dsr1/verified-{commit}.json"));
    let text = std::fs::read_to_string(manifest(old.commit())).unwrap();
    std::fs::write(manifest(&earlier), text.replace(old.commit(), &earlier)).unwrap();
    std::fs::remove_file(manifest(old.commit())).unwrap();
    std::fs::write(dir.join("notes/old.txt"), "mine now\n").unwrap();
    let run = pull(&home, &new, &to).expect(0);
    assert!(
        run.stderr
            .contains("removed `chat_template.jinja`: it belongs to another commit"),
        "{}",
        run.stderr
    );
    let mut expected = bytes(&small_model());
    expected.insert("notes/old.txt".to_owned(), b"mine now\n".to_vec());
    expected.insert("notes/theirs.txt".to_owned(), b"{{ old }}\n".to_vec());
    assert_eq!(directory(&dir), expected);
    home.run(&["weights", "verify", to[0], to[1]]).expect(0);
}

/// A check that finds a corrupt file revokes its verification, but not the mark that a pull downloaded it: two commits
/// later, that mark still tells which files may be removed.
#[test]
fn downloaded_files_stay_known_as_downloaded_after_a_failed_check() {
    let mut older = small_model();
    let template = RepoFile {
        bytes: b"{{ old }}\n".to_vec(),
        large: false,
    };
    older.insert("chat_template.jinja".to_owned(), template);
    let (home, old) = (Home::new(), Hub::new(REPO, older.clone()));
    let dir = home.path().join("mine");
    let to = ["--local-dir", dir.to_str().unwrap()];
    let manifest = |commit: &str| dir.join(format!(".dsr1/verified-{commit}.json"));
    // The state as if it had been another commit.
    let is_of = |commit: &str| {
        let text = std::fs::read_to_string(manifest(old.commit())).unwrap();
        std::fs::write(manifest(commit), text.replace(old.commit(), commit)).unwrap();
        std::fs::remove_file(manifest(old.commit())).unwrap();
    };
    pull(&home, &old, &to).expect(0);
    std::fs::write(dir.join("config.json"), "[]\n").unwrap();
    home.run(&["weights", "verify", to[0], to[1]]).expect(6);
    is_of(&"b".repeat(40));
    pull(&home, &old, &to).expect(0);
    is_of(&"c".repeat(40));
    pull(&home, &Hub::new(REPO, small_model()), &to).expect(0);
    assert_eq!(directory(&dir), bytes(&small_model()));
}
