//! What a check found is kept: what is right counts as proven from then on, and what is wrong no longer does.
//!
//! Nothing of the snapshot is touched, and no branch is moved or made: a check states what is there.
//! Not in this module: the check (the parent).

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

/// A snapshot that was checked.
pub(in crate::effects) struct CheckedSnapshot<'a> {
    pub(in crate::effects) repo: &'a str,
    pub(in crate::effects) cache: &'a RepoCache,
    pub(in crate::effects) commit: &'a str,
    /// Its files.
    pub(in crate::effects) files: &'a [Entry],
    /// The manifest as it was before, without what was found wrong.
    pub(in crate::effects) before: Option<&'a Manifest>,
    /// What each looked like while it was hashed, by path; what was only compared is not among them.
    pub(in crate::effects) fingerprints: BTreeMap<&'a str, Fingerprint>,
    /// Paths of the files that were put right.
    pub(in crate::effects) repaired: Vec<&'a str>,
}

impl CheckedSnapshot<'_> {
    /// All of it is right: what a copy or a restore changed of times and inodes is no matter, nor who wrote it.
    pub(in crate::effects) fn record(&self, events: &StepEvents<'_>) -> Result<()> {
        let Self {
            repo, cache, commit, ..
        } = *self;
        let _lock = try_lock(cache, repo, events)?;
        let before = manifest::read(cache, commit);
        if before.as_ref() != self.before {
            // A pull has proven it meanwhile, and perhaps more of it.
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
            // A blob that the snapshot does not lead to was not read.
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

    /// A file as it was proven; an error when it looks otherwise by now.
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
                format!("`{}` is not what was checked", file.path),
            )
            .cause("it changed after it was read")
        })?;
        Ok(manifest::verified_file(self.cache, log, self.before, file, &now))
    }
}

/// Files that are not what was proven, and what each looked like while it was read. What could not be read, or changed
/// meanwhile, is not among them: it does not look as it did when it was proven.
pub(in crate::effects) struct CorruptFiles(Vec<(Entry, Fingerprint)>);

impl CorruptFiles {
    /// Those among what was read.
    pub(in crate::effects) fn of(read: &[HashedFile]) -> Self {
        let wrong = read.iter().filter(|file| file.why.is_some());
        Self(
            wrong
                .filter_map(|file| Some((file.entry.clone(), file.fingerprint?)))
                .collect(),
        )
    }

    /// Whether there are none.
    pub(in crate::effects) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes back that they were proven, unless a pull is under way: nobody may take them for that, though they look the
    /// same.
    pub(in crate::effects) fn revoke(
        &self,
        cache: &RepoCache,
        repo: &str,
        events: &StepEvents<'_>,
    ) -> Result<()> {
        let _lock = try_lock(cache, repo, events)?;
        self.revoke_locked(cache)
    }

    /// As [`Self::withdraw`], for whoever holds the repository's lock.
    pub(in crate::effects) fn revoke_locked(&self, cache: &RepoCache) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        // Each for itself: what the one cannot take back, the other may.
        let withdrawn = ProofLog::revoke_all(&cache.private_dir());
        manifest::revoke(cache, &self.0).and(withdrawn)
    }

    /// A manifest as it is once they are taken back.
    pub(in crate::effects) fn apply_to(&self, snapshot: &Path, manifest: Manifest) -> Manifest {
        manifest.with_revoked(snapshot, &self.0).0
    }
}

/// Keeps pulls out of a repository. Whoever wants to know what is there does not wait for one.
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

    /// A directory with one file `x` that was proven to be `abc`.
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
                &Fingerprint::at(&case.place()).unwrap(),
            )];
            manifest::write(&case.cache, &manifest).unwrap();
            case
        }

        fn place(&self) -> std::path::PathBuf {
            self.cache.file_path(&self.files[0])
        }

        fn is_proven(&self) -> bool {
            let manifest = manifest::read(&self.cache, COMMIT).unwrap();
            is_unchanged(&self.cache.snapshot_dir(COMMIT), &manifest.files[0])
        }

        /// Changes its bytes, and makes it look as it did to whoever does not look at the time of any change.
        fn write(&self, bytes: &[u8]) {
            // A filesystem's clock may tick a hundred times a second.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let before = std::fs::metadata(self.place()).unwrap().modified().unwrap();
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(self.place())
                .unwrap();
            file.write_all_at(bytes, 0).unwrap();
            file.set_modified(before).unwrap();
        }

        /// As a pull that had fetched it again.
        fn replace(&self) {
            let new = self.place().with_extension("new");
            std::fs::write(&new, b"abc").unwrap();
            std::fs::rename(new, self.place()).unwrap();
            let mut manifest = manifest::read(&self.cache, COMMIT).unwrap();
            manifest.files = vec![VerifiedFile::new(
                &self.files[0],
                &Fingerprint::at(&self.place()).unwrap(),
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
    async fn what_changes_after_it_was_read_is_not_proven() {
        let case = Case::new();
        let found = case.hashed().await;
        assert_eq!(found[0].why, None);
        case.write(b"abd");
        let error = case.record(&found).unwrap_err();
        assert_eq!(error.message(), "`x` is not what was checked");
        let log = ProofLog::open(&case.cache.private_dir());
        assert_eq!(log.known_fingerprint(&case.place(), &case.files[0]), None);
        case.write(b"abc");
        case.record(&case.hashed().await).unwrap();
        let log = ProofLog::open(&case.cache.private_dir());
        assert!(case.is_proven() && log.known_fingerprint(&case.place(), &case.files[0]).is_some());
    }

    #[tokio::test]
    async fn what_was_put_right_after_it_was_read_stays_proven() {
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
        // While what is bad, and looks as it did, is not.
        case.write(b"abd");
        let found = case.hashed().await;
        assert!(case.is_proven());
        CorruptFiles::of(&found)
            .revoke(&case.cache, "a/b", &events)
            .unwrap();
        assert!(!case.is_proven());
    }
}
