//! What a check found is kept: what is right counts as proven from then on, and what is wrong no longer does.
//!
//! Nothing of the snapshot is touched, and no branch is moved or made: a check states what is there.
//! Not in this module: the check (the parent).

use std::collections::BTreeMap;
use std::path::Path;

use super::fingerprint::Look;
use super::layout::{RepoCache, busy};
use super::manifest::{self, Manifest, Proven, unchanged};
use super::proofs::ProvenLog;
use super::verify::Hashed;
use crate::effects::files::{self, Attempt, Lock};
use crate::effects::hub::listing::Entry;
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;

/// A snapshot that was checked.
pub(in crate::effects) struct Checked<'a> {
    pub(in crate::effects) repo: &'a str,
    pub(in crate::effects) cache: &'a RepoCache,
    pub(in crate::effects) commit: &'a str,
    /// Its files.
    pub(in crate::effects) files: &'a [Entry],
    /// The manifest as it was before, without what was found wrong.
    pub(in crate::effects) before: Option<&'a Manifest>,
    /// What each looked like while it was hashed, by path; what was only compared is not among them.
    pub(in crate::effects) looks: BTreeMap<&'a str, Look>,
    /// Paths of the files that were put right.
    pub(in crate::effects) repaired: Vec<&'a str>,
}

impl Checked<'_> {
    /// All of it is right: what a copy or a restore changed of times and inodes is no matter, nor who wrote it.
    pub(in crate::effects) fn prove(&self, events: &StepEvents<'_>) -> Result<()> {
        let Self {
            repo, cache, commit, ..
        } = *self;
        let _lock = lock(cache, repo, events)?;
        let before = manifest::read(cache, commit);
        if before.as_ref() != self.before {
            // A pull has proven it meanwhile, and perhaps more of it.
            return Ok(());
        }
        let log = ProvenLog::open(&cache.parts());
        let files: Result<Vec<Proven>> = self.files.iter().map(|file| self.proven(file, &log)).collect();
        let files = files?;
        cache.keep(&cache.snapshot(commit), self.files)?;
        let mut manifest = before.unwrap_or_else(|| Manifest::unlisted(repo, commit));
        manifest.files = files;
        manifest::write(cache, &manifest)?;
        for file in self.files {
            let place = cache.place(file);
            // A blob that the snapshot does not lead to was not read.
            let look = Look::at(&place);
            if let Some(look) = look.filter(|look| self.looks.get(&*file.path) == Some(look))
                && log.knows(&place, file).is_none()
            {
                log.note(&place, file, look);
            }
        }
        Ok(())
    }

    /// A file as it was proven; an error when it looks otherwise by now.
    fn proven(&self, file: &Entry, log: &ProvenLog) -> Result<Proven> {
        let snapshot = self.cache.snapshot(self.commit);
        let place = self.cache.place(file);
        let now = Look::at(&snapshot.join(&file.path));
        let known = match (self.looks.get(&*file.path), self.before) {
            _ if self.repaired.contains(&&*file.path) => now.is_some() && log.knows(&place, file) == now,
            (Some(look), _) => now.as_ref() == Some(look),
            (None, before) => before.is_some_and(|before| {
                let file = before.files.iter().find(|known| known.path == file.path);
                file.is_some_and(|file| unchanged(&snapshot, file))
            }),
        };
        let now = now.filter(|_| known).ok_or_else(|| {
            Error::new(
                Kind::Integrity,
                format!("`{}` is not what was checked", file.path),
            )
            .cause("it changed after it was read")
        })?;
        Ok(manifest::proven(self.cache, log, self.before, file, &now))
    }
}

/// Files that are not what was proven, and what each looked like while it was read. What could not be read, or changed
/// meanwhile, is not among them: it does not look as it did when it was proven.
pub(in crate::effects) struct Wrong(Vec<(Entry, Look)>);

impl Wrong {
    /// Those among what was read.
    pub(in crate::effects) fn of(read: &[Hashed]) -> Self {
        let wrong = read.iter().filter(|file| file.why.is_some());
        Self(
            wrong
                .filter_map(|file| Some((file.entry.clone(), file.look?)))
                .collect(),
        )
    }

    /// Whether there are none.
    pub(in crate::effects) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes back that they were proven, unless a pull is under way: nobody may take them for that, though they look the
    /// same.
    pub(in crate::effects) fn withdraw(
        &self,
        cache: &RepoCache,
        repo: &str,
        events: &StepEvents<'_>,
    ) -> Result<()> {
        let _lock = lock(cache, repo, events)?;
        self.take_back(cache)
    }

    /// As [`Self::withdraw`], for whoever holds the repository's lock.
    pub(in crate::effects) fn take_back(&self, cache: &RepoCache) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        // Each for itself: what the one cannot take back, the other may.
        let withdrawn = ProvenLog::withdraw(&cache.parts());
        manifest::withdraw(cache, &self.0).and(withdrawn)
    }

    /// A manifest as it is once they are taken back.
    pub(in crate::effects) fn without(&self, snapshot: &Path, manifest: Manifest) -> Manifest {
        manifest.without(snapshot, &self.0).0
    }
}

/// Keeps pulls out of a repository. Whoever wants to know what is there does not wait for one.
fn lock(cache: &RepoCache, repo: &str, events: &StepEvents<'_>) -> Result<Lock> {
    match files::try_lock(&cache.lock(), events)? {
        Attempt::Taken(lock) => Ok(lock),
        Attempt::Busy(who) => Err(Error::new(Kind::Host, format!("{}{who}", busy(repo)))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::verify::hashed;
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
            cache.prepare().unwrap();
            let entry = Entry {
                path: "x".to_owned(),
                size: 3,
                oid: Oid::Sha256(
                    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
                ),
                xet: None,
            };
            std::fs::write(cache.place(&entry), b"abc").unwrap();
            let case = Self {
                _dir: dir,
                cache,
                files: vec![entry],
            };
            let mut manifest = Manifest::unlisted("a/b", COMMIT);
            manifest.files = vec![Proven::new(&case.files[0], &Look::at(&case.place()).unwrap())];
            manifest::write(&case.cache, &manifest).unwrap();
            case
        }

        fn place(&self) -> std::path::PathBuf {
            self.cache.place(&self.files[0])
        }

        fn is_proven(&self) -> bool {
            let manifest = manifest::read(&self.cache, COMMIT).unwrap();
            unchanged(&self.cache.snapshot(COMMIT), &manifest.files[0])
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
            manifest.files = vec![Proven::new(&self.files[0], &Look::at(&self.place()).unwrap())];
            manifest::write(&self.cache, &manifest).unwrap();
        }

        async fn hashed(&self) -> Vec<Hashed> {
            let recorder = Recorder::default();
            let events = StepEvents::new(&recorder, 1);
            hashed(&self.cache.snapshot(COMMIT), &self.files, &events)
                .await
                .unwrap()
        }

        fn prove(&self, found: &[Hashed]) -> Result<()> {
            let before = manifest::read(&self.cache, COMMIT);
            let looks = found
                .iter()
                .filter_map(|file| Some((&*file.entry.path, file.look?)));
            let checked = Checked {
                repo: "a/b",
                cache: &self.cache,
                commit: COMMIT,
                files: &self.files,
                before: before.as_ref(),
                looks: looks.collect(),
                repaired: Vec::new(),
            };
            checked.prove(&StepEvents::new(&Recorder::default(), 1))
        }
    }

    #[tokio::test]
    async fn what_changes_after_it_was_read_is_not_proven() {
        let case = Case::new();
        let found = case.hashed().await;
        assert_eq!(found[0].why, None);
        case.write(b"abd");
        let error = case.prove(&found).unwrap_err();
        assert_eq!(error.message(), "`x` is not what was checked");
        let log = ProvenLog::open(&case.cache.parts());
        assert_eq!(log.knows(&case.place(), &case.files[0]), None);
        case.write(b"abc");
        case.prove(&case.hashed().await).unwrap();
        let log = ProvenLog::open(&case.cache.parts());
        assert!(case.is_proven() && log.knows(&case.place(), &case.files[0]).is_some());
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
        Wrong::of(&found).withdraw(&case.cache, "a/b", &events).unwrap();
        assert!(case.is_proven());
        // While what is bad, and looks as it did, is not.
        case.write(b"abd");
        let found = case.hashed().await;
        assert!(case.is_proven());
        Wrong::of(&found).withdraw(&case.cache, "a/b", &events).unwrap();
        assert!(!case.is_proven());
    }
}
