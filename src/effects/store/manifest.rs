//! What was proven of a snapshot, and what its files looked like then.
//!
//! `.dsr1/verified-COMMIT.json` is written last, when everything that it tells of is synced: where it is, all of that is.
//! Not in this module: paths (`cache`), single files (`proven`).

use std::path::{Path, PathBuf};

use super::fingerprint::Fingerprint;
use super::layout::RepoCache;
use super::proofs::ProofLog;
use crate::effects::files;
use crate::effects::hub::listing::{Entry, Oid};
use crate::effects::hub::names::{is_path, is_reserved_path};
use crate::error::{At, Error, Kind, Result};
use crate::report::{WrongFile, WrongState};
use serde::{Deserialize, Serialize};

/// Version of the manifest.
pub(in crate::effects) const MANIFEST_SCHEMA: &str = "dsr1.manifest/1";
/// Largest manifest that is read; 50 000 files have some 15 MB.
const MAX_MANIFEST: u64 = 64 << 20;

/// What was proven, and what the files looked like then: a later check compares metadata instead of hashing
/// 689 GB again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::effects) struct Manifest {
    pub(in crate::effects) schema: String,
    pub(in crate::effects) repo: String,
    pub(in crate::effects) commit: String,
    /// The hub whose listing says so. What one hub has of a commit, another may have more of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::effects) endpoint: Option<String>,
    /// How much of the commit it is.
    #[serde(default, skip_serializing_if = "Extent::is_whole")]
    pub(in crate::effects) extent: Extent,
    pub(in crate::effects) files: Vec<VerifiedFile>,
}

/// How much of a commit a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::effects) enum Extent {
    /// All files that the hub lists.
    #[default]
    Whole,
    /// Files that were selected.
    Part,
    /// What another client left: whether that is all of its commit, only a listing would say.
    Unknown,
}

impl Extent {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// The inode of what was withdrawn: no file has it.
const REVOKED_INODE: u64 = 0;

/// One proven file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredFile", into = "StoredFile")]
pub(in crate::effects) struct VerifiedFile {
    pub(in crate::effects) path: String,
    /// SHA-256 or git's blob SHA-1, in hex.
    pub(in crate::effects) oid: String,
    /// The fingerprint during the verification; its inode is [`REVOKED_INODE`] once that was revoked.
    fingerprint: Fingerprint,
    /// A pull wrote it, and did not find it there.
    pub(in crate::effects) downloaded: bool,
}

/// One file as the manifest states it.
#[derive(Serialize, Deserialize)]
struct StoredFile {
    path: String,
    size: u64,
    oid: String,
    modified_ns: i64,
    inode: u64,
    #[serde(default)]
    changed_ns: i64,
    #[serde(default)]
    brought: bool,
}

impl From<StoredFile> for VerifiedFile {
    fn from(stored: StoredFile) -> Self {
        Self {
            path: stored.path,
            oid: stored.oid,
            fingerprint: Fingerprint {
                size: stored.size,
                modified_ns: stored.modified_ns,
                changed_ns: stored.changed_ns,
                inode: stored.inode,
            },
            downloaded: stored.brought,
        }
    }
}

impl From<VerifiedFile> for StoredFile {
    fn from(file: VerifiedFile) -> Self {
        Self {
            path: file.path,
            size: file.fingerprint.size,
            oid: file.oid,
            modified_ns: file.fingerprint.modified_ns,
            inode: file.fingerprint.inode,
            changed_ns: file.fingerprint.changed_ns,
            brought: file.downloaded,
        }
    }
}

impl Manifest {
    /// That of a snapshot which another client left: nothing is proven of it yet.
    pub(in crate::effects) fn unlisted(repo: &str, commit: &str) -> Self {
        Self {
            schema: MANIFEST_SCHEMA.to_owned(),
            repo: repo.to_owned(),
            commit: commit.to_owned(),
            endpoint: None,
            extent: Extent::Unknown,
            files: Vec::new(),
        }
    }

    /// Whether a pull wrote what `look` is of, as far as this manifest tells.
    pub(in crate::effects) fn is_downloaded(&self, path: &str, fingerprint: &Fingerprint) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.path == path && file.downloaded && file.has_fingerprint(fingerprint))
    }

    /// Adds what was proven of the commit before, as far as it is there. When that was the whole of it, and nothing is
    /// gone, it stays the whole, with all that is wrong of it by now, whoever was asked for a part of it.
    pub(in crate::effects) fn merge_earlier(&mut self, before: Self, snapshot: &Path) {
        // Another hub may state another hash for a file of the same commit: then this is neither's whole.
        let is_of_before = |file: &VerifiedFile| {
            let known = before.files.iter().find(|known| known.path == file.path);
            known.is_some_and(|known| (known.size(), &known.oid) == (file.size(), &file.oid))
        };
        let all_are = self.files.iter().all(is_of_before);
        let is_new = |file: &VerifiedFile| self.files.iter().all(|other| other.path != file.path);
        let (missing, kept): (Vec<VerifiedFile>, Vec<VerifiedFile>) = before
            .files
            .into_iter()
            .filter(is_new)
            .partition(|file| !is_unchanged(snapshot, file));
        let is_there = |file: &VerifiedFile| snapshot.join(&file.path).exists();
        if before.extent == Extent::Whole && all_are && missing.iter().all(is_there) {
            (self.extent, self.endpoint) = (before.extent, before.endpoint);
        }
        // What is there and not what was proven stays known as that.
        let damaged = missing.into_iter().filter(is_there);
        self.files.extend(kept);
        self.files.extend(damaged);
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// The same once `wrong` are taken back, and whether it has any of them. What looks neither now as the wrong ones did
    /// nor did when it was proven is another file.
    pub(in crate::effects) fn with_revoked(
        mut self,
        snapshot: &Path,
        wrong: &[(Entry, Fingerprint)],
    ) -> (Self, bool) {
        let is_wrong = |file: &VerifiedFile| {
            let mut of_file = wrong.iter().filter(|(entry, _)| file.oid == entry.oid.hex());
            of_file.any(|(_, fingerprint)| {
                file.has_fingerprint(fingerprint)
                    || Fingerprint::at(&snapshot.join(&file.path)) == Some(*fingerprint)
            })
        };
        let mut has_any = false;
        for file in self.files.iter_mut().filter(|file| is_wrong(file)) {
            file.fingerprint.inode = REVOKED_INODE;
            has_any = true;
        }
        (self, has_any)
    }
}

impl VerifiedFile {
    /// What looked so while it was proven to be `entry`.
    pub(in crate::effects) fn new(entry: &Entry, fingerprint: &Fingerprint) -> Self {
        Self {
            path: entry.path.clone(),
            oid: entry.oid.hex().to_owned(),
            fingerprint: Fingerprint {
                size: entry.size,
                ..*fingerprint
            },
            downloaded: false,
        }
    }

    /// Its size in bytes.
    pub(in crate::effects) fn size(&self) -> u64 {
        self.fingerprint.size
    }

    /// Whether it looked so when it was proven.
    fn has_fingerprint(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprint.has_same_bytes(fingerprint)
    }

    /// Whether a check took back that it was proven.
    pub(in crate::effects) fn is_revoked(&self) -> bool {
        self.fingerprint.inode == REVOKED_INODE
    }

    /// Why it is not what was proven, when it does not look so any more.
    pub(in crate::effects) fn reason(&self) -> &'static str {
        if self.is_revoked() {
            "a check of its bytes found it wrong"
        } else {
            "its size, time or inode changed, or it is gone"
        }
    }

    /// That it is not what was proven, and why.
    pub(in crate::effects) fn changed_error(&self, repo: &str) -> Error {
        let text = format!("`{}` of {repo} is not what was proven", self.path);
        Error::new(Kind::Integrity, text).cause(self.reason())
    }

    /// What a listing states of it; `None` when the manifest holds no hash.
    pub(in crate::effects) fn entry(&self) -> Option<Entry> {
        Some(Entry {
            path: self.path.clone(),
            size: self.size(),
            oid: Oid::from_blob_name(&self.oid)?,
            xet: None,
        })
    }
}

/// Where the manifest of a commit is.
pub(in crate::effects) fn path(cache: &RepoCache, commit: &str) -> PathBuf {
    cache.private_dir().join(format!("verified-{commit}.json"))
}

/// The manifest of a commit. One that names what no listing may (see `listing`) is none of ours: a cache may have
/// come from anywhere, and a repair writes where its manifest says.
pub(in crate::effects) fn read(cache: &RepoCache, commit: &str) -> Option<Manifest> {
    let bytes = files::read(&path(cache, commit), MAX_MANIFEST).ok()?;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    let may_be =
        |file: &VerifiedFile| is_path(&file.path) && !(cache.is_directory() && is_reserved_path(&file.path));
    let is_ours = manifest.schema == MANIFEST_SCHEMA && manifest.commit == commit;
    (is_ours && manifest.files.iter().all(may_be)).then_some(manifest)
}

/// Writes a manifest. What it tells of must be on the disk.
pub(in crate::effects) fn write(cache: &RepoCache, manifest: &Manifest) -> Result<()> {
    let text =
        serde_json::to_string_pretty(manifest).at(Kind::Internal, || "cannot write a manifest".to_owned())?;
    cache.write_file(&path(cache, &manifest.commit), text.as_bytes())
}

/// The commits that have a manifest.
pub(in crate::effects) fn commits_with_manifest(cache: &RepoCache) -> Vec<String> {
    let items = std::fs::read_dir(cache.private_dir())
        .into_iter()
        .flatten()
        .flatten();
    items
        .filter_map(|item| commit_of(item.file_name().to_str()?))
        .collect()
}

/// Takes back that files were proven, in the manifest of every commit that has them: from now on they count as
/// changed. What looks otherwise than these did was proven since, or is another file.
pub(in crate::effects) fn revoke(cache: &RepoCache, wrong: &[(Entry, Fingerprint)]) -> Result<()> {
    for commit in commits_with_manifest(cache) {
        if let Some((manifest, true)) =
            read(cache, &commit).map(|manifest| manifest.with_revoked(&cache.snapshot_dir(&commit), wrong))
        {
            write(cache, &manifest)?;
        }
    }
    Ok(())
}

/// What looked so while it was proven to be `entry`, and whether a pull wrote it, as far as the log and the manifest
/// before tell.
pub(in crate::effects) fn verified_file(
    cache: &RepoCache,
    log: &ProofLog,
    before: Option<&Manifest>,
    entry: &Entry,
    fingerprint: &Fingerprint,
) -> VerifiedFile {
    VerifiedFile {
        downloaded: log.is_downloaded(&cache.file_path(entry), entry, fingerprint)
            || before.is_some_and(|before| before.is_downloaded(&entry.path, fingerprint)),
        ..VerifiedFile::new(entry, fingerprint)
    }
}

/// The commit of a manifest's name.
pub(in crate::effects) fn commit_of(name: &str) -> Option<String> {
    let commit = name.strip_prefix("verified-")?.strip_suffix(".json")?;
    Some(commit.to_owned())
}

/// Whether a proven file looks as it did when it was proven.
pub(in crate::effects) fn is_unchanged(snapshot: &Path, file: &VerifiedFile) -> bool {
    Fingerprint::at(&snapshot.join(&file.path)).is_some_and(|fingerprint| file.has_fingerprint(&fingerprint))
}

/// As [`unchanged`], and nothing at all was done to it since: neither was its time put back, nor its mode changed. What is
/// not is read again where that costs only time.
pub(in crate::effects) fn is_untouched(snapshot: &Path, file: &VerifiedFile) -> bool {
    let fingerprint = Fingerprint::at(&snapshot.join(&file.path));
    fingerprint.is_some_and(|fingerprint| {
        file.has_fingerprint(&fingerprint) && file.fingerprint.changed_ns == fingerprint.changed_ns
    })
}

/// Files that do not look as they did when they were proven.
pub(in crate::effects) fn changed_files(snapshot: &Path, manifest: &Manifest) -> Vec<WrongFile> {
    let files = manifest.files.iter().filter(|file| !is_unchanged(snapshot, file));
    files
        .map(|file| WrongFile {
            path: file.path.clone(),
            why: file.reason().to_owned(),
            state: if file.is_revoked() {
                WrongState::Wrong
            } else {
                WrongState::Changed
            },
        })
        .collect()
}
