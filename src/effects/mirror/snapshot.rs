//! A snapshot that is served: its files, from the manifest or from the names of its blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::beneath::Root;
use super::card;
use crate::effects::hub::listing::Entry;
use crate::effects::store::contents::{dangling_link, is_weights, linked_files};
use crate::effects::store::fingerprint::Fingerprint;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::{self, Extent, VerifiedFile, is_unchanged};
use crate::effects::store::model::{MODEL_INDEX, missing_from};

/// A whole snapshot.
pub(super) struct Snapshot {
    /// The commit.
    pub(super) commit: String,
    /// The files by path.
    pub(super) files: BTreeMap<String, Item>,
    /// The part of the commit that was verified; `None` if another client wrote the snapshot.
    pub(super) extent: Option<Extent>,
    /// The licence in its model card.
    pub(super) license: Option<String>,
    dir: PathBuf,
}

/// One file of a snapshot.
pub(super) struct Item {
    /// The file's entry in the listing.
    pub(super) entry: Entry,
    /// The file's entry in the manifest.
    verified: Option<VerifiedFile>,
    /// Its real path, relative to the cache's root.
    real: PathBuf,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Opened {
    /// The file.
    pub(super) file: File,
    /// Its fingerprint when it was opened.
    pub(super) fingerprint: Fingerprint,
}

/// Reason why a file was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The system has no resources now; the file may be right.
    Busy,
    /// The file is not what the snapshot states.
    Wrong(String),
}

impl Opened {
    /// Returns whether the file is unchanged since it was opened.
    pub(super) fn is_same(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|meta| Fingerprint::of_any(&meta).has_same_bytes(&self.fingerprint))
    }
}

impl Snapshot {
    /// Checks the metadata of every file of a snapshot.
    ///
    /// # Errors
    /// The reason why it is not whole. A snapshot that is incomplete or changed must not be taken for a model.
    pub(super) fn read(root: &Root, repo: &str, commit: &str) -> Result<Self, String> {
        let cache = RepoCache::new(root.path(), repo);
        let dir = cache.snapshot_dir(commit);
        let manifest = manifest::read(&cache, commit);
        if manifest
            .as_ref()
            .is_some_and(|known| known.extent == Extent::Part)
        {
            return Err("only a part of it was pulled".to_owned());
        }
        let extent = manifest.as_ref().map(|manifest| manifest.extent);
        let is_whole = extent == Some(Extent::Whole);
        let mut entries = BTreeMap::new();
        let mut proofs = BTreeMap::new();
        if let Some(manifest) = manifest {
            for file in manifest.files {
                let entry = file
                    .entry()
                    .ok_or_else(|| format!("the manifest has no hash of `{}`", file.path))?;
                entries.insert(file.path.clone(), entry);
                proofs.insert(file.path.clone(), file);
            }
        } else {
            entries = linked_files(&dir);
            if let Some(path) = dangling_link(&dir) {
                return Err(format!("the bytes of `{path}` are gone"));
            }
        }
        if entries.is_empty() {
            return Err("it has no files".to_owned());
        }
        let mut files = BTreeMap::new();
        for (path, entry) in entries {
            let verified = proofs.remove(&path);
            if let Some(file) = verified.as_ref().filter(|file| !is_unchanged(&dir, file)) {
                return Err(changed(file));
            }
            let real = root
                .find(&dir.join(&path))
                .map_err(|error| format!("`{path}`: {error}"))?;
            files.insert(
                path,
                Item {
                    entry,
                    verified,
                    real,
                },
            );
        }
        // Another client may have fetched only a few files. Clients of the mirror would take them for the whole
        // repository.
        if !is_whole && files.contains_key("config.json") && !files.keys().any(|path| is_weights(path)) {
            return Err("the weights are missing: another client fetched only a part of it".to_owned());
        }
        if let Some(index) = files.get(MODEL_INDEX) {
            let paths = files.keys().map(String::as_str).collect();
            if let Some(shard) = missing_from(&root.path().join(&index.real), &paths).pop_first() {
                return Err(format!("`{shard}` is missing"));
            }
        }
        let mut snapshot = Self {
            commit: commit.to_owned(),
            dir,
            files,
            extent,
            license: None,
        };
        snapshot.license = snapshot.read_license(root);
        Ok(snapshot)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// The reason why it cannot be served.
    pub(super) fn open(&self, root: &Root, item: &Item) -> Result<Opened, OpenError> {
        let path = &item.entry.path;
        let wrong = |error: std::io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => OpenError::Busy,
            _ => OpenError::Wrong(format!("`{path}`: {error}")),
        };
        let file = root.open(&item.real).map_err(wrong)?;
        let meta = file.metadata().map_err(wrong)?;
        if !meta.is_file() {
            return Err(OpenError::Wrong(format!("`{path}` is not a file")));
        }
        if meta.len() != item.entry.size {
            let (found, size) = (meta.len(), item.entry.size);
            return Err(OpenError::Wrong(format!(
                "`{path}` has {found} bytes instead of {size}"
            )));
        }
        let fingerprint = Fingerprint::of_any(&meta);
        if let Some(verified) = &item.verified {
            // The manifest is about the name, so the opened file must be the one with this name.
            let named = std::fs::metadata(self.dir.join(path)).map_err(wrong)?;
            let is_same =
                named.dev() == meta.dev() && Fingerprint::of_any(&named).has_same_bytes(&fingerprint);
            if !is_same || !is_unchanged(&self.dir, verified) {
                return Err(OpenError::Wrong(changed(verified)));
            }
        }
        Ok(Opened { file, fingerprint })
    }

    /// Returns the sum of the sizes in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|item| item.entry.size).sum()
    }

    fn read_license(&self, root: &Root) -> Option<String> {
        let card = self.open(root, self.files.get("README.md")?).ok()?;
        let mut bytes = Vec::new();
        card.file.take(card::MAX_CARD).read_to_end(&mut bytes).ok()?;
        card::license(&String::from_utf8_lossy(&bytes)).map(str::to_owned)
    }
}

fn changed(file: &VerifiedFile) -> String {
    format!("`{}` changed since it was verified: {}", file.path, file.reason())
}
