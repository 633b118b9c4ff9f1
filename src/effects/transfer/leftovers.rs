//! What killed pulls leave beside their parts: it is removed, or kept where it is still good for something.
//!
//! Not in this module: the parts themselves, which the next pull takes over (`part`).

use std::path::{Path, PathBuf};

use super::partial::journal::{STEP, read_record};
use super::partial::lease::{is_owned, parts, remove};
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::{RepoCache, TEMPORARY};

/// What a repository is called while it is removed; its owner follows.
pub(in crate::effects) const REMOVED: &str = ".dsr1-removed-";

/// Removes what no pull that lives needs, once `entries` are in their places.
pub(in crate::effects) fn tidy(cache: &RepoCache, entries: &[Entry]) {
    finished(cache, entries);
    records(cache, entries);
    chunks(cache);
}

/// Removes what is left of repositories in a cache whose removal was killed.
pub(in crate::effects) fn removed(cache_dir: &Path, cache: &RepoCache) {
    let items = std::fs::read_dir(cache_dir).into_iter().flatten().flatten();
    for item in items {
        let name = item.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(REMOVED));
        if owner.is_some_and(|owner| !is_owned(cache, owner, &item.path())) {
            let _ = std::fs::remove_dir_all(item.path());
        }
    }
}

/// The finished file of a hash.
fn place(cache: &RepoCache, entries: &[Entry], oid: &str) -> PathBuf {
    let entry = entries.iter().find(|entry| entry.oid.hex() == oid);
    entry.map_or_else(|| cache.blobs().join(oid), |entry| cache.place(entry))
}

/// Removes what killed pulls were about to name.
pub(in crate::effects) fn temporaries(cache: &RepoCache) {
    for path in with_extension(&cache.parts(), TEMPORARY) {
        if owner_of(&path).is_some_and(|(_, owner)| !is_owned(cache, &owner, &path)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes parts of files that another pull finished, such as one that ran under another host's name. What has the name of
/// another file may be damaged, and the part what is mended of it.
fn finished(cache: &RepoCache, entries: &[Entry]) {
    for (oid, owner, path) in parts(&cache.parts()) {
        let entry = entries.iter().find(|entry| entry.oid.hex() == oid);
        let is_done = entry.is_some_and(|entry| cache.place(entry).exists());
        if is_done && !is_owned(cache, &owner, &path) {
            // Room that the next pull may free.
            let _ = remove(&path);
        }
    }
}

/// Keeps the records whose pull was killed after it named the file, and removes those of no file.
fn records(cache: &RepoCache, entries: &[Entry]) {
    for path in with_extension(&cache.parts(), "record") {
        let Some((oid, owner)) = owner_of(&path) else {
            continue;
        };
        if path.with_extension("part").exists() || is_owned(cache, &owner, &path) {
            continue;
        }
        let _ = std::fs::remove_file(path.with_extension("ahead"));
        let kept = cache.parts().join(format!("{oid}.record"));
        let whole = std::fs::metadata(place(cache, entries, &oid)).is_ok_and(|blob| {
            blob.len() > STEP
                && read_record(&path)
                    .is_ok_and(|record| record.last().is_some_and(|(place, _)| *place == blob.len()))
        });
        if !whole || kept.exists() || std::fs::rename(&path, &kept).is_err() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes what is told of the chunks of parts that are gone.
fn chunks(cache: &RepoCache) {
    for path in with_extension(&cache.parts(), "ahead") {
        let is_alone = ["part", "record"]
            .iter()
            .all(|beside| !path.with_extension(beside).exists());
        if is_alone && owner_of(&path).is_some_and(|(_, owner)| !is_owned(cache, &owner, &path)) {
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

/// The two parts of `WHAT.OWNER.EXTENSION`.
fn owner_of(path: &Path) -> Option<(String, String)> {
    let (what, owner) = path.file_stem()?.to_str()?.split_once('.')?;
    Some((what.to_owned(), owner.to_owned()))
}
