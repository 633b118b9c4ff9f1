//! Large files from a real Xet store on loopback: dsr1 fetches them from it, finds a corrupt byte in it, and falls back
//! to HTTP when it stalls. The store is the one of Xet's own tests; hf-xet uploads the files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::hub::{Fault, Hub, RepoFile, safetensors};
use crate::support::pulled::{pull, snapshot};
use crate::support::{self, Home, free_port};
use xet::xet_session::{Sha256Policy, XetSessionBuilder};

const REPO: &str = "lab/in-xet";

/// Returns the store's program, built once per target directory.
fn program() -> PathBuf {
    static PROGRAM: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let made = || support::tool("xet-store.sh", "the crate registry must be reachable");
    PROGRAM.get_or_init(made).clone()
}

/// A store that is killed at the end of the test.
struct Store {
    child: Child,
    dir: tempfile::TempDir,
    url: String,
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Store {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("dsr1-xet-").tempdir().unwrap();
        let port = free_port();
        let child = Command::new(program())
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--data-directory",
            ])
            .arg(dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the store does not listen"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Self {
            child,
            dir,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Uploads files, and returns their names in the store.
    fn upload(&self, files: &BTreeMap<String, RepoFile>) -> BTreeMap<String, String> {
        let work = tempfile::tempdir().unwrap();
        let session = XetSessionBuilder::new()
            .with_cache_dir(work.path())
            .build()
            .unwrap();
        let commit = session
            .new_upload_commit()
            .unwrap()
            .with_endpoint(&self.url)
            .with_token_info("xet-token", 9_999_999_999)
            .build_blocking()
            .unwrap();
        let mut hashes = BTreeMap::new();
        for (path, file) in files {
            let upload = commit
                .upload_bytes_blocking(file.bytes.clone(), Sha256Policy::Compute, None)
                .unwrap();
            let meta = upload.finalize_ingestion_blocking().unwrap();
            hashes.insert(path.clone(), meta.xet_info.hash);
        }
        commit.commit_blocking().unwrap();
        hashes
    }

    /// Flips a byte in the middle of the largest block.
    fn damage(&self) {
        let mut blocks: Vec<(u64, PathBuf)> = support::tree(self.dir.path())
            .into_iter()
            .filter(|(path, _)| path.contains("xorbs/"))
            .map(|(path, bytes)| (bytes.len() as u64, self.dir.path().join(path)))
            .collect();
        blocks.sort();
        let (size, block) = blocks.pop().unwrap();
        let mut bytes = std::fs::read(&block).unwrap();
        bytes[usize::try_from(size / 2).unwrap()] ^= 1;
        let mut permissions = std::fs::metadata(&block).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        std::fs::set_permissions(&block, permissions).unwrap();
        std::fs::write(&block, bytes).unwrap();
    }
}

fn files() -> BTreeMap<String, RepoFile> {
    let file = |tensor: &str, seed, size| RepoFile {
        bytes: safetensors(tensor, seed, size),
        large: true,
    };
    BTreeMap::from([
        ("a.safetensors".to_owned(), file("a", 1, 9_000_000)),
        ("b.safetensors".to_owned(), file("b", 2, 3_000_000)),
    ])
}

#[track_caller]
fn assert_whole(home: &Home, hub: &Hub) {
    let found = support::tree(&snapshot(home, hub));
    let expected = files()
        .into_iter()
        .map(|(path, file)| (path, file.bytes))
        .collect();
    assert!(found == expected, "{:?}", found.keys());
}

fn from_cdn(hub: &Hub) -> usize {
    hub.asked().iter().filter(|asked| asked.on_cdn).count()
}

#[test]
fn files_are_fetched_from_the_store_and_verified() {
    let (store, hub, home) = (Store::start(), Hub::new(REPO, files()), Home::new());
    hub.xet(&store.url, store.upload(&files()));
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
    assert_eq!(from_cdn(&hub), 0, "something came over HTTP");
    let tokens = hub.asked();
    let tokens = tokens
        .iter()
        .filter(|asked| asked.path.contains("xet-read-token"));
    assert_eq!(tokens.count(), 1, "one token is enough for all files");
    // The transport leaves no files.
    assert!(!home.path().join(".cache/huggingface/xet").exists());
    // The option turns the store off.
    let home = Home::new();
    pull(&home, &hub, &["--transport", "http"]).expect(0);
    assert_whole(&home, &hub);
    assert!(from_cdn(&hub) >= 2);
}

#[test]
fn a_wrong_byte_in_the_store_is_found_and_fetched_over_http() {
    let (store, hub, home) = (Store::start(), Hub::new(REPO, files()), Home::new());
    hub.xet(&store.url, store.upload(&files()));
    store.damage();
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(run.stderr.contains("continues over HTTP"), "{}", run.stderr);
    assert_whole(&home, &hub);
    // Without another transport no file is published.
    let home = Home::new().with("HF_HUB_DOWNLOAD_TIMEOUT", "2");
    let run = pull(&home, &hub, &["--transport", "xet"]);
    assert!([5, 6].contains(&run.code), "{}", run.stderr);
    let root = home.path().join(".cache/huggingface/hub/models--lab--in-xet");
    assert!(!root.join("snapshots").join(hub.commit()).exists());
}

#[test]
fn a_pull_changes_to_http_if_the_store_does_not_answer() {
    // The store accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let hub = Hub::new(REPO, files());
    let hashes = files().into_keys().map(|path| (path, "ab".repeat(32))).collect();
    hub.xet(&url, hashes);
    let home = Home::new().with("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("continues over HTTP: no byte for 1 s"),
        "{}",
        run.stderr
    );
    assert_whole(&home, &hub);
    // The same holds for a store that does not exist, and for one for which the hub gives no token.
    drop(silent);
    let home = Home::new().with("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
    let home = Home::new();
    hub.fault("xet-read-token", Fault::Status(500, "", ""), 99);
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(run.stderr.contains("refused a token"), "{}", run.stderr);
    assert_whole(&home, &hub);
}

/// With the store as the only transport, corrupt ranges are fetched from it too.
#[test]
fn corrupt_ranges_are_fetched_with_the_chosen_transport() {
    let (store, hub, home) = (Store::start(), Hub::new(REPO, files()), Home::new());
    hub.xet(&store.url, store.upload(&files()));
    pull(&home, &hub, &[]).expect(0);
    let shard = snapshot(&home, &hub)
        .join("a.safetensors")
        .canonicalize()
        .unwrap();
    // The same holds if HTTP is allowed and does not work.
    for transport in ["xet", "auto"] {
        let mut bytes = std::fs::read(&shard).unwrap();
        bytes[5_000_000] ^= 1;
        std::fs::write(&shard, bytes).unwrap();
        let args = ["--transport", transport, "--format", "json"];
        let report = pull(&home, &hub, &args).expect(0).json();
        let fetched = report["steps"][0]["outcome"]["fetched_bytes"].as_u64().unwrap();
        assert!(fetched > 0 && fetched < 9_000_000, "{fetched}");
        assert_whole(&home, &hub);
        if transport == "xet" {
            assert_eq!(from_cdn(&hub), 0, "something came over HTTP");
        }
        hub.fault("blob/", Fault::Status(500, "", ""), usize::MAX);
    }
}

#[test]
fn a_killed_pull_from_the_store_is_resumed() {
    let (store, hub, home) = (Store::start(), Hub::new(REPO, files()), Home::new());
    hub.xet(&store.url, store.upload(&files()));
    let args = ["pull", REPO, "--endpoint", &hub.endpoint, "--limit-rate", "4m"];
    let running = home.start(&args);
    std::thread::sleep(Duration::from_millis(2500));
    running.signal("KILL");
    running.end();
    let parts = home
        .path()
        .join(".cache/huggingface/hub/models--lab--in-xet/.dsr1");
    assert!(parts.is_dir());
    let report = pull(&home, &hub, &["--format", "json"]).expect(0).json();
    let fetched = report["steps"][0]["outcome"]["fetched_bytes"].as_u64().unwrap();
    assert!(fetched < 12_000_000, "{fetched}");
    assert_whole(&home, &hub);
    assert_eq!(from_cdn(&hub), 0);
}
