//! Paths of one repository's files, and durable writes to them.
//!
//! In a hub cache the layout is `models--o--n/{blobs,refs,snapshots}`, as every hub client reads and writes it
//! (`huggingface_hub`, `file_download.py`). In a user's directory (`--local-dir`) files have their own names.
//! In both, dsr1 keeps partial files, a lock and manifests in `.dsr1/`.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::owner::owner;
use crate::effects::files;
use crate::effects::hub::limits::Limits;
use crate::effects::hub::listing::Entry;
use crate::effects::hub::names::is_commit;
use crate::error::{At, Error, Kind, Result};
use crate::plan::repo_folder;
use crate::profile::is_revision;

/// Extension of temporary files, which get their final name by a rename.
pub(in crate::effects) const TEMPORARY: &str = "new";
/// Shortest accepted abbreviation of a commit; git prints as many digits.
const SHORT_COMMIT: usize = 7;

/// The files of one repository, in a hub cache or in a directory.
#[derive(Debug, Clone)]
pub(in crate::effects) struct RepoCache {
    root: PathBuf,
    layout: Layout,
    /// True if it is certain that no other pull works here.
    exclusive: bool,
    /// Limits of time and size of work in it.
    limits: Limits,
}

/// The naming of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Blobs named by their hash, and snapshots that link to them.
    Cache,
    /// Files under their own names in a user's directory.
    Directory,
}

impl RepoCache {
    /// Returns the repository `repo` in the hub cache `cache_dir`.
    pub(in crate::effects) fn new(cache_dir: &Path, repo: &str) -> Self {
        Self {
            root: cache_dir.join(repo_folder(repo)),
            layout: Layout::Cache,
            exclusive: false,
            limits: Limits::DEFAULT,
        }
    }

    /// Returns a repository whose files are in `dir` under their own names.
    pub(in crate::effects) fn directory(dir: &Path) -> Self {
        Self {
            root: dir.to_owned(),
            layout: Layout::Directory,
            exclusive: false,
            limits: Limits::DEFAULT,
        }
    }

    /// Returns the repository in `local_dir` if there is one, else in the hub cache.
    pub(in crate::effects) fn of(cache_dir: &str, local_dir: Option<&str>, repo: &str) -> Self {
        match local_dir {
            Some(dir) => Self::directory(Path::new(dir)),
            None => Self::new(Path::new(cache_dir), repo),
        }
    }

    /// Returns the same repository; `certain` states whether a lock keeps all other pulls out.
    pub(in crate::effects) fn with_exclusive(self, certain: bool) -> Self {
        Self {
            exclusive: certain,
            ..self
        }
    }

    /// Returns the same repository with other limits.
    pub(in crate::effects) fn with_limits(self, limits: &Limits) -> Self {
        Self {
            limits: *limits,
            ..self
        }
    }

    /// Returns the limits of time and size of work in this repository.
    pub(in crate::effects) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns whether it is certain that no other pull works here.
    pub(in crate::effects) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Returns the repository's directory.
    pub(in crate::effects) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of verified files in a hub cache.
    pub(in crate::effects) fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Returns the directory of branches and tags.
    pub(in crate::effects) fn refs_dir(&self) -> PathBuf {
        match self.layout {
            Layout::Cache => self.root.join("refs"),
            Layout::Directory => self.private_dir().join("refs"),
        }
    }

    /// Returns the directory of snapshots in a hub cache.
    pub(in crate::effects) fn snapshots_dir(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Returns the final path of a verified file.
    pub(in crate::effects) fn file_path(&self, entry: &Entry) -> PathBuf {
        match self.layout {
            Layout::Cache => self.root.join("blobs").join(entry.oid.hex()),
            Layout::Directory => self.root.join(&entry.path),
        }
    }

    /// Creates the directory that a file's final path is in.
    pub(in crate::effects) fn make_parent_dir(&self, entry: &Entry) -> Result<()> {
        self.check_file_path(entry)?;
        self.parents(entry).iter().try_for_each(|dir| make_dir(dir))
    }

    /// Returns the directories between the root and a file in a user's directory, from the top.
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

    /// Refuses a file whose directory leads out of the root. Must be called before anything of the file is
    /// touched.
    pub(in crate::effects) fn check_file_path(&self, entry: &Entry) -> Result<()> {
        self.check_no_links(&self.file_path(entry))
    }

    /// Refuses a path below the root that leads through a link. The root itself may be a link: the user chooses
    /// the disk.
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

    /// Returns whether a file's final path is a link. In a hub cache another client made it, to share blobs; in
    /// a directory the user made it. Writers never follow it.
    pub(in crate::effects) fn is_link(&self, entry: &Entry) -> bool {
        std::fs::symlink_metadata(self.file_path(entry)).is_ok_and(|meta| meta.is_symlink())
    }

    /// Returns whether a file in a user's directory is a link. Such a file never counts as verified, because
    /// the target may change or vanish at any time.
    pub(in crate::effects) fn is_users_link(&self, entry: &Entry) -> bool {
        self.is_directory() && self.is_link(entry)
    }

    /// Returns whether files have their own names in a user's directory.
    pub(in crate::effects) fn is_directory(&self) -> bool {
        self.layout == Layout::Directory
    }

    /// Returns the path of the journal that is kept for a finished file (see `transfer::partial`).
    pub(in crate::effects) fn journal_path(&self, entry: &Entry) -> PathBuf {
        self.private_dir().join(format!("{}.record", entry.oid.hex()))
    }

    /// Returns the directory of partial files. It is not `blobs`, because SGLang takes `*.incomplete` there for
    /// a broken model.
    pub(in crate::effects) fn private_dir(&self) -> PathBuf {
        self.root.join(".dsr1")
    }

    /// Returns the path of the lock that a pull holds while it writes.
    pub(in crate::effects) fn lock_path(&self) -> PathBuf {
        self.root.join(".dsr1/lock")
    }

    /// Returns the directory of a snapshot.
    pub(in crate::effects) fn snapshot_dir(&self, commit: &str) -> PathBuf {
        match self.layout {
            Layout::Cache => self.root.join("snapshots").join(commit),
            Layout::Directory => self.root.clone(),
        }
    }

    /// Creates the directories that a pull writes to.
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

    /// Returns the commit that a branch, a tag, a commit id or its first seven or more digits stand for here.
    pub(in crate::effects) fn resolve(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        if !is_revision(revision) {
            return None;
        }
        read_ref(&self.refs_dir().join(revision)).or_else(|| self.resolve_short(revision))
    }

    /// Returns the local commit that starts with these digits.
    fn resolve_short(&self, digits: &str) -> Option<String> {
        let is_hex = |c: char| c.is_ascii_hexdigit();
        let is_short = digits.len() >= SHORT_COMMIT && digits.chars().all(is_hex);
        is_short.then(|| self.only_commit_starting_with(digits)).flatten()
    }

    /// Returns the commits that have a snapshot here.
    pub(in crate::effects) fn commits(&self) -> impl Iterator<Item = String> {
        let items = std::fs::read_dir(self.snapshots_dir());
        let names = items.into_iter().flatten().flatten();
        names
            .filter_map(|item| item.file_name().into_string().ok())
            .filter(|name| is_commit(name))
    }

    /// Returns the commit that starts with these digits, if there is exactly one.
    pub(in crate::effects) fn only_commit_starting_with(&self, digits: &str) -> Option<String> {
        let mut found = self.commits().filter(|commit| commit.starts_with(digits));
        let only = found.next();
        only.filter(|_| found.next().is_none())
    }

    /// Points a branch or tag to a commit here.
    pub(in crate::effects) fn set_revision(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.refs_dir().join(revision);
        self.check_no_links(&path)?;
        self.write_file(&path, commit.as_bytes())
    }

    /// Writes a file atomically, readable by all users whatever the umask, because SGLang may run as another
    /// user.
    pub(in crate::effects) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write_through(&self.temporary_path("file"), path, bytes, Some(0o644))
    }

    /// Returns a path for a temporary file. It is not beside the final path, because every file in `refs` is a
    /// branch.
    pub(in crate::effects) fn temporary_path(&self, what: &str) -> PathBuf {
        self.private_dir().join(format!("{what}.{}.{TEMPORARY}", owner()))
    }

    /// Links finished files into the snapshot and syncs everything, also files that existed before: another
    /// client's blob, or a link of a pull that was killed, may never have been synced.
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

    /// Syncs the files of a snapshot under their names there. They are links to blobs, or the files themselves
    /// if a copy of the cache followed the links.
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

    /// Returns the directories from a file's directory up to the root.
    fn dirs_up_to_root(&self, path: &Path) -> Vec<PathBuf> {
        let above = path.ancestors().skip(1);
        let above = above.take_while(|dir| dir.starts_with(&self.root));
        above.map(Path::to_owned).collect()
    }

    /// Links a snapshot's path to its blob and replaces in one step whatever was there. Returns the directories
    /// to sync.
    fn link_to_blob(&self, snapshot: &Path, entry: &Entry) -> Result<Vec<PathBuf>> {
        let path = snapshot.join(&entry.path);
        self.check_no_links(&path)?;
        make_dir(path.parent().unwrap_or(snapshot))?;
        // Up from the file's directory to the repository: `snapshots/<commit>` and each directory of the path.
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

/// Returns the commit that the file of a branch or tag contains.
pub(in crate::effects) fn read_ref(path: &Path) -> Option<String> {
    let text = String::from_utf8(files::read(path, 4096).ok()?).ok()?;
    Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
}

/// Creates a directory and its parents, readable by all users whatever the umask, because SGLang may run as
/// another user.
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
                // A parent that is not readable cannot be synced; dsr1 did not create it.
                Some(parent) if File::open(parent).is_ok() => sync_dir(parent),
                _ => Ok(()),
            }),
    }
}

/// Syncs a directory, so that a rename in it survives a power cut.
pub(in crate::effects) fn sync_dir(dir: &Path) -> Result<()> {
    sync(dir)
}

/// Syncs a file's data, or the names in a directory.
fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .at(Kind::Host, || format!("cannot sync `{}`", path.display()))
}

/// Returns the message for a repository that another pull has locked.
pub(in crate::effects) fn busy_message(repo: &str) -> String {
    format!("another dsr1 is pulling {repo}")
}
