//! Takes over partial files whose owner is gone.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::damaged::DamagedFile;
use super::disk::{copy_file, copy_range, create_private, is_full, probe_file};
use super::journal::{chunk_list_of, journal_of, recorded_ranges, valid_bytes};
use super::lease::{
    belongs_to_user, is_adoptable, is_in_use, is_older, is_private, partial_files, remove_partial_file,
};
use crate::effects::files;
use crate::effects::hub::limits::Limits;
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::owner::owner;

/// Returns the path of our partial file of `entry`. Takes over an abandoned one if there is any, the one with
/// the most valid bytes first; a rename has only one winner. A file that another host may still have open is
/// copied instead and stays for a while, so that a host that wakes up late writes to its own file and not to
/// bytes that were hashed here.
///
/// # Errors
/// If the disk is full or not writable now; nothing is lost then. Any other problem with one file skips only
/// that file.
pub(super) fn adopt(cache: &RepoCache, entry: &Entry) -> io::Result<PathBuf> {
    let dir = cache.private_dir();
    let ours = dir.join(format!("{}.{}.part", entry.oid.hex(), owner()));
    if ours.exists() {
        return Ok(ours);
    }
    let orphans = find_orphans(cache, entry)?;
    let most = orphans.first().map_or(0, |orphan| orphan.valid_bytes);
    let damaged = DamagedFile::find(cache, entry).filter(|damaged| damaged.may_hold_more(most));
    // Another pull repaired or removed the file in the meantime; or there is no space for a copy, but a partial
    // file with fewer bytes.
    let has_other = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound || (is_full(error) && !orphans.is_empty())
    };
    let useless_from = match damaged.map(|damaged| damaged.copy_to_partial(cache, &ours)) {
        Some(Ok(())) => 0,
        Some(Err(error)) if !has_other(&error) => return Err(error),
        _ => adopt_first(&orphans, &ours, cache.limits())?,
    };
    for orphan in surplus(&orphans, useless_from, cache.limits().expired) {
        // A file that cannot be removed costs only disk space.
        let _ = remove_partial_file(&orphan.path);
    }
    Ok(ours)
}

/// A partial file whose owner is gone.
struct Orphan {
    /// Number of valid bytes.
    valid_bytes: u64,
    /// True if it can be renamed, because no other process can have it open.
    can_rename: bool,
    path: PathBuf,
}

impl Orphan {
    /// Makes it our partial file; returns `false` if it was gone.
    fn adopt_as(&self, ours: &Path, limits: &Limits) -> io::Result<bool> {
        if self.can_rename {
            rename_orphan(&self.path, ours)
        } else if self.valid_bytes > 0 {
            copy_orphan(&self.path, ours, limits)
        } else {
            Ok(false)
        }
    }
}

/// Returns the abandoned partial files of `entry`, the best first.
///
/// # Errors
/// If the disk is not writable now, because the file must not be started from zero for that.
fn find_orphans(cache: &RepoCache, entry: &Entry) -> io::Result<Vec<Orphan>> {
    let mut lost: Vec<_> = partial_files(&cache.private_dir())
        .filter(|(oid, owner, path)| oid == entry.oid.hex() && !is_in_use(cache, owner, path))
        .collect();
    if let Some((_, _, path)) = lost.first() {
        let us = probe_file(path)?.uid();
        lost.retain(|(_, _, path)| belongs_to_user(path, us));
    }
    let mut orphans: Vec<Orphan> = lost
        .into_iter()
        .map(|(_, owner, path)| Orphan {
            valid_bytes: valid_bytes(&path),
            can_rename: is_adoptable(cache, &owner, &path)
                && std::fs::symlink_metadata(&path).is_ok_and(|meta| is_private(&meta)),
            path,
        })
        .collect();
    orphans
        .sort_by(|a, b| (b.valid_bytes, b.can_rename, &b.path).cmp(&(a.valid_bytes, a.can_rename, &a.path)));
    Ok(orphans)
}

/// Takes over the first available partial file. Returns the index from which on the others are useless; those
/// before it were not available now and may still be useful.
fn adopt_first(orphans: &[Orphan], ours: &Path, limits: &Limits) -> io::Result<usize> {
    for (index, orphan) in orphans.iter().enumerate() {
        match orphan.adopt_as(ours, limits) {
            Ok(true) => return Ok(index + 1),
            Err(error) if is_full(&error) => return Err(error),
            // Another pull took it, or its disk cannot be read: the next one may work.
            _ => {}
        }
    }
    Ok(orphans.len() + 1)
}

/// Returns the partial files that nobody needs after ours was created. The source of a copy stays with the host
/// that may have it open, and so do that host's other files, until they expire.
fn surplus(orphans: &[Orphan], useless_from: usize, expired: Duration) -> impl Iterator<Item = &Orphan> {
    let is_surplus = move |(index, orphan): (usize, &Orphan)| {
        if orphan.can_rename {
            index >= useless_from
        } else {
            (index + 1 >= useless_from || orphan.valid_bytes == 0) && is_older(&orphan.path, expired)
        }
    };
    orphans
        .iter()
        .enumerate()
        .filter(move |one| is_surplus(*one))
        .map(|(_, orphan)| orphan)
}

/// Renames an abandoned partial file to our name; returns whether it existed. Its companion files are linked
/// first and removed last, so that a kill in between does not separate them.
fn rename_orphan(orphan: &Path, ours: &Path) -> io::Result<bool> {
    let taken = give_companions(orphan, ours, link_or_copy).and_then(|()| std::fs::rename(orphan, ours));
    if taken.is_ok() {
        // Restores the rights that are needed to write.
        let _ = std::fs::set_permissions(ours, Permissions::from_mode(0o600));
    }
    let stale = if taken.is_ok() { orphan } else { ours };
    // The journal is removed last, because leftovers are found by it.
    for of in [chunk_list_of, journal_of] {
        let _ = std::fs::remove_file(of(stale));
    }
    existed(taken)
}

/// Copies the valid ranges of an abandoned partial file and its companion files; returns whether it existed.
/// Holes are not copied: space is reserved, and chunks may be at the far end.
fn copy_orphan(orphan: &Path, ours: &Path, limits: &Limits) -> io::Result<bool> {
    let copied = give_companions(orphan, ours, copy_file).and_then(|()| copy_ranges(orphan, ours, limits));
    if copied.is_err() {
        let _ = remove_partial_file(ours);
    }
    existed(copied)
}

/// Turns a missing file into `false`: another process moved it or wrote to it.
fn existed(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

fn copy_ranges(from: &Path, to: &Path, limits: &Limits) -> io::Result<()> {
    // Reads the copied journal, because the original may have grown since.
    let from = files::open(from)?;
    let path = to;
    let ranges = recorded_ranges(path, from.metadata()?.len());
    let mut to = create_private(path)?;
    ranges
        .into_iter()
        .try_for_each(|range| copy_range(&from, &mut to, range, path, limits))
}

/// Passes the companion files of one partial file on to another.
fn give_companions(from: &Path, to: &Path, give: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    [journal_of, chunk_list_of]
        .iter()
        .try_for_each(|of| give(&of(from), &of(to)))
}

/// Creates a hard link, which needs no space, or a copy if the filesystem has no hard links. A missing file is
/// skipped.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(to);
    std::fs::hard_link(from, to).or_else(|_| copy_file(from, to))
}
