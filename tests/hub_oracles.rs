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
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::hub::{RepoFile, entry, small_model};
use support::{Home, Started, free_port, must_run, target};

/// The newest version of huggingface_hub that this was run with.
const HF: &str = "huggingface_hub==2.4.0";

/// `hf` in a venv that later runs reuse.
fn hf() -> PathBuf {
    static ONCE: std::sync::Once = std::sync::Once::new();
    let venv = target().join("test-tools/hf");
    let client = venv.join("bin/hf");
    ONCE.call_once(|| {
        if !client.exists() {
            must_run(
                "python3",
                &["-m", "venv", venv.to_str().unwrap()],
                "install python3-venv",
            );
            must_run(
                venv.join("bin/pip").to_str().unwrap(),
                &["install", "--quiet", HF],
                "the package index must be reachable",
            );
        }
    });
    client
}

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

/// An nginx that ends with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Static answers in the hub's form: JSON files, small files, and redirects of large ones to another address.
fn nginx(dir: &Path, repo: &str, commit: &str, files: &BTreeMap<String, RepoFile>) -> (Nginx, String) {
    let (hub, cdn) = (free_port(), free_port());
    let write = |path: PathBuf, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let mut locations = String::new();
    for (path, file) in files {
        write(dir.join("files").join(path), &file.bytes);
        let listed = entry(path, file);
        let oid = listed["lfs"]["oid"].as_str().or(listed["oid"].as_str()).unwrap();
        let head = format!("add_header X-Repo-Commit {commit} always; ");
        let size = file.bytes.len();
        let _ = if file.large {
            writeln!(
                locations,
                "location = /{repo}/resolve/{commit}/{path} {{ {head}add_header X-Linked-Etag '\"{oid}\"' always; add_header X-Linked-Size {size} always; return 302 http://127.0.0.2:{cdn}/{path}; }}"
            )
        } else {
            writeln!(
                locations,
                "location = /{repo}/resolve/{commit}/{path} {{ {head}etag off; add_header ETag '\"{oid}\"' always; alias {}; }}",
                dir.join("files").join(path).display()
            )
        };
    }
    let tree: Vec<serde_json::Value> = files.iter().map(|(path, file)| entry(path, file)).collect();
    write(
        dir.join("tree.json"),
        serde_json::to_string(&tree).unwrap().as_bytes(),
    );
    write(
        dir.join("revision.json"),
        serde_json::json!({ "id": repo, "sha": commit, "siblings": [] })
            .to_string()
            .as_bytes(),
    );
    let config = format!(
        "daemon off; pid {dir}/pid; error_log {dir}/error.log;
events {{}}
http {{
  access_log off; default_type application/json;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{ listen 127.0.0.1:{hub};
    location = /api/models/{repo}/revision/main {{ alias {dir}/revision.json; }}
    location = /api/models/{repo}/tree/{commit} {{ alias {dir}/tree.json; }}
    {locations}
  }}
  server {{ listen 127.0.0.2:{cdn}; root {dir}/files; }}
}}
",
        dir = dir.display()
    );
    write(dir.join("nginx.conf"), config.as_bytes());
    let child = Command::new("nginx")
        .args([
            "-p",
            dir.to_str().unwrap(),
            "-e",
            dir.join("error.log").to_str().unwrap(),
            "-c",
            dir.join("nginx.conf").to_str().unwrap(),
        ])
        .spawn()
        .expect("install nginx-light");
    let nginx = Nginx(child);
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", hub)).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "nginx does not listen: {}",
            std::fs::read_to_string(dir.join("error.log")).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    (nginx, format!("http://127.0.0.1:{hub}"))
}

#[test]
fn a_pull_from_a_hub_that_is_not_ours_gives_the_same_tree() {
    let home = Home::new();
    // Workers of an nginx started by root run as nobody.
    let dir = tempfile::Builder::new().prefix("dsr1-nginx-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let files = small_model();
    let (_nginx, endpoint) = nginx(dir.path(), "lab/static", commit, &files);
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
