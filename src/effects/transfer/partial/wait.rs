//! Waits for partial files that another host, container or boot wrote to a moment ago. Their owner is known to
//! be gone once nobody has written to them for a while.
//!
//! A host or a container that restarts often pulls in its first minute, and would otherwise fetch everything
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::journal::valid_bytes;
use super::lease::{age, belongs_to_us, is_adoptable, partial_files};
use crate::effects::hub::limits::Limits;
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::owner::location;
use crate::event::StepEvents;
use crate::units::{Bytes, duration};

/// A partial file whose owner may be alive.
struct Uncertain {
    path: PathBuf,
    kept: u64,
    modified: SystemTime,
    /// Time at which it counts as abandoned, if nobody writes to it.
    until: Instant,
}

/// Waits until partial files of `entries` count as abandoned. A file that is written to meanwhile has a live
/// owner, and is not waited for any longer. Returns a few seconds after `abandoned` at the latest.
pub(in crate::effects) async fn wait_for_other_hosts(
    cache: &RepoCache,
    entries: &[Entry],
    events: &StepEvents<'_>,
) {
    let mut candidates = candidates(cache, entries);
    let Some(until) = candidates.iter().map(|candidate| candidate.until).max() else {
        return;
    };
    events.note(format!(
        "found {} of an unfinished download from another host or container; waiting up to {} until it counts as abandoned",
        Bytes(candidates.iter().map(|candidate| candidate.kept).sum()),
        duration(until.saturating_duration_since(Instant::now()))
    ));
    while !candidates.is_empty() {
        tokio::time::sleep(cache.limits().host_poll).await;
        candidates.retain(|candidate| {
            let now = std::fs::symlink_metadata(&candidate.path).and_then(|meta| meta.modified());
            now.is_ok_and(|now| now == candidate.modified) && Instant::now() < candidate.until
        });
    }
}

/// The partial files of one file.
#[derive(Default)]
struct Found {
    /// Largest number of valid bytes that are available without a wait.
    sure: u64,
    /// The partial file with the most valid bytes, among the others.
    best: Option<(u64, PathBuf)>,
}

/// Returns the partial files that are worth waiting for, at most one per file.
fn candidates(cache: &RepoCache, entries: &[Entry]) -> Vec<Uncertain> {
    let wanted: BTreeSet<&str> = entries.iter().map(|entry| entry.oid.hex()).collect();
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (oid, owner, path) in partial_files(&cache.private_dir()) {
        if !wanted.contains(&*oid) {
            continue;
        }
        let (kept, of) = (valid_bytes(&path), found.entry(oid).or_default());
        if owner.starts_with(location()) || is_adoptable(cache, &owner, &path) {
            of.sure = kept.max(of.sure);
        } else if of.best.as_ref().is_none_or(|(most, _)| kept > *most) {
            of.best = Some((kept, path));
        }
    }
    found
        .into_values()
        .filter_map(|found| candidate(found, cache.limits()))
        .collect()
}

/// Returns the best partial file of a file, if it is worth waiting for.
fn candidate(Found { sure, best }: Found, limits: &Limits) -> Option<Uncertain> {
    let (kept, path) = best.filter(|(kept, _)| *kept >= sure + limits.worth_waiting)?;
    let modified = std::fs::symlink_metadata(&path).ok()?.modified().ok()?;
    let left = limits
        .abandoned
        .checked_sub(age(&path)?)
        .filter(|_| belongs_to_us(&path))?;
    Some(Uncertain {
        path,
        kept,
        modified,
        // Some filesystems round their times.
        until: Instant::now() + left + limits.host_poll,
    })
}
