//! Queries for verified snapshots by repository and revision.

use std::collections::BTreeSet;
use std::path::Path;

use super::layout::RepoCache;
use super::manifest::{self, Extent, VerifiedFile, is_unchanged};
use super::model::{is_model, missing_shard};
use crate::error::{Error, Kind, Result};
use crate::facts::WeightFile;
use crate::plan::CheckSnapshot;
use crate::rehearsal;
use crate::report::Pulled;

/// Returns the commit of a revision in a cache, if its snapshot was verified.
#[must_use]
pub fn cached_commit(cache_dir: &Path, repo: &str, revision: &str) -> Option<String> {
    let cache = RepoCache::new(cache_dir, repo);
    let commit = cache.resolve(revision)?;
    manifest::read(&cache, &commit).map(|_| commit)
}

/// Returns the files of a verified snapshot; `None` if any of them changed.
#[must_use]
pub fn verified_files(cache_dir: &Path, repo: &str, commit: &str) -> Option<Vec<WeightFile>> {
    let cache = RepoCache::new(cache_dir, repo);
    let manifest = manifest::read(&cache, commit)?;
    let snapshot = cache.snapshot_dir(commit);
    let whole = manifest.files.iter().all(|file| is_unchanged(&snapshot, file));
    whole.then(|| {
        let file = |file: &VerifiedFile| WeightFile {
            path: file.path.clone(),
            size: file.size(),
            hash: file.oid.clone(),
        };
        manifest.files.iter().map(file).collect()
    })
}

/// Checks that a snapshot was verified, that no file changed, and that no shard is missing.
///
/// # Errors
/// [`Kind::Hub`] if it was never pulled; [`Kind::Integrity`] if a file changed or is missing.
pub fn check_snapshot(step: &CheckSnapshot) -> Result<Pulled> {
    let CheckSnapshot {
        repo,
        revision,
        cache_dir,
    } = step;
    let cache = RepoCache::new(Path::new(cache_dir), repo);
    let again = if repo == rehearsal::REPO {
        "dsr1 up --profile rehearsal makes and pulls it".to_owned()
    } else {
        format!("dsr1 pull {repo} --revision {revision}")
    };
    let found = cache
        .resolve(revision)
        .and_then(|commit| manifest::read(&cache, &commit));
    let Some(manifest) = found else {
        return Err(
            Error::new(Kind::Hub, format!("{repo}@{revision} is not in the cache"))
                .cause(format!("no verified snapshot in `{cache_dir}`"))
                .hint(again),
        );
    };
    let snapshot = cache.snapshot_dir(&manifest.commit);
    if let Some(file) = manifest.files.iter().find(|file| !is_unchanged(&snapshot, file)) {
        return Err(file.changed_error(repo).hint(again));
    }
    let paths: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    if let Some(missing) = missing_shard(&snapshot, &paths) {
        let cause = if manifest.extent == Extent::Whole {
            "model.safetensors.index.json names it, but the repository does not have it"
        } else {
            "only a part of the repository was pulled"
        };
        return Err(
            Error::new(Kind::Integrity, format!("`{missing}` of {repo} is missing"))
                .cause(cause)
                .hint(again),
        );
    }
    if !is_model(&paths) {
        return Err(Error::new(Kind::Integrity, format!("{repo} is incomplete"))
            .cause("config.json or weight files are missing: the pull was partial, or the hub's copy is incomplete")
            .hint(again));
    }
    let sizes: Vec<u64> = manifest.files.iter().map(VerifiedFile::size).collect();
    let of = (&**repo, &**revision, &*manifest.commit);
    Ok(pulled_report(of, &snapshot, &sizes, 0))
}

/// Returns the report of a pull, for files of these sizes that are all verified.
pub(in crate::effects) fn pulled_report(
    (repo, revision, commit): (&str, &str, &str),
    snapshot: &Path,
    sizes: &[u64],
    fetched_bytes: u64,
) -> Pulled {
    Pulled {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        commit: commit.to_owned(),
        snapshot: snapshot.to_string_lossy().into_owned(),
        files: sizes.len(),
        total_bytes: sizes.iter().sum(),
        fetched_bytes,
        cached: fetched_bytes == 0,
    }
}
