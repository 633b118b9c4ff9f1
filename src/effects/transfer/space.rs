//! Disk space: what is on disk already, what is missing, and what is free.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::partial::journal;
use super::partial::lease::{is_adoptable, partial_files};
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::RepoCache;
use crate::error::{Error, Kind, Result};
use crate::plan::PullSnapshot;
use crate::units::{Bytes, with_margin};

/// Returns the directory that a pull writes to.
pub(in crate::effects) fn destination(step: &PullSnapshot) -> &str {
    step.local_dir.as_deref().unwrap_or(&step.cache_dir)
}

/// Returns the disk space of partial files that a pull continues in place, by hash. A partial file of another
/// host is copied, which needs its space again.
fn reserved_bytes(cache: &RepoCache) -> BTreeMap<String, u64> {
    let mut taken = BTreeMap::new();
    for (oid, owner, path) in partial_files(&cache.private_dir()) {
        if is_adoptable(cache, &owner, &path) {
            keep_largest(&mut taken, oid, disk_bytes(&path));
        }
    }
    taken
}

/// Returns the disk space of partial files of other hosts.
pub(in crate::effects) fn other_hosts_bytes(cache: &RepoCache) -> u64 {
    let dir = cache.private_dir();
    let theirs = partial_files(&dir).filter(|(_, owner, path)| !is_adoptable(cache, owner, path));
    theirs.map(|(_, _, path)| disk_bytes(&path)).sum()
}

/// Returns the valid bytes of partial files that a pull resumes, by hash.
pub(in crate::effects) fn resumable_bytes(cache: &RepoCache) -> BTreeMap<String, u64> {
    let mut kept = BTreeMap::new();
    for (oid, _, path) in partial_files(&cache.private_dir()) {
        keep_largest(&mut kept, oid, journal::valid_bytes(&path));
    }
    kept
}

/// Keeps the largest value per file.
fn keep_largest(found: &mut BTreeMap<String, u64>, oid: String, bytes: u64) {
    let most = found.entry(oid).or_default();
    *most = bytes.max(*most);
}

/// Returns the disk space of a file. Space is reserved for partial files, so that the length says less.
pub(in crate::effects) fn disk_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)
}

/// Returns the bytes of a file that are on disk, verified or not. `unfinished` states how much of a partial
/// file counts.
pub(in crate::effects) fn bytes_on_disk(
    cache: &RepoCache,
    unfinished: &BTreeMap<String, u64>,
    entry: &Entry,
) -> u64 {
    let place = std::fs::metadata(cache.file_path(entry)).map_or(0, |meta| meta.len());
    let partial = unfinished.get(entry.oid.hex()).copied().unwrap_or(0);
    place.max(partial).min(entry.size)
}

/// Returns the bytes that must still be written. The space of a damaged file is subtracted if its repaired copy
/// is in progress, because the copy replaces it.
pub(in crate::effects) fn missing_bytes(cache: &RepoCache, entries: &[Entry]) -> u64 {
    let taken = reserved_bytes(cache);
    let mut seen = BTreeSet::new();
    let (mut missing, mut freed) = (0, 0);
    for entry in entries.iter().filter(|entry| seen.insert(cache.file_path(entry))) {
        missing += entry.size - bytes_on_disk(cache, &taken, entry);
        if let Some(partial) = taken.get(entry.oid.hex())
            && cache.journal_path(entry).exists()
            && !cache.is_link(entry)
        {
            freed += disk_bytes(&cache.file_path(entry)).min(*partial);
        }
    }
    missing.saturating_sub(freed)
}

/// Refuses before the first byte if the disk cannot hold the missing bytes and a margin. `other_hosts_bytes` is
/// the space of other hosts' partial files; those in the cache can be removed.
pub(in crate::effects) fn check_space(
    step: &PullSnapshot,
    missing: u64,
    free: Option<u64>,
    other_hosts_bytes: u64,
) -> Result<()> {
    let wanted = with_margin(missing);
    let Some(free) = free.filter(|free| *free < wanted) else {
        return Ok(());
    };
    let error = Error::new(
        Kind::Host,
        format!("not enough disk space at `{}`", destination(step)),
    )
    .cause(format!("{} needed, {} free", Bytes(wanted), Bytes(free)));
    let error = match other_hosts_bytes {
        0 => error,
        _ => error.cause(format!(
            "unfinished downloads of other hosts take {}",
            Bytes(other_hosts_bytes)
        )),
    };
    // Only if that frees enough space, and only in the cache, for which there is a command.
    let error = if step.local_dir.is_none() && free + other_hosts_bytes >= wanted {
        error.hint(format!(
            "dsr1 weights rm {} --unfinished --yes removes them",
            step.repo
        ))
    } else {
        error
    };
    Err(error.hint("point HF_HOME or --local-dir at a larger disk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(dir: &str) -> PullSnapshot {
        let step = serde_json::json!({
            "endpoint": "", "repo": "a/b", "revision": "main", "cache_dir": dir, "license": "", "max_workers": 1,
        });
        serde_json::from_value(step).unwrap()
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused_before_the_first_byte() {
        let step = step("/x");
        let error = check_space(&step, 100_000_000_000, Some(100_000_000_000), 0).unwrap_err();
        assert_eq!(
            (error.kind(), error.causes()),
            (Kind::Host, vec!["105.0 GB needed, 100.0 GB free".to_owned()])
        );
        check_space(&step, 100, Some(105), 0).unwrap();
        check_space(&step, 100, None, 0).unwrap();
    }

    #[test]
    fn partial_files_of_other_hosts_are_named_and_their_removal_if_it_is_enough() {
        let step = step("/x");
        let refused =
            |free, other_hosts_bytes| check_space(&step, 100_000, Some(free), other_hosts_bytes).unwrap_err();
        let error = refused(50_000, 60_000);
        assert_eq!(
            error.causes(),
            [
                "105.0 kB needed, 50.0 kB free",
                "unfinished downloads of other hosts take 60.0 kB"
            ]
        );
        assert_eq!(
            error.hints(),
            [
                "dsr1 weights rm a/b --unfinished --yes removes them",
                "point HF_HOME or --local-dir at a larger disk"
            ]
        );
        assert_eq!(refused(50_000, 10_000).hints().len(), 1);
    }
}
