//! The place of a snapshot on disk, and the hub and the limits for fetching its files.

use crate::effects::hub::options::RemoteRevision;
use crate::effects::store::layout::RepoCache;
use crate::plan::{PullSnapshot, Transport};

/// A revision of a repository in the hub cache, or in a directory.
#[derive(Debug, Clone)]
pub struct Place {
    /// Repository, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// The hub cache.
    pub cache_dir: String,
    /// The directory that holds the files under their own names, instead of the hub cache.
    pub local_dir: Option<String>,
}

impl Place {
    /// Returns the files of the repository in this place.
    pub(super) fn cache(&self) -> RepoCache {
        RepoCache::of(&self.cache_dir, self.local_dir.as_deref(), &self.repo)
    }
}

/// The hub that files are fetched from, and the limits of the transfer.
#[derive(Debug, Clone)]
pub struct Download {
    /// Hub base URL.
    pub endpoint: String,
    /// The largest number of files that are fetched at once.
    pub max_workers: usize,
    /// The largest rate over all files, in bytes a second.
    pub limit_rate: Option<u64>,
    /// HTTP or Xet.
    pub transport: Transport,
}

impl From<&PullSnapshot> for Download {
    fn from(step: &PullSnapshot) -> Self {
        Self {
            endpoint: step.endpoint.clone(),
            max_workers: step.max_workers,
            limit_rate: step.limit_rate,
            transport: step.transport,
        }
    }
}

/// Returns the files of the repository that a step pulls.
pub(super) fn cache_of(step: &PullSnapshot) -> RepoCache {
    RepoCache::of(&step.cache_dir, step.local_dir.as_deref(), &step.repo)
}

/// Returns the revision that a step pulls, as the hub is asked for it.
pub(super) fn remote_of(step: &PullSnapshot) -> RemoteRevision<'_> {
    RemoteRevision {
        endpoint: &step.endpoint,
        repo: &step.repo,
        revision: &step.revision,
    }
}
