//! Partial files by name: their owners, whether these still write to them, and their removal.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::disk::probe_file;
use super::journal::{chunk_list_of, journal_of};
use crate::effects::files;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::owner::{here, is_of_this_boot, lives, owner};

/// A part of another host that nobody wrote to for this long has lost its owner.
pub(in crate::effects) const ABANDONED: Duration = Duration::from_mins(2);

/// Whether another process, which the part's name tells, still writes to it.
pub(in crate::effects) fn is_in_use(cache: &RepoCache, name: &str, path: &Path) -> bool {
    let Some((on, process)) = name.rsplit_once('.') else {
        return false;
    };
    if on == here() {
        return name != owner() && lives(process);
    }
    // Another name of this host: a container has one of its own each time.
    if cache.is_exclusive() {
        return false;
    }
    path.exists() && !is_older(path, ABANDONED)
}

/// Whether a part and what lies beside it are files of the user `us`: whoever else may put something there must not lead us
/// elsewhere, nor hold up every pull.
pub(super) fn belongs_to_user(part: &Path, us: u32) -> bool {
    let is_file = |path: &Path| match std::fs::symlink_metadata(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(meta) => meta.is_file() && meta.uid() == us,
    };
    let is_single = std::fs::symlink_metadata(part).is_ok_and(|meta| meta.nlink() == 1);
    let beside = [journal_of(part), chunk_list_of(part)];
    is_single && is_file(part) && beside.iter().all(|path| is_file(path))
}

/// As [`is_ours`], for whoever has not asked who we are there.
pub(super) fn belongs_to_us(part: &Path) -> bool {
    probe_file(part).is_ok_and(|us| belongs_to_user(part, us.uid()))
}

/// Whether only its owner can write to a file. What others may have open is copied: they must not write into what was
/// hashed. Some volumes give every file to a group (`fsGroup` of Kubernetes), or to all (SMB).
pub(super) fn is_private(meta: &Metadata) -> bool {
    meta.mode() & 0o022 == 0
}

/// Whether no process that lives can have a part of this owner open: it ran here, or a lock that keeps everybody out is
/// ours. What another boot left may be that of another system, whose locks a server does not see among its own (NFS):
/// only once it is old is that one surely gone.
pub(in crate::effects) fn is_adoptable(cache: &RepoCache, owner: &str, path: &Path) -> bool {
    match owner.rsplit_once('.') {
        Some((on, _)) if on == here() => true,
        Some((on, _)) if is_of_this_boot(on) => cache.is_exclusive(),
        _ => cache.is_exclusive() && is_older(path, ABANDONED),
    }
}

/// Whether nobody wrote to a file for so long, by the clock of its filesystem: the server's, where several hosts share
/// one, whatever theirs say.
pub(super) fn is_older(path: &Path, least: Duration) -> bool {
    age(path).is_some_and(|age| age >= least)
}

/// How long nobody wrote to a file, by that clock.
pub(super) fn age(path: &Path) -> Option<Duration> {
    let changed = std::fs::symlink_metadata(path).and_then(|meta| meta.modified());
    now_beside(path).ok()?.duration_since(changed.ok()?).ok()
}

/// The time that a file gets which is written now, beside another.
fn now_beside(path: &Path) -> io::Result<SystemTime> {
    probe_file(path)?.modified()
}

/// Removes a part and what lies beside it.
///
/// # Errors
/// That of the part itself, unless it is gone already; then what lies beside it stays too.
pub(in crate::effects) fn remove_partial_file(part: &Path) -> io::Result<()> {
    files::remove_if_there(part)?;
    // The record last: what has one is looked for (`tidy`).
    for path in [chunk_list_of(part), journal_of(part)] {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// The parts in a directory: hash, owner, path.
pub(in crate::effects) fn partial_files(dir: &Path) -> impl Iterator<Item = (String, String, PathBuf)> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|item| {
            let name = item.file_name().into_string().ok()?;
            let (oid, owner) = name.strip_suffix(".part")?.split_once('.')?;
            Some((oid.to_owned(), owner.to_owned(), item.path()))
        })
}
