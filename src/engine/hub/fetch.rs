//! One file: asked for by range, checked as it arrives, resumed where it stopped, named only when proven.
//!
//! Not in this module: the bytes on disk (`part`), which files (`pull`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::cache::RepoCache;
use super::hash;
use super::listing::Entry;
use super::part::Part;
use super::source::{Failure, Source, broken, wrong};
use crate::error::{At, Kind, Result};

/// Tries without any progress before a pull gives up on answers that say no.
const TRIES: u32 = 6;
/// How long a network that is gone is waited for, once it was there.
const OUTAGE: Duration = Duration::from_mins(5);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest wait that a hub may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// Time without a byte after which a stream is given up and resumed.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// A stream that brings less than this in [`IDLE`] is taken for stalled too (64 KiB/s).
const CRAWL: u64 = 30 * 64 * 1024;
/// Bytes that count as progress: then patience begins anew.
const PROGRESS: u64 = 1 << 20;
/// What was counted, over all files.
#[derive(Default)]
pub(super) struct Counts {
    /// Bytes proven or on disk.
    pub(super) done: AtomicU64,
    /// Bytes that came over the network.
    pub(super) fetched: AtomicU64,
    /// Streams that had to be opened again.
    pub(super) retries: AtomicU64,
}

/// Fetches files into a cache.
#[derive(Clone)]
pub(super) struct Fetcher {
    pub(super) source: Arc<Source>,
    pub(super) cache: RepoCache,
    pub(super) counts: Arc<Counts>,
    /// Why something is waited for, for the one who waits.
    pub(super) notes: mpsc::UnboundedSender<String>,
}

/// How often a file may fail.
struct Patience {
    tries: u32,
    since: Instant,
    at: u64,
}

impl Patience {
    /// The pause before the next try, or the error when there is none.
    fn after(&mut self, failure: Failure, at: u64) -> Result<Duration> {
        if at >= self.at + PROGRESS {
            (self.tries, self.since, self.at) = (0, Instant::now(), at);
        }
        self.tries += 1;
        let pause = Duration::from_millis(250) * 2_u32.saturating_pow(self.tries.min(8) - 1);
        // Eight streams that broke at once must not all come back at once.
        let pause = pause.min(LONGEST_PAUSE).mul_f64(0.75 + jitter() / 2.0);
        match failure {
            Failure::Asked(_, wait) if self.tries <= TRIES => Ok(wait.min(LONGEST_WAIT)),
            Failure::Unreachable(_) if self.since.elapsed() < OUTAGE => Ok(pause),
            Failure::Again(_) if self.tries < TRIES => Ok(pause),
            Failure::Asked(error, _)
            | Failure::Unreachable(error)
            | Failure::Again(error)
            | Failure::Final(error)
            | Failure::Wrong(error) => Err(error),
        }
    }
}

/// A number from 0 to 1 that differs between tasks; nothing secret hangs on it.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

impl Fetcher {
    /// Makes sure that `entry` is in its place and proven.
    pub(super) async fn fetch(&self, entry: &Entry) -> Result<()> {
        if self.have(entry)? {
            self.counts.done.fetch_add(entry.size, Ordering::Relaxed);
            return Ok(());
        }
        let mut part = Part::open(&self.cache, entry)?;
        self.counts.done.fetch_add(part.at(), Ordering::Relaxed);
        let mut patience = Patience {
            tries: 0,
            since: Instant::now(),
            at: part.at(),
        };
        let (mut etag, mut refused) = (None, 0);
        loop {
            let failure = if part.at() < entry.size {
                self.attempt(entry, &mut part, &mut etag).await.err()
            } else {
                None
            };
            let failure = match failure {
                None if part.at() == entry.size && part.hex() == entry.oid.hex() => {
                    return part.publish(&self.cache.place(entry), &self.cache.record(entry));
                }
                None if part.at() == entry.size => Failure::Wrong(wrong(
                    entry,
                    &format!(
                        "its hash is {}, the listing states {}",
                        part.hex(),
                        entry.oid.hex()
                    ),
                )),
                None => Failure::Again(broken(entry, "the connection ended before the last byte")),
                Some(failure) => failure,
            };
            self.counts.retries.fetch_add(1, Ordering::Relaxed);
            if let Failure::Wrong(error) = failure {
                // Nothing tells which byte is wrong: all of it comes again, once.
                self.counts.done.fetch_sub(part.at(), Ordering::Relaxed);
                part.restart(entry)?;
                etag = None;
                refused += 1;
                if refused > 1 {
                    return Err(error);
                }
                let _ = self
                    .notes
                    .send(format!("`{}` arrived wrong: it is fetched again", entry.path));
                continue;
            }
            if let Failure::Asked(_, wait) = &failure
                && *wait > Duration::from_secs(2)
            {
                let _ = self.notes.send(format!(
                    "the hub asks to wait {} s",
                    wait.min(&LONGEST_WAIT).as_secs()
                ));
            }
            let pause = patience.after(failure, part.at())?;
            tokio::time::sleep(pause).await;
        }
    }

    /// Counts bytes that came.
    pub(super) fn count(&self, bytes: usize) {
        self.counts.fetched.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the file is there and right; a wrong one is removed.
    fn have(&self, entry: &Entry) -> Result<bool> {
        let path = self.cache.place(entry);
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
    }

    /// One stream, as far as it comes.
    async fn attempt(
        &self,
        entry: &Entry,
        part: &mut Part,
        etag: &mut Option<String>,
    ) -> std::result::Result<(), Failure> {
        let mut arriving = self.source.open(entry, part.at(), etag.as_deref()).await?;
        etag.clone_from(&arriving.etag);
        let mut window = (Instant::now(), part.at());
        loop {
            let (since, from) = window;
            if since.elapsed() >= IDLE {
                if part.at() - from < CRAWL && !self.source.is_limited() {
                    return Err(Failure::Again(broken(entry, "less than 64 KiB/s for 30 s")));
                }
                window = (Instant::now(), part.at());
            }
            let next = tokio::time::timeout(IDLE, arriving.next()).await;
            let Ok(next) = next else {
                return Err(Failure::Again(broken(entry, "no byte for 30 s")));
            };
            let Some(mut bytes) = next.map_err(|failure| failure.of(entry))? else {
                return Ok(());
            };
            self.count(bytes.len());
            // A server that ignored the range begins at the first byte: what is there is passed over.
            let skipped = arriving.skip.min(bytes.len() as u64);
            arriving.skip -= skipped;
            let bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
            if part.at() + bytes.len() as u64 > entry.size {
                return Err(Failure::Wrong(wrong(
                    entry,
                    "more bytes come than the listing states",
                )));
            }
            part.write(&bytes).map_err(Failure::Final)?;
            self.counts.done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.source.pace(bytes.len()).await;
        }
    }

    /// As this one, with connections of its own.
    pub(super) fn alone(&self) -> Self {
        Self {
            source: Arc::new(self.source.alone()),
            ..self.clone()
        }
    }
}
