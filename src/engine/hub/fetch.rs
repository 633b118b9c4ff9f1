//! One file: streamed, hashed on its way to disk, resumed where it stopped, named only when proven.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use hf_hub::repository::HFRepository;
use hf_hub::{HFError, RepoTypeModel};
use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::cache::{RepoCache, sync_dir};
use super::hash::{self, Hasher};
use super::listing::Entry;
use crate::engine::blocking::blocking;
use crate::error::{At, Error, Kind, Result};

/// Tries per file before a pull gives up.
const TRIES: u32 = 5;
/// Time without a byte after which a stream is given up and resumed.
const IDLE: Duration = Duration::from_secs(30);
/// Longest wait that a hub may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Where bytes come from and what was counted.
#[derive(Clone)]
pub(super) struct Fetcher {
    /// The repository.
    pub(super) repository: HFRepository<RepoTypeModel>,
    /// Its commit.
    pub(super) commit: String,
    /// Its cache.
    pub(super) cache: RepoCache,
    /// Bytes proven or on disk, over all files.
    pub(super) done: Arc<AtomicU64>,
    /// Bytes that came over the network, over all files.
    pub(super) fetched: Arc<AtomicU64>,
}

/// Why a try failed.
enum Failure {
    /// Worth another try, after the time if one is given.
    Again(Error, Option<Duration>),
    /// The bytes are wrong: worth one more try from the first byte.
    Wrong(Error),
    /// Final.
    Final(Error),
}

impl Fetcher {
    /// Makes sure that the blob of `entry` is there and proven.
    pub(super) async fn fetch(&self, entry: &Entry) -> Result<()> {
        if self.have(entry).await? {
            self.done.fetch_add(entry.size, Ordering::Relaxed);
            return Ok(());
        }
        let mut wrong = 0;
        for number in 1..=TRIES {
            let failure = match self.attempt(entry).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let (error, wait) = match failure {
                Failure::Final(error) => return Err(error),
                Failure::Wrong(error) => {
                    wrong += 1;
                    if wrong > 1 {
                        return Err(error);
                    }
                    (error, None)
                }
                Failure::Again(error, wait) => (error, wait),
            };
            if number == TRIES {
                return Err(error);
            }
            let backoff = Duration::from_millis(250) * 2_u32.pow(number - 1);
            tokio::time::sleep(wait.unwrap_or(backoff).min(LONGEST_WAIT)).await;
        }
        Ok(())
    }

    /// Whether the blob is there and right; a wrong one is removed.
    async fn have(&self, entry: &Entry) -> Result<bool> {
        let (path, entry) = (self.cache.blob(&entry.oid), entry.clone());
        blocking(move || {
            if std::fs::symlink_metadata(&path).is_err() {
                return Ok(false);
            }
            if hash::matches(&path, &entry.oid, entry.size) {
                return Ok(true);
            }
            std::fs::remove_file(&path).at(Kind::Host, || {
                format!("cannot replace the wrong `{}`", path.display())
            })?;
            Ok(false)
        })
        .await
    }

    async fn attempt(&self, entry: &Entry) -> std::result::Result<(), Failure> {
        let part = self.cache.part(&entry.oid);
        let (mut hasher, offset) = resume(&part, entry).await.map_err(Failure::Final)?;
        self.done.fetch_add(offset, Ordering::Relaxed);
        let counted = Counted {
            done: &self.done,
            bytes: AtomicU64::new(offset),
        };
        if offset < entry.size || entry.size == 0 {
            hasher = self.stream(entry, &part, hasher, offset, &counted).await?;
        }
        let (cache, entry) = (self.cache.clone(), entry.clone());
        let published = blocking(move || publish(&cache, &entry, &part, hasher)).await;
        match published {
            Ok(()) => {
                counted.keep();
                Ok(())
            }
            Err(error) if error.kind() == Kind::Integrity => Err(Failure::Wrong(error)),
            Err(error) => Err(Failure::Final(error)),
        }
    }

    /// Streams the rest of a file into its part.
    async fn stream(
        &self,
        entry: &Entry,
        part: &Path,
        hasher: Hasher,
        offset: u64,
        counted: &Counted<'_>,
    ) -> std::result::Result<Hasher, Failure> {
        let range = (offset > 0).then_some(offset..entry.size);
        let opened = self
            .repository
            .download_file_stream()
            .filename(entry.path.clone())
            .revision(self.commit.clone())
            .maybe_range(range)
            .send();
        let stalled = || Failure::Again(broken(entry, "no byte for 30 s"), None);
        let (_, mut stream) = match tokio::time::timeout(IDLE * 2, opened).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(classify(entry, &error)),
            Err(_) => return Err(stalled()),
        };
        let writer = Writer::open(part, hasher, offset == 0)
            .await
            .map_err(Failure::Final)?;
        let mut at = offset;
        let ended = loop {
            match tokio::time::timeout(IDLE, stream.next()).await {
                Err(_) => break Err(stalled()),
                Ok(None) => break Ok(()),
                Ok(Some(Err(error))) => break Err(classify(entry, &error)),
                Ok(Some(Ok(bytes))) => {
                    at += bytes.len() as u64;
                    self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if at > entry.size {
                        // A server that ignores the range, or sends an error page: none of it can be used.
                        break Err(Failure::Wrong(wrong(entry, "more bytes than the listing states")));
                    }
                    counted.add(bytes.len() as u64);
                    if !writer.write(bytes).await {
                        break Ok(());
                    }
                }
            }
        };
        let (hasher, written) = writer.close().await.map_err(Failure::Final)?;
        match ended {
            Err(Failure::Wrong(error)) => {
                let _ = std::fs::remove_file(part);
                Err(Failure::Wrong(error))
            }
            Err(failure) => Err(failure),
            Ok(()) if offset + written < entry.size => Err(Failure::Again(
                broken(entry, "the connection ended before the last byte"),
                None,
            )),
            Ok(()) => Ok(hasher),
        }
    }
}

/// Bytes counted for a try, taken back when it fails: the next try counts what is on disk again.
struct Counted<'a> {
    done: &'a AtomicU64,
    bytes: AtomicU64,
}

impl Counted<'_> {
    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn keep(self) {
        self.bytes.store(0, Ordering::Relaxed);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.done
            .fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Hashes what an earlier try left; a part that is too long is of something else.
async fn resume(part: &Path, entry: &Entry) -> Result<(Hasher, u64)> {
    let (part, entry) = (part.to_owned(), entry.clone());
    blocking(move || {
        let mut hasher = Hasher::new(&entry.oid, entry.size);
        let length = std::fs::symlink_metadata(&part)
            .map_or(0, |meta| if meta.is_file() { meta.len() } else { u64::MAX });
        if length > entry.size {
            std::fs::remove_file(&part).at(Kind::Host, || format!("cannot remove `{}`", part.display()))?;
            return Ok((hasher, 0));
        }
        if length > 0 {
            hash::feed(&mut hasher, &part).at(Kind::Host, || format!("cannot read `{}`", part.display()))?;
        }
        Ok((hasher, length))
    })
    .await
}

/// Proves a part and gives it its name: hash, sync, rename, sync the directory.
fn publish(cache: &RepoCache, entry: &Entry, part: &Path, hasher: Hasher) -> Result<()> {
    let blob = cache.blob(&entry.oid);
    let failed = || format!("cannot write `{}`", blob.display());
    if entry.size == 0 {
        File::create(part).at(Kind::Host, failed)?;
    }
    let found = hasher.hex();
    if found != entry.oid.hex() {
        let _ = std::fs::remove_file(part);
        return Err(wrong(
            entry,
            &format!("its hash is {found}, the listing states {}", entry.oid.hex()),
        ));
    }
    let file = File::open(part).at(Kind::Host, failed)?;
    file.set_permissions(Permissions::from_mode(0o644))
        .at(Kind::Host, failed)?;
    file.sync_all().at(Kind::Host, failed)?;
    std::fs::rename(part, &blob).at(Kind::Host, failed)?;
    sync_dir(blob.parent().unwrap_or(part))
}

/// Writes and hashes on a thread of its own, so that a slow disk does not hold up other streams.
struct Writer {
    sender: mpsc::Sender<Bytes>,
    done: tokio::task::JoinHandle<std::io::Result<(Hasher, u64)>>,
    path: String,
}

impl Writer {
    async fn open(part: &Path, mut hasher: Hasher, fresh: bool) -> Result<Self> {
        let path = part.display().to_string();
        let part = part.to_owned();
        let opening = path.clone();
        let mut file = blocking(move || {
            OpenOptions::new()
                .create(true)
                .write(true)
                .append(!fresh)
                .truncate(fresh)
                .open(&part)
                .at(Kind::Host, || format!("cannot write `{opening}`"))
        })
        .await?;
        let (sender, mut receiver) = mpsc::channel::<Bytes>(16);
        // Ends by itself when the sender goes, also when a pull is interrupted.
        let done = tokio::task::spawn_blocking(move || {
            let mut written = 0;
            while let Some(bytes) = receiver.blocking_recv() {
                file.write_all(&bytes)?;
                hasher.update(&bytes);
                written += bytes.len() as u64;
            }
            Ok((hasher, written))
        });
        Ok(Self { sender, done, path })
    }

    /// Takes bytes; false when the thread gave up, which `close` explains.
    async fn write(&self, bytes: Bytes) -> bool {
        self.sender.send(bytes).await.is_ok()
    }

    async fn close(self) -> Result<(Hasher, u64)> {
        drop(self.sender);
        let ended = self
            .done
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        ended.map_err(|error| {
            let full = error.kind() == std::io::ErrorKind::StorageFull;
            let report =
                Error::new(Kind::Host, format!("cannot write `{}`", self.path)).cause(error.to_string());
            if full {
                report.hint("free some space and pull again: what is here is kept")
            } else {
                report
            }
        })
    }
}

fn broken(entry: &Entry, cause: &str) -> Error {
    Error::new(Kind::Hub, format!("cannot fetch `{}`", entry.path))
        .cause(cause)
        .hint("run it again: it goes on where it stopped")
}

fn wrong(entry: &Entry, cause: &str) -> Error {
    Error::new(Kind::Integrity, format!("`{}` arrives wrong, twice", entry.path))
        .cause(cause)
        .hint("a proxy or the hub's cache alters it; try another network or --endpoint")
}

/// Reads hf-hub's error. Its own text may hold a signed URL, so only the status is taken from it.
fn classify(entry: &Entry, error: &HFError) -> Failure {
    let status = match error {
        HFError::RateLimited { retry_after, .. } => {
            return Failure::Again(broken(entry, "the hub limits requests (429)"), *retry_after);
        }
        HFError::Http { context } => context.status.as_u16(),
        HFError::AuthRequired { .. } => 401,
        HFError::Forbidden { .. } => 403,
        HFError::EntryNotFound { .. } | HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } => {
            404
        }
        HFError::Request { .. } | HFError::Io { .. } => {
            return Failure::Again(broken(entry, "the connection broke"), None);
        }
        _ => 0,
    };
    let error = broken(
        entry,
        &if status == 0 {
            "the transport failed".to_owned()
        } else {
            format!("status {status}")
        },
    );
    // 403 is how a content network says that a signed URL expired: the next try gets a new one.
    if matches!(status, 0 | 403 | 408 | 425 | 500..=599) {
        Failure::Again(error, None)
    } else {
        Failure::Final(error)
    }
}
