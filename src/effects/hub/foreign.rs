//! What other hub clients leave in a cache: snapshots without a manifest, whose links promise what the files must be.
//!
//! Not in this module: what was proven of a snapshot (`manifest`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use super::listing::{Entry, Oid};

/// What is below a directory and is none itself, by its path there; links are not followed.
fn walk(dir: &Path) -> Vec<(PathBuf, DirEntry)> {
    fn add(dir: &Path, below: &Path, found: &mut Vec<(PathBuf, DirEntry)>) {
        for item in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = below.join(item.file_name());
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                add(&item.path(), &path, found);
            } else {
                found.push((path, item));
            }
        }
    }
    let mut found = Vec::new();
    add(dir, Path::new(""), &mut found);
    found
}

/// A file of a snapshot that is a link to nothing.
pub(super) fn dangling(dir: &Path) -> Option<String> {
    let mut items = walk(dir).into_iter();
    let (path, _) = items.find(|(_, item)| std::fs::metadata(item.path()).is_err())?;
    Some(path.to_string_lossy().into_owned())
}

/// The files of a snapshot by path: links whose target's name in `blobs` is the hash.
pub(super) fn collect(dir: &Path) -> BTreeMap<String, Entry> {
    let promised = |(path, item): (PathBuf, DirEntry)| {
        let target = std::fs::read_link(item.path()).ok()?;
        let oid = Oid::from_blob_name(target.file_name()?.to_str()?)?;
        let meta = std::fs::metadata(item.path()).ok()?;
        let entry = Entry {
            path: path.to_str()?.to_owned(),
            size: meta.len(),
            oid,
            xet: None,
        };
        target
            .parent()?
            .ends_with("blobs")
            .then(|| (entry.path.clone(), entry))
    };
    walk(dir).into_iter().filter_map(promised).collect()
}

/// Files of a snapshot that are not among `known`: nothing says what they must be, and an engine reads them all the same.
pub(super) fn strangers(dir: &Path, known: &BTreeSet<&str>) -> Vec<String> {
    let paths = walk(dir).into_iter();
    let paths = paths.map(|(path, _)| path.to_string_lossy().into_owned());
    paths.filter(|path| !known.contains(&**path)).collect()
}

/// Whether a file holds weights, in one of the usual forms.
pub(super) fn is_weights(path: &str) -> bool {
    let kinds = ["safetensors", "gguf", "bin", "pt", "pth", "onnx"];
    path.rsplit_once('.')
        .is_some_and(|(_, kind)| kinds.contains(&kind))
}
