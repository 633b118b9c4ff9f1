//! The manifest of a snapshot: its verified files, with their fingerprints at that time.
//!
//! `.dsr1/verified-COMMIT.json` is written last, after everything that it lists was synced. A manifest on disk
//! therefore means that all its files are on disk.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::layout::RepoCache;
use super::proofs::ProofLog;
use crate::effects::files;
use crate::effects::hub::listing::{Entry, Oid};
use crate::effects::hub::names::{is_path, is_reserved_path};
use crate::error::{At, Error, Kind, Result};
use crate::report::{WrongFile, WrongState};

/// Version of the file format.
pub(in crate::effects) const MANIFEST_SCHEMA: &str = "dsr1.manifest/1";
/// Largest manifest that is read; 50,000 files take about 15 MB.
const MAX_MANIFEST: u64 = 64 << 20;

/// The verified files of a commit with their fingerprints, so that a later check compares metadata instead of
/// hashing 689 GB again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::effects) struct Manifest {
    pub(in crate::effects) schema: String,
    pub(in crate::effects) repo: String,
    pub(in crate::effects) commit: String,
    /// The hub whose listing was used. Another hub may list more files of the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::effects) endpoint: Option<String>,
    /// The part of the commit that the files cover.
    #[serde(default, skip_serializing_if = "Extent::is_whole")]
    pub(in crate::effects) extent: Extent,
    pub(in crate::effects) files: Vec<VerifiedFile>,
}

/// The part of a commit that a snapshot covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::effects) enum Extent {
    /// All files that the hub lists.
    #[default]
    Whole,
    /// Only selected files.
    Part,
    /// Files of another client. Only a listing could tell whether they are all files of the commit.
    Unknown,
}

impl Extent {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// The inode of a file whose verification was revoked. No file has this inode.
const REVOKED_INODE: u64 = 0;

/// One verified file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredFile", into = "StoredFile")]
pub(in crate::effects) struct VerifiedFile {
    pub(in crate::effects) path: String,
    /// SHA-256, or git's blob SHA-1, in hex.
    pub(in crate::effects) oid: String,
    /// The fingerprint at the time of the verification. Its inode is [`REVOKED_INODE`] after a revocation.
    fingerprint: Fingerprint,
    /// True if a pull downloaded the file, and did not find it there.
    pub(in crate::effects) downloaded: bool,
}

/// One file in the format on disk.
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
    /// Creates the manifest of a snapshot that another client wrote. It has no verified files yet.
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

    /// Returns whether a pull downloaded the file with this fingerprint, according to this manifest.
    pub(in crate::effects) fn is_downloaded(&self, path: &str, fingerprint: &Fingerprint) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.path == path && file.downloaded && file.has_fingerprint(fingerprint))
    }

    /// Adds the files that were verified earlier for the same commit. If the earlier manifest was of the whole
    /// commit and no file is missing, this one is of the whole commit too, even if some files are corrupt by
    /// now.
    pub(in crate::effects) fn merge_earlier(&mut self, before: Self, snapshot: &Path) {
        // Another hub may state another hash for a file of the same commit. The result is then the whole of
        // neither.
        let is_of_before = |file: &VerifiedFile| {
            let known = before.files.iter().find(|known| known.path == file.path);
            known.is_some_and(|known| (known.size(), &known.oid) == (file.size(), &file.oid))
        };
        let is_same_commit = self.files.iter().all(is_of_before);
        let is_new = |file: &VerifiedFile| self.files.iter().all(|other| other.path != file.path);
        let (missing, kept): (Vec<VerifiedFile>, Vec<VerifiedFile>) = before
            .files
            .into_iter()
            .filter(is_new)
            .partition(|file| !is_unchanged(snapshot, file));
        let is_there = |file: &VerifiedFile| snapshot.join(&file.path).exists();
        if before.extent == Extent::Whole && is_same_commit && missing.iter().all(is_there) {
            (self.extent, self.endpoint) = (before.extent, before.endpoint);
        }
        // Keeps the entries of files that were modified, so that they are still reported.
        let damaged = missing.into_iter().filter(is_there);
        self.files.extend(kept);
        self.files.extend(damaged);
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Returns the manifest with the files of `wrong` revoked, and whether any entry changed. An entry matches
    /// if its hash is equal, and its recorded or current fingerprint is the one that the check found.
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
    /// Creates the entry of a file with the fingerprint that it had when it was verified as `entry`.
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

    /// Returns the size in bytes.
    pub(in crate::effects) fn size(&self) -> u64 {
        self.fingerprint.size
    }

    /// Returns whether the file had this fingerprint when it was verified.
    fn has_fingerprint(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprint.has_same_bytes(fingerprint)
    }

    /// Returns whether a check revoked the verification.
    pub(in crate::effects) fn is_revoked(&self) -> bool {
        self.fingerprint.inode == REVOKED_INODE
    }

    /// Returns the reason why the file does not count as verified any more.
    pub(in crate::effects) fn reason(&self) -> &'static str {
        if self.is_revoked() {
            "a check found its bytes corrupt"
        } else {
            "its size, time or inode changed, or it is missing"
        }
    }

    /// Returns the error for a file that changed since it was verified.
    pub(in crate::effects) fn changed_error(&self, repo: &str) -> Error {
        let text = format!("`{}` of {repo} changed since it was verified", self.path);
        Error::new(Kind::Integrity, text).cause(self.reason())
    }

    /// Returns the entry of a listing for this file; `None` if the manifest contains no valid hash.
    pub(in crate::effects) fn entry(&self) -> Option<Entry> {
        Some(Entry {
            path: self.path.clone(),
            size: self.size(),
            oid: Oid::from_blob_name(&self.oid)?,
            xet: None,
        })
    }
}

/// Returns the path of a commit's manifest.
pub(in crate::effects) fn path(cache: &RepoCache, commit: &str) -> PathBuf {
    cache.private_dir().join(format!("verified-{commit}.json"))
}

/// Reads the manifest of a commit. A manifest with a path that no listing may contain is ignored: a cache may
/// come from anywhere, and a repair writes to the paths of its manifest.
pub(in crate::effects) fn read(cache: &RepoCache, commit: &str) -> Option<Manifest> {
    let bytes = files::read(&path(cache, commit), MAX_MANIFEST).ok()?;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    let may_be =
        |file: &VerifiedFile| is_path(&file.path) && !(cache.is_directory() && is_reserved_path(&file.path));
    let is_ours = manifest.schema == MANIFEST_SCHEMA && manifest.commit == commit;
    (is_ours && manifest.files.iter().all(may_be)).then_some(manifest)
}

/// Writes a manifest. The files that it lists must have been synced.
pub(in crate::effects) fn write(cache: &RepoCache, manifest: &Manifest) -> Result<()> {
    let text =
        serde_json::to_string_pretty(manifest).at(Kind::Internal, || "cannot write a manifest".to_owned())?;
    cache.write_file(&path(cache, &manifest.commit), text.as_bytes())
}

/// Returns the commits that have a manifest.
pub(in crate::effects) fn commits_with_manifest(cache: &RepoCache) -> Vec<String> {
    let items = std::fs::read_dir(cache.private_dir())
        .into_iter()
        .flatten()
        .flatten();
    items
        .filter_map(|item| commit_of(item.file_name().to_str()?))
        .collect()
}

/// Revokes the verification of files in the manifests of all commits. From then on these files count as
/// changed. A file with another fingerprint was verified since, or is another file, and stays.
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

/// Returns the entry of a verified file. The log and the earlier manifest tell whether a pull downloaded it.
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

/// Returns the commit that a manifest's file name contains.
pub(in crate::effects) fn commit_of(name: &str) -> Option<String> {
    let commit = name.strip_prefix("verified-")?.strip_suffix(".json")?;
    Some(commit.to_owned())
}

/// Returns whether a file has the same size, modification time and inode as when it was verified.
pub(in crate::effects) fn is_unchanged(snapshot: &Path, file: &VerifiedFile) -> bool {
    Fingerprint::at(&snapshot.join(&file.path)).is_some_and(|fingerprint| file.has_fingerprint(&fingerprint))
}

/// Returns whether a file's whole fingerprint is unchanged: not even its mode or names changed, and its time
/// was not set back. Files that fail this test are hashed again where that costs only time.
pub(in crate::effects) fn is_untouched(snapshot: &Path, file: &VerifiedFile) -> bool {
    let fingerprint = Fingerprint::at(&snapshot.join(&file.path));
    fingerprint.is_some_and(|fingerprint| {
        file.has_fingerprint(&fingerprint) && file.fingerprint.changed_ns == fingerprint.changed_ns
    })
}

/// Returns the files that changed since they were verified.
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
