//! Independent oracles of the hub protocol: the `hf` client against the mirror of dsr1, and `dsr1 pull` against an
//! nginx with static answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::cache::{COMMIT, Client, mirror, write};
use crate::support::hub::{entry, noise, small_model};
use crate::support::nginx::Nginx;
use crate::support::{self, Home, hf};

/// Runs `hf download` into a cache of its own, and returns the snapshot's directory.
fn hf_download(home: &Home, endpoint: &str, repo: &str, cache: &Path) -> PathBuf {
    let output = try_hf_download(home, endpoint, repo, cache, None);
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

fn try_hf_download(home: &Home, endpoint: &str, repo: &str, cache: &Path, token: Option<&str>) -> Output {
    Command::new(hf())
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
        .env_remove("HF_TOKEN")
        .envs(token.map(|token| ("HF_TOKEN", token)))
        .output()
        .unwrap()
}

/// Runs `hf cache verify` on what `hf` kept of the mirror's answers.
fn hf_verify(home: &Home, endpoint: &str, repo: &str, cache: &Path) {
    let verify = Command::new(hf())
        .args(["cache", "verify", repo, "--fail-on-missing-files", "--cache-dir"])
        .arg(cache)
        .env("HF_ENDPOINT", endpoint)
        .env("HOME", home.path())
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    assert!(
        verify.status.success(),
        "{}{}",
        String::from_utf8_lossy(&verify.stdout),
        String::from_utf8_lossy(&verify.stderr)
    );
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
    hf_verify(
        &home,
        &endpoint,
        "dsr1/rehearsal-qwen2",
        &home.path().join("theirs"),
    );
    drop(mirror);
}

#[test]
fn files_that_hf_downloaded_are_mirrored_and_pulled_without_loss() {
    let home = Home::new();
    let source = home.path().join("source");
    let (first, endpoint) = mirror(&home, &source, &["--rehearsal"]);
    let theirs = home.path().join("theirs");
    let snapshot = hf_download(&home, &endpoint, "dsr1/rehearsal-qwen2", &theirs);
    drop(first);
    // A cache of `hf`, which has no manifest of dsr1, as the hub of a `dsr1 pull`.
    let (_second, endpoint) = mirror(&home, &theirs, &[]);
    home.run(&["pull", "dsr1/rehearsal-qwen2", "--endpoint", &endpoint])
        .expect(0);
    let ours = home
        .path()
        .join(".cache/huggingface/hub/models--dsr1--rehearsal-qwen2/snapshots")
        .join(snapshot.file_name().unwrap());
    assert_eq!(support::tree(&ours), support::tree(&snapshot));
    // `hf` verifies the files that dsr1 pulled, in a cache and in a directory.
    hf_verify(
        &home,
        &endpoint,
        "dsr1/rehearsal-qwen2",
        &home.path().join(".cache/huggingface/hub"),
    );
    let dir = home.path().join("plain");
    let to = dir.to_str().unwrap();
    let pull = [
        "pull",
        "dsr1/rehearsal-qwen2",
        "--endpoint",
        &endpoint,
        "--local-dir",
        to,
    ];
    home.run(&pull).expect(0);
    let mut plain = support::tree(&dir);
    plain.retain(|path, _| !path.starts_with(".dsr1/"));
    assert_eq!(plain, support::tree(&snapshot));
}

#[test]
fn a_half_downloaded_model_is_not_mirrored_as_complete() {
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
    assert!(run.stderr.contains("does not serve"), "{}", run.stderr);
}

#[test]
fn a_pull_from_a_hub_that_is_not_ours_gives_the_same_tree() {
    let home = Home::new();
    // The workers of an nginx that root starts run as nobody.
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
    // `hf` verifies the files that dsr1 pulled.
    hf_verify(
        &home,
        &endpoint,
        "lab/static",
        &home.path().join(".cache/huggingface/hub"),
    );
    // The independent client gets the same files from the same hub.
    let theirs = hf_download(&home, &endpoint, "lab/static", &home.path().join("theirs"));
    assert_eq!(support::tree(&theirs), expected);
}

/// Writes a repository with more files than a page of a tree holds.
fn many_files(cache: &Path) -> BTreeMap<String, Vec<u8>> {
    let files: Vec<(String, Vec<u8>)> = (0..1200_u32)
        .map(|number| (format!("d{}/f{number:04}.json", number % 5), noise(number, 40)))
        .collect();
    write(cache, "lab/many", &files);
    files.into_iter().collect()
}

#[test]
fn a_repository_of_several_pages_reaches_every_client() {
    let home = Home::new();
    let source = home.path().join("source");
    let expected = many_files(&source);
    let (_mirror, endpoint) = mirror(&home, &source, &["--progress", "quiet"]);
    let theirs = home.path().join("theirs");
    let snapshot = hf_download(&home, &endpoint, "lab/many", &theirs);
    assert!(support::tree(&snapshot) == expected);
    hf_verify(&home, &endpoint, "lab/many", &theirs);
    home.run(&["pull", "lab/many", "--endpoint", &endpoint]).expect(0);
    let ours = home
        .path()
        .join(".cache/huggingface/hub/models--lab--many/snapshots")
        .join(COMMIT);
    assert!(support::tree(&ours) == expected);
    // The Rust client of the hub lists and fetches the same files.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cache = home.path().join("rust");
    let found = runtime.block_on(async {
        let client = hf_hub::HFClient::builder()
            .endpoint(&*endpoint)
            .cache_dir(cache.to_str().unwrap())
            .build()
            .unwrap();
        client
            .model("lab", "many")
            .snapshot_download()
            .send()
            .await
            .unwrap()
    });
    assert!(support::tree(&found) == expected);
}

#[test]
fn hf_needs_the_token_of_the_mirror() {
    let home = Home::new();
    let source = home.path().join("source");
    let token = home.path().join("token");
    std::fs::write(&token, "lab-token\n").unwrap();
    let (_mirror, endpoint) = mirror(
        &home,
        &source,
        &["--rehearsal", "--token-file", token.to_str().unwrap()],
    );
    let repo = "dsr1/rehearsal-qwen2";
    let with = |cache: &str, token| try_hf_download(&home, &endpoint, repo, &home.path().join(cache), token);
    assert!(with("with", Some("lab-token")).status.success());
    for wrong in [None, Some("other")] {
        let refused = with("without", wrong);
        assert!(!refused.status.success());
        let said =
            String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
        assert!(said.contains("requires approval"), "{said}");
    }
}

#[test]
fn curl_agrees_on_ranges_conditions_and_kept_connections() {
    let home = Home::new();
    let source = home.path().join("source");
    let bytes = noise(9, 2_000_000);
    write(&source, "lab/model", &[("w.bin".to_owned(), bytes.clone())]);
    let (_mirror, endpoint) = mirror(&home, &source, &[]);
    let url = format!("{endpoint}/lab/model/resolve/main/w.bin");
    let curl = |args: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20"])
            .args(args)
            .output()
            .unwrap();
        (output.status.code(), output.stdout)
    };
    let etag = Client::new(&endpoint)
        .get("/lab/model/resolve/main/w.bin")
        .header("etag")
        .to_owned();
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("5-104", 5, 105),
        ("1999990-", 1_999_990, 2_000_000),
        ("-7", 1_999_993, 2_000_000),
    ] {
        let (code, body) = curl(&["-f", "-r", range, "-H", &format!("If-Range: {etag}"), &url]);
        assert!(code == Some(0) && body == bytes[from..to], "{range}");
    }
    assert!(curl(&["-r", "5-9", "-H", "If-Range: \"x\"", &url]).1 == bytes);
    assert_eq!(curl(&["-f", "-r", "2000000-", &url]).0, Some(22));
    let status = |args: &[&str]| {
        let args = [&["-o", "/dev/null", "-w", "%{http_code} %{num_connects} "], args].concat();
        String::from_utf8(curl(&args).1).unwrap()
    };
    assert_eq!(status(&["-r", "2000000-", &url]), "416 1 ");
    assert_eq!(status(&["-I", &url]), "200 1 ");
    assert_eq!(status(&["-H", &format!("If-None-Match: {etag}"), &url]), "304 1 ");
    assert_eq!(status(&["-X", "DELETE", &url]), "405 1 ");
    // All requests use one connection.
    let three = [&*url, "-o", "/dev/null", &url, "-o", "/dev/null", &url];
    assert_eq!(status(&three), "200 1 200 0 200 0 ");
    // An interrupted download resumes at its offset.
    let partial = home.path().join("partial");
    std::fs::write(&partial, &bytes[..700_000]).unwrap();
    assert_eq!(
        curl(&["-f", "-C", "-", "-o", partial.to_str().unwrap(), &url]).0,
        Some(0)
    );
    assert!(std::fs::read(&partial).unwrap() == bytes);
}
