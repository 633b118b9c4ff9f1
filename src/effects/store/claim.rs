//! The claim on a user's directory: `.dsr1/repository.json` names the repository and the commit that it holds.
//!
//! The claim is written under the directory's lock before the first file is touched, so that files of two
//! repositories never mix, even after a pull that was killed. Folders of the hub cache are named after their
//! repository and need none.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::RepoCache;
use crate::effects::files;
use crate::effects::hub::names::is_commit;
use crate::error::{At, Error, Kind, Result};
use crate::profile::is_repo;
use crate::quote::shell_word;

/// Version of the file format.
const CLAIM_SCHEMA: &str = "dsr1.directory/1";
/// Largest claim that is read.
const MAX_CLAIM: u64 = 4096;

/// The repository that a directory is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DirectoryClaim {
    schema: String,
    repo: String,
    /// The last commit whose files were all verified there; `None` while a pull replaces them.
    commit: Option<String>,
}

fn claim_path(cache: &RepoCache) -> PathBuf {
    cache.private_dir().join("repository.json")
}

/// Returns the claim on a directory; `None` if there is none or it is invalid.
fn read_claim(cache: &RepoCache) -> Option<DirectoryClaim> {
    let bytes = files::read(&claim_path(cache), MAX_CLAIM).ok()?;
    let claim: DirectoryClaim = serde_json::from_slice(&bytes).ok()?;
    let fits =
        claim.schema == CLAIM_SCHEMA && is_repo(&claim.repo) && claim.commit.as_deref().is_none_or(is_commit);
    fits.then_some(claim)
}

/// Claims a directory for a repository. `commit` is the commit whose files are all there; `None` means that
/// files are about to be replaced. A hub cache needs no claim.
///
/// # Errors
/// [`Kind::Usage`] if the directory is claimed for another repository; [`Kind::Host`] if the claim cannot be
/// written.
pub(in crate::effects) fn write_claim(cache: &RepoCache, repo: &str, commit: Option<&str>) -> Result<()> {
    if !cache.is_directory() {
        return Ok(());
    }
    let before = read_claim(cache);
    if let Some(other) = before.as_ref().filter(|claim| claim.repo != repo) {
        return Err(other_repository_error(
            &cache.root().to_string_lossy(),
            &other.repo,
            repo,
        ));
    }
    let claim = DirectoryClaim {
        schema: CLAIM_SCHEMA.to_owned(),
        repo: repo.to_owned(),
        commit: commit.map(str::to_owned),
    };
    if before.as_ref() == Some(&claim) {
        return Ok(());
    }
    let text =
        serde_json::to_string_pretty(&claim).at(Kind::Internal, || "cannot write a claim".to_owned())?;
    if before.is_some() {
        return cache.write_file(&claim_path(cache), text.as_bytes());
    }
    // Where locks do not work, this decides which of two simultaneous pulls comes first: only one hard link can
    // succeed.
    let temporary = cache.temporary_path("claim");
    cache.write_file(&temporary, text.as_bytes())?;
    let _ = std::fs::hard_link(&temporary, claim_path(cache));
    let _ = std::fs::remove_file(&temporary);
    match read_claim(cache) {
        Some(there) if there.repo == repo => Ok(()),
        Some(other) => Err(other_repository_error(
            &cache.root().to_string_lossy(),
            &other.repo,
            repo,
        )),
        // The filesystem has no hard links, or the existing file is not a valid claim.
        None => cache.write_file(&claim_path(cache), text.as_bytes()),
    }
}

/// Returns whether the claim names `commit`. Always true for a hub cache.
pub(in crate::effects) fn states_commit(cache: &RepoCache, repo: &str, commit: &str) -> bool {
    let is_it = |claim: DirectoryClaim| claim.repo == repo && claim.commit.as_deref() == Some(commit);
    !cache.is_directory() || read_claim(cache).is_some_and(is_it)
}

/// Returns the error for a directory of another repository, whose files of the same names would be replaced.
fn other_repository_error(dir: &str, other: &str, repo: &str) -> Error {
    Error::new(Kind::Usage, format!("`{dir}` holds {other}"))
        .cause(format!("{repo} would replace its files of the same names"))
        .hint("give --local-dir a directory of its own")
}

/// Refuses a directory that is claimed for another repository.
///
/// # Errors
/// [`Kind::Usage`] for such a directory.
pub(in crate::effects) fn check_claim(local_dir: Option<&str>, repo: &str) -> Result<()> {
    other_repository(local_dir, repo).map_or(Ok(()), |(dir, other)| {
        Err(other_repository_error(dir, &other, repo))
    })
}

/// Claims a directory before files of `commit` are fetched. If the claim names this commit already, it stays.
pub(in crate::effects) fn begin_pull(cache: &RepoCache, repo: &str, commit: &str) -> Result<()> {
    let there = read_claim(cache)
        .filter(|claim| claim.repo == repo)
        .and_then(|claim| claim.commit);
    write_claim(cache, repo, there.filter(|there| there == commit).as_deref())
}

/// Returns the directory and the repository that it is claimed for, if that is not `repo`.
pub(in crate::effects) fn other_repository<'a>(
    local_dir: Option<&'a str>,
    repo: &str,
) -> Option<(&'a str, String)> {
    let dir = local_dir?;
    let claim = read_claim(&RepoCache::directory(Path::new(dir)))?;
    (claim.repo != repo).then_some((dir, claim.repo))
}

/// Returns the repository and the commit that `dsr1 pull --local-dir` last wrote into a directory.
///
/// # Errors
/// [`Kind::Hub`] if no pull wrote there, or if the last one was interrupted.
pub fn last_pull_into(dir: &Path) -> Result<(String, String)> {
    let shown = dir.display();
    let Some(claim) = read_claim(&RepoCache::directory(dir)) else {
        return Err(
            Error::new(Kind::Hub, format!("`{shown}` holds nothing that dsr1 pulled"))
                .hint("dsr1 pull REPO --local-dir DIR writes into one"),
        );
    };
    let again = format!(
        "dsr1 pull {} --local-dir {} resumes it",
        claim.repo,
        shell_word(&dir.to_string_lossy())
    );
    let commit = claim.commit.ok_or_else(|| {
        Error::new(
            Kind::Hub,
            format!("`{shown}` does not hold all of {}", claim.repo),
        )
        .cause("the last pull into it did not finish")
        .hint(again)
    })?;
    Ok((claim.repo, commit))
}
