//! Kills before system calls of a pull, and system calls that fail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::process::Signal;

use super::{
    Counts, FOLDER, LOST, M, MB, Model, REPO, SYNC, assert_right_or_loud, copied, injected, kill, names,
    new_home, parts, pull, pull_injected, run, signal, spawn, states, wait_for_part, wait_until,
};
use crate::support::Home;
use crate::support::hub::{Fault, Hub, RepoFile, noise};

/// System calls that change a disk, by their effect. A `?` marks calls that some processors lack.
const CHANGES: [(&str, &str, usize); 9] = [
    ("rename", "?rename,?renameat,renameat2", 1),
    ("fsync", "fsync,fdatasync", 1),
    ("symlink", "?symlink,symlinkat", 1),
    ("mkdir", "?mkdir,mkdirat", 1),
    ("unlink", "?unlink,unlinkat", 1),
    ("ftruncate", "ftruncate", 1),
    ("fallocate", "fallocate", 1),
    ("pwrite64", "pwrite64", 1),
    // This includes writes that are not to a file: those that wake threads.
    ("write", "write", 3),
];

/// F1 at the critical points: a kill before each call that changes the disk.
#[test]
fn a_kill_before_any_change_of_the_disk_leaves_nothing_wrong() {
    let model = Model::of(&[9 * M, 3 * M / 10], 3);
    let (home, hub) = (new_home(), model.hub());
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
                // A hub of its own counts only the bytes of its own pulls.
                let hub = model.hub();
                loop {
                    let Some(((state, template), (name, calls, step))) = work.lock().unwrap().pop() else {
                        return;
                    };
                    let mut hit = 0;
                    for number in (1..).step_by(*step) {
                        let when = format!("{state} cache, {name} {number}");
                        let home = new_home();
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

/// F9, F19: system calls that fail.
#[test]
fn failing_system_calls_are_reported_and_leave_nothing_wrong() {
    /// The process opens about a hundred files, libraries first, before it opens the first file of the cache.
    const OPENED: std::ops::Range<usize> = 8..200;
    let model = Model::of(&[9 * M, 3 * M / 10], 3);
    let (home, hub) = (new_home(), model.hub());
    let states = states(&model, &hub, &home);
    let mut counts = Counts::default();
    let mut check = |calls: &str, what: &str, state: &(&str, PathBuf)| {
        let when = format!("{} cache, {calls} {what}", state.0);
        let home = new_home();
        let cache = home.path().join("hub");
        copied(&state.1, &cache);
        let blobs = names(&cache.join(FOLDER).join("blobs"));
        let ended = pull_injected(&home, &hub, &cache, calls, what);
        // A program whose libraries cannot be opened never starts.
        if ended.code != 127 {
            assert_right_or_loud(&model, &cache, &ended, &when);
        }
        let lost = blobs.iter().filter(|blob| !blob.exists()).count();
        assert_eq!(lost, 0, "{when}: verified blobs were removed");
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

/// A verified blob that cannot be read, because of the disk or a limit of open files, still counts as verified.
#[test]
fn a_blob_that_cannot_be_read_now_is_not_removed() {
    let model = Model::of(&[9 * M], 0);
    let (home, hub) = (new_home(), model.hub());
    let [_, _, (_, unnamed)] = states(&model, &hub, &home);
    let mut removed = Vec::new();
    for error in ["EMFILE", "EIO", "EACCES"] {
        let home = new_home();
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
    assert_eq!(removed, Vec::<&str>::new(), "a verified blob was removed");
}

/// A disk reports lost writes only once, perhaps long before the last byte is fetched.
#[test]
fn a_failed_sync_in_the_middle_of_a_file_is_not_forgotten() {
    // More than three times the bytes between two syncs. The rate is so low that each sync ends long before the next.
    let model = Model::of(&[110 * M], 0);
    // After each sync that succeeds the journal is synced too.
    for (failing, kept) in [(1, 0), (3, SYNC)] {
        let (home, hub) = (new_home(), model.hub());
        let cache = home.path().join("hub");
        hub.fault("blob/", Fault::Slow(40 * M), usize::MAX);
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
        // The page cache differs from the disk: its bytes are not reused, but the bytes that were synced before are.
        let left = parts(&cache)
            .iter()
            .map(|part| part.metadata().unwrap().len())
            .sum::<u64>();
        assert!(
            left >= kept && left < kept + LOST,
            "{left} kept of a sync at {kept}"
        );
        let (needed, mark) = model.start_of_next(&hub, &cache);
        assert!(needed <= 110 * MB - kept + 2 * LOST, "{needed} needed");
        run(pull(&home, &hub, &cache, &["--max-workers", "1"])).expect(0);
        model.assert_whole(&cache, "afterwards");
        let sent = hub.bytes_sent_since(mark) as u64;
        assert!(
            sent >= 110 * MB - left && sent <= needed,
            "{sent} fetched, {needed} needed"
        );
    }
}

/// A disk that is slower than the network: the cost of a power cut does not grow with the size of the file.
#[test]
fn no_more_than_two_syncs_are_written_ahead_of_a_slow_disk() {
    let model = Model::of(&[150 * M], 0);
    let (home, hub) = (new_home(), model.hub());
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

/// An unreadable sector counts as a corrupt range: a repair and a pull fetch its bytes, unless a second read succeeds.
#[test]
fn an_unreadable_sector_is_repaired() {
    const SIZE: usize = 9 * M;
    // Not a safetensors file: its header would be read once more at the end of the pull.
    let bytes = noise(7, SIZE);
    let model = Model::new([("weights.gguf".to_owned(), RepoFile { bytes, large: true })]);
    let (home, hub) = (new_home(), model.hub());
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
        // Each kind of call is counted separately, so copying fails once too.
        ("error=EIO:when=1", 0..6 * M),
        ("error=EIO", SIZE..SIZE + M),
    ] {
        let mut repair = home.command(&["weights", "verify", REPO, "--repair", "--endpoint", &hub.endpoint]);
        repair.env("HF_HUB_CACHE", &cache);
        check(&repair, fault, expected.clone());
        // Without its manifest and its log no file is known as verified, so a pull reads all files.
        for known in [
            format!("verified-{}.json", model.commit),
            "proven.jsonl".to_owned(),
        ] {
            std::fs::remove_file(cache.join(FOLDER).join(".dsr1").join(known)).unwrap();
        }
        check(&pull(&home, &hub, &cache, &[]), fault, expected);
    }
}

/// The same for a pull that ends before the disk reports: the next pull does not resume from bytes that are only in
/// memory.
#[test]
fn a_failed_sync_counts_also_when_the_pull_is_interrupted() {
    let model = Model::of(&[150 * M], 0);
    for ends in [Signal::INT, Signal::KILL] {
        let (home, hub) = (new_home(), model.hub());
        let cache = home.path().join("hub");
        hub.fault("blob/", Fault::Slow(60 * M), usize::MAX);
        let pull_once = pull(&home, &hub, &cache, &["--max-workers", "1"]);
        let mut child = spawn(injected(&pull_once, "fdatasync", "error=EIO:when=1", &[]));
        wait_until("a part is there", || !parts(&cache).is_empty());
        wait_until("the sync has failed", || parts(&cache).is_empty());
        // strace forwards the signals that it receives.
        signal(&child, ends);
        child.wait().unwrap();
        let mark = hub.arrived();
        hub.clear();
        run(pull(&home, &hub, &cache, &[])).expect(0);
        model.assert_whole(&cache, "afterwards");
        let sent = hub.bytes_sent_since(mark);
        assert!(sent as u64 >= 150 * MB, "{ends:?}: {sent} fetched");
    }
}

/// Returns a cache with the files of a killed pull, and the bytes that the next pull has to fetch.
fn half_pulled(model: &Model) -> (Home, Hub, PathBuf, (u64, usize)) {
    let (home, hub) = (new_home(), model.hub());
    let cache = home.path().join("hub");
    hub.fault("blob/", Fault::Slow(20 * M), usize::MAX);
    let child = spawn(pull(&home, &hub, &cache, &["--max-workers", "1"]));
    wait_for_part("some of it is there", &cache, 9 * MB);
    kill(child);
    hub.clear();
    let next = model.start_of_next(&hub, &cache);
    (home, hub, cache, next)
}

/// An unreadable partial file does not block pulls for ever, and the bytes before the unreadable ones are reused. If a
/// second read succeeds, nothing is fetched again.
#[test]
fn an_unreadable_partial_file_is_resumed_before_the_unreadable_bytes() {
    let model = Model::of(&[21 * M], 0);
    for (fault, least) in [("error=EIO:when=20", 0), ("error=EIO:when=20..25", 16 * MB)] {
        let (home, hub, cache, (needed, mark)) = half_pulled(&model);
        // More than one step is read before the call that fails; the first reads belong to the program's libraries.
        let ended = pull_injected(&home, &hub, &cache, "pread64", fault);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let sent = hub.bytes_sent_since(mark) as u64;
        let most = if least == 0 { needed } else { 18 * MB };
        assert!(
            sent >= least && sent <= most,
            "{fault}: {sent} fetched, {needed} needed"
        );
        assert_eq!(model.assert_whole(&cache, "afterwards"), Vec::<String>::new());
    }
}

/// A file server that is unreachable lost nothing: the pull reports it, and all files stay.
#[test]
fn a_disk_that_does_not_answer_loses_no_bytes_of_a_partial_file() {
    let model = Model::of(&[21 * M], 0);
    let (home, hub, cache, (needed, mark)) = half_pulled(&model);
    // Once from the start, and once while present bytes are read: a probe of the disk is one fsync.
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
