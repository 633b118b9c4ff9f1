//! A hub cache as another client writes it, and a mirror of a cache.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::Digest;

use super::{Home, Started};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Returns the directory of a repository.
pub fn repo_dir(cache: &Path, repo: &str) -> PathBuf {
    cache.join(format!("models--{}", repo.replace('/', "--")))
}

/// Writes a repository without a manifest of dsr1; every file is a large file.
pub fn write(cache: &Path, repo: &str, files: &[(String, Vec<u8>)]) {
    let root = repo_dir(cache, repo);
    let snapshot = root.join("snapshots").join(COMMIT);
    for dir in ["blobs", "refs"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("refs/main"), COMMIT).unwrap();
    for (path, bytes) in files {
        let name = dsr1::units::hex(&sha2::Sha256::digest(bytes));
        std::fs::write(root.join("blobs").join(&name), bytes).unwrap();
        let link = snapshot.join(path);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        let up = "../".repeat(2 + path.matches('/').count());
        symlink(format!("{up}blobs/{name}"), link).unwrap();
    }
}

/// Returns the path of the blob of a file.
pub fn blob(cache: &Path, repo: &str, bytes: &[u8]) -> PathBuf {
    let name = dsr1::units::hex(&sha2::Sha256::digest(bytes));
    repo_dir(cache, repo).join("blobs").join(name)
}

/// Starts a mirror of the cache `dir`, and returns it with its endpoint.
pub fn mirror(home: &Home, dir: &Path, more: &[&str]) -> (Started, String) {
    let mut args = vec!["mirror", "--cache-dir", dir.to_str().unwrap()];
    if !more.contains(&"--listen") {
        args.extend(["--listen", "127.0.0.1:0"]);
    }
    args.extend(more);
    let mirror = home.start(&args);
    let begun = Instant::now();
    loop {
        let stdout = mirror.stdout();
        let line = stdout.lines().find_map(|line| line.strip_prefix("HF_ENDPOINT="));
        if let (Some(endpoint), true) = (line, stdout.ends_with('\n')) {
            return (mirror, endpoint.to_owned());
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", mirror.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A client with one persistent connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(endpoint: &str) -> Self {
        let stream = TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let headers: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let headers = headers.concat();
        let host = self.stream.peer_addr().unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        self.stream.write_all(head.as_bytes()).unwrap();
        self.answer(method == "HEAD").expect("an answer")
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// Reads the next response; `None` if the connection ends before it is complete.
    pub fn answer(&mut self, head_only: bool) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |text| text.parse().unwrap());
        let length: usize = if head_only { 0 } else { length };
        while self.buffer.len() < end + 4 + length {
            self.more()?;
        }
        let body = self.buffer[end + 4..end + 4 + length].to_vec();
        self.buffer.drain(..end + 4 + length);
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = vec![0; 256 * 1024];
        let count = self.stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Some(())
    }
}
