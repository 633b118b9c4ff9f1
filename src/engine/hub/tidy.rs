//! What killed pulls leave beside their parts: it is removed, or kept where it is still good for something.
//!
//! Not in this module: the parts themselves, which the next pull takes over (`part`).

use std::path::{Path, PathBuf};

use super::cache::{RepoCache, TEMPORARY};
use super::part::{self, STEP, is_owned, parts, read_record};

/// Removes what no pull that lives needs.
pub(super) fn tidy(cache: &RepoCache) {
    temporaries(cache);
    finished(cache);
    records(cache);
}

/// Removes what killed pulls were about to name.
pub(super) fn temporaries(cache: &RepoCache) {
    for path in with_extension(&cache.parts(), TEMPORARY) {
        if owner_of(&path).is_some_and(|(_, owner)| !is_owned(cache, &owner, &path)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes parts of files that another pull finished, such as one that ran under another host's name.
fn finished(cache: &RepoCache) {
    for (oid, owner, path) in parts(&cache.parts()) {
        let is_done = cache.blobs().join(&oid).exists();
        if is_done && !is_owned(cache, &owner, &path) {
            part::remove(&path);
        }
    }
}

/// Keeps the records whose pull was killed after it named the file, and removes those of no file.
fn records(cache: &RepoCache) {
    for path in with_extension(&cache.parts(), "record") {
        let Some((oid, owner)) = owner_of(&path) else {
            continue;
        };
        if path.with_extension("part").exists() || is_owned(cache, &owner, &path) {
            continue;
        }
        let _ = std::fs::remove_file(path.with_extension("ahead"));
        let kept = cache.parts().join(format!("{oid}.record"));
        let whole = std::fs::metadata(cache.blobs().join(&oid)).is_ok_and(|blob| {
            blob.len() > STEP
                && read_record(&path)
                    .last()
                    .is_some_and(|(place, _)| *place == blob.len())
        });
        if !whole || kept.exists() || std::fs::rename(&path, &kept).is_err() {
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
