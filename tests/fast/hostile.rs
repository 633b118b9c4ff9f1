//! Hostile hubs, misplaced links and unfinished caches: none of them does harm.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::hub::{Fault, Hub, RepoFile, entry, noise, small_model};
use crate::support::pulled::{REPO, pull, setup, verify};
use crate::support::{self, Home, Run};
use serde_json::{Value, json};

const PRECIOUS: &str = "the user's own, and longer";

fn repair(home: &Home, hub: &Hub, dir: &str) -> Run {
    verify(home, hub, &["--local-dir", dir, "--repair"])
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

/// `figures` of the directory is a link to the user's pictures, of which one has the name of a repository's file.
#[test]
fn a_pull_removes_nothing_behind_a_linked_directory() {
    let (home, hub) = setup();
    let (dir, own) = (home.path().join("d"), home.path().join("own"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("notes.md"), PRECIOUS).unwrap();
    symlink(&own, dir.join("figures")).unwrap();
    let run = pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(3);
    assert!(run.stderr.contains("figures` is a link"), "{}", run.stderr);
    assert_eq!(read(&own.join("notes.md")), PRECIOUS);
}

#[test]
fn a_repair_moves_nothing_from_behind_a_linked_directory() {
    let (home, hub) = setup();
    let (dir, own) = (home.path().join("d"), home.path().join("own"));
    pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(0);
    std::fs::remove_dir_all(dir.join("figures")).unwrap();
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("notes.md"), PRECIOUS).unwrap();
    symlink(&own, dir.join("figures")).unwrap();
    let run = repair(&home, &hub, dir.to_str().unwrap()).expect(3);
    assert!(run.stderr.contains("figures` is a link"), "{}", run.stderr);
    assert_eq!(read(&own.join("notes.md")), PRECIOUS);
}

#[test]
fn a_repair_does_not_write_through_a_linked_file() {
    let (home, hub) = setup();
    let (dir, own) = (home.path().join("d"), home.path().join("own.txt"));
    pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(0);
    std::fs::write(&own, PRECIOUS).unwrap();
    std::fs::remove_file(dir.join("config.json")).unwrap();
    symlink(&own, dir.join("config.json")).unwrap();
    repair(&home, &hub, dir.to_str().unwrap()).expect(0);
    assert_eq!(read(&own), PRECIOUS);
    assert_eq!(read(&dir.join("config.json")), "{}\n");
    assert!(!dir.join("config.json").is_symlink());
}

#[test]
fn a_repair_of_a_file_that_was_a_relative_link_is_complete() {
    let (home, hub) = setup();
    let dir = home.path().join("d");
    pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(0);
    std::fs::write(home.path().join("own.txt"), PRECIOUS).unwrap();
    std::fs::remove_file(dir.join("config.json")).unwrap();
    symlink("../own.txt", dir.join("config.json")).unwrap();
    repair(&home, &hub, dir.to_str().unwrap()).expect(0);
    assert_eq!(read(&dir.join("config.json")), "{}\n");
}

/// Users keep a second tree of 689 GB with `cp -al`.
#[test]
fn a_repair_that_fails_leaves_a_hard_link_of_the_file_alone() {
    let mut files = small_model();
    let right = noise(7, 9 << 20);
    let file = RepoFile {
        bytes: right.clone(),
        large: true,
    };
    files.insert("w.dat".to_owned(), file);
    let (home, hub) = (Home::new(), Hub::new(REPO, files));
    let (dir, kept) = (home.path().join("d"), home.path().join("kept"));
    pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(0);
    std::fs::hard_link(dir.join("w.dat"), &kept).unwrap();
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let rotten = std::fs::read(&kept).unwrap();
    hub.fault("w.dat", Fault::Status(404, "", ""), 20);
    repair(&home, &hub, dir.to_str().unwrap()).expect(5);
    for path in [&kept, &dir.join("w.dat")] {
        assert!(std::fs::read(path).unwrap() == rotten, "{}", path.display());
    }
    // A repair that succeeds leaves it alone too: the repaired file is another file from then on.
    hub.clear();
    let before = hub.arrived();
    repair(&home, &hub, dir.to_str().unwrap()).expect(0);
    assert!(std::fs::read(&kept).unwrap() == rotten);
    assert!(std::fs::read(dir.join("w.dat")).unwrap() == right);
    let sent = hub.bytes_sent_since(before);
    assert!(sent < 5 << 20, "{sent} bytes for one");
}

#[test]
fn one_refused_request_does_not_make_a_repair_fetch_the_whole_file() {
    let mut files = small_model();
    let bytes = noise(7, 40 << 20);
    files.insert("w.dat".to_owned(), RepoFile { bytes, large: true });
    let (home, hub) = (Home::new(), Hub::new(REPO, files));
    let dir = home.path().join("d");
    pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(0);
    let mut bytes = std::fs::read(dir.join("w.dat")).unwrap();
    bytes[100] ^= 1;
    std::fs::write(dir.join("w.dat"), bytes).unwrap();
    let before = hub.arrived();
    hub.fault("w.dat", Fault::Status(503, "", ""), 1);
    repair(&home, &hub, dir.to_str().unwrap()).expect(0);
    let sent = hub.bytes_sent_since(before);
    assert!(sent < 10 << 20, "{sent} bytes for one");
}

/// With `--local-dir .` in a work tree, `core.fsmonitor` of a repository's `.git/config` runs at the next `git status`.
#[test]
fn a_repository_does_not_write_into_dot_git() {
    let mut files = small_model();
    let bytes = b"[core]\n\tfsmonitor = false\n".to_vec();
    files.insert(".git/config".to_owned(), RepoFile { bytes, large: false });
    let (home, hub) = (Home::new(), Hub::new(REPO, files));
    let dir = home.path().join("d");
    std::fs::create_dir_all(dir.join(".git")).unwrap();
    std::fs::write(dir.join(".git/config"), PRECIOUS).unwrap();
    pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(6);
    assert_eq!(read(&dir.join(".git/config")), PRECIOUS);
}

#[test]
fn two_sizes_for_one_hash_are_refused() {
    let (home, hub) = setup();
    let files = small_model();
    let mut listing: Vec<Value> = files.iter().map(|(path, file)| entry(path, file)).collect();
    let mut liar = entry("model-3.safetensors", &files["model-1.safetensors"]);
    liar["size"] = json!(3);
    liar["lfs"]["size"] = json!(3);
    listing.push(liar);
    hub.listing(Value::from(listing));
    pull(&home, &hub, &[]).expect(6);
}

/// A hub client fetched one file of the commit; the mirror serves it as the whole commit; the real hub is asked later.
#[test]
fn a_part_of_a_commit_from_a_mirror_does_not_count_as_complete() {
    let (home, hub) = setup();
    let cache = home.path().join("theirs");
    let repo = cache.join("models--lab--tiny-r1");
    let snapshot = repo.join("snapshots").join(hub.commit());
    for dir in [&repo.join("blobs"), &repo.join("refs"), &snapshot] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let oid = entry("config.json", &small_model()["config.json"])["oid"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::write(repo.join("blobs").join(&oid), "{}\n").unwrap();
    symlink(format!("../../blobs/{oid}"), snapshot.join("config.json")).unwrap();
    std::fs::write(repo.join("refs/main"), hub.commit()).unwrap();
    let listen = format!("127.0.0.1:{}", support::free_port());
    let mirror = home.start(&[
        "mirror",
        "--cache-dir",
        cache.to_str().unwrap(),
        "--listen",
        &listen,
    ]);
    let begun = Instant::now();
    while !mirror.stdout().contains("HF_ENDPOINT=") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", mirror.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = home.run(&["pull", REPO, "--endpoint", &format!("http://{listen}")]);
    mirror.signal("INT");
    let _ = mirror.end();
    pull(&home, &hub, &[]).expect(0);
    let here = home
        .path()
        .join(".cache/huggingface/hub/models--lab--tiny-r1/snapshots")
        .join(hub.commit());
    assert!(
        here.join("model-1.safetensors").exists(),
        "the pull says that all is here"
    );
}

#[test]
fn a_password_in_the_endpoint_is_not_shown() {
    let home = Home::new();
    let run = home.run(&["pull", REPO, "--endpoint", "http://user:S3CRET@127.0.0.1:9"]);
    assert!(
        !run.stderr.contains("S3CRET") && !run.stdout.contains("S3CRET"),
        "{}",
        run.stderr
    );
}

/// A cache may come from anywhere, and a repair writes to the paths in its manifest.
#[test]
fn a_repair_with_a_forged_manifest_stays_inside_the_root() {
    let (home, hub) = setup();
    let (dir, victim) = (home.path().join("d"), home.path().join("victim.txt"));
    pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(0);
    let manifest = dir.join(format!(".dsr1/verified-{}.json", hub.commit()));
    let honest: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    for path in [victim.to_str().unwrap(), "../victim.txt", ".git/config"] {
        let mut forged = honest.clone();
        // The hub has these bytes.
        let config = forged["files"].as_array_mut().unwrap();
        let config = config.iter_mut().find(|file| file["path"] == "config.json");
        config.unwrap()["path"] = path.into();
        std::fs::write(&manifest, forged.to_string()).unwrap();
        let run = repair(&home, &hub, dir.to_str().unwrap());
        assert_ne!(run.code, 0, "{path}: {}", run.stdout);
        assert!(!victim.exists() && !dir.join(".git").exists(), "{path}");
    }
}

/// A user who may write into a shared cache must not make other users write elsewhere.
#[test]
fn a_pull_follows_no_link_below_the_repository() {
    let (_, hub) = setup();
    let commit = format!("snapshots/{}", hub.commit());
    for link in ["blobs", "refs", ".dsr1", "snapshots", &commit] {
        let home = Home::new();
        let (own, repo) = (home.path().join("own"), support::pulled::repo(&home));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("config.json"), PRECIOUS).unwrap();
        let link = repo.join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&own, &link).unwrap();
        let run = pull(&home, &hub, &[]).expect(3);
        let said = format!("error: `{}` is a link\ncause: ", link.display());
        assert!(run.stderr.contains(&said), "{}", run.stderr);
        assert_eq!(read(&own.join("config.json")), PRECIOUS);
        assert_eq!(std::fs::read_dir(&own).unwrap().count(), 1, "{}", link.display());
    }
}

#[test]
fn a_log_that_is_a_link_or_a_pipe_is_not_written() {
    let (home, hub) = setup();
    let victim = home.path().join("victim");
    std::fs::write(&victim, PRECIOUS).unwrap();
    let (linked, piped) = (home.path().join("linked"), home.path().join("piped"));
    for dir in [&linked, &piped] {
        std::fs::create_dir_all(dir.join(".dsr1")).unwrap();
    }
    symlink(&victim, linked.join(".dsr1/proven.jsonl")).unwrap();
    let pipe = piped.join(".dsr1/proven.jsonl");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for dir in [&linked, &piped] {
        pull(&home, &hub, &["--local-dir", dir.to_str().unwrap()]).expect(0);
        repair(&home, &hub, dir.to_str().unwrap()).expect(0);
    }
    assert_eq!(read(&victim), PRECIOUS);
}

/// Removing the link would free no space.
#[test]
fn a_repository_that_is_a_link_is_not_removed() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let (repo, store) = (support::pulled::repo(&home), home.path().join("store"));
    std::fs::rename(&repo, &store).unwrap();
    symlink(&store, &repo).unwrap();
    for more in [&[][..], &["--dry-run"], &["--yes"]] {
        let args = [&["weights", "rm", REPO], more].concat();
        let run = home.run(&args).expect(3);
        assert!(run.stderr.contains("its target `"), "{}", run.stderr);
    }
    assert!(store.join("blobs").exists() && repo.is_symlink());
    // A pull through the link is its purpose, and works.
    verify(&home, &hub, &[]).expect(0);
}

/// A user who may write into `.dsr1` of a directory cannot make a pull copy elsewhere, nor make it use a partial file
/// that this user can still write to.
#[test]
fn links_and_partial_files_of_another_user_are_not_used() {
    let mut files = small_model();
    let twin = files["model-1.safetensors"].clone();
    files.insert("twin.safetensors".to_owned(), twin.clone());
    let (home, hub) = (Home::new(), Hub::new(REPO, files));
    let (dir, own) = (home.path().join("d"), home.path().join("own.txt"));
    let to = ["--local-dir", dir.to_str().unwrap()];
    std::fs::write(&own, PRECIOUS).unwrap();
    hub.fault("blob/", Fault::Slow(400_000), usize::MAX);
    let running = home.start(&support::pulled::args(&hub, &to));
    // The names of partial files contain their owner.
    let begun = Instant::now();
    let owner = loop {
        let names = std::fs::read_dir(dir.join(".dsr1"))
            .into_iter()
            .flatten()
            .flatten();
        let mut names = names.filter_map(|item| item.file_name().into_string().ok());
        if let Some(part) = names.find(|name| name.strip_suffix(".part").is_some()) {
            break part
                .split_once('.')
                .unwrap()
                .1
                .strip_suffix(".part")
                .unwrap()
                .to_owned();
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no part is there");
        std::thread::sleep(Duration::from_millis(5));
    };
    symlink(&own, dir.join(format!(".dsr1/copy.{owner}.new"))).unwrap();
    hub.clear();
    running.end().0.expect(0);
    assert_eq!(read(&own), PRECIOUS);
    assert!(std::fs::read(dir.join("twin.safetensors")).unwrap() == twin.bytes);
    // A partial file that is named after a process that is gone, and that another user holds open.
    let planted = home.path().join("hub/models--lab--tiny-r1/.dsr1");
    std::fs::create_dir_all(&planted).unwrap();
    let oid = entry("model-1.safetensors", &twin)["lfs"]["oid"]
        .as_str()
        .unwrap()
        .to_owned();
    let place = owner.rsplit_once('.').unwrap().0;
    let part = planted.join(format!("{oid}.{place}.1-1.part"));
    std::fs::write(&part, &twin.bytes).unwrap();
    std::os::unix::fs::chown(&part, Some(65534), Some(65534)).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&part).unwrap());
    let mut pull = home.command(&support::pulled::args(&hub, &[]));
    pull.env("HF_HUB_CACHE", home.path().join("hub"));
    assert!(pull.output().unwrap().status.success());
    let blob = std::fs::metadata(planted.parent().unwrap().join("blobs").join(&oid)).unwrap();
    assert_ne!(std::os::unix::fs::MetadataExt::ino(&blob), inode, "it was taken");
}
