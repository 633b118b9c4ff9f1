//! `dsr1 weights`: verified files stay verified, others are named, and a check loses nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::hub::{Fault, Hub, RepoFile, safetensors, small_model};
use crate::support::pulled::{REPO, hub_cache, pull, repo, setup, snapshot, verify};
use crate::support::{self, Home};

const SHARD: &str = "model-1.safetensors";

/// The file behind a name in the snapshot.
fn blob(home: &Home, hub: &Hub, name: &str) -> PathBuf {
    let path = snapshot(home, hub).join(name);
    path.canonicalize().unwrap()
}

/// A model of one large file of so many bytes, and its pull.
fn one_shard(size: usize) -> (Home, Hub, Vec<u8>) {
    let bytes = safetensors("a", 7, size);
    let file = RepoFile {
        bytes: bytes.clone(),
        large: true,
    };
    let hub = Hub::new(REPO, BTreeMap::from([("model.safetensors".to_owned(), file)]));
    let home = Home::new();
    pull(&home, &hub, &[]).expect(0);
    (home, hub, bytes)
}

/// Damages a file as a disk does: nothing but the bytes changes.
fn rot(path: &Path, at: u64) {
    let before = std::fs::metadata(path).unwrap().modified().unwrap();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, at).unwrap();
    file.set_modified(before).unwrap();
}

/// A check that finds a corrupt file revokes its proof: no later command calls the file verified.
#[test]
fn a_file_that_a_check_found_corrupt_stays_unverified() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    rot(&blob(&home, &hub, SHARD), 500_000);
    verify(&home, &hub, &[]).expect(6);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("damaged, found by a check"), "{listed}");
    verify(&home, &hub, &["--fast"]).expect(6);
    let planned = pull(&home, &hub, &["--dry-run"]).expect(0).stdout;
    assert!(
        planned.contains("here, damaged: corrupt ranges are fetched again"),
        "{planned}"
    );
    // A pull corrects the file, and the file counts as verified again.
    pull(&home, &hub, &[]).expect(0);
    verify(&home, &hub, &["--fast"]).expect(0);
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("verified, nothing to fetch"),
        "{}",
        run.stderr
    );
}

/// A repair that cannot fetch leaves the file as it is: a file with one wrong bit is better than no file.
#[test]
fn a_repair_that_fails_removes_nothing() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let bad = blob(&home, &hub, SHARD);
    rot(&bad, 500_000);
    let rotten = std::fs::read(&bad).unwrap();
    hub.fault("blob/model-1", Fault::Status(404, "", ""), usize::MAX);
    verify(&home, &hub, &["--repair"]).expect(5);
    assert_eq!(std::fs::read(&bad).unwrap(), rotten);
    hub.clear();
    verify(&home, &hub, &["--repair"]).expect(0);
    assert_eq!(std::fs::read(&bad).unwrap(), small_model()[SHARD].bytes);
}

/// The same holds for a user's directory: its file stays until the correct one is complete.
#[test]
fn a_users_file_stays_until_the_hubs_file_is_complete() {
    let (home, hub) = setup();
    let dir = home.path().join("mine");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("config.json"), "mine\n").unwrap();
    hub.fault("/config.json", Fault::Status(404, "", ""), usize::MAX);
    let to = dir.to_str().unwrap();
    pull(&home, &hub, &["--local-dir", to]).expect(5);
    assert_eq!(
        std::fs::read_to_string(dir.join("config.json")).unwrap(),
        "mine\n"
    );
}

#[test]
fn a_directory_of_another_repository_is_refused() {
    let (home, hub) = setup();
    let dir = home.path().join("mine");
    let to = dir.to_str().unwrap();
    pull(&home, &hub, &["--local-dir", to]).expect(0);
    let other = Hub::new("lab/other", small_model());
    let args = [
        "pull",
        "lab/other",
        "--endpoint",
        &other.endpoint,
        "--local-dir",
        to,
    ];
    let run = home.run(&args).expect(2);
    assert!(run.stderr.contains("holds lab/tiny-r1"), "{}", run.stderr);
    assert_eq!(other.arrived(), 0);
    // It is not checked as the other repository either: every file would match its own hash.
    let args = ["weights", "verify", "lab/other", "--local-dir", to];
    let run = home.run(&args).expect(2);
    assert!(
        run.stderr.contains("holds lab/tiny-r1, not lab/other"),
        "{}",
        run.stderr
    );
}

/// A selection is checked as a selection; the weights that a profile serves must be complete.
#[test]
fn a_partial_snapshot_is_reported_as_partial() {
    let (home, hub) = setup();
    pull(&home, &hub, &["--include", "*.json"]).expect(0);
    let run = verify(&home, &hub, &[]).expect(0);
    assert!(run.stdout.contains("a part of the repository"), "{}", run.stdout);
    let profile = home.path().join("mine.yaml");
    let text = std::fs::read_to_string("profiles/rehearsal.yaml").unwrap();
    let text: String = text
        .lines()
        .map(|line| match line.split_once("repo:") {
            Some((before, _)) => format!("{before}repo: {REPO}\n"),
            None if line.trim_start().starts_with("revision:") => {
                let indent = line.len() - line.trim_start().len();
                format!("{}revision: main\n", " ".repeat(indent))
            }
            None if line.starts_with("name:") => "name: mine\n".to_owned(),
            None => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&profile, text).unwrap();
    let args = ["weights", "verify", "--profile-file", profile.to_str().unwrap()];
    let run = home.run(&args).expect(6);
    assert!(run.stdout.contains("missing"), "{}", run.stdout);
    assert!(run.stderr.contains("dsr1 pull lab/tiny-r1"), "{}", run.stderr);
}

#[test]
fn offline_nothing_is_repaired() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    rot(&blob(&home, &hub, SHARD), 500_000);
    let home = home.with("HF_HUB_OFFLINE", "1");
    let asked = hub.arrived();
    let run = verify(&home, &hub, &["--repair"]).expect(5);
    assert!(run.stderr.contains("HF_HUB_OFFLINE is set"), "{}", run.stderr);
    assert_eq!(hub.arrived(), asked);
}

/// A repair does not know files that no pull listed: it names them, and the command that fetches them.
#[test]
fn shards_that_were_never_pulled_need_a_pull() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    // The state after a download of another client that ended early: no manifest, and one shard without a name.
    std::fs::remove_dir_all(repo(&home).join(".dsr1")).unwrap();
    let shard = repo(&home)
        .join("snapshots")
        .join(hub.commit())
        .join("model-2.safetensors");
    std::fs::remove_file(shard).unwrap();
    rot(&blob(&home, &hub, SHARD), 500_000);
    let run = verify(&home, &hub, &["--repair"]).expect(6);
    assert!(
        run.stdout.contains("model-1.safetensors  was wrong  "),
        "{}",
        run.stdout
    );
    let said = &run.stderr[run.stderr.find("error: ").unwrap()..];
    assert!(
        said.contains("`model-2.safetensors`")
            && said.contains("hint: dsr1 pull lab/tiny-r1 fetches the missing files"),
        "{said}"
    );
}

/// A check moves no branch: a pull that ended during the check decides about it.
#[test]
fn a_check_does_not_move_a_branch_back() {
    let bytes = safetensors("a", 7, 180_000_000);
    let file = RepoFile { bytes, large: true };
    let hub = Hub::new(REPO, BTreeMap::from([("model.safetensors".to_owned(), file)]));
    let home = Home::new();
    pull(&home, &hub, &[]).expect(0);
    let main = repo(&home).join("refs/main");
    let mut running = home.start(&["weights", "verify", REPO, "--progress", "plain"]);
    running.wait_for("] check ", Duration::from_mins(1));
    std::fs::write(&main, "f".repeat(40)).unwrap();
    running.end().0.expect(0);
    assert_eq!(std::fs::read_to_string(&main).unwrap(), "f".repeat(40));
}

/// A check creates no branch: a pull of a commit leaves none, and a check does not ask the hub for one.
#[test]
fn a_check_makes_no_branch() {
    let (home, hub) = setup();
    pull(&home, &hub, &["--revision", hub.commit()]).expect(0);
    verify(&home, &hub, &[]).expect(0);
    assert!(!repo(&home).join("refs/main").exists());
}

/// The cache as a copy that follows links leaves it: each file twice, under its hash and under its name.
fn follow_links(home: &Home, hub: &Hub) -> PathBuf {
    let snapshot = snapshot(home, hub);
    for name in small_model().keys() {
        let bytes = std::fs::read(snapshot.join(name)).unwrap();
        std::fs::remove_file(snapshot.join(name)).unwrap();
        std::fs::write(snapshot.join(name), bytes).unwrap();
    }
    snapshot
}

#[track_caller]
fn assert_whole(snapshot: &Path) {
    for (name, file) in small_model() {
        assert!(
            std::fs::read(snapshot.join(&name)).is_ok_and(|bytes| bytes == file.bytes),
            "{name}"
        );
    }
}

/// A check replaces no file: the file that was read is the one that counts as verified, wherever it is.
#[test]
fn a_copy_that_followed_links_is_checked_and_not_changed() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let snapshot = follow_links(&home, &hub);
    std::fs::remove_dir_all(repo(&home).join("blobs")).unwrap();
    verify(&home, &hub, &[]).expect(0);
    assert_whole(&snapshot);
    verify(&home, &hub, &["--fast"]).expect(0);
    let asked = hub.arrived();
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("verified, nothing to fetch"),
        "{}",
        run.stderr
    );
    assert_eq!(hub.arrived() - asked, 1, "more than the commit was asked for");
    assert_whole(&snapshot);
}

/// A blob that no name links to was not read, and a correct copy beside it does not verify it.
#[test]
fn a_corrupt_blob_beside_a_correct_copy_is_not_verified() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let bad = blob(&home, &hub, SHARD);
    let snapshot = follow_links(&home, &hub);
    std::fs::remove_file(repo(&home).join(".dsr1/proven.jsonl")).unwrap();
    rot(&bad, 500_000);
    verify(&home, &hub, &[]).expect(0);
    assert_whole(&snapshot);
    // The copy is lost: the file that replaces it is read first.
    std::fs::remove_file(snapshot.join(SHARD)).unwrap();
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("is corrupt and will be replaced"),
        "{}",
        run.stderr
    );
    assert_whole(&snapshot);
}

#[test]
fn a_corrupt_copy_is_repaired_under_its_name() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let snapshot = follow_links(&home, &hub);
    rot(&snapshot.join(SHARD), 500_000);
    verify(&home, &hub, &["--repair"]).expect(0);
    assert_whole(&snapshot);
    verify(&home, &hub, &["--fast"]).expect(0);
}

/// Two commits have the same corrupt file: it is unverified in both.
#[test]
fn a_file_that_a_check_found_corrupt_is_unverified_in_every_commit() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let (one, other) = (hub.commit(), "b".repeat(40));
    let manifest = |commit: &str| repo(&home).join(format!(".dsr1/verified-{commit}.json"));
    let text = std::fs::read_to_string(manifest(one)).unwrap();
    std::fs::write(manifest(&other), text.replace(one, &other)).unwrap();
    let snapshots = repo(&home).join("snapshots");
    let copied = Command::new("cp")
        .args(["-a", one, &other])
        .current_dir(snapshots)
        .status();
    assert!(copied.unwrap().success());
    let revision = ["--revision", &other];
    let fast = ["--revision", &other, "--fast"];
    verify(&home, &hub, &fast).expect(0);
    rot(&blob(&home, &hub, SHARD), 500_000);
    verify(&home, &hub, &[]).expect(6);
    verify(&home, &hub, &fast).expect(6);
    // One pull corrects the file for both commits, and a check confirms that.
    pull(&home, &hub, &[]).expect(0);
    verify(&home, &hub, &revision).expect(0);
    verify(&home, &hub, &fast).expect(0);
}

/// A check does not wait until a pull is done, and says that its result is not recorded.
#[test]
fn a_check_does_not_wait_for_a_pull() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let lock = std::fs::File::open(repo(&home).join(".dsr1/lock")).unwrap();
    lock.lock().unwrap();
    std::fs::remove_file(repo(&home).join(format!(".dsr1/verified-{}.json", hub.commit()))).unwrap();
    let run = verify(&home, &hub, &[]).expect(0);
    let note = "cannot record the result in the cache: another dsr1 is pulling lab/tiny-r1 (process ";
    assert!(run.stderr.contains(note), "{}", run.stderr);
    lock.unlock().unwrap();
    assert_eq!(verify(&home, &hub, &["--fast"]).code, 2);
    verify(&home, &hub, &[]).expect(0);
    verify(&home, &hub, &["--fast"]).expect(0);
}

/// A check asks no hub: a wrong token or proxy does not matter until something must be fetched.
#[test]
fn a_check_needs_no_token() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let home = home
        .with("HF_TOKEN", "two\nlines")
        .with("HF_HUB_DOWNLOAD_TIMEOUT", "never")
        .with("ALL_PROXY", "socks5://h:1");
    verify(&home, &hub, &[]).expect(0);
    verify(&home, &hub, &["--fast"]).expect(0);
    let run = verify(&home, &hub, &["--repair"]).expect(2);
    assert!(run.stderr.contains("HF_HUB_DOWNLOAD_TIMEOUT"), "{}", run.stderr);
}

/// A pull writes only its own lock file, and never a file that a link of that name leads to.
#[test]
fn a_lock_file_that_is_a_link_is_not_written() {
    let (home, hub) = setup();
    let mine = home.path().join("mine.txt");
    std::fs::write(&mine, "mine\n").unwrap();
    let lock = repo(&home).join(".dsr1/lock");
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&mine, &lock).unwrap();
    let run = pull(&home, &hub, &[]).expect(3);
    assert!(run.stderr.contains("cannot lock"), "{}", run.stderr);
    std::fs::remove_file(&lock).unwrap();
    std::fs::hard_link(&mine, &lock).unwrap();
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine\n");
}

/// A removal that was killed leaves nothing permanently.
#[test]
fn the_leftovers_of_a_killed_removal_are_removed_by_the_next() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let many = repo(&home).join("many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..20_000 {
        std::fs::write(many.join(number.to_string()), b"x").unwrap();
    }
    let left = || {
        let names = std::fs::read_dir(hub_cache(&home)).unwrap().flatten();
        let mut names = names.map(|item| item.file_name().into_string().unwrap());
        names.find(|name| name.contains("removed"))
    };
    let running = home.start(&["weights", "rm", REPO, "--yes"]);
    let begun = Instant::now();
    while left().is_none() {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is removed");
        std::thread::sleep(Duration::from_millis(1));
    }
    running.signal("KILL");
    running.end();
    pull(&home, &hub, &[]).expect(0);
    home.run(&["weights", "rm", REPO, "--yes"]).expect(0);
    assert_eq!(left(), None);
}

/// A partial file is useless if its file was completed in another way: in a directory as in the cache.
#[test]
fn a_partial_file_of_a_complete_file_is_removed() {
    let bytes = safetensors("a", 7, 20_000_000);
    let file = RepoFile {
        bytes: bytes.clone(),
        large: true,
    };
    let hub = Hub::new(REPO, BTreeMap::from([("model.safetensors".to_owned(), file)]));
    let home = Home::new();
    let dir = home.path().join("mine");
    let to = dir.to_str().unwrap();
    hub.fault("blob/model", Fault::Slow(10_000_000), 1);
    let args = [
        "pull",
        REPO,
        "--endpoint",
        &hub.endpoint,
        "--progress",
        "quiet",
        "--local-dir",
        to,
    ];
    let running = home.start(&args);
    let parts = || {
        let names = std::fs::read_dir(dir.join(".dsr1"))
            .into_iter()
            .flatten()
            .flatten();
        let names = names.map(|item| item.file_name().into_string().unwrap());
        names
            .filter(|name| name.contains(".part") || name.contains(".record."))
            .count()
    };
    let begun = Instant::now();
    while parts() == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "no part");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal("KILL");
    running.end();
    std::fs::write(dir.join("model.safetensors"), &bytes).unwrap();
    pull(&home, &hub, &["--local-dir", to]).expect(0);
    assert_eq!(parts(), 0);
}

/// A corrupt file that a check found stays unverified, even if its repair fails.
#[test]
fn a_repair_that_fails_leaves_corrupt_files_unverified() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    rot(&blob(&home, &hub, SHARD), 500_000);
    hub.fault("blob/model-1", Fault::Status(404, "", ""), usize::MAX);
    verify(&home, &hub, &["--repair"]).expect(5);
    let run = verify(&home, &hub, &["--fast"]).expect(6);
    assert!(
        run.stdout.contains("a check found its bytes corrupt"),
        "{}",
        run.stdout
    );
    hub.clear();
    verify(&home, &hub, &["--repair"]).expect(0);
    verify(&home, &hub, &["--fast"]).expect(0);
    let asked = hub.arrived();
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(hub.arrived() - asked, 1, "more than the commit was asked for");
}

/// An unreachable hub is reported at once, and not after the five minutes that a running transfer waits.
#[test]
fn a_repair_from_an_unreachable_hub_fails_at_once() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    rot(&blob(&home, &hub, SHARD), 500_000);
    let nobody = format!("http://127.0.0.1:{}", support::free_port());
    let begun = Instant::now();
    let args = ["weights", "verify", REPO, "--repair", "--endpoint", &nobody];
    home.run(&args).expect(5);
    // A pull waits five minutes for a network that worked before.
    assert!(begun.elapsed() < Duration::from_mins(2));
    verify(&home, &hub, &["--fast"]).expect(6);
    verify(&home, &hub, &["--repair"]).expect(0);
}

/// A removal does not wait for a running pull, because it would then remove what the pull fetched.
#[test]
fn a_repository_that_is_being_pulled_is_not_removed() {
    let (home, hub) = setup();
    hub.fault("blob/", Fault::Slow(300_000), usize::MAX);
    let mut running = home.start(&support::pulled::args(&hub, &[]));
    running.wait_for("under way", Duration::from_mins(1));
    for more in [&[][..], &["--unfinished"]] {
        let args = [&["weights", "rm", REPO, "--yes"], more].concat();
        let run = home.run(&args).expect(3);
        assert!(
            run.stderr
                .contains("another dsr1 is pulling lab/tiny-r1 (process "),
            "{}",
            run.stderr
        );
    }
    hub.clear();
    running.end().0.expect(0);
    assert_whole(&snapshot(&home, &hub));
    home.run(&["weights", "rm", REPO, "--yes"]).expect(0);
}

/// A revoked proof stays revoked, whatever path leads to the cache.
#[test]
fn a_revocation_holds_for_every_path_to_the_cache() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    rot(&blob(&home, &hub, SHARD), 500_000);
    let elsewhere = home.path().join("elsewhere");
    std::os::unix::fs::symlink(hub_cache(&home), &elsewhere).unwrap();
    let mut check = home.command(&["weights", "verify", REPO]);
    check.env("HF_HUB_CACHE", &elsewhere);
    assert_eq!(check.output().unwrap().status.code(), Some(6));
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("is corrupt and will be replaced"),
        "{}",
        run.stderr
    );
    assert_whole(&snapshot(&home, &hub));
}

/// An edit that restores the modification time: the next pull reads the file again.
#[test]
fn an_edit_with_a_restored_time_is_found_by_the_next_pull() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    std::thread::sleep(Duration::from_millis(20));
    rot(&blob(&home, &hub, SHARD), 500_000);
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("is corrupt and will be replaced"),
        "{}",
        run.stderr
    );
    assert_whole(&snapshot(&home, &hub));
}

/// Files whose hashes are unknown are named, and are not skipped.
#[test]
fn an_unlisted_file_is_named() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let snapshot = snapshot(&home, &hub);
    for proven in [true, false] {
        if !proven {
            std::fs::remove_dir_all(repo(&home).join(".dsr1")).unwrap();
        }
        std::fs::write(snapshot.join("chat_template.jinja"), "forged\n").unwrap();
        let run = verify(&home, &hub, &[]).expect(6);
        assert!(
            run.stdout
                .contains("chat_template.jinja  unknown  its hash is unknown"),
            "{}",
            run.stdout
        );
        std::fs::remove_file(snapshot.join("chat_template.jinja")).unwrap();
        verify(&home, &hub, &[]).expect(0);
    }
    // A name without its bytes is named, too.
    std::fs::remove_dir_all(repo(&home).join(".dsr1")).unwrap();
    std::fs::remove_file(blob(&home, &hub, "config.json")).unwrap();
    let run = verify(&home, &hub, &[]).expect(6);
    assert!(
        run.stdout.contains("it is a link to a missing blob"),
        "{}",
        run.stdout
    );
}

/// A pull repairs a large file as `--repair` does: it fetches only the corrupt ranges.
#[test]
fn a_pull_fetches_only_the_corrupt_ranges_of_a_file() {
    let (home, hub, bytes) = one_shard(20_000_000);
    rot(&blob(&home, &hub, "model.safetensors"), 9_000_000);
    verify(&home, &hub, &[]).expect(6);
    let before = hub.bytes_sent();
    let run = pull(&home, &hub, &[]).expect(0);
    let sent = hub.bytes_sent() - before;
    assert!(sent > 0 && sent < 6 << 20, "{sent}: {}", run.stderr);
    assert!(std::fs::read(blob(&home, &hub, "model.safetensors")).unwrap() == bytes);
    verify(&home, &hub, &["--fast"]).expect(0);
    // A copy with other times is not corrupt, and the message says so.
    let shard = blob(&home, &hub, "model.safetensors");
    std::fs::File::options()
        .write(true)
        .open(&shard)
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let run = verify(&home, &hub, &["--fast"]).expect(6);
    assert!(
        run.stderr
            .contains("reads every byte, and marks right files as verified"),
        "{}",
        run.stderr
    );
    verify(&home, &hub, &[]).expect(0);
    verify(&home, &hub, &["--fast"]).expect(0);
}

/// A pull resumes a file that an interrupted copy cut short.
#[test]
fn a_truncated_file_is_resumed() {
    let (home, hub, bytes) = one_shard(30_000_000);
    let shard = blob(&home, &hub, "model.safetensors");
    let file = std::fs::File::options().write(true).open(&shard).unwrap();
    file.set_len(20_000_000).unwrap();
    rot(&shard, 9_000_000);
    let before = hub.bytes_sent();
    let run = pull(&home, &hub, &["--max-workers", "1"]).expect(0);
    let sent = hub.bytes_sent() - before;
    assert!(sent < 21_000_000, "{sent}: {}", run.stderr);
    assert!(std::fs::read(shard).unwrap() == bytes);
}

/// A repair gives way to a new download before it costs more than it saves: if the server ignores ranges, or if the
/// file differs from its first byte on.
#[test]
fn a_file_whose_repair_would_cost_more_is_fetched_anew() {
    const SIZE: usize = 40_000_000;
    let (home, hub, bytes) = one_shard(SIZE);
    let shard = blob(&home, &hub, "model.safetensors");
    let again = |most: usize| {
        let before = hub.bytes_sent();
        let run = pull(&home, &hub, &["--max-workers", "1"]).expect(0);
        let sent = hub.bytes_sent() - before;
        assert!(sent > 0 && sent < most, "{sent}: {}", run.stderr);
        assert!(std::fs::read(blob(&home, &hub, "model.safetensors")).unwrap() == bytes);
    };
    // The journal has one line for everything that a helper wrote: more than may be corrupt in a row, and repaired
    // nevertheless.
    let record = repo(&home)
        .join(".dsr1")
        .join(shard.file_name().unwrap())
        .with_extension("record");
    let lines = std::fs::read(&record).unwrap();
    let place = |line: &&[u8]| u64::from_le_bytes(line[..8].try_into().unwrap());
    let far = lines.chunks(40).find(|line| place(line) > 20 << 20).unwrap();
    let few = [far, lines.chunks(40).next_back().unwrap()].concat();
    std::fs::write(&record, few).unwrap();
    rot(&shard, 1_000_000);
    again(35_000_000);
    std::fs::write(&record, &lines).unwrap();
    std::fs::write(&shard, vec![7; SIZE]).unwrap();
    // Bytes in transit when a connection is closed count as sent, too: the kernel's buffers hold several megabytes.
    again(2 * SIZE);
    hub.fault("blob/", Fault::IgnoreRange(usize::MAX), usize::MAX);
    for at in [20_000_000, 25_000_000, 30_000_000, 34_000_000, 38_000_000] {
        rot(&shard, at);
    }
    // The first range is fetched, the second would cost more than the whole file, and so the whole file is fetched.
    again(3 * SIZE);
}

/// A pull of other files does not mark a corrupt file as verified.
#[test]
fn a_pull_of_other_files_leaves_a_corrupt_file_known_as_corrupt() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    rot(&blob(&home, &hub, SHARD), 500_000);
    verify(&home, &hub, &[]).expect(6);
    pull(&home, &hub, &["--include", "config.json"]).expect(0);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("damaged, found by a check"), "{listed}");
    verify(&home, &hub, &["--fast"]).expect(6);
    pull(&home, &hub, &[]).expect(0);
    verify(&home, &hub, &["--fast"]).expect(0);
}

/// A file that a check found corrupt stays known as corrupt, even if its time changes; the hint is a repair.
#[test]
fn a_corrupt_file_stays_known_as_corrupt_when_its_time_changes() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let shard = blob(&home, &hub, SHARD);
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[500_000] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let run = verify(&home, &hub, &["--fast"]).expect(6);
    assert!(
        run.stdout.contains("changed") && run.stderr.contains("reads every byte"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    verify(&home, &hub, &[]).expect(6);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("damaged, found by a check"), "{listed}");
    let run = verify(&home, &hub, &["--fast"]).expect(6);
    assert!(
        run.stderr.contains("--repair fetches only the corrupt ranges"),
        "{}",
        run.stderr
    );
    verify(&home, &hub, &["--repair"]).expect(0);
    verify(&home, &hub, &["--fast"]).expect(0);
}

/// Seven digits name a commit, as in git; and an invalid repository name gets an error with the right form.
#[test]
fn a_listed_commit_can_be_named_by_its_first_digits() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    let short = &hub.commit()[..12];
    assert!(listed.contains(short), "{listed}");
    for short in [short, &short[..7]] {
        home.run(&["weights", "verify", REPO, "--revision", short])
            .expect(0);
    }
    home.run(&["weights", "verify", REPO, "--revision", &short[..6]])
        .expect(5);
    for name in ["tiny-r1", "../../etc"] {
        let run = home.run(&["weights", "rm", name]).expect(2);
        assert!(run.stderr.contains("write it as owner/name"), "{}", run.stderr);
    }
}
