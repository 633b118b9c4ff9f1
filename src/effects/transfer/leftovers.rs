//! Removes what killed pulls left beside their partial files, or keeps it if it is still useful.

use std::path::{Path, PathBuf};

use super::partial::journal::read_journal;
use super::partial::lease::{is_in_use, partial_files, remove_partial_file};
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::{RepoCache, TEMPORARY};

/// Prefix of a repository's name during its removal; the owner follows.
pub(in crate::effects) const REMOVED_PREFIX: &str = ".dsr1-removed-";

/// Removes files that no live pull needs, once `entries` have their final names.
pub(in crate::effects) fn remove_leftovers(cache: &RepoCache, entries: &[Entry]) {
    remove_finished(cache, entries);
    keep_journals(cache, entries);
    remove_chunk_lists(cache);
}

/// Finishes removals of repositories that were killed.
pub(in crate::effects) fn finish_removals(cache_dir: &Path, cache: &RepoCache) {
    let items = std::fs::read_dir(cache_dir).into_iter().flatten().flatten();
    for item in items {
        let name = item.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(REMOVED_PREFIX));
        if owner.is_some_and(|owner| !is_in_use(cache, owner, &item.path())) {
            let _ = std::fs::remove_dir_all(item.path());
        }
    }
}

/// Returns the path of the finished file with this hash.
fn finished_path(cache: &RepoCache, entries: &[Entry], oid: &str) -> PathBuf {
    let entry = entries.iter().find(|entry| entry.oid.hex() == oid);
    entry.map_or_else(|| cache.blobs_dir().join(oid), |entry| cache.file_path(entry))
}

/// Removes temporary files of pulls that are not alive.
pub(in crate::effects) fn remove_temporaries(cache: &RepoCache) {
    for path in with_extension(&cache.private_dir(), TEMPORARY) {
        if split_name(&path).is_some_and(|(_, owner)| !is_in_use(cache, &owner, &path)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes partial files of files that another pull finished, for example under another host name. A file with
/// its final name may also be damaged, and the partial file its repaired copy.
fn remove_finished(cache: &RepoCache, entries: &[Entry]) {
    for (oid, owner, path) in partial_files(&cache.private_dir()) {
        let entry = entries.iter().find(|entry| entry.oid.hex() == oid);
        let is_done = entry.is_some_and(|entry| cache.file_path(entry).exists());
        if is_done && !is_in_use(cache, &owner, &path) {
            // If this fails, only disk space is lost; the next pull may free it.
            let _ = remove_partial_file(&path);
        }
    }
}

/// Keeps the journal of a pull that was killed right after it named the file, and removes other journals
/// without a partial file.
fn keep_journals(cache: &RepoCache, entries: &[Entry]) {
    for path in with_extension(&cache.private_dir(), "record") {
        let Some((oid, owner)) = split_name(&path) else {
            continue;
        };
        if path.with_extension("part").exists() || is_in_use(cache, &owner, &path) {
            continue;
        }
        let _ = std::fs::remove_file(path.with_extension("ahead"));
        let kept = cache.private_dir().join(format!("{oid}.record"));
        let whole = std::fs::metadata(finished_path(cache, entries, &oid)).is_ok_and(|blob| {
            blob.len() > cache.limits().journal_step
                && read_journal(&path)
                    .is_ok_and(|record| record.last().is_some_and(|(place, _)| *place == blob.len()))
        });
        if !whole || kept.exists() || std::fs::rename(&path, &kept).is_err() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes chunk lists without a partial file.
fn remove_chunk_lists(cache: &RepoCache) {
    for path in with_extension(&cache.private_dir(), "ahead") {
        let is_alone = ["part", "record"]
            .iter()
            .all(|beside| !path.with_extension(beside).exists());
        if is_alone && split_name(&path).is_some_and(|(_, owner)| !is_in_use(cache, &owner, &path)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn with_extension(dir: &Path, extension: &str) -> impl Iterator<Item = PathBuf> {
    let items = std::fs::read_dir(dir).into_iter().flatten().flatten();
    items
        .map(|item| item.path())
        .filter(move |path| path.extension().is_some_and(|found| found == extension))
}

/// Splits `WHAT.OWNER.EXTENSION` into its first two parts.
fn split_name(path: &Path) -> Option<(String, String)> {
    let (what, owner) = path.file_stem()?.to_str()?.split_once('.')?;
    Some((what.to_owned(), owner.to_owned()))
}
