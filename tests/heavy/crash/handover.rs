//! Two pulls of one repository: one resumes the partial files of the other.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::{
    Counts, M, MB, Model, REPO, copied, injected, kill, new_home, parts, pull, pull_injected, run, signal,
    spawn, under, wait_for_part, wait_until,
};
use crate::support::Run;
use crate::support::hub::Fault;
use crate::support::random::Random;

/// Two pulls at once, one of which is killed: the other takes over.
#[test]
fn a_pull_takes_over_from_one_that_is_killed() {
    const ROUNDS: usize = 12;
    let model = Model::of(&[21 * M, 9 * M], 3);
    let hub = model.hub();
    let mut random = Random::new("two pulls");
    let mut counts = Counts::default();
    for round in 0..ROUNDS {
        let home = new_home();
        let cache = home.path().join("hub");
        hub.fault("blob/", Fault::Slow(40 * M), usize::MAX);
        let first = spawn(pull(&home, &hub, &cache, &[]));
        wait_until("one holds the lock", || !parts(&cache).is_empty());
        let second = pull(&home, &hub, &cache, &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(random.time(Duration::from_millis(500)));
        // It is stopped first, because bytes that it fetched between the two counts would be in both.
        signal(&first, Signal::STOP);
        let (needed, mark) = model.start_of_next(&hub, &cache);
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

/// F11: a filesystem that grants locks to every caller, as some network filesystems do, or that has no locks.
#[test]
fn two_pulls_without_working_locks_end_with_correct_files() {
    let model = Model::of(&[21 * M, 9 * M], 9);
    let hub = model.hub();
    for lie in ["retval=0", "error=ENOLCK", "error=ENOSYS", "error=EOPNOTSUPP"] {
        for round in 0..3 {
            let home = new_home();
            let cache = home.path().join("hub");
            hub.fault("blob/", Fault::Slow(60 * M), usize::MAX);
            let start = || {
                let mut command = injected(&pull(&home, &hub, &cache, &[]), "flock", lie, &[]);
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

/// A partial file changes its owner with two renames: a kill between them must not lose verified bytes.
#[test]
fn a_kill_while_a_partial_file_changes_its_owner_costs_at_most_a_step() {
    let model = Model::of(&[21 * M], 0);
    let (home, hub) = (new_home(), model.hub());
    let resumed = home.path().join("resumed");
    hub.fault("blob/", Fault::Slow(40 * M), usize::MAX);
    let child = spawn(pull(&home, &hub, &resumed, &[]));
    wait_for_part("most of it is there", &resumed, 14 * MB);
    kill(child);
    hub.clear();
    let mut costly = Vec::new();
    for number in 1..=3 {
        let home = new_home();
        let cache = home.path().join("hub");
        copied(&resumed, &cache);
        let calls = "?rename,?renameat,renameat2";
        let kill = format!("signal=SIGKILL:when={number}");
        pull_injected(&home, &hub, &cache, calls, &kill).expect(137);
        let (needed, mark) = model.start_of_next(&hub, &cache);
        run(pull(&home, &hub, &cache, &[])).expect(0);
        let again = hub.bytes_sent_since(mark) as u64;
        if again > needed {
            costly.push(format!("rename {number}: {again} fetched, {needed} allowed"));
        }
        assert_eq!(model.assert_whole(&cache, "resumed"), Vec::<String>::new());
    }
    assert_eq!(costly, Vec::<String>::new());
}

/// If locks do not show a running pull, the name of its partial file does: the files of a running pull stay, those
/// of a dead one are removed.
#[test]
fn removing_unfinished_files_leaves_a_live_pull_alone() {
    let model = Model::of(&[21 * M], 1);
    let (home, hub) = (new_home(), model.hub());
    let cache = home.path().join("hub");
    hub.fault("blob/", Fault::Slow(6 * M), usize::MAX);
    let pulls = pull(&home, &hub, &cache, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("a part is there", || !parts(&cache).is_empty());
    // It is stopped, because it must not end meanwhile.
    signal(&pulls, Signal::STOP);
    let live = parts(&cache).remove(0);
    // The same process id, another start time.
    let name = live.to_str().unwrap();
    let dead = PathBuf::from(format!("{}-1.part", name.rsplit_once('-').unwrap().0));
    std::fs::write(&dead, vec![7; 70_000]).unwrap();
    let mut remove = home.command(&["weights", "rm", REPO, "--unfinished", "--yes"]);
    remove.env("HF_HUB_CACHE", &cache);
    let removed = run(injected(&remove, "flock", "error=ENOSYS", &[]));
    let there = (live.exists(), dead.exists());
    hub.clear();
    signal(&pulls, Signal::CONT);
    let ended = Run::from(pulls.wait_with_output().unwrap());
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    assert_eq!(there, (true, false), "{}", removed.stderr);
    assert!(
        removed.stderr.contains("a pull still writes to it"),
        "{}",
        removed.stderr
    );
    ended.expect(0);
    assert_eq!(model.assert_whole(&cache, "at the end"), Vec::<String>::new());
}

/// Two containers on a filesystem without locks: each has its own process ids, and both have the same host name. The
/// files of the other container are not mistaken for those of a dead process.
#[test]
fn a_pull_in_another_container_is_not_taken_for_dead() {
    let model = Model::of(&[21 * M], 1);
    let hub = model.hub();
    let home = new_home();
    let cache = home.path().join("hub");
    let start = || {
        let inside = injected(&pull(&home, &hub, &cache, &[]), "flock", "error=ENOLCK", &[]);
        let container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut command = under(&inside, &container);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    hub.fault("blob/", Fault::Slow(2 * M), usize::MAX);
    let first = start();
    wait_for_part("some of it is there", &cache, 3 * MB);
    let begun = parts(&cache);
    let second = start();
    wait_until("both have a part", || parts(&cache).len() > 1);
    assert!(begun.iter().all(|part| part.exists()), "it was taken");
    hub.clear();
    for one in [first, second] {
        let ended = Run::from(one.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    run(pull(&home, &hub, &cache, &[])).expect(0);
    assert_eq!(model.assert_whole(&cache, "at the end"), Vec::<String>::new());
}

/// A container that replaces another one, on a filesystem without locks: the bytes of the other one are reused as soon
/// as it is certain that no process writes to its files.
#[test]
fn a_pull_waits_for_the_files_of_a_replaced_container_and_takes_them() {
    const SIZE: u64 = 150 * MB;
    let model = Model::of(&[150 * M], 1);
    let (home, hub) = (new_home(), model.hub());
    let cache = home.path().join("hub");
    hub.fault("blob/", Fault::Slow(60 * M), usize::MAX);
    let child = spawn(pull(&home, &hub, &cache, &["--max-workers", "1"]));
    wait_for_part("more than a kill may cost is there", &cache, 100 * MB);
    kill(child);
    hub.clear();
    // The name that a process of another host would give it.
    let left = parts(&cache).remove(0);
    let name = left.file_name().unwrap().to_str().unwrap();
    let elsewhere = format!("{}.pod-0123456789ab-0123456789ab.7-7.part", &name[..64]);
    let elsewhere = left.with_file_name(elsewhere);
    for kind in ["record", "part"] {
        std::fs::rename(left.with_extension(kind), elsewhere.with_extension(kind)).unwrap();
    }
    // It counts as abandoned in a moment, and not now.
    let part = std::fs::File::options().write(true).open(&elsewhere).unwrap();
    part.set_modified(SystemTime::now()).unwrap();
    let (needed, mark) = model.start_of_next(&hub, &cache);
    assert!(needed < SIZE - 90 * MB, "{needed}");
    let mut told = home.command(&["pull", REPO, "--endpoint", &hub.endpoint, "--progress", "plain"]);
    told.env("HF_HUB_CACHE", &cache);
    let ended = run(injected(&told, "flock", "error=ENOLCK", &[])).expect(0);
    assert!(
        ended
            .stderr
            .contains("of an unfinished download from another host or container; waiting up to "),
        "{}",
        ended.stderr
    );
    let sent = hub.bytes_sent_since(mark) as u64;
    assert!(sent <= needed, "{sent} fetched, {needed} allowed");
    model.assert_whole(&cache, "afterwards");
}
