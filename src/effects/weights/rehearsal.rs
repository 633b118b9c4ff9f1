//! Writes the rehearsal model into a hub cache, as if it had been pulled.

use std::path::Path;

use sha1::Sha1;
use sha2::Digest;

use crate::effects::hub::listing::{Entry, Oid};
use crate::effects::store::hash::Hasher;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::Extent;
use crate::effects::store::proofs::ProofLog;
use crate::effects::store::publish::{Publication, publish};
use crate::effects::transfer::leftovers;
use crate::error::Result;
use crate::plan::WriteModel;
use crate::rehearsal::{self, ModelFile};
use crate::units::hex;

/// Writes the model. Its bytes and its commit are the same every time.
///
/// # Errors
/// [`crate::error::Kind::Host`] if the filesystem fails.
pub fn write_model(step: &WriteModel) -> Result<String> {
    let files = rehearsal::files();
    let entries: Vec<Entry> = files.iter().map(entry_of).collect();
    let commit = commit_of(&entries);
    let cache = RepoCache::new(Path::new(&step.cache_dir), &step.repo);
    cache.create_dirs()?;
    for (file, entry) in files.iter().zip(&entries) {
        cache.write_file(&cache.file_path(entry), &file.bytes)?;
    }
    leftovers::remove_leftovers(&cache, &entries);
    leftovers::remove_temporaries(&cache);
    publish(
        &cache,
        &Publication {
            repo: &step.repo,
            revision: "main",
            commit: &commit,
            entries: &entries,
            proofs: &ProofLog::open(&cache.private_dir()),
            endpoint: None,
            extent: Extent::Whole,
        },
    )?;
    Ok(commit)
}

/// Returns the commit that [`write_model`] gives to the model, without writing it.
#[must_use]
pub fn rehearsal_commit() -> String {
    commit_of(&rehearsal::files().iter().map(entry_of).collect::<Vec<_>>())
}

fn entry_of(file: &ModelFile) -> Entry {
    let size = file.bytes.len() as u64;
    // Only the kind of hash is used here.
    let kind = if file.lfs {
        Oid::Sha256(String::new())
    } else {
        Oid::GitSha1(String::new())
    };
    let mut hasher = Hasher::new(&kind, size);
    hasher.update(&file.bytes);
    let hex = hasher.hex();
    let oid = if file.lfs {
        Oid::Sha256(hex)
    } else {
        Oid::GitSha1(hex)
    };
    Entry {
        path: file.path.clone(),
        size,
        oid,
        xet: None,
    }
}

/// Returns a commit id for the listing. It differs from git's, but has the same length and is deterministic.
fn commit_of(entries: &[Entry]) -> String {
    let mut hash = Sha1::new();
    for entry in entries {
        hash.update(format!("{} {} {}\n", entry.oid.hex(), entry.size, entry.path));
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::store::{cached_commit, check_snapshot};
    use crate::plan::CheckSnapshot;

    #[test]
    fn the_written_model_is_a_verified_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let cache_dir = dir.path().to_string_lossy().into_owned();
        let step = WriteModel {
            repo: rehearsal::REPO.to_owned(),
            cache_dir: cache_dir.clone(),
        };
        let commit = write_model(&step).unwrap();
        assert_eq!(
            (write_model(&step).unwrap(), rehearsal_commit()),
            (commit.clone(), commit.clone())
        );
        assert_eq!(cached_commit(dir.path(), rehearsal::REPO, "main"), Some(commit));
        let check = CheckSnapshot {
            repo: rehearsal::REPO.to_owned(),
            revision: "main".to_owned(),
            cache_dir,
        };
        let found = check_snapshot(&check).unwrap();
        assert_eq!((found.files, found.cached), (8, true));
        std::fs::write(Path::new(&found.snapshot).join("config.json"), b"{}").unwrap();
        assert!(
            check_snapshot(&check)
                .unwrap_err()
                .message()
                .contains("config.json")
        );
    }
}
