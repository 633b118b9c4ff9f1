//! Parts that another host, container or boot wrote to a moment ago: whether their owner is gone is known once nobody has
//! written to them for a while. That is waited for where they are worth it, and else all of it would be fetched again:
//! a host or a container that was begun anew has a pull in its first minute.
//!
//! Not in this module: whose a part is, and how it is taken over then (`owner`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::journal::kept;
use super::lease::{ABANDONED, age, is_of_here, is_ours_here, parts};
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::owner::here;
use crate::event::StepEvents;
use crate::units::{Bytes, duration};

/// Less than this is fetched again: so much may a kill cost.
const WORTH: u64 = 64 << 20;
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// A part whose owner may live.
struct Doubt {
    path: PathBuf,
    kept: u64,
    modified: SystemTime,
    /// When it counts as abandoned, if nobody writes to it.
    until: Instant,
}

/// Waits until parts of `entries` that nobody writes to count as abandoned; whoever writes to one of them lives, and that
/// one is waited for no more. Returns a few seconds after [`ABANDONED`] at the latest.
pub(in crate::effects) async fn wait_for_silence(
    cache: &RepoCache,
    entries: &[Entry],
    events: &StepEvents<'_>,
) {
    let mut doubts = doubts(cache, entries);
    let Some(until) = doubts.iter().map(|doubt| doubt.until).max() else {
        return;
    };
    events.note(format!(
        "another host or container began {} of it and may be gone: waiting {} at most for that to be sure",
        Bytes(doubts.iter().map(|doubt| doubt.kept).sum()),
        duration(until.saturating_duration_since(Instant::now()))
    ));
    while !doubts.is_empty() {
        tokio::time::sleep(LOOK).await;
        doubts.retain(|doubt| {
            let now = std::fs::symlink_metadata(&doubt.path).and_then(|meta| meta.modified());
            now.is_ok_and(|now| now == doubt.modified) && Instant::now() < doubt.until
        });
    }
}

/// What there is of a file.
#[derive(Default)]
struct Found {
    /// Most bytes of a part that needs no wait.
    sure: u64,
    /// The part of which most is there, among the others.
    best: Option<(u64, PathBuf)>,
}

/// The parts of `entries` that are worth waiting for, at most one of each file.
fn doubts(cache: &RepoCache, entries: &[Entry]) -> Vec<Doubt> {
    let wanted: BTreeSet<&str> = entries.iter().map(|entry| entry.oid.hex()).collect();
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (oid, owner, path) in parts(&cache.parts()) {
        if !wanted.contains(&*oid) {
            continue;
        }
        let (kept, of) = (kept(&path), found.entry(oid).or_default());
        if owner.starts_with(here()) || is_of_here(cache, &owner, &path) {
            of.sure = kept.max(of.sure);
        } else if of.best.as_ref().is_none_or(|(most, _)| kept > *most) {
            of.best = Some((kept, path));
        }
    }
    found.into_values().filter_map(doubt).collect()
}

/// The best part of a file, when that is worth waiting for.
fn doubt(Found { sure, best }: Found) -> Option<Doubt> {
    let (kept, path) = best.filter(|(kept, _)| *kept >= sure + WORTH)?;
    let modified = std::fs::symlink_metadata(&path).ok()?.modified().ok()?;
    let left = ABANDONED
        .checked_sub(age(&path)?)
        .filter(|_| is_ours_here(&path))?;
    Some(Doubt {
        path,
        kept,
        modified,
        // Some filesystems round their times.
        until: Instant::now() + left + LOOK,
    })
}
