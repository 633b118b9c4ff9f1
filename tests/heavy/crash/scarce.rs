//! A disk without space, and a process with a limit of open files.

use std::process::Stdio;

use super::{
    Counts, FOLDER, LOST, M, MB, Model, REPO, assert_right_or_loud, copied, kill, names, new_home, parts,
    pull, run, spawn, states, under, wait_for_part, wait_until,
};
use crate::support::Run;
use crate::support::disk::Mounted;
use crate::support::hub::Fault;

/// F9: a disk that is too small is reported before the first byte.
#[test]
fn a_disk_that_is_too_small_is_refused_before_the_first_byte() {
    let model = Model::of(&[21 * M, 9 * M], 3);
    let (home, hub) = (new_home(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "1600k");
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

/// F9: a disk that another process fills meanwhile.
#[test]
fn a_disk_that_fills_during_a_pull_keeps_the_verified_bytes() {
    let model = Model::of(&[21 * M, 9 * M], 3);
    let (home, hub) = (new_home(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "2560k");
    hub.fault("blob/", Fault::Slow(10 * M), usize::MAX);
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
    wait_until("both shards are under way", || written(12 * MB));
    let filler = std::fs::File::create(disk.at.join("filler")).unwrap();
    let mut filler = std::io::BufWriter::new(filler);
    let full = std::io::copy(&mut std::io::repeat(1), &mut filler).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let ended = Run::from(child.wait_with_output().unwrap()).expect(3);
    assert!(
        ended
            .stderr
            .contains("hint: free some space and pull again: downloaded data is kept"),
        "{}",
        ended.stderr
    );
    assert_eq!(model.wrong(&disk.at), Vec::<String>::new());
    hub.clear();
    disk.resize("5m");
    let (needed, mark) = model.start_of_next(&hub, &disk.at);
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    let again = hub.bytes_sent_since(mark) as u64;
    assert!(
        again <= needed && needed < 30 * MB,
        "{again} fetched, {needed} allowed"
    );
    assert_eq!(
        model.assert_whole(&disk.at, "a larger disk"),
        Vec::<String>::new()
    );
    eprintln!("a disk that fills: silent wrong = 0; {again} bytes fetched again of 30000000");
}

/// F9: the disk lacks the space to take over the files of a killed pull.
#[test]
fn a_disk_that_is_full_when_a_pull_resumes_loses_no_bytes() {
    const NAMES: u64 = 12;
    let model = Model::of(&[21 * M], 0);
    let (home, hub) = (new_home(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "3840k");
    disk.leave_names(Some(1000));
    hub.fault("blob/", Fault::Slow(20 * M), usize::MAX);
    let child = spawn(pull(&home, &hub, &disk.at, &[]));
    wait_for_part("most of it is there", &disk.at, 13 * MB);
    kill(child);
    hub.clear();
    let (needed, mark) = model.start_of_next(&hub, &disk.at);
    assert!(needed < 15 * MB, "{needed}");
    let mut loud = 0;
    for names in 0..NAMES {
        disk.leave_names(Some(names));
        let ended = run(pull(&home, &hub, &disk.at, &[]));
        assert_right_or_loud(&model, &disk.at, &ended, &format!("room for {names} names"));
        if ended.code == 0 {
            break;
        }
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        loud += 1;
    }
    disk.leave_names(None);
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    let again = hub.bytes_sent_since(mark) as u64;
    assert!(again <= needed, "{again} fetched, {needed} allowed");
    assert!(loud > 0, "it needs no name");
    model.assert_whole(&disk.at, "a larger disk");
    eprintln!(
        "a disk that is full at first: silent wrong = 0; {loud} times loud, {again} bytes fetched again"
    );
}

/// F9: a damaged file is copied for its repair. Without space for two files the pull reports that and leaves the file.
#[test]
fn a_damaged_file_stays_if_there_is_no_space_for_its_copy() {
    let model = Model::of(&[21 * M], 0);
    let (home, hub) = (new_home(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "1920k");
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    let blob = model.blob(&disk.at, "model-0.safetensors");
    let file = std::fs::File::options().write(true).open(&blob).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 9 * MB).unwrap();
    drop(file);
    let rotten = std::fs::read(&blob).unwrap();
    let ended = run(pull(&home, &hub, &disk.at, &[])).expect(3);
    assert!(
        ended
            .stderr
            .contains("needs space for a copy, 1.3 MB for each worker: No space left")
            && ended.stderr.contains("hint: free some space"),
        "{}",
        ended.stderr
    );
    assert!(std::fs::read(&blob).unwrap() == rotten);
    disk.resize("3840k");
    let (_, mark) = model.start_of_next(&hub, &disk.at);
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    let sent = hub.bytes_sent_since(mark) as u64;
    assert!(sent <= LOST, "{sent} fetched");
    assert_eq!(model.assert_whole(&disk.at, "mended"), Vec::<String>::new());
}

/// F19: a process that may open few files.
#[test]
fn with_few_open_files_a_pull_is_correct_or_reports_an_error() {
    let model = Model::of(&[9 * M, 3 * M, 3 * M / 10], 9);
    let (home, hub) = (new_home(), model.hub());
    let [empty, _, unnamed] = states(&model, &hub, &home);
    let mut counts = Counts::default();
    let mut lost = Vec::new();
    for (state, template) in [empty, unnamed] {
        for limit in (8..=64).step_by(4) {
            let home = new_home();
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

/// Only a read-only cache is trusted by sizes and times: a disk that is full, or that fails, is reported.
#[test]
fn a_full_disk_does_not_count_as_a_read_only_cache() {
    let model = Model::of(&[9 * M], 3);
    let (home, hub) = (new_home(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "2560k");
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    let blob = model.blob(&disk.at, "model-0.safetensors");
    std::fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::remove_file(disk.at.join(FOLDER).join(".dsr1/lock")).unwrap();
    disk.leave_names(Some(0));
    let ended = run(pull(&home, &hub, &disk.at, &[])).expect(3);
    assert!(
        ended.stderr.contains("cannot lock") && ended.stderr.contains("No space left on device"),
        "{}",
        ended.stderr
    );
    disk.leave_names(None);
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    assert_eq!(model.assert_whole(&disk.at, "afterwards"), Vec::<String>::new());
}

/// A cache on a read-only disk can be verified; a warning says that the result cannot be recorded.
#[test]
fn a_check_needs_no_write_permission() {
    let model = Model::of(&[9 * M], 3);
    let (home, hub) = (new_home(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "2560k");
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    disk.read_only(true);
    let mut verify = home.command(&["weights", "verify", REPO, "--progress", "plain"]);
    verify.env("HF_HUB_CACHE", &disk.at);
    let ended = run(verify).expect(0);
    assert!(ended.stdout.contains("every hash checked"), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("cannot record the result in the cache"),
        "{}",
        ended.stderr
    );
}

/// A user who may only read a cache is not stopped by a backup or a change of rights: sizes and times still show that
/// the files are the verified ones.
#[test]
fn a_read_only_cache_is_accepted_as_it_was_verified() {
    let model = Model::of(&[9 * M], 3);
    let (home, hub) = (new_home(), model.hub());
    let disk = Mounted::tmpfs(&home.path().join("disk"), "2560k");
    run(pull(&home, &hub, &disk.at, &[])).expect(0);
    let blob = model.blob(&disk.at, "model-0.safetensors");
    std::fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    disk.read_only(true);
    let mut told = home.command(&["pull", REPO, "--endpoint", &hub.endpoint, "--progress", "plain"]);
    told.env("HF_HUB_CACHE", &disk.at);
    let ended = run(told).expect(0);
    assert!(
        ended
            .stderr
            .contains("is read-only: files were compared by size and time, and not hashed again"),
        "{}",
        ended.stderr
    );
    let dry = || run(pull(&home, &hub, &disk.at, &["--dry-run"]));
    dry().expect(0);
    // A file that was written to does not count as verified.
    disk.read_only(false);
    let file = std::fs::File::options().write(true).open(&blob).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 5 * MB).unwrap();
    drop(file);
    disk.read_only(true);
    run(pull(&home, &hub, &disk.at, &[])).expect(3);
    let ended = dry().expect(3);
    assert!(ended.stderr.contains("cannot write to"), "{}", ended.stderr);
}
