//! The list of weights in the cache, and their removal.

use std::path::Path;

use crate::effects::files::{self, Attempt};
use crate::effects::store::contents::{names_in, repositories, snapshots};
use crate::effects::store::layout::{self, RepoCache};
use crate::effects::store::owner::owner;
use crate::effects::transfer::partial::lease::{is_in_use, partial_files, remove_partial_file};
use crate::effects::transfer::{leftovers, space};
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::check_repo;
use crate::report::WeightsRepo;
use crate::units::Bytes;

/// Returns every repository in a cache, sorted by name.
///
/// # Errors
/// [`Kind::Host`] if the directory cannot be read. A missing directory counts as empty.
pub fn list(cache_dir: &Path) -> Result<Vec<WeightsRepo>> {
    let repos = repositories(cache_dir)?;
    Ok(repos.iter().map(|repo| described(cache_dir, repo)).collect())
}

fn described(cache_dir: &Path, repo: &str) -> WeightsRepo {
    let cache = RepoCache::new(cache_dir, repo);
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    WeightsRepo {
        repo: repo.to_owned(),
        path: cache.root().to_string_lossy().into_owned(),
        bytes: names_in(&cache.blobs_dir())
            .map(|name| size(&cache.blobs_dir().join(name)))
            .sum(),
        unfinished_bytes: partial_files(&cache.private_dir())
            .map(|(_, _, path)| space::disk_bytes(&path))
            .sum(),
        unfinished_here_bytes: space::resumable_bytes(&cache).values().sum(),
        snapshots: snapshots(&cache),
    }
}

/// Returns the number of bytes that [`remove`] would free.
///
/// # Errors
/// [`Kind::Usage`] for an invalid name; [`Kind::Hub`] if the repository is not in the cache; [`Kind::Host`] if
/// its directory is a link: removing the link would free nothing, and its target does not belong to the cache.
pub fn removable(cache_dir: &Path, repo: &str, unfinished: bool) -> Result<u64> {
    check_repo(repo)?;
    let root = RepoCache::new(cache_dir, repo).root().to_owned();
    if !root.is_dir() {
        return Err(
            Error::new(Kind::Hub, format!("{} is not in the cache", repo.escape_debug()))
                .cause(format!("there is no `{}`", root.display()))
                .hint("dsr1 weights list shows the cached repositories"),
        );
    }
    let found = described(cache_dir, repo);
    if unfinished {
        return Ok(found.unfinished_bytes);
    }
    if let Ok(target) = std::fs::read_link(&root) {
        return Err(Error::new(Kind::Host, format!("`{}` is a link", root.display()))
            .cause(format!(
                "its target `{}` does not belong to the cache",
                target.display()
            ))
            .hint("remove its target by hand, and then the link"));
    }
    Ok(found.bytes + found.unfinished_bytes)
}

/// Removes a repository from the cache, or only its partial files with `unfinished`. Returns the number of
/// freed bytes.
///
/// # Errors
/// Same as [`removable`]; [`Kind::Host`] if it cannot be removed, or if a pull works on it. It does not wait
/// for that pull, because it would then remove what the pull fetched.
pub fn remove(cache_dir: &Path, repo: &str, unfinished: bool, events: &StepEvents<'_>) -> Result<u64> {
    removable(cache_dir, repo, unfinished)?;
    let cache = RepoCache::new(cache_dir, repo);
    let root = cache.root().to_owned();
    let lock = match files::try_lock(&cache.lock_path(), events)? {
        Attempt::Taken(lock) => lock,
        Attempt::Busy(who) => return Err(busy(repo, &who)),
    };
    let cache = cache.with_exclusive(lock.is_certain);
    if unfinished {
        return remove_unfinished(&cache, events);
    }
    if partial_files(&cache.private_dir()).any(|(_, owner, path)| is_in_use(&cache, &owner, &path)) {
        return Err(busy(repo, ""));
    }
    let found = described(cache_dir, repo);
    let failed = |path: &Path| format!("cannot remove `{}`", path.display());
    // Renamed first, so that nobody finds a half-removed repository.
    leftovers::finish_removals(cache_dir, &cache);
    let gone = root.with_file_name(format!("{}{}", leftovers::REMOVED_PREFIX, owner()));
    std::fs::rename(&root, &gone).at(Kind::Host, || failed(&root))?;
    std::fs::remove_dir_all(&gone).at(Kind::Host, || failed(&gone))?;
    Ok(found.bytes + found.unfinished_bytes)
}

fn busy(repo: &str, who: &str) -> Error {
    Error::new(Kind::Host, format!("cannot remove {}", repo.escape_debug()))
        .cause(format!("{}{who}", layout::busy_message(repo)))
        .hint("wait until it finishes, or stop it, and try again")
}

/// Removes partial files, except those that a pull may still write to where locks are uncertain. Returns the
/// number of freed bytes.
fn remove_unfinished(cache: &RepoCache, events: &StepEvents<'_>) -> Result<u64> {
    let (mut freed, mut busy) = (0, None);
    for (_, owner, path) in partial_files(&cache.private_dir()) {
        let bytes = space::disk_bytes(&path);
        if is_in_use(cache, &owner, &path) {
            busy = Some(busy.unwrap_or(0) + bytes);
            continue;
        }
        remove_partial_file(&path).at(Kind::Host, || format!("cannot remove `{}`", path.display()))?;
        freed += bytes;
    }
    if let Some(busy) = busy {
        events.note(format!("kept {}: a pull still writes to it", Bytes(busy)));
    }
    Ok(freed)
}
