//! Where the files of one repository are, and the manifest of what was proven of them.
//!
//! In a hub cache: `models--o--n/{blobs,refs,snapshots}` as every hub client reads and writes it (`huggingface_hub`,
//! `file_download.py`). In a directory of the user's (`--local-dir`): files under their own names. Ours beside them is
//! `.dsr1/` with unfinished parts, a lock and manifests.
//! Not in this module: fetching.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::owner::owner;
use crate::effects::files;
use crate::effects::hub::listing::Entry;
use crate::effects::hub::names::{is_commit, is_revision};
use crate::error::{At, Error, Kind, Result};
use crate::plan::repo_folder;

/// What ends the names of what gets its own later.
pub(in crate::effects) const TEMPORARY: &str = "new";
/// Digits of a commit that stand for it, at least: git shows as many.
const SHORT_COMMIT: usize = 7;

/// Where the files of one repository are.
#[derive(Debug, Clone)]
pub(in crate::effects) struct RepoCache {
    root: PathBuf,
    layout: Layout,
    /// Whether no other pull works here, for certain.
    exclusive: bool,
}

/// What files are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Blobs by hash, snapshots that link to them.
    Cache,
    /// Their own names in a directory of the user's.
    Directory,
}

impl RepoCache {
    /// The repository `repo` in the hub cache `cache_dir`.
    pub(in crate::effects) fn new(cache_dir: &Path, repo: &str) -> Self {
        Self {
            root: cache_dir.join(repo_folder(repo)),
            layout: Layout::Cache,
            exclusive: false,
        }
    }

    /// A repository whose files are in `dir` under their own names.
    pub(in crate::effects) fn directory(dir: &Path) -> Self {
        Self {
            root: dir.to_owned(),
            layout: Layout::Directory,
            exclusive: false,
        }
    }

    /// Where a pull writes.
    pub(in crate::effects) fn of(cache_dir: &str, local_dir: Option<&str>, repo: &str) -> Self {
        match local_dir {
            Some(dir) => Self::directory(Path::new(dir)),
            None => Self::new(Path::new(cache_dir), repo),
        }
    }

    /// The same, while a lock keeps others out if `certain`.
    pub(in crate::effects) fn with_exclusive(self, certain: bool) -> Self {
        Self {
            exclusive: certain,
            ..self
        }
    }

    /// Whether no other pull works here, for certain.
    pub(in crate::effects) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Its directory.
    pub(in crate::effects) fn root(&self) -> &Path {
        &self.root
    }

    /// Where proven bytes are, in a hub cache.
    pub(in crate::effects) fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where branches and tags are.
    pub(in crate::effects) fn refs_dir(&self) -> PathBuf {
        match self.layout {
            Layout::Cache => self.root.join("refs"),
            Layout::Directory => self.private_dir().join("refs"),
        }
    }

    /// Where snapshots are, in a hub cache.
    pub(in crate::effects) fn snapshots_dir(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Where the proven bytes of a file go.
    pub(in crate::effects) fn file_path(&self, entry: &Entry) -> PathBuf {
        match self.layout {
            Layout::Cache => self.root.join("blobs").join(entry.oid.hex()),
            Layout::Directory => self.root.join(&entry.path),
        }
    }

    /// Makes sure that a file can get its name: its directory is there.
    pub(in crate::effects) fn make_parent_dir(&self, entry: &Entry) -> Result<()> {
        self.check_file_path(entry)?;
        self.parents(entry).iter().try_for_each(|dir| make_dir(dir))
    }

    /// The directories between the root and a file of a directory of the user's, from above.
    fn parents(&self, entry: &Entry) -> Vec<PathBuf> {
        let Some((parents, _)) = entry
            .path
            .rsplit_once('/')
            .filter(|_| self.layout == Layout::Directory)
        else {
            return Vec::new();
        };
        let mut dir = self.root.clone();
        let parents = parents.split('/').map(|part| {
            dir.push(part);
            dir.clone()
        });
        parents.collect()
    }

    /// Refuses a file whose directory is a way out of the root. To be asked before anything of the file is touched.
    pub(in crate::effects) fn check_file_path(&self, entry: &Entry) -> Result<()> {
        self.check_no_links(&self.file_path(entry))
    }

    /// Refuses a path to which a directory below the root that is a link leads. The root may be one: that is the user's
    /// choice of a disk.
    fn check_no_links(&self, path: &Path) -> Result<()> {
        let is_link = |dir: &&PathBuf| std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_symlink());
        let dirs = self.dirs_up_to_root(path);
        let Some(link) = dirs.iter().filter(|dir| **dir != self.root).rfind(is_link) else {
            return Ok(());
        };
        Err(Error::new(Kind::Host, format!("`{}` is a link", link.display()))
            .cause("a file of the repository would be written through it")
            .hint(match self.layout {
                Layout::Cache => "remove it: hub clients make a directory there",
                Layout::Directory => "remove it, or name another --local-dir",
            }))
    }

    /// Whether a file's place is a link: in a hub cache that of another client, which shares blobs; in a directory one
    /// that the user made. Neither is followed by what writes.
    pub(in crate::effects) fn is_link(&self, entry: &Entry) -> bool {
        std::fs::symlink_metadata(self.file_path(entry)).is_ok_and(|meta| meta.is_symlink())
    }

    /// Whether what has a file's name in a directory of the user's is not ours to prove: what a link leads to may go
    /// any day.
    pub(in crate::effects) fn is_users_link(&self, entry: &Entry) -> bool {
        self.is_directory() && self.is_link(entry)
    }

    /// Whether files are under their own names.
    pub(in crate::effects) fn is_directory(&self) -> bool {
        self.layout == Layout::Directory
    }

    /// Where the record of a proven file is kept (see `part`).
    pub(in crate::effects) fn journal_path(&self, entry: &Entry) -> PathBuf {
        self.private_dir().join(format!("{}.record", entry.oid.hex()))
    }

    /// Where unproven bytes are. Not in `blobs`: SGLang takes `*.incomplete` there for a broken model.
    pub(in crate::effects) fn private_dir(&self) -> PathBuf {
        self.root.join(".dsr1")
    }

    /// Held while a pull writes.
    pub(in crate::effects) fn lock_path(&self) -> PathBuf {
        self.root.join(".dsr1/lock")
    }

    /// A snapshot's directory.
    pub(in crate::effects) fn snapshot_dir(&self, commit: &str) -> PathBuf {
        match self.layout {
            Layout::Cache => self.root.join("snapshots").join(commit),
            Layout::Directory => self.root.clone(),
        }
    }

    /// Makes the directories that a pull writes to.
    pub(in crate::effects) fn create_dirs(&self) -> Result<()> {
        let dirs: &[&str] = match self.layout {
            Layout::Cache => &["blobs", "refs", "snapshots", ".dsr1"],
            Layout::Directory => &[".dsr1", ".dsr1/refs"],
        };
        dirs.iter().try_for_each(|dir| {
            let dir = self.root.join(dir);
            self.check_no_links(&dir.join(TEMPORARY))?;
            make_dir(&dir)
        })
    }

    /// The commit that a branch, tag or commit id stands for here; of a commit, the first seven digits do.
    pub(in crate::effects) fn resolve(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        if !is_revision(revision) {
            return None;
        }
        read_ref(&self.refs_dir().join(revision)).or_else(|| self.resolve_short(revision))
    }

    /// The commit here that is meant by its first digits.
    fn resolve_short(&self, digits: &str) -> Option<String> {
        let is_hex = |c: char| c.is_ascii_hexdigit();
        let is_short = digits.len() >= SHORT_COMMIT && digits.chars().all(is_hex);
        is_short.then(|| self.only_commit_starting_with(digits)).flatten()
    }

    /// The commits that have a snapshot here.
    pub(in crate::effects) fn commits(&self) -> impl Iterator<Item = String> {
        let items = std::fs::read_dir(self.snapshots_dir());
        let names = items.into_iter().flatten().flatten();
        names
            .filter_map(|item| item.file_name().into_string().ok())
            .filter(|name| is_commit(name))
    }

    /// The one of them that begins so, when there is one.
    pub(in crate::effects) fn only_commit_starting_with(&self, digits: &str) -> Option<String> {
        let mut found = self.commits().filter(|commit| commit.starts_with(digits));
        let only = found.next();
        only.filter(|_| found.next().is_none())
    }

    /// Makes a branch or tag stand for a commit here.
    pub(in crate::effects) fn set_revision(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.refs_dir().join(revision);
        self.check_no_links(&path)?;
        self.write_file(&path, commit.as_bytes())
    }

    /// Writes a file, whole or not at all, readable by all whatever the umask: engines run as other users.
    pub(in crate::effects) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write_through(&self.temporary_path("file"), path, bytes, Some(0o644))
    }

    /// A name for what gets its own by a rename. Not beside that: whatever is in `refs` is a branch.
    pub(in crate::effects) fn temporary_path(&self, what: &str) -> PathBuf {
        self.private_dir().join(format!("{what}.{}.{TEMPORARY}", owner()))
    }

    /// Gives files that are in their places their names in the snapshot, and has the disk keep all of it: also what was
    /// there. Another client's blob, or a link whose pull was killed, was perhaps never synced.
    pub(in crate::effects) fn link_and_sync(&self, snapshot: &Path, entries: &[Entry]) -> Result<()> {
        entries.iter().try_for_each(|entry| self.check_file_path(entry))?;
        let mut dirs = BTreeSet::new();
        for entry in entries {
            dirs.extend(self.dirs_up_to_root(&self.file_path(entry)));
            if self.layout == Layout::Cache {
                dirs.extend(self.link_to_blob(snapshot, entry)?);
            }
        }
        let mut paths = entries.iter().map(|entry| self.file_path(entry)).chain(dirs);
        paths.try_for_each(|path| sync(&path))
    }

    /// Has the disk keep files under the names that they have in a snapshot, whatever these are: links to blobs, or the
    /// files themselves where a copy followed the links.
    pub(in crate::effects) fn sync_files(&self, snapshot: &Path, entries: &[Entry]) -> Result<()> {
        let mut dirs = BTreeSet::new();
        for entry in entries {
            let name = snapshot.join(&entry.path);
            sync(&name)?;
            dirs.extend(self.dirs_up_to_root(&name));
            dirs.extend(self.dirs_up_to_root(&self.file_path(entry)));
        }
        dirs.iter()
            .filter(|dir| dir.is_dir())
            .try_for_each(|dir| sync(dir))
    }

    /// The directories from a file's up to the root.
    fn dirs_up_to_root(&self, path: &Path) -> Vec<PathBuf> {
        let above = path.ancestors().skip(1);
        let above = above.take_while(|dir| dir.starts_with(&self.root));
        above.map(Path::to_owned).collect()
    }

    /// Links a snapshot's path to its blob, replacing whatever was there, in one step; returns the directories to sync.
    fn link_to_blob(&self, snapshot: &Path, entry: &Entry) -> Result<Vec<PathBuf>> {
        let path = snapshot.join(&entry.path);
        self.check_no_links(&path)?;
        make_dir(path.parent().unwrap_or(snapshot))?;
        // From the file's directory up to the repository: `snapshots/<commit>` and each directory of the path.
        let up = "../".repeat(2 + entry.path.matches('/').count());
        let target = format!("{up}blobs/{}", entry.oid.hex());
        let dirs = self.dirs_up_to_root(&path);
        if std::fs::read_link(&path).is_ok_and(|link| link == Path::new(&target)) {
            return Ok(dirs);
        }
        let failed = || format!("cannot link `{}`", path.display());
        let temporary = self.temporary_path("link");
        let _ = std::fs::remove_file(&temporary);
        std::os::unix::fs::symlink(&target, &temporary).at(Kind::Host, failed)?;
        std::fs::rename(&temporary, &path).at(Kind::Host, failed)?;
        Ok(dirs)
    }
}

/// The commit that the file of a branch or tag names.
pub(in crate::effects) fn read_ref(path: &Path) -> Option<String> {
    let text = String::from_utf8(files::read(path, 4096).ok()?).ok()?;
    Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
}

/// Makes a directory and its parents, readable by all whatever the umask: engines run as other users.
pub(in crate::effects) fn make_dir(dir: &Path) -> Result<()> {
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
            .at(Kind::Host, failed)
            .and_then(|()| match dir.parent() {
                // One that may not be read cannot be synced: it is not ours either.
                Some(parent) if File::open(parent).is_ok() => sync_dir(parent),
                _ => Ok(()),
            }),
    }
}

/// Makes a rename survive a power cut.
pub(in crate::effects) fn sync_dir(dir: &Path) -> Result<()> {
    sync(dir)
}

/// Makes a file's bytes, or a directory's names, survive a power cut.
fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .at(Kind::Host, || format!("cannot sync `{}`", path.display()))
}

/// What keeps others out of a repository, in words.
pub(in crate::effects) fn busy_message(repo: &str) -> String {
    format!("another dsr1 pulls {repo}")
}
