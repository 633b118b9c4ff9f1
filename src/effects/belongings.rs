//! The things that dsr1 made on this host's disk: found, measured and removed.
//!
//! A removal renames first: what is half removed has a name that nothing uses. Not in this module: images and volumes
//! (`docker`), the choice of what goes (`plan::clean`).

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use crate::effects::blocking::blocking;
use crate::effects::env::Env;
use crate::effects::files;
use crate::effects::process::{server, uv, venv};
use crate::error::{At, Error, Kind, Result};
use crate::facts::RunningServer;
use crate::plan::clean::{Item, ItemKind, Use};

/// Extension of a venv or folder that is being removed; an installation removes it too.
const REMOVED: &str = "unfinished";

/// Returns everything that dsr1 made on the disk, without weights. `judge` says whether a venv is used, from its directory
/// and the version of its Python; `servers` are those that run.
#[must_use]
pub fn list(
    env: &Env,
    judge: &dyn Fn(&str, Option<&str>) -> Use,
    servers: &BTreeMap<String, RunningServer>,
) -> Vec<Item> {
    let mut items = venvs(env, judge, servers);
    let is_left = |item: &Item| !matches!(item.used, Use::None | Use::Unfinished);
    let venvs_stay = items.iter().any(is_left);
    items.extend(packages(env, venvs_stay));
    items.extend(temporary_files(env));
    let model = Path::new(&env.paths.cache).join("rehearsal");
    if model.exists() {
        items.push(item(ItemKind::Model, &model, size(&model), Use::Current));
    }
    items.extend(records(env));
    items
}

/// Returns the name of a running server whose Python is in the venv at `dir`.
#[must_use]
pub fn server_on<'a>(dir: &Path, servers: &'a BTreeMap<String, RunningServer>) -> Option<&'a String> {
    let dir = dir.canonicalize().ok()?;
    let is_in_it = |running: &RunningServer| {
        // `<venv>/bin/python3` is itself a link to the system's Python.
        let venv = Path::new(&running.python).ancestors().nth(2);
        venv.and_then(|venv| venv.canonicalize().ok()).as_deref() == Some(&*dir)
    };
    let (name, _) = servers.iter().find(|(_, running)| is_in_it(running))?;
    Some(name)
}

/// Removes an item from the disk.
///
/// # Errors
/// [`Kind::Host`] when it is in use meanwhile, or cannot be removed.
pub async fn remove(env: &Env, item: Item) -> Result<()> {
    let cache = uv::cache_dir(env);
    blocking(move || {
        let path = Path::new(&item.name);
        let failed = || format!("cannot remove `{}`", path.display());
        match item.kind {
            ItemKind::Venv | ItemKind::Unfinished => {
                let _lock = lock_of(&path.with_extension("lock"), "an installation uses it")?;
                remove_dir(path).at(Kind::Host, failed)
            }
            // Gone with the item before.
            ItemKind::Packages | ItemKind::UnusedPackages if !cache.is_dir() => Ok(()),
            ItemKind::Packages | ItemKind::UnusedPackages => {
                let _lock = lock_of(&cache.join(".lock"), "an installation uses them")?;
                if item.kind == ItemKind::Packages {
                    return remove_dir(&cache).at(Kind::Host, failed);
                }
                for (index, package) in unused_packages(&cache).iter().enumerate() {
                    // uv's own name for what is not complete.
                    let removed = cache.join(format!(".tmp-removed-{index}"));
                    fs::rename(package, &removed)
                        .and_then(|()| fs::remove_dir_all(&removed))
                        .at(Kind::Host, failed)?;
                }
                Ok(())
            }
            ItemKind::Log | ItemKind::Result => {
                files::remove_if_there(path).map(|_| ()).at(Kind::Host, failed)
            }
            ItemKind::Model => remove_dir(path).at(Kind::Host, failed),
            ItemKind::Image | ItemKind::Volume => Ok(()),
        }
    })
    .await
}

/// Takes a lock for the time of a removal.
fn lock_of(path: &Path, held: &str) -> Result<File> {
    let failed = || format!("cannot lock `{}`", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .at(Kind::Host, failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::new(Kind::Host, failed()).cause(held)),
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    let removed = path.with_extension(REMOVED);
    if path != removed {
        match fs::remove_dir_all(&removed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::rename(path, &removed)?,
        }
    }
    fs::remove_dir_all(removed)
}

fn venvs(
    env: &Env,
    judge: &dyn Fn(&str, Option<&str>) -> Use,
    servers: &BTreeMap<String, RunningServer>,
) -> Vec<Item> {
    let dir = Path::new(&env.paths.cache).join("venvs");
    let is_shared = !files::is_local(&dir);
    let found = entries(&dir).into_iter().filter(|(_, meta)| meta.is_dir());
    found
        .map(|(path, _)| {
            let (kind, used) = if let Some(server) = server_on(&path, servers) {
                (ItemKind::Venv, Use::By(server.clone()))
            } else if files::is_locked(&path.with_extension("lock")) {
                (ItemKind::Unfinished, Use::By("an installation".to_owned()))
            } else if !venv::is_ready(&path) {
                (ItemKind::Unfinished, Use::Unfinished)
            } else {
                (
                    ItemKind::Venv,
                    judge(&path.to_string_lossy(), python_of(&path).as_deref()),
                )
            };
            let used = match used {
                Use::None if is_shared => Use::Doubt("another host may use this folder".to_owned()),
                used => used,
            };
            item(kind, &path, own_size(&path), used)
        })
        .collect()
}

/// Returns the temporary files of servers that ended by themselves.
fn temporary_files(env: &Env) -> Vec<Item> {
    let found = entries(&Path::new(&env.paths.state).join("servers")).into_iter();
    found
        .filter(|(path, meta)| meta.is_dir() && path.extension().is_some_and(|end| end == server::TEMPORARY))
        .map(|(path, _)| {
            let used = match server::find(&path.with_extension("log")) {
                Some(pid) => Use::By(format!("process {pid}")),
                None => Use::Unfinished,
            };
            item(ItemKind::Unfinished, &path, size(&path), used)
        })
        .collect()
}

/// Returns the version of the Python of a venv, from its `pyvenv.cfg`.
fn python_of(venv: &Path) -> Option<String> {
    let text = fs::read_to_string(venv.join("pyvenv.cfg")).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "version").then(|| value.trim().to_owned())
    })
}

/// Returns the packages that venvs share, and those that no venv has.
fn packages(env: &Env, venvs_stay: bool) -> Vec<Item> {
    let cache = uv::cache_dir(env);
    let unused = unused_packages(&cache);
    let unused_bytes: u64 = unused.iter().map(|path| size(path)).sum();
    let all_bytes = size(&cache);
    let now = files::clock_of(&cache);
    let mut items = Vec::new();
    if all_bytes > unused_bytes {
        let used = if venvs_stay { Use::Current } else { Use::None };
        items.push(item(ItemKind::Packages, &cache, all_bytes - unused_bytes, used));
    }
    // As old as the youngest of them.
    let age = unused.iter().map(|path| age_s(path, now)).min();
    items.extend(age.map(|age| item(ItemKind::UnusedPackages, &cache, unused_bytes, Use::Record(age))));
    items
}

/// Returns the unpacked packages that no venv shares.
fn unused_packages(cache: &Path) -> Vec<PathBuf> {
    let mut found = uv::archives(cache);
    found.retain(|path| !is_shared(path));
    found
}

/// Returns the seconds since a file or folder was written, by the clock of its filesystem; 0 if that is not known.
fn age_s(path: &Path, now: Option<SystemTime>) -> u64 {
    let written = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    written
        .ok()
        .and_then(|written| now?.duration_since(written).ok())
        .unwrap_or_default()
        .as_secs()
}

/// Returns the logs of servers that do not run, and the results.
fn records(env: &Env) -> Vec<Item> {
    let state = Path::new(&env.paths.state);
    let now = files::clock_of(state);
    let files = |name| {
        let found = entries(&state.join(name)).into_iter();
        found.filter(|(_, meta)| meta.is_file())
    };
    let logs = files("servers").map(|(path, meta)| {
        let used = match server::find(&path) {
            Some(pid) => Use::By(format!("process {pid}")),
            None => Use::Record(age_s(&path, now)),
        };
        item(ItemKind::Log, &path, meta.len(), used)
    });
    let results = ["results", "images"]
        .into_iter()
        .flat_map(files)
        .map(|(path, meta)| {
            let used = Use::Measurement(age_s(&path, now));
            item(ItemKind::Result, &path, meta.len(), used)
        });
    logs.chain(results).collect()
}

fn item(kind: ItemKind, path: &Path, bytes: u64, used: Use) -> Item {
    Item {
        kind,
        name: path.to_string_lossy().into_owned(),
        bytes: Some(bytes),
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
fn size(path: &Path) -> u64 {
    sum(path, &|_| true)
}

/// Returns the disk space of the files below `path` that have no other name elsewhere.
fn own_size(path: &Path) -> u64 {
    sum(path, &|meta| meta.nlink() == 1)
}

fn sum(path: &Path, counts: &dyn Fn(&Metadata) -> bool) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => entries(path).iter().map(|(path, _)| sum(path, counts)).sum(),
        Ok(meta) if counts(&meta) => meta.blocks() * 512,
        _ => 0,
    }
}

/// Returns the disk space of a folder that this user may read; `None` if not.
#[must_use]
pub fn readable_size(dir: &Path) -> Option<u64> {
    fs::read_dir(dir).ok()?;
    Some(size(dir))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment with a cache, and its directory.
    fn cache() -> (tempfile::TempDir, Env, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let env = Env::from_lookup(|name| (name == "HOME").then(|| home.clone()));
        let cache = PathBuf::from(&env.paths.cache);
        (dir, env, cache)
    }

    fn write(path: &Path, bytes: usize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; bytes]).unwrap();
    }

    /// A complete venv that shares a package of 1 MB with uv's cache.
    fn shared_venv(cache: &Path) -> PathBuf {
        let venv = cache.join("venvs/cpu-000000000000");
        write(&venv.join("dsr1-inputs"), 4);
        let package = cache.join("packages/archive-v0/aa/x.so");
        write(&package, 1_000_000);
        fs::hard_link(&package, venv.join("x.so")).unwrap();
        venv
    }

    fn found(env: &Env, used: &Use) -> Vec<(ItemKind, u64, Use)> {
        let items = list(env, &|_, _| used.clone(), &BTreeMap::new());
        items
            .into_iter()
            .map(|item| (item.kind, item.bytes.unwrap() / 100_000, item.used))
            .collect()
    }

    #[tokio::test]
    async fn packages_count_once_and_go_with_the_last_venv_that_has_them() {
        let (_dir, env, cache) = cache();
        let venv = shared_venv(&cache);
        let stays = [
            (ItemKind::Venv, 0, Use::Current),
            (ItemKind::Packages, 10, Use::Current),
        ];
        assert_eq!(found(&env, &Use::Current), stays);
        let goes = [
            (ItemKind::Venv, 0, Use::None),
            (ItemKind::Packages, 10, Use::None),
        ];
        assert_eq!(found(&env, &Use::None), goes);
        // A package of an interrupted installation is kept for a while.
        write(&cache.join("packages/archive-v0/bb/y.so"), 300_000);
        assert_eq!(
            found(&env, &Use::Current)[2],
            (ItemKind::UnusedPackages, 3, Use::Record(0))
        );
        for item in list(&env, &|_, _| Use::None, &BTreeMap::new()) {
            remove(&env, item).await.unwrap();
        }
        assert!(!venv.exists() && !cache.join("packages").exists());
    }

    #[tokio::test]
    async fn an_item_that_an_installation_uses_is_not_removed() {
        let (_dir, env, cache) = cache();
        let venv = shared_venv(&cache);
        let items = list(&env, &|_, _| Use::None, &BTreeMap::new());
        // The installation begins after the look.
        let held = lock_of(&venv.with_extension("lock"), "").unwrap();
        let cache_held = lock_of(&cache.join("packages/.lock"), "").unwrap();
        for item in items {
            let error = remove(&env, item).await.unwrap_err();
            assert!(error.causes()[0].starts_with("an installation uses"), "{error}");
        }
        assert!(venv::is_ready(&venv));
        drop((held, cache_held));
    }

    #[test]
    fn a_venv_on_which_a_server_runs_is_in_use_also_through_a_link() {
        let (dir, env, cache) = cache();
        let venv = shared_venv(&cache);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&cache, &link).unwrap();
        let running = RunningServer {
            python: format!("{}/venvs/cpu-000000000000/bin/python3", link.display()),
            ..RunningServer::default()
        };
        let servers = BTreeMap::from([("dsr1-a".to_owned(), running)]);
        let items = list(&env, &|_, _| Use::None, &servers);
        assert_eq!(items[0].used, Use::By("dsr1-a".to_owned()));
        assert_eq!(server_on(&venv, &servers).map(String::as_str), Some("dsr1-a"));
        assert_eq!(items[1].used, Use::Current, "its packages stay");
    }
}
