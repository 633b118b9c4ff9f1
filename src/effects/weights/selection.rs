//! What a pull is to bring: a revision's files, chosen and checked as far as a listing can be; and whether it is a model.
//!
//! Not in this module: asking the hub (`remote`), the rules of choice (`plan::FilePatterns`, `plan::CodeFiles`).

use std::collections::{BTreeMap, BTreeSet};

use crate::effects::hub::listing::{self, Entry};
use crate::effects::hub::options::HubOptions;
use crate::effects::hub::remote::{self, Revision};
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::Extent;
use crate::effects::store::model::{self, INDEX, missing_from};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{self, PullSnapshot};
use crate::units::{Bytes, counted};

/// What is to be there at the end.
pub(super) struct Wanted {
    pub(super) commit: String,
    /// As the hub states it; empty when it states none.
    pub(super) license: String,
    pub(super) entries: Vec<Entry>,
    /// Their bytes.
    pub(super) total: u64,
    /// How much of the commit it is.
    pub(super) extent: Extent,
}

/// The files of a revision that are to come, checked as far as a listing can be.
pub(super) async fn wanted(step: &PullSnapshot, found: Revision, options: HubOptions<'_>) -> Result<Wanted> {
    let Revision { commit, license } = found;
    let PullSnapshot { repo, .. } = step;
    let (mut entries, _) = remote::entries(step, &commit, options).await?;
    let all = entries.len();
    if step.local_dir.is_some() {
        listing::check_directory(&entries)?;
    }
    if let Some(locked) = &step.locked {
        let by_path: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (&*entry.path, entry)).collect();
        plan::check_locked(repo, locked, |path| {
            by_path.get(path).map(|entry| (entry.size, entry.oid.hex()))
        })?;
        let known: BTreeSet<&str> = locked.iter().map(|file| &*file.path).collect();
        entries.retain(|entry| known.contains(&*entry.path));
    }
    let patterns = step.selection.compile()?;
    entries.retain(|entry| patterns.matches(&entry.path));
    if entries.is_empty() {
        return Err(Error::new(Kind::Usage, format!("no file of {repo} is selected"))
            .cause(format!(
                "of its {} none matches --include without --exclude",
                counted(all, "file")
            ))
            .hint("dsr1 pull --dry-run without them lists all"));
    }
    let total = entries.iter().map(|entry| entry.size).sum();
    Ok(Wanted {
        extent: if entries.len() == all {
            Extent::Whole
        } else {
            Extent::Part
        },
        commit,
        license,
        entries,
        total,
    })
}

/// Refuses what must not come as it was asked for: code that nothing knows, a licence that nobody agreed to.
pub(super) fn check_wanted(step: &PullSnapshot, wanted: &Wanted) -> Result<()> {
    let PullSnapshot { repo, endpoint, .. } = step;
    let paths = wanted.entries.iter().map(|entry| &*entry.path);
    step.code.check_paths(repo, paths)?;
    if plan::must_be_accepted(&wanted.license) && !step.accept_license {
        return Err(Error::new(
            Kind::Usage,
            format!("the licence of {repo} must be agreed to: `{}`", wanted.license),
        )
        .cause(format!("its text is at {endpoint}/{repo}"))
        .hint("read it, then pass --accept-license"));
    }
    Ok(())
}

/// Names what comes and its licence, before the first byte.
pub(super) fn name(step: &PullSnapshot, wanted: &Wanted, events: &StepEvents<'_>) {
    let repo = &step.repo;
    let license = match (&*wanted.license, &*step.license) {
        ("", "") => "not stated",
        ("", known) => known,
        (stated, _) => stated,
    };
    let Wanted { entries, total, .. } = wanted;
    events.note(format!(
        "{repo}: {}, {}; licence: {license}",
        counted(entries.len(), "file"),
        Bytes(*total)
    ));
}

/// Before anything gets its name in a snapshot: a listing that lacks a shard is a hub's half-done upload, and a shard
/// that is no safetensors would fail at the engine's start.
pub(super) fn check_model(cache: &RepoCache, repo: &str, wanted: &Wanted) -> Result<()> {
    let paths = wanted.entries.iter().map(|entry| entry.path.as_str()).collect();
    let index = wanted.entries.iter().find(|entry| entry.path == INDEX);
    let missing = index.and_then(|index| missing_from(&cache.place(index), &paths).pop_first());
    if let Some(missing) = missing.filter(|_| wanted.extent == Extent::Whole) {
        return Err(Error::new(Kind::Integrity, format!("{repo} lacks `{missing}`"))
            .cause("model.safetensors.index.json names it, and the repository does not have it")
            .hint("pull another revision"));
    }
    let is_shard = |entry: &&Entry| entry.path.ends_with(".safetensors");
    for shard in wanted.entries.iter().filter(is_shard) {
        if let Some(why) = model::check(&cache.place(shard))? {
            return Err(Error::new(
                Kind::Integrity,
                format!("`{}` of {repo} is no whole safetensors file", shard.path),
            )
            .cause(why)
            .hint("its hash is right: the repository has it like this; pull another revision, or leave it out with --exclude"));
        }
    }
    Ok(())
}
