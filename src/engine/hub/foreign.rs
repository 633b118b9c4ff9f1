//! What other hub clients leave in a cache: snapshots without a manifest, whose links promise what the files must be.
//!
//! Not in this module: what was proven of a snapshot (`manifest`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::listing::{Entry, Oid};

/// A file of a snapshot that is a link to nothing.
pub(super) fn dangling(dir: &Path, prefix: &str) -> Option<String> {
    let items = std::fs::read_dir(dir).into_iter().flatten().flatten();
    items.into_iter().find_map(|item| {
        let path = format!("{prefix}{}", item.file_name().to_string_lossy());
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            dangling(&item.path(), &format!("{path}/"))
        } else {
            std::fs::metadata(item.path()).is_err().then_some(path)
        }
    })
}

/// Collects the files of a snapshot: links whose target's name in `blobs` is the hash.
pub(super) fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Entry>) {
    let Ok(items) = std::fs::read_dir(dir) else { return };
    for item in items.flatten() {
        let Ok(name) = item.file_name().into_string() else {
            continue;
        };
        let path = format!("{prefix}{name}");
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&item.path(), &format!("{path}/"), files);
            continue;
        }
        let Ok(target) = std::fs::read_link(item.path()) else {
            continue;
        };
        let below_blobs = target.parent().is_some_and(|parent| parent.ends_with("blobs"));
        let oid = target
            .file_name()
            .and_then(|name| Oid::from_blob_name(name.to_str()?));
        if let (true, Some(oid), Ok(meta)) = (below_blobs, oid, std::fs::metadata(item.path())) {
            files.insert(
                path.clone(),
                Entry {
                    path,
                    size: meta.len(),
                    oid,
                    xet: None,
                },
            );
        }
    }
}

/// Files of a snapshot that are not among `known`: nothing says what they must be, and an engine reads them all the same.
pub(super) fn strangers(dir: &Path, prefix: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    for item in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = format!("{prefix}{}", item.file_name().to_string_lossy());
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(strangers(&item.path(), &format!("{path}/"), known));
        } else if !known.contains(&*path) {
            found.push(path);
        }
    }
    found
}

/// Whether a file holds weights, in one of the usual forms.
pub(super) fn is_weights(path: &str) -> bool {
    let kinds = ["safetensors", "gguf", "bin", "pt", "pth", "onnx"];
    path.rsplit_once('.')
        .is_some_and(|(_, kind)| kinds.contains(&kind))
}
