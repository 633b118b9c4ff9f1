//! Snapshots kept in memory, so that a request costs a few metadata reads and not a walk through the cache.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::beneath::Root;
use super::snapshot::Snapshot;
use crate::effects::store::contents;
use crate::effects::store::fingerprint::Fingerprint;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::{self, Extent};
use crate::error::Result;
use crate::profile::is_repo;
use crate::report::{MirroredSnapshot, MirroredState};

/// Time for which a snapshot that is not whole is not checked again. A pull may be writing it.
const RECHECK_AFTER: Duration = Duration::from_secs(1);

/// The snapshots of a cache.
pub(super) struct Catalog {
    /// The directory of the cache.
    pub(super) root: Root,
    /// Snapshots by repository and commit. Contains only snapshots that exist, so that invented names take no
    /// memory.
    known: Mutex<HashMap<(String, String), Slot>>,
}

/// One snapshot; locked while it is read.
type Slot = Arc<Mutex<Option<CachedSnapshot>>>;

/// A snapshot as it was read.
struct CachedSnapshot {
    /// Fingerprints of the files that it depends on. It is read again if one changes.
    stamp: Vec<(PathBuf, Option<Fingerprint>)>,
    found: std::result::Result<Arc<Snapshot>, String>,
    at: Instant,
}

/// Reason why there is no snapshot to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absent {
    /// Unknown repository.
    Repo,
    /// Unknown revision of the repository.
    Revision,
    /// The snapshot exists and is not whole, for this reason.
    NotWhole(String),
}

impl Catalog {
    /// Creates the catalog of a directory.
    pub(super) fn new(root: Root) -> Self {
        Self {
            root,
            known: Mutex::default(),
        }
    }

    /// Returns the snapshot of a revision.
    pub(super) fn snapshot(&self, repo: &str, revision: &str) -> std::result::Result<Arc<Snapshot>, Absent> {
        let cache = RepoCache::new(self.root.path(), repo);
        let absent = || {
            if cache.snapshots_dir().is_dir() {
                Absent::Revision
            } else {
                Absent::Repo
            }
        };
        let commit = cache.resolve(revision).ok_or_else(absent)?;
        let dir = cache.snapshot_dir(&commit);
        let key = (repo.to_owned(), commit);
        if !dir.is_dir() {
            lock(&self.known).remove(&key);
            return Err(absent());
        }
        let slot = Arc::clone(lock(&self.known).entry(key.clone()).or_default());
        // One request reads the snapshot, and the others wait for its result.
        let mut slot = lock(&slot);
        if let Some(known) = slot.as_ref().filter(|known| known.is_fresh()) {
            return known.found.clone().map_err(Absent::NotWhole);
        }
        let manifest = manifest::path(&cache, &key.1);
        // Taken first, so that a change during the read is noticed by the next request.
        let stamp = stamp(&manifest, &dir);
        let found = Snapshot::read(&self.root, &key.0, &key.1).map(Arc::new);
        *slot = Some(CachedSnapshot {
            stamp,
            found: found.clone(),
            at: Instant::now(),
        });
        found.map_err(Absent::NotWhole)
    }

    /// Marks a snapshot as not whole until it is read again. Returns whether it was whole before.
    pub(super) fn mark_corrupt(&self, repo: &str, snapshot: &Arc<Snapshot>, why: &str) -> bool {
        let key = (repo.to_owned(), snapshot.commit.clone());
        let Some(slot) = lock(&self.known).get(&key).map(Arc::clone) else {
            return false;
        };
        let mut slot = lock(&slot);
        match slot.as_mut() {
            Some(known)
                if known
                    .found
                    .as_ref()
                    .is_ok_and(|found| Arc::ptr_eq(found, snapshot)) =>
            {
                known.found = Err(why.to_owned());
                known.at = Instant::now();
                true
            }
            _ => false,
        }
    }

    /// Returns all snapshots of the cache, and whether they are served.
    ///
    /// # Errors
    /// Same as [`contents::repositories`].
    pub(super) fn all(&self) -> Result<Vec<MirroredSnapshot>> {
        let mut all = Vec::new();
        for repo in contents::repositories(self.root.path())? {
            for found in contents::snapshots(&RepoCache::new(self.root.path(), &repo)) {
                let snapshot = if is_repo(&repo) {
                    self.snapshot(&repo, &found.commit)
                } else {
                    Err(Absent::NotWhole("its name is not owner/name".to_owned()))
                };
                let (files, bytes, state) = match snapshot {
                    Ok(snapshot) => {
                        let state = match snapshot.extent {
                            None => MirroredState::Unproven,
                            Some(Extent::Unknown) => MirroredState::Unlisted,
                            Some(_) => MirroredState::Proven,
                        };
                        (snapshot.files.len(), snapshot.bytes(), state)
                    }
                    Err(Absent::NotWhole(why)) => {
                        (found.files, found.bytes, MirroredState::NotServed { why })
                    }
                    Err(Absent::Repo | Absent::Revision) => continue,
                };
                all.push(MirroredSnapshot {
                    repo: repo.clone(),
                    revisions: found.revisions,
                    commit: found.commit,
                    files,
                    bytes,
                    state,
                });
            }
        }
        Ok(all)
    }
}

impl CachedSnapshot {
    fn is_fresh(&self) -> bool {
        let same = || {
            self.stamp
                .iter()
                .all(|(path, then)| is_same(fingerprint(path), *then))
        };
        (self.found.is_ok() || self.at.elapsed() < RECHECK_AFTER) && same()
    }
}

/// Returns the fingerprint of the manifest. Without one, also those of all directories of the snapshot, which
/// change when a file is added or removed.
fn stamp(manifest: &Path, dir: &Path) -> Vec<(PathBuf, Option<Fingerprint>)> {
    let proof = fingerprint(manifest);
    let mut stamp = Vec::new();
    if proof.is_none() {
        directories(dir, &mut stamp);
    }
    stamp.push((manifest.to_owned(), proof));
    stamp
}

fn directories(dir: &Path, found: &mut Vec<(PathBuf, Option<Fingerprint>)>) {
    found.push((dir.to_owned(), fingerprint(dir)));
    for item in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            directories(&item.path(), found);
        }
    }
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Fingerprint::of_any(&meta))
}

fn is_same(now: Option<Fingerprint>, then: Option<Fingerprint>) -> bool {
    match (now, then) {
        (Some(now), Some(then)) => now.has_same_bytes(&then),
        (now, then) => now.is_none() && then.is_none(),
    }
}

/// Locks a mutex even if a thread panicked while it held it, because every change here is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
