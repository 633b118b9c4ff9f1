//! The files that a pull fetches: selected from the listing and checked; and the check that they are a model.

use std::collections::{BTreeMap, BTreeSet};

use super::place::remote_of;
use crate::effects::hub::listing::{self, Entry};
use crate::effects::hub::options::HubOptions;
use crate::effects::hub::remote::{self, Revision};
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::Extent;
use crate::effects::store::model::{self, MODEL_INDEX, missing_from};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{self, PullSnapshot};
use crate::units::{Bytes, counted};

/// The files that a pull fetches.
pub(super) struct SelectedFiles {
    pub(super) commit: String,
    /// The licence that the hub states; empty if it states none.
    pub(super) license: String,
    pub(super) entries: Vec<Entry>,
    /// Sum of the sizes in bytes.
    pub(super) total: u64,
    /// The part of the commit that the files cover.
    pub(super) extent: Extent,
}

/// Returns the selected files of a revision, checked as far as a listing allows.
pub(super) async fn select_files(
    step: &PullSnapshot,
    found: Revision,
    options: HubOptions<'_>,
) -> Result<SelectedFiles> {
    let Revision { commit, license } = found;
    let PullSnapshot { repo, .. } = step;
    let (mut entries, _) = remote::entries(remote_of(step), &commit, options).await?;
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
                "none of its {} matches --include without --exclude",
                counted(all, "file")
            ))
            .hint("dsr1 pull --dry-run without these options lists all files"));
    }
    let total = entries.iter().map(|entry| entry.size).sum();
    Ok(SelectedFiles {
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

/// Refuses code files that were not allowed, and a licence that was not accepted.
pub(super) fn check_selected(step: &PullSnapshot, selected: &SelectedFiles) -> Result<()> {
    let PullSnapshot { repo, endpoint, .. } = step;
    let paths = selected.entries.iter().map(|entry| &*entry.path);
    step.code.check_paths(repo, paths)?;
    if plan::must_be_accepted(&selected.license) && !step.accept_license {
        return Err(Error::new(
            Kind::Usage,
            format!("the licence of {repo} must be accepted: `{}`", selected.license),
        )
        .cause(format!("its text is at {endpoint}/{repo}"))
        .hint("read it, then pass --accept-license"));
    }
    Ok(())
}

/// Prints the number and size of the files, and their licence, before the first byte.
pub(super) fn announce(step: &PullSnapshot, selected: &SelectedFiles, events: &StepEvents<'_>) {
    let repo = &step.repo;
    let license = match (&*selected.license, &*step.license) {
        ("", "") => "not stated",
        ("", known) => known,
        (stated, _) => stated,
    };
    let SelectedFiles { entries, total, .. } = selected;
    events.note(format!(
        "{repo}: {}, {}; licence: {license}",
        counted(entries.len(), "file"),
        Bytes(*total)
    ));
}

/// Checks the files before they are published. A listing without a shard is an unfinished upload, and SGLang
/// would fail at its start on a shard that is not valid safetensors.
pub(super) fn check_model(cache: &RepoCache, repo: &str, selected: &SelectedFiles) -> Result<()> {
    let paths = selected.entries.iter().map(|entry| entry.path.as_str()).collect();
    let index = selected.entries.iter().find(|entry| entry.path == MODEL_INDEX);
    let missing = index.and_then(|index| missing_from(&cache.file_path(index), &paths).pop_first());
    if let Some(missing) = missing.filter(|_| selected.extent == Extent::Whole) {
        return Err(
            Error::new(Kind::Integrity, format!("`{missing}` of {repo} is missing"))
                .cause("model.safetensors.index.json names it, but the repository does not have it")
                .hint("pull another revision"),
        );
    }
    let is_shard = |entry: &&Entry| entry.path.ends_with(".safetensors");
    for shard in selected.entries.iter().filter(is_shard) {
        if let Some(why) = model::check_shard(&cache.file_path(shard))? {
            return Err(Error::new(
                Kind::Integrity,
                format!("`{}` of {repo} is not a valid safetensors file", shard.path),
            )
            .cause(why)
            .hint("its hash is right, so the repository contains it like this: pull another revision, or use --exclude"));
        }
    }
    Ok(())
}
