//! A damaged file that a pull repairs, with kills and failing calls meanwhile: its valid bytes stay valid.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{
    Counts, LOST, M, MB, Model, copied, injected, kill, new_home, parts, pull, pull_injected, run, spawn,
    wait_until,
};
use crate::support::disk::{self, Mounted};
use crate::support::hub::{Fault, Hub};
use crate::support::random::Random;
use crate::support::{Home, Run};

/// Size of the file.
const SIZE: usize = 40 * M;
/// Offsets of corrupt bytes, far from each other.
const BAD: [usize; 2] = [9 * M, 30 * M];
/// Bytes to fetch for both: for each, the range between two lines of the journal.
const COST: u64 = BAD.len() as u64 * LOST;

/// Name of the file.
const SHARD: &str = "model-0.safetensors";

/// Returns a cache with a file that was verified and then damaged.
fn damaged(model: &Model, home: &Home, hub: &Hub) -> PathBuf {
    let cache = home.path().join("damaged");
    run(pull(home, hub, &cache, &["--max-workers", "1"])).expect(0);
    let file = std::fs::File::options()
        .write(true)
        .open(model.blob(&cache, SHARD))
        .unwrap();
    for at in BAD {
        file.write_all_at(&[!model.files[SHARD].bytes[at]], at as u64)
            .unwrap();
    }
    cache
}

/// Copies a damaged cache. If `is_linked` is true, the file has a second name, which is returned.
fn copy(model: &Model, template: &Path, home: &Home, is_linked: bool) -> (PathBuf, Option<PathBuf>) {
    let (cache, other) = (home.path().join("hub"), home.path().join("other"));
    copied(template, &cache);
    if is_linked {
        std::fs::hard_link(model.blob(&cache, SHARD), &other).unwrap();
    }
    (cache, is_linked.then_some(other))
}

/// F1: kills from before the first byte is written to the file until after the last.
#[test]
fn a_kill_during_a_repair_costs_at_most_the_corrupt_ranges() {
    let model = Model::of(&[SIZE], 0);
    let (home, hub) = (new_home(), model.hub());
    let template = damaged(&model, &home, &hub);
    let rotten = std::fs::read(model.blob(&template, SHARD)).unwrap();
    for is_linked in [false, true] {
        for calls in [
            "pwrite64",
            "copy_file_range",
            "fallocate",
            "?rename,?renameat,renameat2",
            "fsync,fdatasync",
            "?unlink,unlinkat",
            "ftruncate",
        ] {
            for number in 1.. {
                let when = format!("linked: {is_linked}, {calls} {number}");
                let home = new_home();
                let (cache, other) = copy(&model, &template, &home, is_linked);
                let kill = format!("signal=SIGKILL:when={number}");
                let ended = pull_injected(&home, &hub, &cache, calls, &kill);
                let (_, mark) = model.start_of_next(&hub, &cache);
                run(pull(&home, &hub, &cache, &[])).expect(0);
                // A temporary manifest is removed by the next pull that fetches bytes.
                let mut left = model.assert_whole(&cache, &when);
                left.retain(|name| !name.starts_with(".dsr1/file."));
                assert_eq!(left, Vec::<String>::new(), "{when}");
                let sent = hub.bytes_sent_since(mark) as u64;
                assert!(sent <= COST, "{when}: {sent} fetched");
                if let Some(other) = other {
                    assert!(std::fs::read(other).unwrap() == rotten, "{when}");
                }
                if ended.code == 0 {
                    assert!(number > 1, "no {calls} was hit");
                    break;
                }
                assert_eq!(ended.code, 137, "{when}: {}", ended.stderr);
            }
        }
    }
}

/// F9: a disk that refuses a write leaves the file as it is; a disk that lost a write leaves the bytes before it.
#[test]
fn a_disk_that_refuses_a_write_during_a_repair_is_reported() {
    let model = Model::of(&[SIZE], 0);
    let (home, hub) = (new_home(), model.hub());
    let template = damaged(&model, &home, &hub);
    for is_linked in [false, true] {
        for (calls, error, most) in [
            ("pwrite64", "EIO", COST),
            ("pwrite64", "ENOSPC", COST),
            ("fsync,fdatasync", "EIO", COST),
            ("fsync,fdatasync", "ENOSPC", COST),
            ("copy_file_range", "EIO", COST + LOST),
            ("fallocate", "ENOSPC", COST),
        ] {
            for number in 1.. {
                let when = format!("linked: {is_linked}, {error} of {calls} {number}");
                let home = new_home();
                let (cache, _) = copy(&model, &template, &home, is_linked);
                let fault = format!("error={error}:when={number}");
                let ended = pull_injected(&home, &hub, &cache, calls, &fault);
                if ended.code == 0 {
                    model.assert_whole(&cache, &when);
                } else {
                    assert_eq!(ended.code, 3, "{when}: {}", ended.stderr);
                }
                let (_, mark) = model.start_of_next(&hub, &cache);
                run(pull(&home, &hub, &cache, &["--max-workers", "1"])).expect(0);
                assert_eq!(model.assert_whole(&cache, &when), Vec::<String>::new(), "{when}");
                let sent = hub.bytes_sent_since(mark) as u64;
                assert!(sent <= most, "{when}: {sent} fetched: {}", ended.stderr);
                // Each thread counts its own calls: the first number that no thread reaches is the last.
                if ended.code == 0 && number > 6 {
                    break;
                }
            }
        }
    }
}

/// Ranges of a file that were repaired before a kill stay repaired, whatever else is pulled meanwhile.
#[test]
fn repaired_ranges_survive_a_pull_of_other_files() {
    let model = Model::of(&[SIZE], 3);
    let (home, hub) = (new_home(), model.hub());
    let cache = damaged(&model, &home, &hub);
    hub.fault("blob/", Fault::Slow(2 * M), usize::MAX);
    let child = spawn(pull(&home, &hub, &cache, &["--max-workers", "1"]));
    wait_until("it is mended", || !parts(&cache).is_empty());
    std::thread::sleep(Duration::from_millis(500));
    kill(child);
    hub.clear();
    let before = parts(&cache);
    // The listing of another hub says nothing about this file.
    run(pull(&home, &model.hub(), &cache, &["--include", "notes/*"])).expect(0);
    assert_eq!(parts(&cache), before);
    run(pull(&home, &hub, &cache, &[])).expect(0);
    assert_eq!(model.assert_whole(&cache, "afterwards"), Vec::<String>::new());
}

/// Repairs two files in one pull, each with a copy of its own.
#[test]
fn two_files_are_repaired_at_once() {
    let model = Model::of(&[SIZE, SIZE - M], 0);
    let (home, hub) = (new_home(), model.hub());
    let cache = home.path().join("hub");
    run(pull(&home, &hub, &cache, &[])).expect(0);
    for shard in [SHARD, "model-1.safetensors"] {
        let file = std::fs::File::options()
            .write(true)
            .open(model.blob(&cache, shard));
        file.unwrap().write_all_at(b"x", 20 * MB).unwrap();
    }
    let (_, mark) = model.start_of_next(&hub, &cache);
    let pull = pull(&home, &hub, &cache, &["--max-workers", "2"]);
    let ended = run(injected(&pull, "copy_file_range", "delay_exit=20000", &[]));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(model.assert_whole(&cache, "mended"), Vec::<String>::new());
    let sent = hub.bytes_sent_since(mark) as u64;
    assert!(sent <= 2 * LOST, "{sent} fetched");
}

/// F10: a single fault of the hub during a repair costs little more than the corrupt ranges.
#[test]
fn one_wrong_answer_during_a_repair_costs_little() {
    let model = Model::of(&[SIZE], 0);
    let (home, hub) = (new_home(), model.hub());
    let template = damaged(&model, &home, &hub);
    for (what, fault, times, most) in [
        ("a flipped byte", Fault::Flip(5), 1, COST + LOST),
        ("an ETag of its own each time", Fault::NewEtag, usize::MAX, COST),
        // The bytes before the range are fetched too, and those in flight when the connection is closed.
        (
            "a range that is ignored",
            // So slow that few bytes are in flight.
            Fault::IgnoreRange(80 * M),
            1,
            SIZE as u64 - LOST,
        ),
    ] {
        let home = new_home();
        let (cache, _) = copy(&model, &template, &home, false);
        hub.fault("blob/", fault, times);
        let (_, mark) = model.start_of_next(&hub, &cache);
        run(pull(&home, &hub, &cache, &["--max-workers", "1"])).expect(0);
        hub.clear();
        model.assert_whole(&cache, what);
        let sent = hub.bytes_sent_since(mark) as u64;
        assert!(sent <= most, "{what}: {sent} fetched");
    }
}

/// F9: a read that fails once during the copy costs nothing, and a read that keeps failing is reported.
#[test]
fn a_disk_that_fails_during_the_copy_does_not_lose_the_file() {
    let model = Model::of(&[SIZE], 0);
    let (home, hub) = (new_home(), model.hub());
    let template = damaged(&model, &home, &hub);
    for (fault, code) in [
        ("error=EIO:when=11..13", 0),
        ("error=ESTALE:when=1", 3),
        ("error=ENOMEM:when=1", 3),
    ] {
        let home = new_home();
        let (cache, _) = copy(&model, &template, &home, false);
        let (_, mark) = model.start_of_next(&hub, &cache);
        let ended = pull_injected(&home, &hub, &cache, "copy_file_range", fault);
        assert_eq!(ended.code, code, "{fault}: {}", ended.stderr);
        run(pull(&home, &hub, &cache, &["--max-workers", "1"])).expect(0);
        model.assert_whole(&cache, fault);
        let sent = hub.bytes_sent_since(mark) as u64;
        assert!(sent <= COST, "{fault}: {sent} fetched");
    }
}

/// F11: two pulls that repair one file at once, without a working lock.
#[test]
fn two_repairs_of_one_file_without_working_locks_end_with_a_correct_file() {
    let model = Model::of(&[SIZE], 3);
    let (home, hub) = (new_home(), model.hub());
    let template = damaged(&model, &home, &hub);
    for round in 0..8 {
        let home = new_home();
        let (cache, other) = copy(&model, &template, &home, round % 4 == 3);
        // They reach each range one after the other, or at the same time.
        hub.fault("blob/", Fault::Slow(20 * M * (1 + round % 2)), usize::MAX);
        let start = || {
            let pull = pull(&home, &hub, &cache, &["--max-workers", "1"]);
            let mut command = injected(&pull, "flock", "error=ENOLCK", &[]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        for one in [start(), start()] {
            let ended = Run::from(one.wait_with_output().unwrap());
            assert_eq!(ended.code, 0, "round {round}: {}", ended.stderr);
        }
        hub.clear();
        run(pull(&home, &hub, &cache, &[])).expect(0);
        let left = model.assert_whole(&cache, "afterwards");
        assert_eq!(left, Vec::<String>::new(), "round {round}");
        if let Some(other) = other {
            assert!(
                std::fs::read(other).unwrap() == std::fs::read(model.blob(&template, SHARD)).unwrap(),
                "round {round}"
            );
        }
    }
}

/// F13: the valid bytes of a damaged file survive a power cut, and are not fetched.
#[test]
fn a_power_cut_during_a_repair_costs_at_most_the_corrupt_ranges() {
    const CUTS: usize = 12;
    const DISK: u64 = 128 << 20;
    let model = Model::of(&[SIZE], 0);
    let (home, hub) = (new_home(), model.hub());
    let template = damaged(&model, &home, &hub);
    let memory = tempfile::Builder::new()
        .prefix("dsr1-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let (image, cut) = (memory.path().join("disk"), memory.path().join("cut"));
    let mut random = Random::new("power cuts while mending");
    let mut counts = Counts::default();
    let mut limit = Duration::ZERO;
    for round in 0..CUTS {
        let when = format!("cut {round}");
        let home = new_home();
        disk::make_image(&image, DISK);
        let disk = Mounted::image(&home.path().join("disk"), &image);
        copied(&template, &disk.at.join("hub"));
        rustix::fs::sync();
        hub.fault("blob/", Fault::Slow(4 * M), usize::MAX);
        let mut child = spawn(pull(&home, &hub, &disk.at.join("hub"), &["--max-workers", "1"]));
        if round == 0 {
            let begun = Instant::now();
            child.wait().unwrap();
            limit = begun.elapsed();
        } else {
            std::thread::sleep(random.time(limit));
        }
        disk::cut(&image, &cut);
        kill(child);
        hub.clear();
        drop(disk);
        let disk = Mounted::image(&home.path().join("after"), &cut);
        let cache = disk.at.join("hub");
        let found = match (parts(&cache).is_empty(), model.wrong(&cache).is_empty()) {
            (false, _) => "under way",
            (true, false) => "damaged",
            (true, true) => "mended",
        };
        counts.add(found, 1);
        let (_, mark) = model.start_of_next(&hub, &cache);
        run(pull(&home, &hub, &cache, &["--max-workers", "1"])).expect(0);
        model.assert_whole(&cache, &when);
        let sent = hub.bytes_sent_since(mark) as u64;
        assert!(sent <= COST, "{when}: {sent} fetched");
    }
    counts.print("power cuts while mending");
}
