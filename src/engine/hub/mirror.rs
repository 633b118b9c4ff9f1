//! The local cache as a hub: read-only, to one machine or a LAN.
//!
//! Serves what a hub client asks for (revision, tree, resolve with ranges), and only snapshots that are whole.
//! Not in this module: TLS and access control; it listens on loopback unless told otherwise.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::cache::RepoCache;
use super::listing::{Entry, Oid};
use super::manifest::missing_shard;
use crate::error::{Error, Kind, Result};
use crate::plan::ServeMirror;

/// Most connections at once: 16 nodes with 8 streams each, and room.
const CONNECTIONS: usize = 256;
/// Bytes read from disk at a time.
const CHUNK: usize = 256 * 1024;

type Body = BoxBody<Bytes, std::io::Error>;

/// A mirror that listens; it ends when this is dropped.
pub struct Mirror {
    endpoint: String,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Its base URL, for `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Ends it; open connections break.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a mirror.
///
/// # Errors
/// [`Kind::Host`] when the address cannot be listened on; [`Kind::Usage`] when it is none.
pub async fn mirror(step: &ServeMirror) -> Result<Mirror> {
    let address: std::net::SocketAddr = step.listen.parse().map_err(|_| {
        Error::new(
            Kind::Usage,
            format!("`{}` is not an address", step.listen.escape_debug()),
        )
        .hint("write it as 127.0.0.1:8490 or [::1]:8490")
    })?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Error::new(Kind::Host, format!("cannot listen on {address}"))
            .cause(error.to_string())
            .hint("choose another with --listen")
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    let cache = Arc::new(PathBuf::from(&step.cache_dir));
    let task = tokio::spawn(accept(listener, cache));
    Ok(Mirror {
        endpoint: format!("http://{bound}"),
        task,
    })
}

/// Accepts until aborted; the connections are its children and end with it.
async fn accept(listener: TcpListener, cache: Arc<PathBuf>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((socket, _)) = listener.accept().await else {
            // Out of descriptors: wait for a connection to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let cache = Arc::clone(&cache);
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let cache = Arc::clone(&cache);
                async move { Ok::<_, Infallible>(answer(&cache, &request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .max_buf_size(64 * 1024)
                .serve_connection(TokioIo::new(socket), service)
                .await;
            drop(permit);
        });
    }
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Revision {
        repo: String,
        revision: String,
    },
    Tree {
        repo: String,
        revision: String,
    },
    File {
        repo: String,
        revision: String,
        path: String,
    },
}

/// Reads a URL path; `None` for anything that is not the protocol.
fn parse_path(path: &str) -> Option<Asked> {
    let parts: Vec<String> = path
        .strip_prefix('/')?
        .split('/')
        .map(decode)
        .collect::<Option<_>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let name = |owner: &str, name: &str| Some(format!("{owner}/{name}")).filter(|repo| is_repo(repo));
    let text = |part: &str| part.to_owned();
    match parts[..] {
        ["api", "models", owner, repo] => Some(Asked::Revision {
            repo: name(owner, repo)?,
            revision: text("main"),
        }),
        ["api", "models", owner, repo, "revision", revision] => Some(Asked::Revision {
            repo: name(owner, repo)?,
            revision: text(revision),
        }),
        ["api", "models", owner, repo, "tree", revision]
        | ["api", "models", owner, repo, "tree", revision, ""] => Some(Asked::Tree {
            repo: name(owner, repo)?,
            revision: text(revision),
        }),
        [owner, repo, "resolve", revision, ref file @ ..] if !file.is_empty() => Some(Asked::File {
            repo: name(owner, repo)?,
            revision: text(revision),
            path: file.join("/"),
        }),
        _ => None,
    }
}

/// Undoes percent-encoding; `None` when it is broken or not UTF-8.
fn decode(part: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), part.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_repo(repo: &str) -> bool {
    repo.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.contains("..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    })
}

async fn answer(cache_dir: &Path, request: &Request<Incoming>) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return status(StatusCode::METHOD_NOT_ALLOWED, None);
    }
    let head = request.method() == Method::HEAD;
    let Some(asked) = parse_path(request.uri().path()) else {
        return status(StatusCode::NOT_FOUND, None);
    };
    let (Asked::Revision { repo, revision }
    | Asked::Tree { repo, revision }
    | Asked::File { repo, revision, .. }) = &asked;
    let (cache_dir, repo, revision) = (cache_dir.to_owned(), repo.clone(), revision.clone());
    let name = repo.clone();
    let opened = tokio::task::spawn_blocking(move || Snapshot::open(&cache_dir, &repo, &revision)).await;
    let snapshot = match opened {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(code)) => return status(StatusCode::NOT_FOUND, Some(code)),
        Err(_) => return status(StatusCode::INTERNAL_SERVER_ERROR, None),
    };
    match asked {
        Asked::Revision { .. } => json_answer(&snapshot.describe(&name), head),
        Asked::Tree { .. } => json_answer(&snapshot.tree(), head),
        Asked::File { path, .. } => snapshot.file(&path, request.headers(), head).await,
    }
}

/// A whole snapshot.
struct Snapshot {
    commit: String,
    dir: PathBuf,
    files: BTreeMap<String, Entry>,
}

impl Snapshot {
    /// Opens a snapshot; the error is the hub's own code for why not.
    fn open(cache_dir: &Path, repo: &str, revision: &str) -> std::result::Result<Self, &'static str> {
        let cache = RepoCache::new(cache_dir, repo);
        let commit = cache.commit(revision).ok_or("RepoNotFound")?;
        let dir = cache.snapshot(&commit);
        let mut files = BTreeMap::new();
        collect(&dir, "", &mut files);
        let paths = files.keys().map(String::as_str).collect();
        // What another client left half done must not look like a whole model to a third.
        if files.is_empty() || missing_shard(&dir, &paths).is_some() {
            return Err("RevisionNotFound");
        }
        Ok(Self { commit, dir, files })
    }

    fn describe(&self, repo: &str) -> Value {
        let siblings: Vec<Value> = self
            .files
            .keys()
            .map(|path| json!({ "rfilename": path }))
            .collect();
        json!({
            "id": repo, "modelId": repo, "sha": self.commit, "siblings": siblings,
            "private": false, "gated": false, "disabled": false, "tags": [], "downloads": 0, "likes": 0,
        })
    }

    fn tree(&self) -> Value {
        let entries = self.files.values().map(|entry| {
            let mut item =
                json!({ "type": "file", "path": entry.path, "size": entry.size, "oid": entry.oid.hex() });
            if let Oid::Sha256(hex) = &entry.oid {
                item["lfs"] = json!({ "oid": hex, "size": entry.size, "pointerSize": 130 });
            }
            item
        });
        entries.collect()
    }

    async fn file(&self, path: &str, headers: &HeaderMap, head: bool) -> Response<Body> {
        let Some(entry) = self.files.get(path) else {
            return status(StatusCode::NOT_FOUND, Some("EntryNotFound"));
        };
        let etag = format!("\"{}\"", entry.oid.hex());
        let same = headers
            .get("if-range")
            .is_none_or(|value| value.as_bytes() == etag.as_bytes());
        let range = headers
            .get("range")
            .filter(|_| same)
            .and_then(|value| value.to_str().ok());
        let (code, from, length) = match range.map(|range| parse_range(range, entry.size)) {
            Some(Some((from, to))) => (StatusCode::PARTIAL_CONTENT, from, to - from + 1),
            Some(None) => {
                let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE, None);
                set(&mut response, "content-range", &format!("bytes */{}", entry.size));
                return response;
            }
            None => (StatusCode::OK, 0, entry.size),
        };
        let body = if head {
            empty()
        } else {
            match read(self.dir.join(path), from, length).await {
                Ok(body) => body,
                Err(_) => return status(StatusCode::INTERNAL_SERVER_ERROR, None),
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = code;
        set(&mut response, "content-length", &length.to_string());
        set(&mut response, "content-type", "application/octet-stream");
        set(&mut response, "accept-ranges", "bytes");
        set(&mut response, "etag", &etag);
        set(&mut response, "x-repo-commit", &self.commit);
        if let Oid::Sha256(_) = entry.oid {
            set(&mut response, "x-linked-etag", &etag);
            set(&mut response, "x-linked-size", &entry.size.to_string());
        }
        if code == StatusCode::PARTIAL_CONTENT {
            set(
                &mut response,
                "content-range",
                &format!("bytes {from}-{}/{}", from + length - 1, entry.size),
            );
        }
        response
    }
}

/// Collects the files of a snapshot: links whose target's name in `blobs` is the hash.
pub(super) fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Entry>) {
    let Ok(items) = std::fs::read_dir(dir) else { return };
    for item in items.flatten() {
        let Ok(name) = item.file_name().into_string() else {
            continue;
        };
        let path = format!("{prefix}{name}");
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&item.path(), &format!("{path}/"), files);
            continue;
        }
        let Ok(target) = std::fs::read_link(item.path()) else {
            continue;
        };
        let below_blobs = target.parent().is_some_and(|parent| parent.ends_with("blobs"));
        let oid = target
            .file_name()
            .and_then(|name| Oid::from_blob_name(name.to_str()?));
        if let (true, Some(oid), Ok(meta)) = (below_blobs, oid, std::fs::metadata(item.path())) {
            files.insert(
                path.clone(),
                Entry {
                    path,
                    size: meta.len(),
                    oid,
                    xet: None,
                },
            );
        }
    }
}

/// First and last byte of a single range (RFC 9110, 14.1.2); `None` when it cannot be satisfied.
fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let last = size.checked_sub(1)?;
    let (from, to) = if from.is_empty() {
        (
            size.saturating_sub(to.parse::<u64>().ok().filter(|count| *count > 0)?),
            last,
        )
    } else {
        (
            from.parse().ok()?,
            if to.is_empty() {
                last
            } else {
                to.parse::<u64>().ok()?.min(last)
            },
        )
    };
    (from <= to).then_some((from, to))
}

/// A part of a file, read as it is sent.
async fn read(path: PathBuf, from: u64, length: u64) -> std::io::Result<Body> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(from)).await?;
    let chunks = stream::try_unfold((file, length), |(mut file, left)| async move {
        let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        if want == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; want];
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(count);
        Ok(Some((
            Frame::data(Bytes::from(buffer)),
            (file, left - count as u64),
        )))
    });
    Ok(BodyExt::boxed(StreamBody::new(Box::pin(chunks) as SyncChunks)))
}

type SyncChunks =
    std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Frame<Bytes>>> + Send + Sync>>;

fn json_answer(value: &Value, head: bool) -> Response<Body> {
    let text = value.to_string();
    let length = text.len().to_string();
    let mut response = Response::new(if head { empty() } else { full(text) });
    set(&mut response, "content-type", "application/json");
    set(&mut response, "content-length", &length);
    response
}

fn status(code: StatusCode, hub_code: Option<&'static str>) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    if let Some(hub_code) = hub_code {
        set(&mut response, "x-error-code", hub_code);
    }
    response
}

fn set(response: &mut Response<Body>, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed()
}

fn empty() -> Body {
    full(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_protocol_are_read_and_no_others() {
        let tree = parse_path("/api/models/a/b/tree/refs%2Fpr%2F1").unwrap();
        assert_eq!(
            tree,
            Asked::Tree {
                repo: "a/b".to_owned(),
                revision: "refs/pr/1".to_owned()
            }
        );
        let file = parse_path("/a/b/resolve/main/d/x%20y").unwrap();
        assert_eq!(
            file,
            Asked::File {
                repo: "a/b".to_owned(),
                revision: "main".to_owned(),
                path: "d/x y".to_owned()
            }
        );
        for path in [
            "/",
            "/api/models/a/..",
            "/../b/resolve/main/x",
            "/a/b/resolve/main",
            "/a/%zz/resolve/main/x",
            "/api/models/a/.git/tree/main",
        ] {
            assert_eq!(parse_path(path), None, "{path}");
        }
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes=0-", 10), Some((0, 9)));
        assert_eq!(parse_range("bytes=2-4", 10), Some((2, 4)));
        assert_eq!(parse_range("bytes=2-400", 10), Some((2, 9)));
        assert_eq!(parse_range("bytes=-3", 10), Some((7, 9)));
        for bad in ["bytes=10-", "bytes=5-4", "bytes=-0", "items=0-1", "bytes=x-"] {
            assert_eq!(parse_range(bad, 10), None, "{bad}");
        }
        assert_eq!(parse_range("bytes=0-", 0), None);
    }
}
