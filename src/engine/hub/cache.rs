//! The hub cache layout of one repository, and the manifest of what was proven in it.
//!
//! `models--o--n/{blobs,refs,snapshots}` as every hub client reads and writes it (`huggingface_hub`,
//! `file_download.py`); ours beside them is `.dsr1/` with unfinished parts, a lock and manifests.
//! Not in this module: fetching.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::listing::{Entry, Oid, is_commit};
use crate::engine::files;
use crate::error::{At, Error, Kind, Result};
use crate::facts::WeightFile;
use crate::plan::{CheckSnapshot, repo_folder};
use crate::rehearsal;
use crate::report::Pulled;

/// Version of the manifest.
const SCHEMA: &str = "dsr1.manifest/1";

/// One repository in a cache.
#[derive(Debug, Clone)]
pub(super) struct RepoCache {
    root: PathBuf,
}

/// What was proven, and what the files looked like then: a later check compares metadata instead of hashing
/// 689 GB again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    schema: String,
    pub(super) repo: String,
    pub(super) commit: String,
    pub(super) files: Vec<Proven>,
}

/// One proven file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proven {
    pub(super) path: String,
    pub(super) size: u64,
    /// SHA-256 or git's blob SHA-1, in hex.
    pub(super) oid: String,
    modified_ns: i128,
    inode: u64,
}

impl RepoCache {
    /// The repository `repo` in `cache_dir`.
    pub(super) fn new(cache_dir: &Path, repo: &str) -> Self {
        Self {
            root: cache_dir.join(repo_folder(repo)),
        }
    }

    /// Its directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where proven bytes are.
    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where branches and tags are.
    pub(super) fn refs(&self) -> PathBuf {
        self.root.join("refs")
    }

    /// Where snapshots are.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Where proven bytes are, by hash.
    pub(super) fn blob(&self, oid: &Oid) -> PathBuf {
        self.root.join("blobs").join(oid.hex())
    }

    /// Where the proven bytes of a file go.
    pub(super) fn place(&self, entry: &Entry) -> PathBuf {
        self.blob(&entry.oid)
    }

    /// Where the record of a proven file is kept (see `part`).
    pub(super) fn record(&self, entry: &Entry) -> PathBuf {
        self.parts().join(format!("{}.record", entry.oid.hex()))
    }

    /// Where unproven bytes are. Not in `blobs`: SGLang takes `*.incomplete` there for a broken model.
    pub(super) fn parts(&self) -> PathBuf {
        self.root.join(".dsr1")
    }

    /// Held while a pull writes.
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join(".dsr1/lock")
    }

    /// A snapshot's directory.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where the manifest of a commit is.
    pub(super) fn manifest_path(&self, commit: &str) -> PathBuf {
        self.root.join(".dsr1").join(format!("verified-{commit}.json"))
    }

    /// Makes the directories that a pull writes to.
    pub(super) fn prepare(&self) -> Result<()> {
        for dir in ["blobs", "refs", "snapshots", ".dsr1"] {
            make_dir(&self.root.join(dir))?;
        }
        Ok(())
    }

    /// The commit that a branch, tag or commit id stands for here.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        if !is_revision(revision) {
            return None;
        }
        let text = std::fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The manifest of a commit.
    pub(super) fn manifest(&self, commit: &str) -> Option<Manifest> {
        let bytes = std::fs::read(self.manifest_path(commit)).ok()?;
        let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
        (manifest.schema == SCHEMA && manifest.commit == commit).then_some(manifest)
    }

    /// Gives proven blobs their names in the snapshot, then says so: manifest, and the branch last.
    pub(super) fn publish(&self, repo: &str, revision: &str, commit: &str, entries: &[Entry]) -> Result<()> {
        let snapshot = self.snapshot(commit);
        for entry in entries {
            self.link(&snapshot, entry)?;
        }
        let proven: Result<Vec<Proven>> = entries.iter().map(|entry| prove(&snapshot, entry)).collect();
        let manifest = Manifest {
            schema: SCHEMA.to_owned(),
            repo: repo.to_owned(),
            commit: commit.to_owned(),
            files: proven?,
        };
        let text = serde_json::to_string_pretty(&manifest)
            .at(Kind::Internal, || "cannot write a manifest".to_owned())?;
        files::write_atomic(&self.manifest_path(commit), text.as_bytes())?;
        self.point(revision, commit)
    }

    /// Makes a branch or tag stand for a commit here.
    pub(super) fn point(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        files::write_atomic(&self.root.join("refs").join(revision), commit.as_bytes())
    }

    /// Links a snapshot's path to its blob, replacing whatever was there, in one step.
    fn link(&self, snapshot: &Path, entry: &Entry) -> Result<()> {
        let path = snapshot.join(&entry.path);
        let dir = path.parent().unwrap_or(snapshot);
        make_dir(dir)?;
        // From the file's directory up to the repository: `snapshots/<commit>` and each directory of the path.
        let up = "../".repeat(2 + entry.path.matches('/').count());
        let target = format!("{up}blobs/{}", entry.oid.hex());
        if std::fs::read_link(&path).is_ok_and(|link| link == Path::new(&target)) {
            return Ok(());
        }
        let failed = || format!("cannot link `{}`", path.display());
        let temporary =
            self.root
                .join(".dsr1")
                .join(format!("link-{}-{}", std::process::id(), entry.oid.hex()));
        let _ = std::fs::remove_file(&temporary);
        std::os::unix::fs::symlink(&target, &temporary).at(Kind::Host, failed)?;
        std::fs::rename(&temporary, &path).at(Kind::Host, failed)?;
        sync_dir(dir)
    }
}

/// A revision becomes a path below `refs` and a part of a URL.
pub(super) fn is_revision(revision: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.contains("..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
    };
    revision.len() <= 200 && revision.split('/').all(fits)
}

/// Makes a directory and its parents, readable by all whatever the umask: engines run as other users.
pub(super) fn make_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let failed = || format!("cannot make `{}`", dir.display());
    if let Some(parent) = dir.parent() {
        make_dir(parent)?;
    }
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made
            .and_then(|()| std::fs::set_permissions(dir, Permissions::from_mode(0o755)))
            .at(Kind::Host, failed),
    }
}

/// Makes a rename survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .at(Kind::Host, || format!("cannot sync `{}`", dir.display()))
}

fn prove(snapshot: &Path, entry: &Entry) -> Result<Proven> {
    let path = snapshot.join(&entry.path);
    let meta = std::fs::metadata(&path).at(Kind::Host, || format!("cannot read `{}`", path.display()))?;
    Ok(Proven {
        path: entry.path.clone(),
        size: entry.size,
        oid: entry.oid.hex().to_owned(),
        modified_ns: modified_ns(&meta),
        inode: meta.ino(),
    })
}

fn modified_ns(meta: &std::fs::Metadata) -> i128 {
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

/// Whether a proven file looks as it did when it was proven.
pub(super) fn unchanged(snapshot: &Path, file: &Proven) -> bool {
    std::fs::metadata(snapshot.join(&file.path)).is_ok_and(|meta| {
        meta.is_file()
            && meta.len() == file.size
            && modified_ns(&meta) == file.modified_ns
            && meta.ino() == file.inode
    })
}

/// The commit of a revision in a cache, when its snapshot was proven.
#[must_use]
pub fn cached_commit(cache_dir: &Path, repo: &str, revision: &str) -> Option<String> {
    let cache = RepoCache::new(cache_dir, repo);
    let commit = cache.commit(revision)?;
    cache.manifest(&commit).map(|_| commit)
}

/// The proven files of a snapshot, when nothing changed since; `None` otherwise.
#[must_use]
pub fn proven_files(cache_dir: &Path, repo: &str, commit: &str) -> Option<Vec<WeightFile>> {
    let cache = RepoCache::new(cache_dir, repo);
    let manifest = cache.manifest(commit)?;
    let snapshot = cache.snapshot(commit);
    let whole = manifest.files.iter().all(|file| unchanged(&snapshot, file));
    whole.then(|| {
        let file = |file: &Proven| WeightFile {
            path: file.path.clone(),
            size: file.size,
            hash: file.oid.clone(),
        };
        manifest.files.iter().map(file).collect()
    })
}

/// Checks that a snapshot was proven, that nothing changed since, and that no shard is missing.
///
/// # Errors
/// [`Kind::Hub`] when it was never pulled; [`Kind::Integrity`] when it is not what was proven.
pub fn check_snapshot(step: &CheckSnapshot) -> Result<Pulled> {
    let CheckSnapshot {
        repo,
        revision,
        cache_dir,
    } = step;
    let cache = RepoCache::new(Path::new(cache_dir), repo);
    let again = if repo == rehearsal::REPO {
        "dsr1 up --profile rehearsal makes and pulls it".to_owned()
    } else {
        format!("dsr1 pull {repo} --revision {revision}")
    };
    let found = cache.commit(revision).and_then(|commit| cache.manifest(&commit));
    let Some(manifest) = found else {
        return Err(
            Error::new(Kind::Hub, format!("{repo}@{revision} is not in the cache"))
                .cause(format!("no proven snapshot in `{cache_dir}`"))
                .hint(again),
        );
    };
    let snapshot = cache.snapshot(&manifest.commit);
    if let Some(file) = manifest.files.iter().find(|file| !unchanged(&snapshot, file)) {
        return Err(Error::new(
            Kind::Integrity,
            format!("`{}` of {repo} is not what was proven", file.path),
        )
        .cause("its size, time or inode changed after the pull, or it is gone")
        .hint(again));
    }
    if let Some(missing) = missing_shard(
        &snapshot,
        &manifest.files.iter().map(|file| file.path.as_str()).collect(),
    ) {
        return Err(Error::new(Kind::Integrity, format!("{repo} lacks `{missing}`"))
            .cause("model.safetensors.index.json names it, and the repository does not have it")
            .hint(again));
    }
    Ok(pulled(repo, revision, &snapshot, &manifest, 0))
}

/// What there is, in the terms of a report.
pub(super) fn pulled(
    repo: &str,
    revision: &str,
    snapshot: &Path,
    manifest: &Manifest,
    fetched_bytes: u64,
) -> Pulled {
    Pulled {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        commit: manifest.commit.clone(),
        snapshot: snapshot.to_string_lossy().into_owned(),
        files: manifest.files.len(),
        total_bytes: manifest.files.iter().map(|file| file.size).sum(),
        fetched_bytes,
        cached: fetched_bytes == 0,
    }
}

/// The index of a sharded model.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// A shard that the snapshot's index names and `paths` lacks.
pub(super) fn missing_shard(snapshot: &Path, paths: &BTreeSet<&str>) -> Option<String> {
    missing_from(&snapshot.join(INDEX), paths)
}

/// A shard that the index in the file `index` names and `paths` lacks.
pub(super) fn missing_from(index: &Path, paths: &BTreeSet<&str>) -> Option<String> {
    let index: Value = serde_json::from_slice(&std::fs::read(index).ok()?).ok()?;
    let shards = index["weight_map"]
        .as_object()?
        .values()
        .filter_map(Value::as_str);
    shards
        .into_iter()
        .find(|shard| !paths.contains(shard))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_stay_below_refs() {
        for good in ["main", "refs/pr/1", "v1.0", "feature/x-y"] {
            assert!(is_revision(good), "{good}");
        }
        for bad in ["", "..", "../x", "a/../b", "/a", "a/", ".hidden", "a b", "a\\b"] {
            assert!(!is_revision(bad), "{bad}");
        }
    }
}
