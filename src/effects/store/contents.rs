//! Contents of a cache: repositories, snapshots and their files, also those that other hub clients wrote.
//!
//! A snapshot without a manifest was written by another client. Its links to blobs name the hashes of its
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use super::layout::{RepoCache, read_ref};
use super::manifest::{self, Extent, Manifest, VerifiedFile, changed_files};
use crate::effects::hub::listing::{Entry, Oid};
use crate::error::{At, Kind, Result};
use crate::report::{WeightsSnapshot, WeightsState};

/// Returns everything below a directory except directories, by relative path. Does not follow links.
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

/// Returns a file of a snapshot that is a broken link.
pub(in crate::effects) fn dangling_link(dir: &Path) -> Option<String> {
    let mut items = walk(dir).into_iter();
    let (path, _) = items.find(|(_, item)| std::fs::metadata(item.path()).is_err())?;
    Some(path.to_string_lossy().into_owned())
}

/// Returns the files of a snapshot that are links to blobs, by path. The blob's name is the hash.
pub(in crate::effects) fn linked_files(dir: &Path) -> BTreeMap<String, Entry> {
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

/// Returns files of a snapshot that are not among `known`. Their hashes are unknown, but SGLang would read
/// them.
pub(in crate::effects) fn unlisted_files(dir: &Path, known: &BTreeSet<&str>) -> Vec<String> {
    let paths = walk(dir).into_iter();
    let paths = paths.map(|(path, _)| path.to_string_lossy().into_owned());
    paths.filter(|path| !known.contains(&**path)).collect()
}

/// Returns whether a file holds weights in one of the common formats.
pub(in crate::effects) fn is_weights(path: &str) -> bool {
    let kinds = ["safetensors", "gguf", "bin", "pt", "pth", "onnx"];
    path.rsplit_once('.')
        .is_some_and(|(_, kind)| kinds.contains(&kind))
}

/// Returns the repositories in a hub cache, sorted by name.
///
/// # Errors
/// [`Kind::Host`] if the directory cannot be read. A missing directory counts as empty.
pub(in crate::effects) fn repositories(cache_dir: &Path) -> Result<Vec<String>> {
    let items = match std::fs::read_dir(cache_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.at(Kind::Host, || format!("cannot read `{}`", cache_dir.display()))?,
    };
    let repo = |name: String| Some(name.strip_prefix("models--")?.replacen("--", "/", 1));
    let names = items
        .flatten()
        .filter_map(|item| item.file_name().into_string().ok());
    let mut repos: Vec<String> = names.filter_map(repo).collect();
    repos.sort();
    Ok(repos)
}

/// Returns the snapshots of a repository, sorted by commit.
pub(in crate::effects) fn snapshots(cache: &RepoCache) -> Vec<WeightsSnapshot> {
    let mut revisions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    collect_refs(&cache.refs_dir(), "", &mut revisions);
    let mut snapshots: Vec<WeightsSnapshot> = cache
        .commits()
        .map(|commit| {
            let files = expected_files(cache, &commit);
            WeightsSnapshot {
                revisions: revisions.remove(&commit).unwrap_or_default(),
                files: files.len(),
                bytes: files.iter().map(|file| file.size).sum(),
                state: snapshot_state(cache, &commit),
                commit,
            }
        })
        .collect();
    snapshots.sort_by(|a, b| a.commit.cmp(&b.commit));
    snapshots
}

/// Collects branches and tags by the commit that they point to.
fn collect_refs(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<String>>) {
    for name in names_in(dir) {
        let path = dir.join(&name);
        if path.is_dir() {
            collect_refs(&path, &format!("{prefix}{name}/"), found);
        } else if let Some(commit) = read_ref(&path) {
            found.entry(commit).or_default().push(format!("{prefix}{name}"));
        }
    }
}

pub(in crate::effects) fn names_in(dir: &Path) -> impl Iterator<Item = String> {
    let items = std::fs::read_dir(dir).into_iter().flatten().flatten();
    items.filter_map(|item| item.file_name().into_string().ok())
}

fn snapshot_state(cache: &RepoCache, commit: &str) -> WeightsState {
    let snapshot = cache.snapshot_dir(commit);
    match manifest::read(cache, commit) {
        None => WeightsState::Unproven,
        Some(manifest) if manifest.files.iter().any(VerifiedFile::is_revoked) => WeightsState::Wrong,
        Some(manifest) if !changed_files(&snapshot, &manifest).is_empty() => WeightsState::Changed,
        Some(manifest) => match manifest.extent {
            Extent::Whole => WeightsState::Proven,
            Extent::Part => WeightsState::Part,
            Extent::Unknown => WeightsState::Unlisted,
        },
    }
}

/// Returns the files that a snapshot must contain: from its manifest, else from the names of its blobs.
pub(in crate::effects) fn expected_files(cache: &RepoCache, commit: &str) -> Vec<Entry> {
    let manifest = manifest::read(cache, commit);
    // Another client may have added files to a verified snapshot.
    let mut found = if cache.is_directory() {
        BTreeMap::new()
    } else {
        linked_files(&cache.snapshot_dir(commit))
    };
    let known = manifest.iter().flat_map(|Manifest { files, .. }| files);
    found.extend(known.filter_map(|file| Some((file.path.clone(), file.entry()?))));
    found.into_values().collect()
}
