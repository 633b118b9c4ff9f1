//! Records the result of a check: files that are right count as verified from then on, and corrupt files no
//! longer do.
//!
//! The snapshot and its branches stay as they are.

use std::collections::BTreeMap;
use std::path::Path;

use super::fingerprint::Fingerprint;
use super::layout::{RepoCache, busy_message};
use super::manifest::{self, Manifest, VerifiedFile, is_unchanged};
use super::proofs::ProofLog;
use super::verify::HashedFile;
use crate::effects::files::{self, Attempt, Lock};
use crate::effects::hub::listing::Entry;
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;

/// A snapshot whose files are all right.
pub(in crate::effects) struct CheckedSnapshot<'a> {
    pub(in crate::effects) repo: &'a str,
    pub(in crate::effects) cache: &'a RepoCache,
    pub(in crate::effects) commit: &'a str,
    /// The files of the snapshot.
    pub(in crate::effects) files: &'a [Entry],
    /// The earlier manifest, with corrupt files revoked.
    pub(in crate::effects) before: Option<&'a Manifest>,
    /// The fingerprint that each file had while it was hashed, by path. Files that were only compared are
    /// missing.
    pub(in crate::effects) fingerprints: BTreeMap<&'a str, Fingerprint>,
    /// Paths of the files that were repaired.
    pub(in crate::effects) repaired: Vec<&'a str>,
}

impl CheckedSnapshot<'_> {
    /// Records all files as verified. It does not matter who wrote them, nor that a copy or a restore changed
    /// times and inodes.
    pub(in crate::effects) fn record(&self, events: &StepEvents<'_>) -> Result<()> {
        let Self {
            repo, cache, commit, ..
        } = *self;
        let _lock = try_lock(cache, repo, events)?;
        let before = manifest::read(cache, commit);
        if before.as_ref() != self.before {
            // A pull verified the snapshot in the meantime, and perhaps more of it.
            return Ok(());
        }
        let log = ProofLog::open(&cache.private_dir());
        let files: Result<Vec<VerifiedFile>> =
            self.files.iter().map(|file| self.verified(file, &log)).collect();
        let files = files?;
        cache.sync_files(&cache.snapshot_dir(commit), self.files)?;
        let mut manifest = before.unwrap_or_else(|| Manifest::unlisted(repo, commit));
        manifest.files = files;
        manifest::write(cache, &manifest)?;
        for file in self.files {
            let place = cache.file_path(file);
            // A blob that the snapshot does not link to was not read.
            let fingerprint = Fingerprint::at(&place);
            if let Some(fingerprint) =
                fingerprint.filter(|fingerprint| self.fingerprints.get(&*file.path) == Some(fingerprint))
                && log.known_fingerprint(&place, file).is_none()
            {
                log.log_verified(&place, file, fingerprint);
            }
        }
        Ok(())
    }

    /// Returns the manifest entry of a file; an error if the file changed since it was checked.
    fn verified(&self, file: &Entry, log: &ProofLog) -> Result<VerifiedFile> {
        let snapshot = self.cache.snapshot_dir(self.commit);
        let place = self.cache.file_path(file);
        let now = Fingerprint::at(&snapshot.join(&file.path));
        let known = match (self.fingerprints.get(&*file.path), self.before) {
            _ if self.repaired.contains(&&*file.path) => {
                now.is_some() && log.known_fingerprint(&place, file) == now
            }
            (Some(fingerprint), _) => now.as_ref() == Some(fingerprint),
            (None, before) => before.is_some_and(|before| {
                let file = before.files.iter().find(|known| known.path == file.path);
                file.is_some_and(|file| is_unchanged(&snapshot, file))
            }),
        };
        let now = now.filter(|_| known).ok_or_else(|| {
            Error::new(
                Kind::Integrity,
                format!("`{}` changed during the check", file.path),
            )
            .cause("its size, time or inode is not what it was during the read")
        })?;
        Ok(manifest::verified_file(self.cache, log, self.before, file, &now))
    }
}

/// Corrupt files, with the fingerprint that each had while it was read. Files that were unreadable or changed
/// meanwhile are not included: their fingerprint differs from the verified one anyway.
pub(in crate::effects) struct CorruptFiles(Vec<(Entry, Fingerprint)>);

impl CorruptFiles {
    /// Returns the corrupt files among those that were read.
    pub(in crate::effects) fn of(read: &[HashedFile]) -> Self {
        let wrong = read.iter().filter(|file| file.why.is_some());
        Self(
            wrong
                .filter_map(|file| Some((file.entry.clone(), file.fingerprint?)))
                .collect(),
        )
    }

    /// Returns whether there are no corrupt files.
    pub(in crate::effects) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Revokes the verification of these files, unless a pull holds the lock. Their fingerprints did not
    /// change, so nothing else would show that they are corrupt.
    pub(in crate::effects) fn revoke(
        &self,
        cache: &RepoCache,
        repo: &str,
        events: &StepEvents<'_>,
    ) -> Result<()> {
        let _lock = try_lock(cache, repo, events)?;
        self.revoke_locked(cache)
    }

    /// Same as [`Self::revoke`], for a caller that holds the repository's lock.
    pub(in crate::effects) fn revoke_locked(&self, cache: &RepoCache) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        // Both are tried, even if one fails.
        let revoked = ProofLog::revoke_all(&cache.private_dir());
        manifest::revoke(cache, &self.0).and(revoked)
    }

    /// Returns a manifest with these files revoked.
    pub(in crate::effects) fn apply_to(&self, snapshot: &Path, manifest: Manifest) -> Manifest {
        manifest.with_revoked(snapshot, &self.0).0
    }
}

/// Locks a repository without waiting for a pull to finish.
fn try_lock(cache: &RepoCache, repo: &str, events: &StepEvents<'_>) -> Result<Lock> {
    match files::try_lock(&cache.lock_path(), events)? {
        Attempt::Taken(lock) => Ok(lock),
        Attempt::Busy(who) => Err(Error::new(Kind::Host, format!("{}{who}", busy_message(repo)))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::verify::hash_files;
    use super::*;
    use crate::effects::hub::listing::Oid;
    use crate::event::Recorder;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A directory with one file `x` that was verified as `abc`.
    struct Case {
        _dir: tempfile::TempDir,
        cache: RepoCache,
        files: Vec<Entry>,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let cache = RepoCache::directory(dir.path());
            cache.create_dirs().unwrap();
            let entry = Entry {
                path: "x".to_owned(),
                size: 3,
                oid: Oid::Sha256(
                    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
                ),
                xet: None,
            };
            std::fs::write(cache.file_path(&entry), b"abc").unwrap();
            let case = Self {
                _dir: dir,
                cache,
                files: vec![entry],
            };
            let mut manifest = Manifest::unlisted("a/b", COMMIT);
            manifest.files = vec![VerifiedFile::new(
                &case.files[0],
                &Fingerprint::at(&case.file_path()).unwrap(),
            )];
            manifest::write(&case.cache, &manifest).unwrap();
            case
        }

        fn file_path(&self) -> std::path::PathBuf {
            self.cache.file_path(&self.files[0])
        }

        fn is_proven(&self) -> bool {
            let manifest = manifest::read(&self.cache, COMMIT).unwrap();
            is_unchanged(&self.cache.snapshot_dir(COMMIT), &manifest.files[0])
        }

        /// Changes the bytes and restores the modification time, so that only `st_ctime` differs.
        fn write(&self, bytes: &[u8]) {
            // The clock of a filesystem may tick only a hundred times a second.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let before = std::fs::metadata(self.file_path()).unwrap().modified().unwrap();
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(self.file_path())
                .unwrap();
            file.write_all_at(bytes, 0).unwrap();
            file.set_modified(before).unwrap();
        }

        /// Does what a pull that fetched the file again would do.
        fn replace(&self) {
            let new = self.file_path().with_extension("new");
            std::fs::write(&new, b"abc").unwrap();
            std::fs::rename(new, self.file_path()).unwrap();
            let mut manifest = manifest::read(&self.cache, COMMIT).unwrap();
            manifest.files = vec![VerifiedFile::new(
                &self.files[0],
                &Fingerprint::at(&self.file_path()).unwrap(),
            )];
            manifest::write(&self.cache, &manifest).unwrap();
        }

        async fn hashed(&self) -> Vec<HashedFile> {
            let recorder = Recorder::default();
            let events = StepEvents::new(&recorder, 1);
            hash_files(&self.cache.snapshot_dir(COMMIT), &self.files, &events)
                .await
                .unwrap()
        }

        fn record(&self, found: &[HashedFile]) -> Result<()> {
            let before = manifest::read(&self.cache, COMMIT);
            let fingerprints = found
                .iter()
                .filter_map(|file| Some((&*file.entry.path, file.fingerprint?)));
            let checked = CheckedSnapshot {
                repo: "a/b",
                cache: &self.cache,
                commit: COMMIT,
                files: &self.files,
                before: before.as_ref(),
                fingerprints: fingerprints.collect(),
                repaired: Vec::new(),
            };
            checked.record(&StepEvents::new(&Recorder::default(), 1))
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_after_the_check_is_not_verified() {
        let case = Case::new();
        let found = case.hashed().await;
        assert_eq!(found[0].why, None);
        case.write(b"abd");
        let error = case.record(&found).unwrap_err();
        assert_eq!(error.message(), "`x` changed during the check");
        let log = ProofLog::open(&case.cache.private_dir());
        assert_eq!(log.known_fingerprint(&case.file_path(), &case.files[0]), None);
        case.write(b"abc");
        case.record(&case.hashed().await).unwrap();
        let log = ProofLog::open(&case.cache.private_dir());
        assert!(case.is_proven() && log.known_fingerprint(&case.file_path(), &case.files[0]).is_some());
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_after_the_check_stays_verified() {
        let case = Case::new();
        case.write(b"abd");
        let found = case.hashed().await;
        assert!(found[0].why.is_some());
        case.replace();
        let recorder = Recorder::default();
        let events = StepEvents::new(&recorder, 1);
        CorruptFiles::of(&found)
            .revoke(&case.cache, "a/b", &events)
            .unwrap();
        assert!(case.is_proven());
        // A corrupt file whose modification time did not change is revoked.
        case.write(b"abd");
        let found = case.hashed().await;
        assert!(case.is_proven());
        CorruptFiles::of(&found)
            .revoke(&case.cache, "a/b", &events)
            .unwrap();
        assert!(!case.is_proven());
    }
}
