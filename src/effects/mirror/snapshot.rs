//! A snapshot as it is served: what its manifest proves, else what the names of its blobs promise.
//!
//! Not in this module: when it is looked at again (`catalog`), the hub's answers (`answer`).

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
    /// Its commit.
    pub(super) commit: String,
    /// Its files by path.
    pub(super) files: BTreeMap<String, Item>,
    /// How much of its commit dsr1 proved; `None` when another client wrote it.
    pub(super) extent: Option<Extent>,
    /// What its card says of its licence.
    pub(super) license: Option<String>,
    dir: PathBuf,
}

/// One file of it.
pub(super) struct Item {
    /// What the hub states of it.
    pub(super) entry: Entry,
    /// What was proven of it.
    proven: Option<VerifiedFile>,
    /// Where it really is, from the cache's root.
    real: PathBuf,
}

/// An open file, and what it looked like then.
#[derive(Debug)]
pub(super) struct Opened {
    /// The file.
    pub(super) file: File,
    /// What it looked like.
    pub(super) fingerprint: Fingerprint,
}

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The system has no room now; the file may well be right.
    Busy,
    /// It is not what the snapshot says.
    Wrong(String),
}

impl Opened {
    /// Whether nobody wrote to it since it was opened.
    pub(super) fn is_same(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|meta| Fingerprint::of_any(&meta).has_same_bytes(&self.fingerprint))
    }
}

impl Snapshot {
    /// Looks at every file of a snapshot.
    ///
    /// # Errors
    /// Why it is not whole: what another client left half done, or what changed, must not look like a model.
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
            let proven = proofs.remove(&path);
            if let Some(file) = proven.as_ref().filter(|file| !is_unchanged(&dir, file)) {
                return Err(changed(file));
            }
            let real = root
                .find(&dir.join(&path))
                .map_err(|error| format!("`{path}`: {error}"))?;
            files.insert(path, Item { entry, proven, real });
        }
        // Another client may have fetched a file or two of it. Whoever pulls from here would take that for all.
        if !is_whole && files.contains_key("config.json") && !files.keys().any(|path| is_weights(path)) {
            return Err("a model without weights: another client fetched a part of it".to_owned());
        }
        if let Some(index) = files.get(MODEL_INDEX) {
            let paths = files.keys().map(String::as_str).collect();
            if let Some(shard) = missing_from(&root.path().join(&index.real), &paths).pop_first() {
                return Err(format!("it lacks `{shard}`"));
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

    /// Opens one of its files.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn open(&self, root: &Root, item: &Item) -> Result<Opened, OpenError> {
        let path = &item.entry.path;
        let wrong = |error: std::io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => OpenError::Busy,
            _ => OpenError::Wrong(format!("`{path}`: {error}")),
        };
        let file = root.open(&item.real).map_err(wrong)?;
        let meta = file.metadata().map_err(wrong)?;
        if !meta.is_file() {
            return Err(OpenError::Wrong(format!("`{path}` is no file")));
        }
        if meta.len() != item.entry.size {
            let (found, size) = (meta.len(), item.entry.size);
            return Err(OpenError::Wrong(format!(
                "`{path}` has {found} bytes instead of {size}"
            )));
        }
        let fingerprint = Fingerprint::of_any(&meta);
        if let Some(proven) = &item.proven {
            // The manifest tells of a name; what was opened must be what that name stands for.
            let named = std::fs::metadata(self.dir.join(path)).map_err(wrong)?;
            let is_same =
                named.dev() == meta.dev() && Fingerprint::of_any(&named).has_same_bytes(&fingerprint);
            if !is_same || !is_unchanged(&self.dir, proven) {
                return Err(OpenError::Wrong(changed(proven)));
            }
        }
        Ok(Opened { file, fingerprint })
    }

    /// Bytes of all its files.
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
    format!("`{}` is not what was proven: {}", file.path, file.reason())
}
