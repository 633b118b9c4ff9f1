//! What was proven of a snapshot, and what its files looked like then.
//!
//! `.dsr1/verified-COMMIT.json` is written last, when everything that it tells of is synced: where it is, all of that is.
//! Not in this module: paths (`cache`), single files (`proven`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fingerprint::Look;
use super::layout::RepoCache;
use super::proofs::ProvenLog;
use crate::effects::files;
use crate::effects::hub::listing::{Entry, Oid};
use crate::effects::hub::names::{is_ours, is_path};
use crate::error::{At, Error, Kind, Result};
use crate::report::{WrongFile, WrongState};

/// Version of the manifest.
pub(in crate::effects) const SCHEMA: &str = "dsr1.manifest/1";
/// Largest manifest that is read; 50 000 files have some 15 MB.
const MAX_BYTES: u64 = 64 << 20;

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
    pub(in crate::effects) files: Vec<Proven>,
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
const NO_INODE: u64 = 0;

/// One proven file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::effects) struct Proven {
    pub(in crate::effects) path: String,
    pub(in crate::effects) size: u64,
    /// SHA-256 or git's blob SHA-1, in hex.
    pub(in crate::effects) oid: String,
    modified_ns: i64,
    inode: u64,
    /// `st_ctime`, which no program sets at will. A change of rights or of names changes it too.
    #[serde(default)]
    changed_ns: i64,
    /// A pull wrote it, and did not find it there.
    #[serde(default)]
    pub(in crate::effects) brought: bool,
}

impl Manifest {
    /// That of a snapshot which another client left: nothing is proven of it yet.
    pub(in crate::effects) fn unlisted(repo: &str, commit: &str) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            repo: repo.to_owned(),
            commit: commit.to_owned(),
            endpoint: None,
            extent: Extent::Unknown,
            files: Vec::new(),
        }
    }

    /// Whether a pull wrote what `look` is of, as far as this manifest tells.
    pub(in crate::effects) fn is_brought(&self, path: &str, look: &Look) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.path == path && file.brought && file.is(look))
    }

    /// Adds what was proven of the commit before, as far as it is there. When that was the whole of it, and nothing is
    /// gone, it stays the whole, with all that is wrong of it by now, whoever was asked for a part of it.
    pub(in crate::effects) fn add(&mut self, before: Self, snapshot: &Path) {
        // Another hub may state another hash for a file of the same commit: then this is neither's whole.
        let is_of_before = |file: &Proven| {
            let known = before.files.iter().find(|known| known.path == file.path);
            known.is_some_and(|known| (known.size, &known.oid) == (file.size, &file.oid))
        };
        let all_are = self.files.iter().all(is_of_before);
        let is_new = |file: &Proven| self.files.iter().all(|other| other.path != file.path);
        let (missing, kept): (Vec<Proven>, Vec<Proven>) = before
            .files
            .into_iter()
            .filter(is_new)
            .partition(|file| !unchanged(snapshot, file));
        let is_there = |file: &Proven| snapshot.join(&file.path).exists();
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
    pub(in crate::effects) fn without(mut self, snapshot: &Path, wrong: &[(Entry, Look)]) -> (Self, bool) {
        let is_wrong = |file: &Proven| {
            let mut of_file = wrong.iter().filter(|(entry, _)| file.oid == entry.oid.hex());
            of_file.any(|(_, look)| file.is(look) || Look::at(&snapshot.join(&file.path)) == Some(*look))
        };
        let mut has_any = false;
        for file in self.files.iter_mut().filter(|file| is_wrong(file)) {
            file.inode = NO_INODE;
            has_any = true;
        }
        (self, has_any)
    }
}

impl Proven {
    /// What looked so while it was proven to be `entry`.
    pub(in crate::effects) fn new(entry: &Entry, look: &Look) -> Self {
        Self {
            path: entry.path.clone(),
            size: entry.size,
            oid: entry.oid.hex().to_owned(),
            modified_ns: look.modified_ns,
            inode: look.inode,
            changed_ns: look.changed_ns,
            brought: false,
        }
    }

    /// Whether it looked so when it was proven.
    fn is(&self, look: &Look) -> bool {
        (self.size, self.modified_ns, self.inode) == (look.size, look.modified_ns, look.inode)
    }

    /// Whether a check took back that it was proven.
    pub(in crate::effects) fn is_withdrawn(&self) -> bool {
        self.inode == NO_INODE
    }

    /// Why it is not what was proven, when it does not look so any more.
    pub(in crate::effects) fn why(&self) -> &'static str {
        if self.is_withdrawn() {
            "a check of its bytes found it wrong"
        } else {
            "its size, time or inode changed, or it is gone"
        }
    }

    /// That it is not what was proven, and why.
    pub(in crate::effects) fn refused(&self, repo: &str) -> Error {
        let text = format!("`{}` of {repo} is not what was proven", self.path);
        Error::new(Kind::Integrity, text).cause(self.why())
    }

    /// What a listing states of it; `None` when the manifest holds no hash.
    pub(in crate::effects) fn entry(&self) -> Option<Entry> {
        Some(Entry {
            path: self.path.clone(),
            size: self.size,
            oid: Oid::from_blob_name(&self.oid)?,
            xet: None,
        })
    }
}

/// Where the manifest of a commit is.
pub(in crate::effects) fn path(cache: &RepoCache, commit: &str) -> PathBuf {
    cache.parts().join(format!("verified-{commit}.json"))
}

/// The manifest of a commit. One that names what no listing may (see `listing`) is none of ours: a cache may have
/// come from anywhere, and a repair writes where its manifest says.
pub(in crate::effects) fn read(cache: &RepoCache, commit: &str) -> Option<Manifest> {
    let bytes = files::read(&path(cache, commit), MAX_BYTES).ok()?;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    let may_be = |file: &Proven| is_path(&file.path) && !(cache.is_directory() && is_ours(&file.path));
    let is_ours = manifest.schema == SCHEMA && manifest.commit == commit;
    (is_ours && manifest.files.iter().all(may_be)).then_some(manifest)
}

/// Writes a manifest. What it tells of must be on the disk.
pub(in crate::effects) fn write(cache: &RepoCache, manifest: &Manifest) -> Result<()> {
    let text =
        serde_json::to_string_pretty(manifest).at(Kind::Internal, || "cannot write a manifest".to_owned())?;
    cache.write(&path(cache, &manifest.commit), text.as_bytes())
}

/// The commits that have a manifest.
pub(in crate::effects) fn proven_commits(cache: &RepoCache) -> Vec<String> {
    let items = std::fs::read_dir(cache.parts()).into_iter().flatten().flatten();
    items
        .filter_map(|item| commit_of(item.file_name().to_str()?))
        .collect()
}

/// Takes back that files were proven, in the manifest of every commit that has them: from now on they count as
/// changed. What looks otherwise than these did was proven since, or is another file.
pub(in crate::effects) fn withdraw(cache: &RepoCache, wrong: &[(Entry, Look)]) -> Result<()> {
    for commit in proven_commits(cache) {
        if let Some((manifest, true)) =
            read(cache, &commit).map(|manifest| manifest.without(&cache.snapshot(&commit), wrong))
        {
            write(cache, &manifest)?;
        }
    }
    Ok(())
}

/// What looked so while it was proven to be `entry`, and whether a pull wrote it, as far as the log and the manifest
/// before tell.
pub(in crate::effects) fn proven(
    cache: &RepoCache,
    log: &ProvenLog,
    before: Option<&Manifest>,
    entry: &Entry,
    look: &Look,
) -> Proven {
    Proven {
        brought: log.is_brought(&cache.place(entry), entry, look)
            || before.is_some_and(|before| before.is_brought(&entry.path, look)),
        ..Proven::new(entry, look)
    }
}

/// The commit of a manifest's name.
pub(in crate::effects) fn commit_of(name: &str) -> Option<String> {
    let commit = name.strip_prefix("verified-")?.strip_suffix(".json")?;
    Some(commit.to_owned())
}

/// Whether a proven file looks as it did when it was proven.
pub(in crate::effects) fn unchanged(snapshot: &Path, file: &Proven) -> bool {
    Look::at(&snapshot.join(&file.path)).is_some_and(|look| file.is(&look))
}

/// As [`unchanged`], and nothing at all was done to it since: neither was its time put back, nor its mode changed. What is
/// not is read again where that costs only time.
pub(in crate::effects) fn untouched(snapshot: &Path, file: &Proven) -> bool {
    let look = Look::at(&snapshot.join(&file.path));
    look.is_some_and(|look| file.is(&look) && file.changed_ns == look.changed_ns)
}

/// Files that do not look as they did when they were proven.
pub(in crate::effects) fn changed(snapshot: &Path, manifest: &Manifest) -> Vec<WrongFile> {
    let files = manifest.files.iter().filter(|file| !unchanged(snapshot, file));
    files
        .map(|file| WrongFile {
            path: file.path.clone(),
            why: file.why().to_owned(),
            state: if file.is_withdrawn() {
                WrongState::Wrong
            } else {
                WrongState::Changed
            },
        })
        .collect()
}
