//! Ownership of partial files: their names, whether their owner is still alive, and their removal.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::disk::probe_file;
use super::journal::{chunk_list_of, journal_of};
use crate::effects::files;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::owner::{is_alive, is_of_this_boot, location, owner};

/// Returns whether the process in a partial file's name may still write to it.
pub(in crate::effects) fn is_in_use(cache: &RepoCache, name: &str, path: &Path) -> bool {
    let Some((on, process)) = name.rsplit_once('.') else {
        return false;
    };
    if on == location() {
        return name != owner() && is_alive(process);
    }
    // The exclusive lock proves that no other process writes. A container has another host name each time.
    if cache.is_exclusive() {
        return false;
    }
    path.exists() && !is_older(path, cache.limits().abandoned)
}

/// Returns whether a partial file and its companion files belong to the user `us`. Files that others put there
/// must not redirect our writes, nor block every pull.
pub(super) fn belongs_to_user(partial: &Path, us: u32) -> bool {
    let is_file = |path: &Path| match std::fs::symlink_metadata(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(meta) => meta.is_file() && meta.uid() == us,
    };
    let is_single = std::fs::symlink_metadata(partial).is_ok_and(|meta| meta.nlink() == 1);
    let beside = [journal_of(partial), chunk_list_of(partial)];
    is_single && is_file(partial) && beside.iter().all(|path| is_file(path))
}

/// Same as [`belongs_to_user`], for our own user id on this filesystem.
pub(super) fn belongs_to_us(partial: &Path) -> bool {
    probe_file(partial).is_ok_and(|us| belongs_to_user(partial, us.uid()))
}

/// Returns whether only the owner can write to a file. Files that others may have open are copied, so that they
/// cannot write to bytes that were hashed. Some volumes make every file writable for a group (`fsGroup` of
/// Kubernetes) or for all (SMB).
pub(super) fn is_private(meta: &Metadata) -> bool {
    meta.mode() & 0o022 == 0
}

/// Returns whether no live process can still write to this owner's files. True for owners in this PID
/// namespace; for other namespaces of this boot only under an exclusive lock; for other boots if, besides, the
/// file is older than `abandoned`. Another boot may be another system, whose locks an NFS server does not see
/// among its own.
pub(in crate::effects) fn is_adoptable(cache: &RepoCache, owner: &str, path: &Path) -> bool {
    match owner.rsplit_once('.') {
        Some((on, _)) if on == location() => true,
        Some((on, _)) if is_of_this_boot(on) => cache.is_exclusive(),
        _ => cache.is_exclusive() && is_older(path, cache.limits().abandoned),
    }
}

/// Returns whether a file was not written for this long, by the clock of its filesystem. Hosts that share a
/// file server may have different clocks.
pub(super) fn is_older(path: &Path, least: Duration) -> bool {
    age(path).is_some_and(|age| age >= least)
}

/// Returns the time since the last write to a file, by the clock of its filesystem.
pub(super) fn age(path: &Path) -> Option<Duration> {
    let changed = std::fs::symlink_metadata(path).and_then(|meta| meta.modified());
    now_beside(path).ok()?.duration_since(changed.ok()?).ok()
}

/// Returns the current time of the filesystem.
fn now_beside(path: &Path) -> io::Result<SystemTime> {
    probe_file(path)?.modified()
}

/// Removes a partial file and its companion files.
///
/// # Errors
/// If the partial file itself cannot be removed; then its companion files stay too.
pub(in crate::effects) fn remove_partial_file(partial: &Path) -> io::Result<()> {
    files::remove_if_there(partial)?;
    // The journal is removed last, because leftovers are found by it.
    for path in [chunk_list_of(partial), journal_of(partial)] {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Returns the partial files in a directory: hash, owner, path.
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
