//! What was proven of a snapshot, and what its files looked like then.
//!
//! `.dsr1/verified-COMMIT.json` is written last, when everything that it tells of is synced: where it is, all of that is.
//! Not in this module: paths (`cache`), single files (`proven`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::RepoCache;
use super::listing::{Entry, Oid, is_ours, is_path};
use super::look::Look;
use super::proven::ProvenLog;
use super::{claim, hash, tensors, tidy};
use crate::effects::files;
use crate::error::{At, Error, Kind, Result};
use crate::facts::WeightFile;
use crate::plan::CheckSnapshot;
use crate::rehearsal;
use crate::report::Pulled;

/// Version of the manifest.
const SCHEMA: &str = "dsr1.manifest/1";
/// Largest manifest that is read; 50 000 files have some 15 MB.
const MAX_BYTES: u64 = 64 << 20;

/// What was proven, and what the files looked like then: a later check compares metadata instead of hashing
/// 689 GB again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    schema: String,
    pub(super) repo: String,
    pub(super) commit: String,
    /// The hub whose listing says so. What one hub has of a commit, another may have more of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    /// How much of the commit it is.
    #[serde(default, skip_serializing_if = "Extent::is_whole")]
    pub(super) extent: Extent,
    pub(super) files: Vec<Proven>,
}

/// How much of a commit a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Extent {
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
pub(super) struct Proven {
    pub(super) path: String,
    pub(super) size: u64,
    /// SHA-256 or git's blob SHA-1, in hex.
    pub(super) oid: String,
    modified_ns: i64,
    inode: u64,
    /// `st_ctime`, which no program sets at will. A change of rights or of names changes it too.
    #[serde(default)]
    changed_ns: i64,
    /// A pull wrote it, and did not find it there.
    #[serde(default)]
    brought: bool,
}

/// A snapshot that is about to be one.
pub(super) struct Publication<'a> {
    pub(super) repo: &'a str,
    /// Branch, tag or commit that was asked for.
    pub(super) revision: &'a str,
    pub(super) commit: &'a str,
    /// Files that are in their places.
    pub(super) entries: &'a [Entry],
    /// What each looked like while it was proven; what is not in it, or looks otherwise, is read once more.
    pub(super) proven: &'a ProvenLog,
    /// The hub that lists them; `None` when none was asked.
    pub(super) endpoint: Option<&'a str>,
    /// How much of the commit they are.
    pub(super) extent: Extent,
}

impl Manifest {
    /// That of a snapshot which another client left: nothing is proven of it yet.
    pub(super) fn unlisted(repo: &str, commit: &str) -> Self {
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
    fn is_brought(&self, path: &str, look: &Look) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.path == path && file.brought && file.is(look))
    }

    /// Adds what was proven of the commit before, as far as it is there. When that was the whole of it, and nothing is
    /// gone, it stays the whole, with all that is wrong of it by now, whoever was asked for a part of it.
    fn add(&mut self, before: Self, snapshot: &Path) {
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
    pub(super) fn without(mut self, snapshot: &Path, wrong: &[(Entry, Look)]) -> (Self, bool) {
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
    pub(super) fn new(entry: &Entry, look: &Look) -> Self {
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
    pub(super) fn is_withdrawn(&self) -> bool {
        self.inode == NO_INODE
    }

    /// Why it is not what was proven, when it does not look so any more.
    pub(super) fn why(&self) -> &'static str {
        if self.is_withdrawn() {
            "a check of its bytes found it wrong"
        } else {
            "its size, time or inode changed, or it is gone"
        }
    }

    /// That it is not what was proven, and why.
    pub(super) fn refused(&self, repo: &str) -> Error {
        let text = format!("`{}` of {repo} is not what was proven", self.path);
        Error::new(Kind::Integrity, text).cause(self.why())
    }

    /// What a listing states of it; `None` when the manifest holds no hash.
    pub(super) fn entry(&self) -> Option<Entry> {
        Some(Entry {
            path: self.path.clone(),
            size: self.size,
            oid: Oid::from_blob_name(&self.oid)?,
            xet: None,
        })
    }
}

impl RepoCache {
    /// Where the manifest of a commit is.
    pub(super) fn manifest_path(&self, commit: &str) -> PathBuf {
        self.parts().join(format!("verified-{commit}.json"))
    }

    /// The manifest of a commit. One that names what no listing may (see `listing`) is none of ours: a cache may have
    /// come from anywhere, and a repair writes where its manifest says.
    pub(super) fn manifest(&self, commit: &str) -> Option<Manifest> {
        let bytes = files::read(&self.manifest_path(commit), MAX_BYTES).ok()?;
        let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
        let may_be = |file: &Proven| is_path(&file.path) && !(self.is_directory() && is_ours(&file.path));
        let is_ours = manifest.schema == SCHEMA && manifest.commit == commit;
        (is_ours && manifest.files.iter().all(may_be)).then_some(manifest)
    }

    /// Gives proven files their names in the snapshot, then says so: manifest, and the branch last. What an earlier
    /// selection proved of the same commit stays in the manifest.
    pub(super) fn publish(&self, publication: &Publication<'_>) -> Result<()> {
        let Publication {
            repo,
            revision,
            commit,
            entries,
            proven: log,
            endpoint,
            extent,
        } = *publication;
        tidy::tidy(self, entries);
        let snapshot = self.snapshot(commit);
        self.settle(&snapshot, entries)?;
        let before = self.manifest(commit);
        let proven = entries.iter().map(|entry| {
            let look = self.prove(log, entry)?;
            Ok(self.proven(log, before.as_ref(), entry, &look))
        });
        let proven: Result<Vec<Proven>> = proven.collect();
        let mut manifest = Manifest {
            schema: SCHEMA.to_owned(),
            repo: repo.to_owned(),
            commit: commit.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            extent,
            files: proven?,
        };
        if let Some(before) = before.filter(|_| extent != Extent::Whole) {
            manifest.add(before, &snapshot);
        }
        self.write_manifest(&manifest)?;
        claim::claim(self, repo, Some(commit))?;
        self.point(revision, commit)
    }

    /// Takes back that files were proven, in the manifest of every commit that has them: from now on they count as
    /// changed. What looks otherwise than these did was proven since, or is another file.
    pub(super) fn withdraw(&self, wrong: &[(Entry, Look)]) -> Result<()> {
        for commit in self.proven_commits() {
            if let Some((manifest, true)) = self
                .manifest(&commit)
                .map(|manifest| manifest.without(&self.snapshot(&commit), wrong))
            {
                self.write_manifest(&manifest)?;
            }
        }
        Ok(())
    }

    /// What looked so while it was proven to be `entry`, and whether a pull wrote it, as far as the log and the manifest
    /// before tell.
    pub(super) fn proven(
        &self,
        log: &ProvenLog,
        before: Option<&Manifest>,
        entry: &Entry,
        look: &Look,
    ) -> Proven {
        Proven {
            brought: log.is_brought(&self.place(entry), entry, look)
                || before.is_some_and(|before| before.is_brought(&entry.path, look)),
            ..Proven::new(entry, look)
        }
    }

    /// What a file that is in its place looked like while it was proven. Whoever wrote to it since, in a directory that is
    /// his own, changed what was proven: it is not enough that it is there.
    fn prove(&self, log: &ProvenLog, entry: &Entry) -> Result<Look> {
        let place = self.place(entry);
        match log.knows(&place, entry) {
            Some(look) => Ok(look),
            None => hash::proven(&place, &entry.oid, entry.size)
                .at(Kind::Host, || format!("cannot read `{}`", place.display()))?
                .ok_or_else(|| {
                    Error::new(
                        Kind::Integrity,
                        format!("`{}` changed during the pull", entry.path),
                    )
                    .cause(format!("something else writes to `{}`", place.display()))
                    .hint("end that, and pull again: what is right is not fetched again")
                }),
        }
    }

    /// Removes from a directory what pulls of other commits wrote, as long as nobody changed it, and `entries` do not
    /// have: an engine takes what is there (a chat template, say) for the model's. Returns the paths.
    pub(super) fn remove_stale(&self, repo: &str, commit: &str, entries: &[Entry]) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        if !self.is_directory() {
            return Ok(removed);
        }
        let is_kept = |file: &Proven| entries.iter().any(|entry| entry.path == file.path);
        for other in self.proven_commits().into_iter().filter(|other| other != commit) {
            let Some(manifest) = self.manifest(&other).filter(|known| known.repo == repo) else {
                continue;
            };
            for file in manifest
                .files
                .iter()
                .filter(|file| file.brought && !is_kept(file))
            {
                let Some(entry) = file.entry() else { continue };
                self.check_place(&entry)?;
                let path = self.place(&entry);
                if unchanged(self.root(), file) && !self.is_foreign(&entry) {
                    std::fs::remove_file(&path)
                        .at(Kind::Host, || format!("cannot remove `{}`", path.display()))?;
                    removed.push(file.path.clone());
                }
            }
            let path = self.manifest_path(&other);
            std::fs::remove_file(&path).at(Kind::Host, || format!("cannot remove `{}`", path.display()))?;
        }
        Ok(removed)
    }

    /// The commits that have a manifest.
    fn proven_commits(&self) -> Vec<String> {
        let items = std::fs::read_dir(self.parts()).into_iter().flatten().flatten();
        items
            .filter_map(|item| commit_of(item.file_name().to_str()?))
            .collect()
    }

    /// Writes a manifest. What it tells of must be on the disk.
    pub(super) fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_string_pretty(manifest)
            .at(Kind::Internal, || "cannot write a manifest".to_owned())?;
        self.write(&self.manifest_path(&manifest.commit), text.as_bytes())
    }
}

/// The commit of a manifest's name.
pub(super) fn commit_of(name: &str) -> Option<String> {
    let commit = name.strip_prefix("verified-")?.strip_suffix(".json")?;
    Some(commit.to_owned())
}

/// Whether a proven file looks as it did when it was proven.
pub(super) fn unchanged(snapshot: &Path, file: &Proven) -> bool {
    Look::at(&snapshot.join(&file.path)).is_some_and(|look| file.is(&look))
}

/// As [`unchanged`], and nothing at all was done to it since: neither was its time put back, nor its mode changed. What is
/// not is read again where that costs only time.
pub(super) fn untouched(snapshot: &Path, file: &Proven) -> bool {
    let look = Look::at(&snapshot.join(&file.path));
    look.is_some_and(|look| file.is(&look) && file.changed_ns == look.changed_ns)
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
        return Err(file.refused(repo).hint(again));
    }
    let paths: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    if let Some(missing) = missing_shard(&snapshot, &paths) {
        let cause = if manifest.extent == Extent::Whole {
            "model.safetensors.index.json names it, and the repository does not have it"
        } else {
            "only a part of the repository was pulled"
        };
        return Err(Error::new(Kind::Integrity, format!("{repo} lacks `{missing}`"))
            .cause(cause)
            .hint(again));
    }
    if !is_model(&paths) {
        return Err(Error::new(Kind::Integrity, format!("{repo} is not whole"))
            .cause("configuration or weights lack: only a part was pulled, or a hub had no more of it")
            .hint(again));
    }
    let sizes: Vec<u64> = manifest.files.iter().map(|file| file.size).collect();
    let of = (&**repo, &**revision, &*manifest.commit);
    Ok(pulled(of, &snapshot, &sizes, 0))
}

/// What there is of a commit, in the terms of a report: so many files of these sizes, all of them proven.
pub(super) fn pulled(
    (repo, revision, commit): (&str, &str, &str),
    snapshot: &Path,
    sizes: &[u64],
    fetched_bytes: u64,
) -> Pulled {
    Pulled {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        commit: commit.to_owned(),
        snapshot: snapshot.to_string_lossy().into_owned(),
        files: sizes.len(),
        total_bytes: sizes.iter().sum(),
        fetched_bytes,
        cached: fetched_bytes == 0,
    }
}

/// Whether these are what an engine needs at least; whether every shard is there is another question.
pub(super) fn is_model(paths: &BTreeSet<&str>) -> bool {
    paths.contains("config.json") && (paths.contains(INDEX) || paths.contains("model.safetensors"))
}

/// The index of a sharded model.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// A shard that the snapshot's index names and `paths` lacks.
pub(super) fn missing_shard(snapshot: &Path, paths: &BTreeSet<&str>) -> Option<String> {
    missing_from(&snapshot.join(INDEX), paths).pop_first()
}

/// The shards that the index in the file `index` names and `paths` lacks.
pub(super) fn missing_from(index: &Path, paths: &BTreeSet<&str>) -> BTreeSet<String> {
    let index = tensors::json(index).ok();
    let map = index.as_ref().and_then(|index| index["weight_map"].as_object());
    let shards = map
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(Value::as_str);
    shards
        .filter(|shard| !paths.contains(shard))
        .map(str::to_owned)
        .collect()
}
