//! Independent judges of the hub protocol: the `hf` client against our mirror, and our pull against an nginx that
//! serves static answers.
#![allow(
    clippy::needless_pass_by_value,
    clippy::doc_markdown,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::hub::{entry, small_model};
use support::nginx::Nginx;
use support::{Home, Started, free_port, hf};

/// A mirror of what `dir` holds, and its endpoint.
fn mirror(home: &Home, dir: &Path, more: &[&str]) -> (Started, String) {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut args = vec![
        "mirror",
        "--cache-dir",
        dir.to_str().unwrap(),
        "--listen",
        &listen,
    ];
    args.extend(more);
    let mirror = home.start(&args);
    let begun = Instant::now();
    while !mirror.stdout().contains("HF_ENDPOINT=") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", mirror.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    (mirror, format!("http://{listen}"))
}

/// `hf download` into a cache of its own; returns the snapshot's directory.
fn hf_download(home: &Home, endpoint: &str, repo: &str, cache: &Path) -> PathBuf {
    let output = Command::new(hf())
        .args([
            "download",
            repo,
            "--quiet",
            "--cache-dir",
            cache.to_str().unwrap(),
        ])
        .env("HF_ENDPOINT", endpoint)
        .env("HOME", home.path())
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("NO_PROXY", "127.0.0.1")
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(
        printed
            .lines()
            .last()
            .unwrap()
            .trim()
            .trim_start_matches("path=")
            .trim(),
    )
}

#[test]
fn hf_download_from_our_mirror_gives_the_models_tree() {
    let home = Home::new();
    let source = home.path().join("source");
    let (mirror, endpoint) = mirror(&home, &source, &["--rehearsal"]);
    let snapshot = hf_download(
        &home,
        &endpoint,
        "dsr1/rehearsal-qwen2",
        &home.path().join("theirs"),
    );
    let expected: BTreeMap<String, Vec<u8>> = dsr1::rehearsal::files()
        .into_iter()
        .map(|file| (file.path, file.bytes))
        .collect();
    assert_eq!(support::tree(&snapshot), expected);
    // And their own proof, over what they keep of our answers.
    let verify = Command::new(hf())
        .args([
            "cache",
            "verify",
            "dsr1/rehearsal-qwen2",
            "--fail-on-missing-files",
            "--cache-dir",
        ])
        .arg(home.path().join("theirs"))
        .env("HF_ENDPOINT", &endpoint)
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(
        verify.status.success(),
        "{}{}",
        String::from_utf8_lossy(&verify.stdout),
        String::from_utf8_lossy(&verify.stderr)
    );
    drop(mirror);
}

#[test]
fn what_hf_downloaded_is_mirrored_and_pulled_without_loss() {
    let home = Home::new();
    let source = home.path().join("source");
    let (first, endpoint) = mirror(&home, &source, &["--rehearsal"]);
    let theirs = home.path().join("theirs");
    let snapshot = hf_download(&home, &endpoint, "dsr1/rehearsal-qwen2", &theirs);
    drop(first);
    // Their cache, which has no manifest of ours, as a hub for our pull.
    let (_second, endpoint) = mirror(&home, &theirs, &[]);
    home.run(&["pull", "dsr1/rehearsal-qwen2", "--endpoint", &endpoint])
        .expect(0);
    let ours = home
        .path()
        .join(".cache/huggingface/hub/models--dsr1--rehearsal-qwen2/snapshots")
        .join(snapshot.file_name().unwrap());
    assert_eq!(support::tree(&ours), support::tree(&snapshot));
}

#[test]
fn a_half_downloaded_model_is_not_mirrored_as_whole() {
    let home = Home::new();
    let source = home.path().join("source");
    let (first, _) = mirror(&home, &source, &["--rehearsal"]);
    drop(first);
    let snapshots = source.join("models--dsr1--rehearsal-qwen2/snapshots");
    let snapshot = std::fs::read_dir(snapshots)
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    std::fs::remove_file(snapshot.join("model-00002-of-00002.safetensors")).unwrap();
    let (_second, endpoint) = mirror(&home, &source, &[]);
    let run = home
        .run(&["pull", "dsr1/rehearsal-qwen2", "--endpoint", &endpoint])
        .expect(5);
    assert!(run.stderr.contains("has no revision `main`"), "{}", run.stderr);
}

#[test]
fn a_pull_from_a_hub_that_is_not_ours_gives_the_same_tree() {
    let home = Home::new();
    // Workers of an nginx started by root run as nobody.
    let dir = tempfile::Builder::new().prefix("dsr1-nginx-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let files = small_model();
    for (path, file) in &files {
        let path = dir.path().join("files").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &file.bytes).unwrap();
    }
    let listing: Vec<_> = files.iter().map(|(path, file)| entry(path, file)).collect();
    let nginx = Nginx::serve(dir.path(), "lab/static", commit, &listing);
    let endpoint = nginx.endpoint.clone();
    home.run(&["pull", "lab/static", "--endpoint", &endpoint])
        .expect(0);
    let snapshot = home
        .path()
        .join(".cache/huggingface/hub/models--lab--static/snapshots")
        .join(commit);
    let expected: BTreeMap<String, Vec<u8>> =
        files.into_iter().map(|(path, file)| (path, file.bytes)).collect();
    assert_eq!(support::tree(&snapshot), expected);
    // The independent client sees the same hub the same way.
    let theirs = hf_download(&home, &endpoint, "lab/static", &home.path().join("theirs"));
    assert_eq!(support::tree(&theirs), expected);
}
