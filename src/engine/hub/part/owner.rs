//! Whose a part is, and how one that lost its owner goes on.
//!
//! Not in this module: what is in it (the parent, `record`).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::cache::RepoCache;
use super::super::listing::Entry;
use super::record::{ahead_of, kept, record_of};

/// A part of another host that nobody wrote to for this long has lost its owner.
pub(in crate::engine::hub) const ABANDONED: Duration = Duration::from_mins(2);
/// This process, as parts name it: host, process id, start time. A process id alone comes back.
pub(in crate::engine::hub) fn owner() -> String {
    let pid = std::process::id();
    format!("{}.{pid}-{}", host(), started(pid).unwrap_or(0))
}

/// This host's name, as parts have it.
pub(super) fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(plain).take(64).collect()
}

/// Start time of a process in clock ticks since boot (`proc(5)`, field 22).
pub(super) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether the process that a part's name tells still writes to it.
pub(in crate::engine::hub) fn is_owned(cache: &RepoCache, name: &str, path: &Path) -> bool {
    let Some((on, process)) = name.rsplit_once('.') else {
        return false;
    };
    if on == host() {
        let process = process
            .split_once('-')
            .and_then(|(pid, start)| Some((pid.parse().ok()?, start.parse::<u64>().ok()?)));
        return process.is_some_and(|(pid, start)| pid != std::process::id() && started(pid) == Some(start));
    }
    // Another name of this host: a container has one of its own each time.
    if cache.is_alone() {
        return false;
    }
    let changed = std::fs::symlink_metadata(path).and_then(|meta| meta.modified());
    changed.is_ok_and(|when| {
        let age = SystemTime::now().duration_since(when);
        // A clock that is behind says nothing about age.
        age.map_or(true, |age| age < ABANDONED)
    })
}

/// Where our part of `entry` is; one that lost its owner is taken over, first that of which most is proven. A rename has
/// one winner. What another host may still have open is copied instead, and stays until the file is done: whoever wakes
/// up late writes to a file of its own.
pub(super) fn adopt(cache: &RepoCache, entry: &Entry) -> PathBuf {
    let dir = cache.parts();
    let ours = dir.join(format!("{}.{}.part", entry.oid.hex(), owner()));
    if ours.exists() {
        return ours;
    }
    let mut orphans: Vec<(u64, bool, PathBuf)> = parts(&dir)
        .filter(|(oid, owner, path)| oid == entry.oid.hex() && !is_owned(cache, owner, path))
        .filter(|(_, _, path)| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()))
        .map(|(_, owner, path)| (kept(&path), is_dead(cache, &owner), path))
        .collect();
    orphans.sort();
    let mut is_there = false;
    while let Some((_, is_dead, orphan)) = orphans.pop() {
        if !is_there {
            is_there = if is_dead {
                take(&orphan, &ours)
            } else {
                copy(&orphan, &ours)
            };
        } else if is_dead {
            remove(&orphan);
        }
    }
    ours
}

/// Whether nobody can have a part of this owner open: it ran here and ended, or no two run at once.
fn is_dead(cache: &RepoCache, owner: &str) -> bool {
    cache.is_alone() || owner.rsplit_once('.').is_none_or(|(on, _)| on == host())
}

/// Gives an orphan our name; whether it was ours to give. What lies beside it gets the name first, as a copy: a kill
/// between must not part them.
fn take(orphan: &Path, ours: &Path) -> bool {
    copy_beside(orphan, ours);
    let taken = std::fs::rename(orphan, ours).is_ok();
    let stale = if taken { orphan } else { ours };
    for of in [record_of, ahead_of] {
        let _ = std::fs::remove_file(of(stale));
    }
    taken
}

/// Copies an orphan and what lies beside it; whether all of it could be.
fn copy(orphan: &Path, ours: &Path) -> bool {
    copy_beside(orphan, ours);
    let copied = std::fs::copy(orphan, ours).is_ok();
    if !copied {
        remove(ours);
    }
    copied
}

fn copy_beside(from: &Path, to: &Path) {
    for of in [record_of, ahead_of] {
        let _ = std::fs::copy(of(from), of(to));
    }
}

/// Removes a part and what lies beside it.
pub(in crate::engine::hub) fn remove(part: &Path) {
    // The record last: what has one is looked for (`tidy`).
    for path in [ahead_of(part), part.to_owned(), record_of(part)] {
        let _ = std::fs::remove_file(path);
    }
}

/// Makes a part of ours out of a file and the record kept of it. A file that has another name too is copied: whatever
/// has the other one is left alone.
pub(in crate::engine::hub) fn take_over(
    cache: &RepoCache,
    entry: &Entry,
    file: &Path,
    record: &Path,
) -> io::Result<PathBuf> {
    let ours = adopt(cache, entry);
    let is_shared = std::fs::metadata(file)?.nlink() > 1;
    if is_shared {
        std::fs::copy(file, &ours)?;
    } else {
        std::fs::rename(file, &ours)?;
    }
    if record.exists() {
        std::fs::copy(record, record_of(&ours))?;
    }
    if is_shared {
        std::fs::remove_file(file)?;
    }
    Ok(ours)
}

/// The parts in a directory: hash, owner, path.
pub(in crate::engine::hub) fn parts(dir: &Path) -> impl Iterator<Item = (String, String, PathBuf)> {
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
