//! The things that dsr1 made on this host's disk: found, measured and removed.
//!
//! Not in this module: images and volumes (`docker`), the choice of what goes (`plan::clean`).

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::effects::env::Env;
use crate::effects::files;
use crate::effects::process::{server, uv, venv};
use crate::error::{At, Kind, Result};
use crate::facts::RunningServer;
use crate::plan::clean::{Item, ItemKind, Use};

/// Returns everything that dsr1 made on the disk, without weights. `current` are the venvs that the stacks would use today;
/// `servers` are those that run.
#[must_use]
pub fn list(env: &Env, current: &[String], servers: &BTreeMap<String, RunningServer>) -> Vec<Item> {
    let mut items = venvs(env, current, servers);
    items.extend(packages(env));
    let model = Path::new(&env.paths.cache).join("rehearsal");
    if model.exists() {
        items.push(item(ItemKind::Model, &model, size(&model), Use::Current));
    }
    items.extend(records(env));
    items
}

/// Removes an item from the disk; of the packages all if `all` is true, else those that no venv uses.
///
/// # Errors
/// [`Kind::Host`] when it cannot be removed.
pub fn remove(item: &Item, all: bool) -> Result<()> {
    let path = Path::new(&item.name);
    let failed = || format!("cannot remove `{}`", path.display());
    match item.kind {
        ItemKind::Packages => remove_packages(path, all).at(Kind::Host, failed),
        ItemKind::Log | ItemKind::Result => files::remove_if_there(path).map(|_| ()).at(Kind::Host, failed),
        _ => remove_dir(path).at(Kind::Host, failed),
    }
}

fn remove_dir(path: &Path) -> std::io::Result<()> {
    // The lock of a venv's installation, which nobody holds.
    let _ = files::remove_if_there(&path.with_extension("lock"));
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn venvs(env: &Env, current: &[String], servers: &BTreeMap<String, RunningServer>) -> Vec<Item> {
    let found = entries(&Path::new(&env.paths.cache).join("venvs"));
    let dirs = found.into_iter().filter(|(_, meta)| meta.is_dir());
    dirs.map(|(path, _)| {
        let name = path.to_string_lossy().into_owned();
        let on_it = servers
            .iter()
            .find(|(_, running)| Path::new(&running.python).starts_with(&path));
        let (kind, used) = match on_it {
            Some((server, _)) => (ItemKind::Venv, Use::By(server.clone())),
            None if files::is_locked(&path.with_extension("lock")) => {
                (ItemKind::Unfinished, Use::By("an installation".to_owned()))
            }
            None if !venv::is_ready(&path) => (ItemKind::Unfinished, Use::None),
            None if current.contains(&name) => (ItemKind::Venv, Use::Current),
            None => (ItemKind::Venv, Use::None),
        };
        item(kind, &path, size(&path), used)
    })
    .collect()
}

/// Returns the packages that no venv uses, as one item: as old as the youngest of them.
fn packages(env: &Env) -> Option<Item> {
    let cache = uv::cache_dir(env);
    let unused = unused_packages(&cache);
    let now = files::clock_of(&cache)?;
    let age = unused.iter().map(|path| age_s(path, now)).min()?;
    let bytes = unused.iter().map(|path| size(path)).sum();
    Some(item(ItemKind::Packages, &cache, bytes, Use::Record(age)))
}

/// Returns the unpacked packages that no venv shares.
fn unused_packages(cache: &Path) -> Vec<PathBuf> {
    let mut found = uv::archives(cache);
    found.retain(|path| !is_shared(path));
    found
}

/// Returns the seconds since a file or folder was written, by the clock of its filesystem; 0 if that is not known.
fn age_s(path: &Path, now: SystemTime) -> u64 {
    let written = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    written
        .ok()
        .and_then(|written| now.duration_since(written).ok())
        .unwrap_or_default()
        .as_secs()
}

/// Removes the packages that no venv shares. uv fetches a package again whose folder is gone.
fn remove_packages(cache: &Path, whole: bool) -> std::io::Result<()> {
    if whole {
        return remove_dir(cache);
    }
    for path in unused_packages(cache) {
        remove_dir(&path)?;
    }
    Ok(())
}

/// Returns the logs of servers that do not run, and the results.
fn records(env: &Env) -> Vec<Item> {
    let state = Path::new(&env.paths.state);
    let Some(now) = files::clock_of(state) else {
        return Vec::new();
    };
    let logs = entries(&state.join("servers"))
        .into_iter()
        .filter_map(|(path, meta)| {
            let used = match server::find(&path) {
                Some(pid) => Use::By(format!("process {pid}")),
                None => Use::Record(age_s(&path, now)),
            };
            meta.is_file()
                .then(|| item(ItemKind::Log, &path, meta.len(), used))
        });
    let results = entries(&state.join("results"))
        .into_iter()
        .filter(|(_, meta)| meta.is_file())
        .map(|(path, meta)| {
            let used = Use::Record(age_s(&path, now));
            item(ItemKind::Result, &path, meta.len(), used)
        });
    logs.chain(results).collect()
}

fn item(kind: ItemKind, path: &Path, bytes: u64, used: Use) -> Item {
    Item {
        kind,
        name: path.to_string_lossy().into_owned(),
        bytes,
        used,
    }
}

/// Returns the entries of a folder with their metadata, sorted; links are not followed.
fn entries(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

/// Returns the disk space of all files below `path`.
#[must_use]
pub fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => entries(path).iter().map(|(path, _)| size(path)).sum(),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    }
}

/// Returns true if a file below `path` has another name elsewhere, as the files of a package in a venv have.
fn is_shared(path: &Path) -> bool {
    entries(path).iter().any(|(path, meta)| {
        if meta.is_dir() {
            is_shared(path)
        } else {
            meta.nlink() > 1
        }
    })
}
