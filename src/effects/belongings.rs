//! The things that dsr1 made on this host's disk: found, measured and removed.
//!
//! Only names that dsr1 gives are looked at. A removal looks again whether something uses the item, and renames it first:
//! what is half removed has a name that nothing uses. Not in this module: containers, images and volumes (`docker`), the
//! choice of what goes (`plan::clean`).

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::effects::blocking::blocking;
use crate::effects::env::Env;
use crate::effects::files::{self, Held};
use crate::effects::process::{server, uv, venv};
use crate::effects::serve::{history, record};
use crate::effects::weights::shape;
use crate::error::{At, Error, Kind, Result};
use crate::plan::clean::{BUSY, Item, ItemKind, Use};
use crate::plan::{PREFLIGHTS, PROOFS};

/// Extension of a venv or folder that is being removed; an installation removes it too.
const REMOVED: &str = "unfinished";
/// Ends of the names of files of answers: of whole evaluations, and of those that can be resumed.
const ENDS: [&str; 2] = [".answers.jsonl", ".partial.jsonl"];
/// Parts of the names of results: the measurement or the evaluation.
const MEASURED: [&str; 7] = [
    "-bench-",
    "-sweep-",
    "-gsm8k-",
    "-aime-",
    "-math500-",
    "-gpqa-",
    "-mlperf-",
];

/// The things that dsr1 made on the disk.
#[derive(Debug, Default)]
pub struct Belongings {
    /// All of them, without weights.
    pub items: Vec<Item>,
    /// Folders that this user may not read.
    pub unreadable: Vec<PathBuf>,
}

/// Returns everything that dsr1 made on the disk, without weights. `judge` says whether a venv is used, from its directory
/// and the version of its Python.
#[must_use]
pub fn list(env: &Env, judge: &dyn Fn(&str, Option<&str>) -> Use) -> Belongings {
    let mut found = Belongings::default();
    let cache = Path::new(&env.paths.cache);
    venvs(&cache.join("venvs"), judge, &mut found);
    let is_left = |item: &&Item| !matches!(item.used, Use::None | Use::Unfinished);
    // While something runs on a venv, its packages free no space.
    let is_run = |item: &&Item| matches!(item.used, Use::By(_) | Use::Busy);
    let venv = found
        .items
        .iter()
        .find(is_run)
        .or_else(|| found.items.iter().find(is_left));
    let with_venv = venv.map(|venv| venv.used.clone());
    packages(env, with_venv, &mut found);
    for (path, meta) in entries(cache, &mut found) {
        match name_of(&path) {
            "rehearsal" if meta.is_dir() => {
                let used = match files::held(&path.with_extension("lock")) {
                    Held::Free => Use::Current,
                    Held::Shared => Use::By("a command of dsr1".to_owned()),
                    Held::Exclusive => Use::Busy,
                };
                found.add(ItemKind::Model, &path, size(&path), used);
            }
            "rehearsal.unfinished" | "packages.unfinished" if meta.is_dir() => {
                found.add(ItemKind::Unfinished, &path, size(&path), Use::Unfinished);
            }
            _ => {}
        }
    }
    records(env, &mut found);
    kept_answers(env, &mut found);
    found
}

impl Belongings {
    fn add(&mut self, kind: ItemKind, path: &Path, bytes: u64, used: Use) {
        self.items.push(Item {
            kind,
            name: path.to_string_lossy().into_owned(),
            bytes: Some(bytes),
            used,
        });
    }
}

/// Time between two reports of the bytes that are removed.
const SHOWN: Duration = Duration::from_millis(200);

/// The course of a removal, shared with the thread that carries it out.
#[derive(Debug, Default)]
pub struct Removal {
    freed: AtomicU64,
    is_begun: AtomicBool,
    is_stopped: AtomicBool,
}

impl Removal {
    /// Returns the disk space that became free so far, in bytes; `None` while the item is whole.
    #[must_use]
    pub fn freed(&self) -> Option<u64> {
        let is_begun = self.is_begun.load(Ordering::Relaxed);
        is_begun.then(|| self.freed.load(Ordering::Relaxed))
    }

    /// Ends the removal after the folder that is being removed.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn begin(&self) {
        self.is_begun.store(true, Ordering::Relaxed);
    }
}

/// Removes an item from the disk; what is gone already is fine. `on_bytes` gets the bytes that are removed so far, a few times
/// in a second.
///
/// # Errors
/// [`Kind::Host`] when something uses it meanwhile, it cannot be removed, or the removal was stopped.
pub async fn remove(
    env: &Env,
    item: Item,
    removal: &Arc<Removal>,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let cache = uv::cache_dir(env);
    let shared = Arc::clone(removal);
    let mut work = std::pin::pin!(blocking(move || remove_now(&cache, &item, &shared)));
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SHOWN) => on_bytes(removal.freed().unwrap_or_default()),
        }
    }
}

fn remove_now(cache: &Path, item: &Item, removed: &Removal) -> Result<()> {
    let path = Path::new(&item.name);
    let failed = || format!("cannot remove `{}`", path.display());
    let in_use = |by: String| Err(Error::new(Kind::Host, failed()).cause(format!("{by} uses it")));
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    match item.kind {
        ItemKind::Venv | ItemKind::Unfinished if is_in(path, "venvs") => {
            let _lock = lock_of(&venv::lock_path(path))?;
            if item.kind == ItemKind::Unfinished && is_complete(path) {
                return in_use("an installation that ended meanwhile".to_owned());
            }
            if let Some(pid) = process_in(path) {
                return in_use(format!("process {pid}"));
            }
            remove_dir(path, removed).at(Kind::Host, failed)
        }
        ItemKind::Packages | ItemKind::UnusedPackages => {
            let _lock = lock_of(&cache.join(".lock"))?;
            // pip has no lock of its own.
            let venvs = cache.with_file_name("venvs");
            let is_installing = inside(&venvs).into_iter().any(|(path, _)| {
                let is_lock = path.extension().is_some_and(|end| end == "lock");
                is_lock && files::held(&path) == Held::Exclusive
            });
            if is_installing {
                return Err(Error::new(Kind::Host, failed()).cause(BUSY));
            }
            if item.kind == ItemKind::Packages {
                return remove_dir(cache, removed).at(Kind::Host, failed);
            }
            remove_unused(cache, removed).at(Kind::Host, failed)
        }
        ItemKind::Log | ItemKind::Temporary => {
            let log = path.with_extension("log");
            let log = if item.kind == ItemKind::Log { path } else { &log };
            if let Some(pid) = server::members(log, server::find(log)).first() {
                return in_use(format!("process {pid}"));
            }
            if item.kind == ItemKind::Log {
                return files::remove_if_there(path).map(|_| ()).at(Kind::Host, failed);
            }
            if path.is_file() {
                return files::remove_if_there(path).map(|_| ()).at(Kind::Host, failed);
            }
            remove_all(path, removed).at(Kind::Host, failed)
        }
        ItemKind::Result | ItemKind::Start | ItemKind::ModelShape | ItemKind::EngineAnswer => {
            files::remove_if_there(path).map(|_| ()).at(Kind::Host, failed)
        }
        ItemKind::ImageTable => remove_all(path, removed).at(Kind::Host, failed),
        ItemKind::Model => {
            let _lock = lock_of(&path.with_extension("lock"))?;
            remove_dir(path, removed).at(Kind::Host, failed)
        }
        ItemKind::Venv | ItemKind::Unfinished => remove_dir(path, removed).at(Kind::Host, failed),
        ItemKind::Container | ItemKind::Image | ItemKind::Volume => Ok(()),
    }
}

/// Removes the packages that no venv shares, and what an interrupted removal or installation left.
fn remove_unused(cache: &Path, removed: &Removal) -> io::Result<()> {
    for (path, _) in entries(cache, &mut Belongings::default()) {
        // uv's own name for what is not complete.
        if name_of(&path).starts_with(".tmp") {
            remove_all(&path, removed)?;
        }
    }
    for (index, package) in unused_packages(cache).iter().enumerate() {
        let renamed = cache.join(format!(".tmp-removed-{index}"));
        if is_there(fs::rename(package, &renamed))? {
            remove_all(&renamed, removed)?;
        }
    }
    Ok(())
}

/// Takes a lock for the time of a removal.
fn lock_of(path: &Path) -> Result<File> {
    let failed = || format!("cannot lock `{}`", path.display());
    let file = files::open_to_append(path).at(Kind::Host, failed)?;
    // A process that was just forked holds the locks of its parent until it runs its own program.
    for _ in 0..5 {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let cause = match files::held(path) {
        Held::Shared => format!("{START} uses it"),
        Held::Exclusive | Held::Free => BUSY.to_owned(),
    };
    Err(Error::new(Kind::Host, failed()).cause(cause))
}

/// The holder of a shared lock.
const START: &str = "a command of dsr1 that starts a server";

fn remove_dir(path: &Path, removed: &Removal) -> io::Result<()> {
    let renamed = path.with_extension(REMOVED);
    if path != renamed {
        if fs::symlink_metadata(&renamed).is_ok() {
            // What an earlier removal left is no part of this item.
            let left = Removal::default();
            let done = remove_all(&renamed, &left);
            removed
                .freed
                .fetch_add(left.freed().unwrap_or_default(), Ordering::Relaxed);
            done?;
        }
        if !is_there(fs::rename(path, &renamed))? {
            return Ok(());
        }
        removed.begin();
    }
    remove_all(&renamed, removed)
}

/// Removes a folder, the folders in it first, and counts the disk space that becomes free.
fn remove_all(dir: &Path, removed: &Removal) -> io::Result<()> {
    if removed.is_stopped.load(Ordering::Relaxed) {
        return Err(io::Error::from(ErrorKind::Interrupted));
    }
    let mut bytes = 0;
    for (path, meta) in inside(dir) {
        if meta.is_dir() {
            remove_all(&path, removed)?;
        } else if meta.nlink() == 1 {
            bytes += space(&meta);
        }
    }
    removed.begin();
    if is_there(fs::remove_dir_all(dir))? {
        removed.freed.fetch_add(bytes, Ordering::Relaxed);
    }
    Ok(())
}

/// Returns false if a file or a folder was not there: another `dsr1 clean` removed it at the same time.
fn is_there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns true for an entry of a folder of this name.
fn is_in(path: &Path, folder: &str) -> bool {
    path.parent().is_some_and(|dir| name_of(dir) == folder)
}

/// Returns a process that runs from a folder: its command line names a file there.
fn process_in(dir: &Path) -> Option<u32> {
    let real = dir.canonicalize().ok();
    let starts: Vec<Vec<u8>> = std::iter::once(dir)
        .chain(real.as_deref())
        .map(|dir| [dir.as_os_str().as_bytes(), b"/"].concat())
        .collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|byte| *byte == 0);
        let runs = words.any(|word| starts.iter().any(|start| word.starts_with(start)));
        (runs && pid != std::process::id()).then_some(pid)
    })
}

/// Adds the venvs: folders `STACK-DIGEST`, also unfinished ones.
fn venvs(dir: &Path, judge: &dyn Fn(&str, Option<&str>) -> Use, found: &mut Belongings) {
    let is_shared = !files::is_local(dir);
    for (path, meta) in entries(dir, found) {
        let name = name_of(&path);
        let name = name
            .strip_suffix(".unfinished")
            .or_else(|| name.strip_suffix(".tmp"))
            .unwrap_or(name);
        let is_ours = name.rsplit_once('-').is_some_and(|(_, digest)| {
            digest.len() == 12 && digest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        });
        if !meta.is_dir() || !is_ours {
            continue;
        }
        let held = files::held(&venv::lock_path(&path));
        let (kind, used) = if let Some(pid) = process_in(&path) {
            (ItemKind::Venv, Use::By(format!("process {pid}")))
        } else if held == Held::Exclusive {
            (ItemKind::Unfinished, Use::Busy)
        } else if held == Held::Shared {
            (ItemKind::Venv, Use::By(START.to_owned()))
        } else if !is_complete(&path) {
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
        found.add(kind, &path, own_size(&path), used);
    }
}

/// Returns true for a venv that a server can use: complete, and not the rest of a removal, which may still have its marker.
fn is_complete(venv: &Path) -> bool {
    let is_rest = venv.extension().is_some_and(|end| end == REMOVED);
    !is_rest && venv::is_ready(venv)
}

/// Returns the version of the Python of a venv, from its `pyvenv.cfg`.
fn python_of(venv: &Path) -> Option<String> {
    let text = fs::read_to_string(venv.join("pyvenv.cfg")).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "version").then(|| value.trim().to_owned())
    })
}

/// Adds the fetched packages: one item for those that venvs share, with the use of a venv that stays (`with_venv`), and one
/// for the others; one for all if no venv stays.
fn packages(env: &Env, with_venv: Option<Use>, found: &mut Belongings) {
    let cache = uv::cache_dir(env);
    let all = size(&cache);
    if all == 0 {
        return;
    }
    let now = files::clock_of(&cache);
    // As old as the youngest of them.
    let age = |packages: &[PathBuf]| packages.iter().map(|path| age_s(path, now)).min();
    let Some(used) = with_venv else {
        let age = age(&uv::archives(&cache)).unwrap_or_default();
        found.add(ItemKind::Packages, &cache, all, Use::Record(age));
        return;
    };
    let used = if matches!(used, Use::By(_) | Use::Busy) {
        used
    } else {
        Use::Current
    };
    let unused = unused_packages(&cache);
    let bytes: u64 = unused.iter().map(|path| size(path)).sum();
    found.add(ItemKind::Packages, &cache, all - bytes, used);
    if let Some(age) = age(&unused) {
        found.add(ItemKind::UnusedPackages, &cache, bytes, Use::Record(age));
    }
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

/// Adds the logs and temporary files of servers, and the results.
fn records(env: &Env, found: &mut Belongings) {
    let state = Path::new(&env.paths.state);
    let now = files::clock_of(state);
    for (path, meta) in entries(&state.join("servers"), found) {
        let name = name_of(&path);
        if !name.starts_with("dsr1-") {
            continue;
        }
        // The log has the extension `log`; everything else of its server is beside it.
        let log = path.with_extension("log");
        let used = |otherwise: Use| match server::members(&log, server::find(&log)).first() {
            Some(pid) => Use::By(format!("process {pid}")),
            None => otherwise,
        };
        let is = |kind: &str| path.extension().is_some_and(|end| end == kind);
        if meta.is_file() && (is("log") || is(history::EXTENSION)) {
            let used = used(Use::Record(age_s(&path, now)));
            found.add(ItemKind::Log, &path, meta.len(), used);
        } else if meta.is_dir() && is(server::TEMPORARY) {
            found.add(ItemKind::Temporary, &path, size(&path), used(Use::Unfinished));
        }
    }
    for (path, meta) in entries(&state.join(record::FOLDER), found) {
        if meta.is_file() && is_json(&path) {
            let used = Use::Measurement(age_s(&path, now));
            found.add(ItemKind::Start, &path, space(&meta), used);
        }
    }
    for (path, meta) in entries(&state.join("images"), found) {
        let is_id = |name: &str| name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit());
        if meta.is_dir() && is_id(name_of(&path)) {
            let used = Use::Measurement(age_s(&path, now));
            found.add(ItemKind::ImageTable, &path, size(&path), used);
        }
    }
    for (path, meta) in entries(&state.join("results"), found) {
        let name = name_of(&path);
        let is_result = is_json(&path) || ENDS.iter().any(|end| name.ends_with(end));
        let is_ours =
            name.starts_with("dsr1-") && is_result && MEASURED.iter().any(|part| name.contains(part));
        if meta.is_file() && is_ours {
            let used = Use::Measurement(age_s(&path, now));
            found.add(ItemKind::Result, &path, meta.len(), used);
        }
    }
}

/// Adds the answers that are kept so that nobody is asked twice: a use makes them young again.
fn kept_answers(env: &Env, found: &mut Belongings) {
    let cache = Path::new(&env.paths.cache);
    let now = files::clock_of(cache);
    for (folder, kind) in [
        (shape::FOLDER, ItemKind::ModelShape),
        (PROOFS, ItemKind::EngineAnswer),
        (PREFLIGHTS, ItemKind::EngineAnswer),
    ] {
        for (path, meta) in entries(&cache.join(folder), found) {
            if meta.is_file() && is_json(&path) {
                let used = Use::Record(age_s(&path, now));
                found.add(kind, &path, space(&meta), used);
            }
        }
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "json") && !name_of(path).starts_with('.')
}

/// Returns the disk space of a file.
fn space(meta: &Metadata) -> u64 {
    meta.blocks() * 512
}

/// Returns the name of a path; empty if it is not UTF-8, which no name of dsr1 is.
fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// Returns the entries of a folder with their metadata, sorted; links are not followed. Notes a folder that cannot be read.
fn entries(dir: &Path, found: &mut Belongings) -> Vec<(PathBuf, Metadata)> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) => {
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                found.unreadable.push(dir.to_owned());
            }
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = listed
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .collect();
    paths.sort_by(|left, right| left.0.cmp(&right.0));
    paths
}

fn inside(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    entries(dir, &mut Belongings::default())
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
        Ok(meta) if meta.is_dir() => inside(path).iter().map(|(path, _)| sum(path, counts)).sum(),
        Ok(meta) if counts(&meta) => space(&meta),
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
    inside(path).iter().any(|(path, meta)| {
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

    async fn remove_whole(env: &Env, item: Item) -> Result<()> {
        remove(env, item, &Arc::default(), &|_| ()).await
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

    fn items(env: &Env, used: &Use) -> Vec<Item> {
        list(env, &|_, _| used.clone()).items
    }

    fn found(env: &Env, used: &Use) -> Vec<(ItemKind, u64, Use)> {
        let items = items(env, used).into_iter();
        items
            .map(|item| (item.kind, item.bytes.unwrap() / 100_000, item.used))
            .collect()
    }

    #[tokio::test]
    async fn two_removals_at_once_both_end_well() {
        let (_dir, env, cache) = cache();
        for round in 0..10 {
            for name in ["a/b", "a/c/d", "e"] {
                write(&cache.join("images").join(format!("t{round}")).join(name), 10);
            }
            let item = Item {
                kind: ItemKind::ImageTable,
                name: cache
                    .join(format!("images/t{round}"))
                    .to_string_lossy()
                    .into_owned(),
                bytes: None,
                used: Use::None,
            };
            let (first, second) =
                tokio::join!(remove_whole(&env, item.clone()), remove_whole(&env, item.clone()));
            first.unwrap();
            second.unwrap();
            assert!(!Path::new(&item.name).exists());
        }
    }

    #[tokio::test]
    async fn packages_count_once_and_stay_a_while_after_the_last_venv() {
        let (_dir, env, cache) = cache();
        let venv = shared_venv(&cache);
        let stays = [
            (ItemKind::Venv, 0, Use::Current),
            (ItemKind::Packages, 10, Use::Current),
        ];
        assert_eq!(found(&env, &Use::Current), stays);
        let goes = [
            (ItemKind::Venv, 0, Use::None),
            (ItemKind::Packages, 10, Use::Record(0)),
        ];
        assert_eq!(found(&env, &Use::None), goes);
        // A package of an interrupted installation beside a venv that stays.
        write(&cache.join("packages/archive-v0/bb/y.so"), 300_000);
        let unused = items(&env, &Use::Current).remove(2);
        assert_eq!(
            (unused.kind, &unused.used),
            (ItemKind::UnusedPackages, &Use::Record(0))
        );
        // What an interrupted removal left is no obstacle.
        write(&cache.join("packages/.tmp-removed-0/z"), 1);
        remove_whole(&env, unused).await.unwrap();
        assert!(
            !cache.join("packages/archive-v0/bb").exists() && cache.join("packages/archive-v0/aa").exists()
        );
        for item in items(&env, &Use::None) {
            remove_whole(&env, item).await.unwrap();
        }
        assert!(!venv.exists() && !cache.join("packages").exists());
        // An interrupted removal of the whole is found again.
        write(&cache.join("packages.unfinished/x"), 300_000);
        assert_eq!(
            found(&env, &Use::None),
            [(ItemKind::Unfinished, 3, Use::Unfinished)]
        );
    }

    #[tokio::test]
    async fn an_item_that_something_uses_meanwhile_is_not_removed() {
        let (_dir, env, cache) = cache();
        let venv = shared_venv(&cache);
        let half = cache.join("venvs/cpu-111111111111");
        write(&half.join("x"), 1);
        let listed = items(&env, &Use::None);
        // Installations begin, or end, after the look.
        let held = lock_of(&venv.with_extension("lock")).unwrap();
        write(&half.join("dsr1-inputs"), 4);
        for item in listed {
            let error = remove_whole(&env, item).await.unwrap_err();
            let causes = [BUSY, "an installation that ended meanwhile uses it"];
            assert!(causes.contains(&&*error.causes()[0]), "{error}");
        }
        assert!(venv::is_ready(&venv) && venv::is_ready(&half) && cache.join("packages").exists());
        drop(held);
    }

    #[test]
    fn a_removal_counts_the_bytes_that_become_free() {
        let (_dir, _, cache) = cache();
        let venv = shared_venv(&cache);
        write(&venv.join("lib/deep/own.so"), 1_000_000);
        let removed = Removal::default();
        assert_eq!(removed.freed(), None);
        remove_all(&venv, &removed).unwrap();
        // The file that a package shares stays there.
        assert!((1_000_000..1_100_000).contains(&removed.freed().unwrap()));
        remove_all(&cache.join("packages"), &removed).unwrap();
        assert!(removed.freed().unwrap() >= 2_000_000 && !venv.exists());
    }

    #[tokio::test]
    async fn a_stopped_removal_says_what_it_removed_already() {
        let (_dir, env, cache) = cache();
        let venv = cache.join("venvs/cpu-000000000000");
        write(&venv.join("dsr1-inputs"), 4);
        write(&venv.join("lib/own.so"), 1_000_000);
        let listed = items(&env, &Use::None);
        let removal = Arc::new(Removal::default());
        removal.stop();
        let stopped = remove(&env, listed[0].clone(), &removal, &|_| ()).await;
        // It has another name then, so it is no venv any more.
        assert!(stopped.is_err() && removal.freed() == Some(0) && !venv.exists());
        let rest = items(&env, &Use::None).remove(0);
        assert_eq!((rest.kind, &rest.used), (ItemKind::Unfinished, &Use::Unfinished));
        // While a process holds its lock alone, it may install or remove: nobody can know from here.
        let held = lock_of(&venv.with_extension("lock")).unwrap();
        assert_eq!(items(&env, &Use::None)[0].used, Use::Busy);
        drop(held);
        remove_whole(&env, rest).await.unwrap();
        assert_eq!(items(&env, &Use::None), []);
    }

    #[tokio::test]
    async fn what_a_start_uses_is_not_removed() {
        let (_dir, env, cache) = cache();
        let venv = shared_venv(&cache);
        write(&cache.join("rehearsal/model"), 1);
        let listed = items(&env, &Use::None);
        let recorder = crate::event::Recorder::default();
        let events = crate::event::StepEvents::new(&recorder, 1);
        let by_a_start = || Use::By(START.to_owned());
        let kept = venv::keep(&venv, "cpu", &events).await.unwrap();
        let model = files::share(&cache.join("rehearsal.lock"), &events, "").await;
        assert!(kept.is_some() && model.is_some());
        for item in listed.clone() {
            if matches!(item.kind, ItemKind::Venv | ItemKind::Model) {
                let error = remove_whole(&env, item).await.unwrap_err();
                assert_eq!(error.causes(), [format!("{START} uses it")]);
            }
        }
        let uses: Vec<Use> = items(&env, &Use::None)
            .into_iter()
            .map(|item| item.used)
            .collect();
        assert_eq!(uses[0], by_a_start());
        assert!(
            uses.contains(&Use::By("a command of dsr1".to_owned())),
            "{uses:?}"
        );
        // Another start shares it; after both a removal has it alone, and a start that waited for its end says the cause.
        let second = venv::keep(&venv, "cpu", &events).await.unwrap();
        drop((kept, second, model));
        for item in listed {
            remove_whole(&env, item).await.unwrap();
        }
        let gone = venv::keep(&venv, "cpu", &events).await.err().unwrap();
        assert!(gone.causes()[0].contains("dsr1 clean"), "{gone}");
        assert_eq!(
            gone.hints(),
            ["dsr1 build --stack cpu --runtime process installs them again, and so does dsr1 up"]
        );
    }

    #[tokio::test]
    async fn kept_answers_go_by_their_last_use() {
        let (_dir, env, cache) = cache();
        let state = PathBuf::from(&env.paths.state);
        write(&cache.join("proofs/ab.json"), 10);
        write(&cache.join("proofs/notes.txt"), 1);
        write(&cache.join("models-1/owner--name@ab.json"), 10);
        write(&state.join("starts/ab.json"), 10);
        let id = "a".repeat(64);
        write(&state.join("images").join(&id).join("profiles.json"), 10);
        let long_ago = SystemTime::now() - Duration::from_hours(24 * 40);
        for path in ["proofs/ab.json", "models-1/owner--name@ab.json"] {
            let file = File::open(cache.join(path)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        files::note_use(&cache.join("proofs/ab.json"));
        let found = items(&env, &Use::None);
        let of = |kind| found.iter().find(|item| item.kind == kind).unwrap().clone();
        let age = |kind| match of(kind).used {
            Use::Record(age) | Use::Measurement(age) => age / 86_400,
            other => panic!("{other:?}"),
        };
        assert_eq!((age(ItemKind::EngineAnswer), age(ItemKind::ModelShape)), (0, 40));
        assert!(matches!(of(ItemKind::Start).used, Use::Measurement(_)));
        assert!(matches!(of(ItemKind::ImageTable).used, Use::Measurement(_)));
        assert!(
            found.iter().all(|item| item.bytes > Some(0)) && found.len() == 4,
            "{found:?}"
        );
        for item in found {
            remove_whole(&env, item).await.unwrap();
        }
        assert_eq!(items(&env, &Use::None), []);
        assert!(cache.join("proofs/notes.txt").exists());
    }

    #[test]
    fn only_names_that_dsr1_gives_are_looked_at() {
        let (_dir, env, cache) = cache();
        let state = PathBuf::from(&env.paths.state);
        write(&cache.join("venvs/my-notes/thesis.txt"), 1);
        write(&cache.join("venvs/cpu-000000000000"), 1);
        write(&state.join("servers/notes.txt"), 1);
        write(&state.join("servers/foo.tmp/x"), 1);
        write(&state.join("results/thesis.md"), 1);
        assert_eq!(items(&env, &Use::None), []);
        write(&state.join("servers/dsr1-a.log"), 1);
        write(&state.join("servers/dsr1-a.tmp/x"), 1);
        let results = [
            "dsr1-a-bench-20261129T120000Z.json",
            "dsr1-a-gpqa-20261129T120000Z.answers.jsonl",
            "dsr1-a-mlperf-0123456789ab.partial.jsonl",
        ];
        for name in results {
            write(&state.join("results").join(name), 1);
        }
        let kinds: Vec<ItemKind> = items(&env, &Use::None).iter().map(|item| item.kind).collect();
        let expected = [ItemKind::Log, ItemKind::Temporary];
        assert_eq!(kinds, [&expected[..], &[ItemKind::Result; 3]].concat());
    }

    #[tokio::test]
    async fn what_a_process_uses_stays_also_if_it_began_after_the_look() {
        let (_dir, env, cache) = cache();
        let venv = shared_venv(&cache);
        let log = PathBuf::from(&env.paths.state).join("servers/dsr1-a.log");
        write(&log, 1);
        write(&log.with_extension("tmp").join("socket"), 1);
        let listed = items(&env, &Use::None);
        let program = venv.join("bin/sleep");
        fs::create_dir_all(venv.join("bin")).unwrap();
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a process of the test")]
        let mut process = std::process::Command::new(&program)
            .arg("60")
            .stdout(File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        // The kernel shows the command line a moment after the program began.
        let line = format!("/proc/{}/cmdline", process.id());
        while !fs::read(&line).unwrap().ends_with(b"60\0") {}
        for item in listed.into_iter().filter(|item| item.kind != ItemKind::Packages) {
            let error = remove_whole(&env, item).await.unwrap_err();
            let by = format!("process {} uses it", process.id());
            assert_eq!(error.causes(), [by]);
        }
        let used: Vec<Use> = items(&env, &Use::None)
            .into_iter()
            .map(|item| item.used)
            .collect();
        let by = Use::By(format!("process {}", process.id()));
        assert_eq!(used, [by.clone(), by.clone(), by.clone(), by]);
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
