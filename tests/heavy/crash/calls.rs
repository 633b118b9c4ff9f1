//! System calls before which a pull is killed, or that fail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::process::Signal;

use super::{
    Counts, FOLDER, LOST, Model, REPO, assert_right_or_loud, copied, injected, kill, names, parts, pull,
    pull_injected, run, signal, spawn, states, wait_for_part, wait_until,
};
use crate::support::Home;
use crate::support::hub::{Fault, Hub, RepoFile, noise};

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
                        let kill = format!("signal=SIGKILL:when={number}");
                        let ended = pull_injected(&home, &hub, &cache, calls, &kill);
                        assert_eq!(model.wrong(&cache), Vec::<String>::new(), "{when}");
                        if ended.code == 0 {
                            model.assert_whole(&cache, &when);
                            break;
                        }
                        assert_eq!(ended.code, 137, "{when}: {}", ended.stderr);
                        hit += 1;
                        let (needed, mark) = model.start_of_next(&hub, &cache);
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
    assert_eq!(costly.into_inner().unwrap(), Vec::<String>::new());
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
        let ended = pull_injected(&home, &hub, &cache, calls, what);
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
        let blob = model.blob(&cache, "model-0.safetensors");
        let written = || std::fs::metadata(&blob).and_then(|meta| meta.modified()).ok();
        let before = written();
        let pull_once = pull(&home, &hub, &cache, &[]);
        let only = ["-P", blob.to_str().unwrap()];
        let ended = run(injected(&pull_once, "openat", &format!("error={error}"), &only));
        assert_right_or_loud(&model, &cache, &ended, error);
        if written() != before {
            removed.push(error);
        }
        run(pull(&home, &hub, &cache, &[])).expect(0);
        model.assert_whole(&cache, error);
    }
    assert_eq!(removed, Vec::<&str>::new(), "a proven blob was removed");
}

/// What is written between two syncs (`hub/part/durable`).
const SYNC: u64 = 32 << 20;

/// A disk tells that it lost what was written to it once, perhaps long before the last byte has come.
#[test]
fn a_failed_sync_in_the_midst_of_a_file_is_not_forgotten() {
    // Three times what is written between two syncs, and some. Slow enough that each sync is over long before the next.
    let model = Model::of(&[110_000_000], 0);
    // After each that succeeds the record is kept, too.
    for (failing, kept) in [(1, 0), (3, SYNC)] {
        let (home, hub) = (Home::new(), model.hub());
        let cache = home.path().join("hub");
        hub.fault("blob/", Fault::Slow(40_000_000), usize::MAX);
        let fault = format!("error=EIO:when={failing}");
        let ended = pull_injected(&home, &hub, &cache, "fdatasync", &fault);
        hub.clear();
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        assert!(
            ended
                .stderr
                .contains("the disk did not store what was written to it"),
            "{}",
            ended.stderr
        );
        assert_eq!(names(&cache.join(FOLDER).join("blobs")), Vec::<PathBuf>::new());
        // What is in memory of it is not what is on the disk: of that, none is taken; what it kept before is.
        let left = parts(&cache)
            .iter()
            .map(|part| part.metadata().unwrap().len())
            .sum::<u64>();
        assert!(
            left >= kept && left < kept + LOST,
            "{left} kept of a sync at {kept}"
        );
        let (needed, mark) = model.start_of_next(&hub, &cache);
        assert!(needed <= 110_000_000 - kept + 2 * LOST, "{needed} needed");
        run(pull(&home, &hub, &cache, &["--max-workers", "1"])).expect(0);
        model.assert_whole(&cache, "afterwards");
        let sent = hub.bytes_sent_since(mark) as u64;
        assert!(
            sent >= 110_000_000 - left && sent <= needed,
            "{sent} fetched, {needed} needed"
        );
    }
}

/// A disk that is slower than the network: what a power cut would cost does not grow with the file.
#[test]
fn no_more_than_two_syncs_are_written_ahead_of_a_slow_disk() {
    let model = Model::of(&[150_000_000], 0);
    let (home, hub) = (Home::new(), model.hub());
    let cache = home.path().join("hub");
    let pull_once = pull(&home, &hub, &cache, &["--max-workers", "1"]);
    // The first sync takes longer than this test.
    let mut child = spawn(injected(&pull_once, "fdatasync", "delay_enter=600s:when=1", &[]));
    let written = || {
        parts(&cache)
            .iter()
            .filter_map(|part| Some(part.metadata().ok()?.len()))
            .sum::<u64>()
    };
    wait_until("two syncs' worth is written", || written() >= 2 * SYNC);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let ahead = written();
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert!(
        ahead < 2 * SYNC + LOST,
        "{ahead} are written, and none of it is kept"
    );
}

/// A sector that does not read is as bad as one with a wrong byte: a repair and a pull fetch what it held, unless it reads
/// when it is asked again.
#[test]
fn a_sector_that_does_not_read_is_repaired() {
    const SIZE: usize = 9_000_000;
    // No safetensors: the header of those is read once more when all is there.
    let bytes = noise(7, SIZE);
    let model = Model::new([("weights.gguf".to_owned(), RepoFile { bytes, large: true })]);
    let (home, hub) = (Home::new(), model.hub());
    let cache = home.path().join("hub");
    run(pull(&home, &hub, &cache, &[])).expect(0);
    let blob = model.blob(&cache, "weights.gguf");
    let only = ["-P", blob.to_str().unwrap()];
    let check = |command: &std::process::Command, fault: &str, expected: std::ops::Range<usize>| {
        let before = hub.bytes_sent();
        let ended = run(injected(command, "read,pread64,copy_file_range", fault, &only));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let sent = hub.bytes_sent() - before;
        assert!(expected.contains(&sent), "{fault}: {sent} fetched");
        assert_eq!(model.assert_whole(&cache, fault), Vec::<String>::new());
    };
    for (fault, expected) in [
        // Each call counts for itself: copying fails once, too.
        ("error=EIO:when=1", 0..6_000_000),
        ("error=EIO", SIZE..SIZE + 1_000_000),
    ] {
        let mut repair = home.command(&["weights", "verify", REPO, "--repair", "--endpoint", &hub.endpoint]);
        repair.env("HF_HUB_CACHE", &cache);
        check(&repair, fault, expected.clone());
        // Nothing that is proven is known without its manifest and log: a pull reads it.
        for known in [
            format!("verified-{}.json", model.commit),
            "proven.jsonl".to_owned(),
        ] {
            std::fs::remove_file(cache.join(FOLDER).join(".dsr1").join(known)).unwrap();
        }
        check(&pull(&home, &hub, &cache, &[]), fault, expected);
    }
}

/// The same for a pull that ends before it is told: the next one does not go on from what is only in memory.
#[test]
fn a_failed_sync_counts_also_when_the_pull_is_interrupted() {
    let model = Model::of(&[150_000_000], 0);
    for ends in [Signal::INT, Signal::KILL] {
        let (home, hub) = (Home::new(), model.hub());
        let cache = home.path().join("hub");
        hub.fault("blob/", Fault::Slow(60_000_000), usize::MAX);
        let pull_once = pull(&home, &hub, &cache, &["--max-workers", "1"]);
        let mut child = spawn(injected(&pull_once, "fdatasync", "error=EIO:when=1", &[]));
        wait_until("a part is there", || !parts(&cache).is_empty());
        wait_until("the sync has failed", || parts(&cache).is_empty());
        // strace passes on what it gets.
        signal(&child, ends);
        child.wait().unwrap();
        let mark = hub.arrived();
        hub.clear();
        run(pull(&home, &hub, &cache, &[])).expect(0);
        model.assert_whole(&cache, "afterwards");
        let sent = hub.bytes_sent_since(mark);
        assert!(sent >= 150_000_000, "{ends:?}: {sent} fetched");
    }
}

/// A cache with what a killed pull left, and what the next one has to fetch.
fn half_pulled(model: &Model) -> (Home, Hub, PathBuf, (u64, usize)) {
    let (home, hub) = (Home::new(), model.hub());
    let cache = home.path().join("hub");
    hub.fault("blob/", Fault::Slow(20_000_000), usize::MAX);
    let child = spawn(pull(&home, &hub, &cache, &["--max-workers", "1"]));
    wait_for_part("some of it is there", &cache, 9_000_000);
    kill(child);
    hub.clear();
    let next = model.start_of_next(&hub, &cache);
    (home, hub, cache, next)
}

/// What a disk does not give any more stops no pull for ever, and what lies before it is gone on from. One that gives it
/// when it is asked again costs nothing.
#[test]
fn a_part_that_does_not_read_goes_on_from_before_that() {
    let model = Model::of(&[21_000_000], 0);
    for (fault, least) in [("error=EIO:when=20", 0), ("error=EIO:when=20..25", 16_000_000)] {
        let (home, hub, cache, (needed, mark)) = half_pulled(&model);
        // A step and some are read before the one that fails, the first of them for the program's libraries.
        let ended = pull_injected(&home, &hub, &cache, "pread64", fault);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let sent = hub.bytes_sent_since(mark) as u64;
        let most = if least == 0 { needed } else { 18_000_000 };
        assert!(
            sent >= least && sent <= most,
            "{fault}: {sent} fetched, {needed} needed"
        );
        assert_eq!(model.assert_whole(&cache, "afterwards"), Vec::<String>::new());
    }
}

/// A server of files that is away lost nothing: it is told of, and what is there stays.
#[test]
fn a_disk_that_does_not_answer_costs_nothing_of_a_part() {
    let model = Model::of(&[21_000_000], 0);
    let (home, hub, cache, (needed, mark)) = half_pulled(&model);
    // From the start, and while what is there is read: a probe of the disk is one fsync.
    for first in [1, 2] {
        let away = format!("inject=fsync:error=EIO:when={first}+");
        let pull_once = pull(&home, &hub, &cache, &["--max-workers", "1"]);
        let more = ["-e", "trace=pread64,fsync", "-e", &away];
        let ended = run(injected(&pull_once, "pread64", "error=EIO:when=20+", &more));
        assert_eq!(ended.code, 3, "{first}: {}", ended.stderr);
        if first == 2 {
            assert!(
                ended.stderr.contains("the disk does not respond"),
                "{}",
                ended.stderr
            );
        }
    }
    run(pull(&home, &hub, &cache, &["--max-workers", "1"])).expect(0);
    let sent = hub.bytes_sent_since(mark) as u64;
    assert!(sent <= needed, "{sent} fetched, {needed} needed");
    assert_eq!(model.assert_whole(&cache, "afterwards"), Vec::<String>::new());
}
