//! Power cuts on a test's own disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Counts, FOLDER, M, Model, REPO, kill, names, new_home, pull, run, spawn, under};
use crate::support::Home;
use crate::support::disk::{self, Mounted};
use crate::support::hub::{Fault, Hub};
use crate::support::random::{Random, rounds};

/// Runs commands on a cache after a power cut: everything that was reported as done is present, and nothing is fetched.
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

/// F13: the state of the disk at the time of a power cut.
#[test]
fn power_cuts_at_any_time_leave_nothing_wrong_and_lose_no_finished_file() {
    const DISK: u64 = 64 << 20;
    let cuts = rounds(50, 15);
    // The number of those right after dsr1 reported the end.
    let after_done = rounds(18, 6);
    // The number of those with a blob of another client, which syncs nothing.
    let with_foreign = rounds(6, 2);
    let model = Model::of(&[9 * M, 3 * M, 3 * M / 10], 6);
    let hub = model.hub();
    // The image is in memory: the cut concerns the filesystem in the image, and its journal.
    let memory = tempfile::Builder::new()
        .prefix("dsr1-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let (image, copy) = (memory.path().join("disk"), memory.path().join("copy"));
    let mut random = Random::new("power cuts");
    let mut counts = Counts::default();
    let mut limit = Duration::from_millis(500);
    for round in 0..cuts {
        let when = format!("cut {round}");
        let home = new_home();
        disk::make_image(&image, DISK);
        let disk = Mounted::image(&home.path().join("disk"), &image);
        let cache = disk.at.join("hub");
        hub.fault("blob/", Fault::Slow(10 * M), usize::MAX);
        let done = round < after_done;
        if round < with_foreign {
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
            if round >= with_foreign {
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

/// Checks that the harness of power cuts detects a file that is named before it is synced. A slow machine may write the
/// bytes before the cut, so one damaged disk of five is enough.
#[test]
fn a_power_cut_damages_what_is_named_and_not_synced() {
    let model = Model::of(&[48 * M], 1);
    let home = new_home();
    let memory = tempfile::Builder::new()
        .prefix("dsr1-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let damaged = (0..5).any(|round| {
        let (image, copy) = (memory.path().join("disk"), memory.path().join("copy"));
        disk::make_image(&image, 64 << 20);
        let disk = Mounted::image(&home.path().join(format!("disk-{round}")), &image);
        let blobs = disk.at.join("hub").join(FOLDER).join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        for (oid, bytes) in model.blobs() {
            std::fs::write(blobs.join("temporary"), bytes).unwrap();
            std::fs::rename(blobs.join("temporary"), blobs.join(oid)).unwrap();
        }
        // The sync writes the journal, and with it the names.
        std::fs::File::open(&blobs).unwrap().sync_all().unwrap();
        disk::cut(&image, &copy);
        let wrong = model.wrong(&disk.at.join("hub"));
        assert_eq!(wrong, Vec::<String>::new(), "before the cut");
        drop(disk);
        let disk = Mounted::image(&home.path().join(format!("after-{round}")), &copy);
        let wrong = model.wrong(&disk.at.join("hub"));
        eprintln!("control of power cuts: damaged = {}", wrong.len());
        !wrong.is_empty()
    });
    assert!(damaged, "the control was not damaged: power cuts prove nothing");
}

/// Every directory is synced after the last name in it, and every blob, whichever client wrote it. A power cut on ext4
/// cannot show this, because its journal keeps all names in order.
#[test]
fn every_name_and_every_blob_is_synced_before_a_pull_is_done() {
    let model = Model::of(&[9 * M, 3 * M / 10], 6);
    let hub = model.hub();
    for foreign in [false, true] {
        let home = new_home();
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
                // The last path of a call is the new name.
                let path = PathBuf::from(line.rsplit('"').nth(1).expect("a path in quotes"));
                // Partial files and journals are verified by their contents.
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
