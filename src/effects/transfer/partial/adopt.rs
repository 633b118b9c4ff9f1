//! Takes over partial files that lost their owner.

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
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::owner::owner;

/// And after so long nobody is expected back: one that lives says so every few seconds, also while it waits.
const EXPIRED: Duration = Duration::from_hours(1);
/// Where our part of `entry` is; one that lost its owner is taken over, first that of which most is proven. A rename has
/// one winner. What another host may still have open is copied instead, and stays for a while: whoever wakes up late
/// writes to a file of its own, and not to bytes that were hashed here already.
///
/// # Errors
/// That of a full disk, or of one that cannot be written to now; it then lost nothing of what is there. Whatever else is in
/// the way of one costs only that one.
pub(super) fn adopt(cache: &RepoCache, entry: &Entry) -> io::Result<PathBuf> {
    let dir = cache.private_dir();
    let ours = dir.join(format!("{}.{}.part", entry.oid.hex(), owner()));
    if ours.exists() {
        return Ok(ours);
    }
    let orphans = find_orphans(cache, entry)?;
    let most = orphans.first().map_or(0, |orphan| orphan.valid_bytes);
    let damaged = DamagedFile::find(cache, entry).filter(|damaged| damaged.may_hold_more(most));
    // Another made it right meanwhile, or took it away; or there is no room for a copy of it, and a part of which there is
    // less.
    let has_other = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound || (is_full(error) && !orphans.is_empty())
    };
    let needless = match damaged.map(|damaged| damaged.copy_to_partial(cache, &ours)) {
        Some(Ok(())) => 0,
        Some(Err(error)) if !has_other(&error) => return Err(error),
        _ => adopt_first(&orphans, &ours)?,
    };
    for spare in surplus(&orphans, needless) {
        // One that cannot be removed is a matter of room, and not of what is right.
        let _ = remove_partial_file(&spare.path);
    }
    Ok(ours)
}

/// A part that lost its owner.
struct Orphan {
    /// Bytes of it that are proven.
    valid_bytes: u64,
    /// Nobody else can have it open: it may be renamed.
    can_rename: bool,
    path: PathBuf,
}

impl Orphan {
    /// Gives it to us; `false` when there was nothing to be given.
    fn adopt_as(&self, ours: &Path) -> io::Result<bool> {
        if self.can_rename {
            rename_orphan(&self.path, ours)
        } else if self.valid_bytes > 0 {
            copy_orphan(&self.path, ours)
        } else {
            Ok(false)
        }
    }
}

/// The parts of `entry` that lost their owners, best first.
///
/// # Errors
/// That of a disk to which nothing can be written now: what is there is not to be begun anew for it.
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

/// Makes our part of the first orphan that can be had; from which on they are of no use then. Those before could not be had
/// now, and are still good for something.
fn adopt_first(orphans: &[Orphan], ours: &Path) -> io::Result<usize> {
    for (place, orphan) in orphans.iter().enumerate() {
        match orphan.adopt_as(ours) {
            Ok(true) => return Ok(place + 1),
            Err(error) if is_full(&error) => return Err(error),
            // Another took it, or its disk does not read: the next one may be better.
            _ => {}
        }
    }
    Ok(orphans.len() + 1)
}

/// The orphans that nobody needs once ours was begun, from `needless` on. What ours was copied from stays with the host
/// that may have it open, and so do its others, until they are forgotten.
fn surplus(orphans: &[Orphan], needless: usize) -> impl Iterator<Item = &Orphan> {
    let spare = move |(place, orphan): (usize, &Orphan)| {
        if orphan.can_rename {
            place >= needless
        } else {
            (place + 1 >= needless || orphan.valid_bytes == 0) && is_older(&orphan.path, EXPIRED)
        }
    };
    orphans
        .iter()
        .enumerate()
        .filter(move |one| spare(*one))
        .map(|(_, orphan)| orphan)
}

/// Gives an orphan our name; whether it was there to be given. What lies beside it gets the name first, and keeps its
/// own until then: a kill between must not part them.
fn rename_orphan(orphan: &Path, ours: &Path) -> io::Result<bool> {
    let taken = give_companions(orphan, ours, link_or_copy).and_then(|()| std::fs::rename(orphan, ours));
    if taken.is_ok() {
        // Whatever was made of its rights meanwhile: it is written on.
        let _ = std::fs::set_permissions(ours, Permissions::from_mode(0o600));
    }
    let stale = if taken.is_ok() { orphan } else { ours };
    // The record last: what has one is looked for (`tidy`).
    for of in [chunk_list_of, journal_of] {
        let _ = std::fs::remove_file(of(stale));
    }
    existed(taken)
}

/// Copies what is proven of an orphan, and what proves it; whether it was there to be copied. Where nothing was written
/// yet nothing is: a part has its space reserved, and may have chunks at its far end.
fn copy_orphan(orphan: &Path, ours: &Path) -> io::Result<bool> {
    let copied = give_companions(orphan, ours, copy_file).and_then(|()| copy_ranges(orphan, ours));
    if copied.is_err() {
        let _ = remove_partial_file(ours);
    }
    existed(copied)
}

/// Whether what was done could be: a file that is gone was another's to take.
fn existed(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

fn copy_ranges(from: &Path, to: &Path) -> io::Result<()> {
    // What is told beside the copy: more may be told beside the other meanwhile.
    let from = files::open(from)?;
    let path = to;
    let ranges = recorded_ranges(path, from.metadata()?.len());
    let mut to = create_private(path)?;
    ranges
        .into_iter()
        .try_for_each(|range| copy_range(&from, &mut to, range, path))
}

/// Gives what lies beside one part to another.
fn give_companions(from: &Path, to: &Path, give: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    [journal_of, chunk_list_of]
        .iter()
        .try_for_each(|of| give(&of(from), &of(to)))
}

/// A second name for what lies beside a part, which needs no room; a copy where a filesystem has no such thing. What is
/// not there needs none.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(to);
    std::fs::hard_link(from, to).or_else(|_| copy_file(from, to))
}
