//! Which repository a directory of the user's is for, and which commit of it is there: `.dsr1/repository.json`.
//!
//! Claimed under the directory's lock before the first of its files is touched, so that two repositories never mix, also
//! after a pull that was killed. Not in this module: what was proven of it (`manifest`), hub caches, whose folders are
//! named after their repository.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::RepoCache;
use crate::effects::files;
use crate::effects::hub::names::is_commit;
use crate::error::{At, Error, Kind, Result};
use crate::plan::PullSnapshot;
use crate::profile::is_repo;
use crate::quote::shell_word;

/// Version of the file.
const SCHEMA: &str = "dsr1.directory/1";
/// Largest that is read.
const MAX_BYTES: u64 = 4096;

/// What a directory is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    schema: String,
    repo: String,
    /// The commit whose files were all proven there last; `None` while a pull replaces them.
    commit: Option<String>,
}

fn path(cache: &RepoCache) -> PathBuf {
    cache.parts().join("repository.json")
}

/// The claim on a directory; what is no claim of ours is none.
fn read(cache: &RepoCache) -> Option<Claim> {
    let bytes = files::read(&path(cache), MAX_BYTES).ok()?;
    let claim: Claim = serde_json::from_slice(&bytes).ok()?;
    let fits =
        claim.schema == SCHEMA && is_repo(&claim.repo) && claim.commit.as_deref().is_none_or(is_commit);
    fits.then_some(claim)
}

/// Claims a directory for a repository, and says that `commit` is there whole; with `None`, that its files are about to
/// be replaced. A hub cache needs no claim.
///
/// # Errors
/// [`Kind::Usage`] when it is another's; [`Kind::Host`] when it cannot be written.
pub(in crate::effects) fn claim(cache: &RepoCache, repo: &str, commit: Option<&str>) -> Result<()> {
    if !cache.is_directory() {
        return Ok(());
    }
    let before = read(cache);
    if let Some(other) = before.as_ref().filter(|claim| claim.repo != repo) {
        return Err(refused(&cache.root().to_string_lossy(), &other.repo, repo));
    }
    let claim = Claim {
        schema: SCHEMA.to_owned(),
        repo: repo.to_owned(),
        commit: commit.map(str::to_owned),
    };
    if before.as_ref() == Some(&claim) {
        return Ok(());
    }
    let text =
        serde_json::to_string_pretty(&claim).at(Kind::Internal, || "cannot write a claim".to_owned())?;
    if before.is_some() {
        return cache.write(&path(cache), text.as_bytes());
    }
    // Where locks do not work, one of two that begin at once comes first by this: a name is given once.
    let temporary = cache.temporary("claim");
    cache.write(&temporary, text.as_bytes())?;
    let _ = std::fs::hard_link(&temporary, path(cache));
    let _ = std::fs::remove_file(&temporary);
    match read(cache) {
        Some(there) if there.repo == repo => Ok(()),
        Some(other) => Err(refused(&cache.root().to_string_lossy(), &other.repo, repo)),
        // A filesystem without links, or what is no claim of ours.
        None => cache.write(&path(cache), text.as_bytes()),
    }
}

/// Whether `commit` is said to be in a directory, or nothing needs to be said.
pub(in crate::effects) fn says(cache: &RepoCache, repo: &str, commit: &str) -> bool {
    let is_it = |claim: Claim| claim.repo == repo && claim.commit.as_deref() == Some(commit);
    !cache.is_directory() || read(cache).is_some_and(is_it)
}

/// Refuses a directory of another repository: its files would be replaced by those of the same names.
fn refused(dir: &str, other: &str, repo: &str) -> Error {
    Error::new(Kind::Usage, format!("`{dir}` holds {other}"))
        .cause(format!("{repo} would replace its files of the same names"))
        .hint("give --local-dir a directory of its own")
}

/// Refuses the directory of a step that is another repository's.
///
/// # Errors
/// [`Kind::Usage`], then.
pub(in crate::effects) fn check(step: &PullSnapshot) -> Result<()> {
    other(step).map_or(Ok(()), |(dir, other)| Err(refused(dir, &other, &step.repo)))
}

/// As [`claim`], before files of `commit` come: where it is there already, that stays said.
pub(in crate::effects) fn begin(cache: &RepoCache, repo: &str, commit: &str) -> Result<()> {
    let there = read(cache)
        .filter(|claim| claim.repo == repo)
        .and_then(|claim| claim.commit);
    claim(cache, repo, there.filter(|there| there == commit).as_deref())
}

/// The directory of a step and the repository that it is for, when that is not the step's.
pub(in crate::effects) fn other(step: &PullSnapshot) -> Option<(&str, String)> {
    let dir = step.local_dir.as_deref()?;
    let claim = read(&RepoCache::directory(Path::new(dir)))?;
    (claim.repo != step.repo).then_some((dir, claim.repo))
}

/// What `dsr1 pull --local-dir` wrote last into a directory: repository and commit.
///
/// # Errors
/// [`Kind::Hub`] when it wrote nothing there, or was interrupted.
pub fn described_directory(dir: &Path) -> Result<(String, String)> {
    let shown = dir.display();
    let Some(claim) = read(&RepoCache::directory(dir)) else {
        return Err(
            Error::new(Kind::Hub, format!("`{shown}` holds nothing that dsr1 pulled"))
                .hint("dsr1 pull REPO --local-dir DIR writes into one"),
        );
    };
    let again = format!(
        "dsr1 pull {} --local-dir {} goes on with it",
        claim.repo,
        shell_word(&dir.to_string_lossy())
    );
    let commit = claim.commit.ok_or_else(|| {
        Error::new(
            Kind::Hub,
            format!("`{shown}` does not hold all of {}", claim.repo),
        )
        .cause("the last pull into it did not end")
        .hint(again)
    })?;
    Ok((claim.repo, commit))
}
