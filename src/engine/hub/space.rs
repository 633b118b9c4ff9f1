//! Room for what comes: what is on the disk already, what is missing, what is free.
//!
//! Not in this module: the reservation of each file's space (`part`).

use std::collections::{BTreeMap, BTreeSet};

use super::cache::RepoCache;
use super::listing::Entry;
use super::part::{self, parts};
use crate::error::{Error, Kind, Result};
use crate::plan::PullSnapshot;
use crate::units::Bytes;

/// Where a pull writes.
pub(super) fn destination(step: &PullSnapshot) -> &str {
    step.local_dir.as_deref().unwrap_or(&step.cache_dir)
}

/// Bytes that unfinished files take, by hash.
pub(super) fn taken(cache: &RepoCache) -> BTreeMap<String, u64> {
    use std::os::unix::fs::MetadataExt;
    // A part has its space reserved: what counts is what it takes, and not how long it is.
    parts(&cache.parts())
        .filter_map(|(oid, _, path)| Some((oid, std::fs::metadata(path).ok()?.blocks() * 512)))
        .collect()
}

/// Bytes of unfinished files that a pull will go on from, by hash.
pub(super) fn kept(cache: &RepoCache) -> BTreeMap<String, u64> {
    parts(&cache.parts())
        .map(|(oid, _, path)| (oid, part::kept(&path)))
        .collect()
}

/// Bytes of a file that are on the disk, proven or not; `unfinished` says how much of a part counts.
pub(super) fn here(cache: &RepoCache, unfinished: &BTreeMap<String, u64>, entry: &Entry) -> u64 {
    let place = std::fs::metadata(cache.place(entry)).map_or(0, |meta| meta.len());
    let part = unfinished.get(entry.oid.hex()).copied().unwrap_or(0);
    place.max(part).min(entry.size)
}

/// Bytes that are not on disk yet.
pub(super) fn missing_bytes(cache: &RepoCache, entries: &[Entry]) -> u64 {
    let taken = taken(cache);
    let mut seen = BTreeSet::new();
    let first = entries.iter().filter(|entry| seen.insert(cache.place(entry)));
    first.map(|entry| entry.size - here(cache, &taken, entry)).sum()
}

/// What is missing and a margin of one twentieth.
pub(super) const fn with_margin(missing: u64) -> u64 {
    missing + missing / 20
}

/// Refuses before the first byte when the disk cannot hold what is missing and a margin.
pub(super) fn check_space(missing: u64, free: Option<u64>, dir: &str) -> Result<()> {
    let wanted = with_margin(missing);
    match free {
        Some(free) if free < wanted => Err(Error::new(Kind::Host, format!("not enough disk at `{dir}`"))
            .cause(format!("need {}, {} free", Bytes(wanted), Bytes(free)))
            .hint("point HF_HOME or --local-dir at a larger disk")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_refused_before_the_first_byte() {
        let error = check_space(100_000_000_000, Some(100_000_000_000), "/x").unwrap_err();
        assert_eq!(
            (error.kind(), error.causes()),
            (Kind::Host, vec!["need 105.0 GB, 100.0 GB free".to_owned()])
        );
        check_space(100, Some(105), "/x").unwrap();
        check_space(100, None, "/x").unwrap();
    }
}
