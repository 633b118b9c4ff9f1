//! What is in the cache: listed, checked against its hashes, made right again, removed.
//!
//! Not in this module: pulling (`pull`), one bad file (`repair`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cache::RepoCache;
use super::hash::Hasher;
use super::listing::{Entry, is_commit};
use super::manifest::{Extent, INDEX, Manifest, Proven, Publication, missing_from, unchanged};
use super::mirror::collect;
use super::part::{self, parts};
use super::proven::ProvenLog;
use super::{HubOptions, pull, tensors};
use crate::engine::{files, host};
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::PullSnapshot;
use crate::report::{WeightsChecked, WeightsRepo, WeightsSnapshot, WeightsState, WrongFile};

/// Time between two progress events.
const TICK: Duration = Duration::from_millis(200);
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Every repository in a cache, by name.
///
/// # Errors
/// [`Kind::Host`] when the directory cannot be read; one that is not there is empty.
pub fn list(cache_dir: &Path) -> Result<Vec<WeightsRepo>> {
    let items = match std::fs::read_dir(cache_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.at(Kind::Host, || format!("cannot read `{}`", cache_dir.display()))?,
    };
    let mut repos: Vec<WeightsRepo> = items
        .flatten()
        .filter_map(|item| {
            let name = item.file_name().into_string().ok()?;
            let repo = name.strip_prefix("models--")?.replacen("--", "/", 1);
            Some(described(cache_dir, &repo))
        })
        .collect();
    repos.sort_by(|a, b| a.repo.cmp(&b.repo));
    Ok(repos)
}

fn described(cache_dir: &Path, repo: &str) -> WeightsRepo {
    let cache = RepoCache::new(cache_dir, repo);
    let mut revisions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    refs(&cache.refs(), "", &mut revisions);
    let mut snapshots: Vec<WeightsSnapshot> = names(&cache.snapshots())
        .filter(|commit| is_commit(commit))
        .map(|commit| {
            let files = entries(&cache, &commit);
            WeightsSnapshot {
                revisions: revisions.remove(&commit).unwrap_or_default(),
                files: files.len(),
                bytes: files.iter().map(|file| file.size).sum(),
                state: state(&cache, &commit),
                commit,
            }
        })
        .collect();
    snapshots.sort_by(|a, b| a.commit.cmp(&b.commit));
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let taken = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)
    };
    WeightsRepo {
        repo: repo.to_owned(),
        path: cache.root().to_string_lossy().into_owned(),
        bytes: names(&cache.blobs())
            .map(|name| size(&cache.blobs().join(name)))
            .sum(),
        unfinished_bytes: parts(&cache.parts()).map(|(_, _, path)| taken(&path)).sum(),
        snapshots,
    }
}

/// Branches and tags by the commit that they stand for.
fn refs(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<String>>) {
    for name in names(dir) {
        let path = dir.join(&name);
        if path.is_dir() {
            refs(&path, &format!("{prefix}{name}/"), found);
        } else if let Ok(commit) = std::fs::read_to_string(&path) {
            let commit = commit.trim().to_owned();
            found.entry(commit).or_default().push(format!("{prefix}{name}"));
        }
    }
}

fn names(dir: &Path) -> impl Iterator<Item = String> {
    let items = std::fs::read_dir(dir).into_iter().flatten().flatten();
    items.filter_map(|item| item.file_name().into_string().ok())
}

fn state(cache: &RepoCache, commit: &str) -> WeightsState {
    let snapshot = cache.snapshot(commit);
    match cache.manifest(commit) {
        None => WeightsState::Unproven,
        Some(manifest) if !changed(&snapshot, &manifest).is_empty() => WeightsState::Changed,
        Some(manifest) if manifest.extent == Extent::Part => WeightsState::Part,
        Some(_) => WeightsState::Proven,
    }
}

/// What a snapshot must hold: as its manifest says, else as the names of its blobs promise.
fn entries(cache: &RepoCache, commit: &str) -> Vec<Entry> {
    if let Some(Manifest { files, .. }) = cache.manifest(commit) {
        return files.iter().filter_map(Proven::entry).collect();
    }
    let mut found = BTreeMap::new();
    collect(&cache.snapshot(commit), "", &mut found);
    found.into_values().collect()
}

/// Checks a snapshot: every byte against its hash, or with `fast` sizes and times against the pull's. With `repair`,
/// what is wrong is fetched again, and only that.
///
/// # Errors
/// [`Kind::Hub`] when the snapshot is not there, or a repair cannot fetch.
pub async fn verify(
    step: &PullSnapshot,
    options: HubOptions<'_>,
    fast: bool,
    repair: bool,
    events: &StepEvents<'_>,
) -> Result<WeightsChecked> {
    let PullSnapshot {
        repo,
        revision,
        cache_dir,
        ..
    } = step;
    let cache = RepoCache::of(step);
    let commit = cache
        .commit(revision)
        .or_else(|| only_snapshot(&cache).filter(|_| revision == "main"))
        .filter(|commit| cache.snapshot(commit).is_dir());
    let commit = commit.ok_or_else(|| {
        Error::new(Kind::Hub, format!("{repo}@{revision} is not in the cache"))
            .cause(format!(
                "no snapshot of it in `{}`",
                step.local_dir.as_ref().unwrap_or(cache_dir)
            ))
            .hint(format!(
                "dsr1 weights list shows what is; dsr1 pull {repo} --revision {revision}"
            ))
    })?;
    let begun = Instant::now();
    let manifest = cache.manifest(&commit).filter(|manifest| manifest.repo == *repo);
    let files = entries(&cache, &commit);
    if files.is_empty() {
        return Err(Error::new(
            Kind::Hub,
            format!("there is nothing of {repo}@{revision} to check"),
        )
        .cause("no pull of dsr1 finished there, and no links to blobs tell what files must be")
        .hint(format!("dsr1 pull {repo} --revision {revision}")));
    }
    let bytes = files.iter().map(|file| file.size).sum();
    let snapshot = cache.snapshot(&commit);
    let mut wrong = match (fast, &manifest) {
        (true, Some(manifest)) => changed(&snapshot, manifest),
        (true, None) => {
            return Err(
                Error::new(Kind::Usage, format!("{repo}@{revision} was never proven"))
                    .cause("another client wrote it: there are no sizes and times to compare with")
                    .hint("leave out --fast: then every byte is checked against its hash"),
            );
        }
        (false, _) => hashed(&snapshot, &files, bytes, events).await?,
    };
    let paths = files.iter().map(|file| file.path.as_str()).collect();
    let extent = manifest
        .as_ref()
        .map_or(Extent::Unknown, |manifest| manifest.extent);
    if let Some(shard) = missing_from(&snapshot.join(INDEX), &paths).filter(|_| extent != Extent::Part) {
        wrong.push(WrongFile {
            path: shard,
            why: "the index names it, and the snapshot does not have it".to_owned(),
        });
    }
    let (mut fetched_bytes, mut repaired) = (0, 0);
    if repair && !wrong.is_empty() {
        let bad: BTreeSet<&str> = wrong.iter().map(|file| file.path.as_str()).collect();
        let is_bad = |file: &&Entry| bad.contains(file.path.as_str());
        let bad: Vec<Entry> = files.iter().filter(is_bad).cloned().collect();
        fetched_bytes = pull::repair(step, &commit, &bad, options, events).await?;
        repaired = bad.len();
    }
    // Read from the first byte, and right: what a copy or a restore changed of times and inodes is no matter, nor who
    // wrote it. Whether another client's snapshot is all of its commit, only a listing would say.
    if wrong.len() == repaired && (repaired > 0 || !fast) {
        cache.publish(&Publication {
            repo,
            revision,
            commit: &commit,
            entries: &files,
            endpoint: manifest
                .as_ref()
                .and_then(|manifest| manifest.endpoint.as_deref()),
            extent,
        })?;
        let log = ProvenLog::open(&cache.parts());
        for file in &files {
            let place = cache.place(file);
            if !log.knows(&place, file) {
                log.note(&place, file);
            }
        }
    }
    Ok(WeightsChecked {
        repo: repo.clone(),
        commit,
        files: files.len(),
        bytes,
        fast,
        seconds: begun.elapsed().as_secs_f64(),
        wrong,
        repaired,
        fetched_bytes,
    })
}

/// What `dsr1 pull --local-dir` wrote last into a directory: repository and commit.
#[must_use]
pub fn described_directory(dir: &Path) -> Option<(String, String)> {
    let cache = RepoCache::directory(dir);
    let parts = cache.parts();
    let commits = names(&parts).filter_map(|name| {
        let commit = name.strip_prefix("verified-")?.strip_suffix(".json")?.to_owned();
        let written = std::fs::metadata(parts.join(&name)).and_then(|meta| meta.modified());
        Some((written.ok()?, commit))
    });
    let (_, commit) = commits.max()?;
    Some((cache.manifest(&commit)?.repo, commit))
}

/// The only snapshot that there is: what a pull by commit left has no branch.
fn only_snapshot(cache: &RepoCache) -> Option<String> {
    let snapshots = cache.snapshots();
    let mut commits = names(&snapshots).filter(|commit| is_commit(commit));
    let only = commits.next();
    only.filter(|_| commits.next().is_none())
}

fn changed(snapshot: &Path, manifest: &Manifest) -> Vec<WrongFile> {
    let files = manifest.files.iter().filter(|file| !unchanged(snapshot, file));
    files
        .map(|file| WrongFile {
            path: file.path.clone(),
            why: "its size, time or inode changed, or it is gone".to_owned(),
        })
        .collect()
}

/// Hashes every file, as many at once as there are processors.
async fn hashed(
    snapshot: &Path,
    files: &[Entry],
    total: u64,
    events: &StepEvents<'_>,
) -> Result<Vec<WrongFile>> {
    let work = Arc::new(Work {
        snapshot: snapshot.to_owned(),
        files: files.to_vec(),
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        wrong: Mutex::default(),
    });
    let _stops = Stops(Arc::clone(&work));
    let threads = host::processors();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..threads.min(files.len().max(1)) {
        let work = Arc::clone(&work);
        tasks.spawn_blocking(move || work.run());
    }
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => break,
                Some(ended) => ended.at(Kind::Internal, || "a check failed".to_owned())?,
            },
            _ = tick.tick() => {}
        }
        events.progress(work.done.load(Ordering::Relaxed), Some(total), "hashed");
    }
    let mut wrong = std::mem::take(&mut *work.wrong.lock().unwrap_or_else(PoisonError::into_inner));
    wrong.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(wrong)
}

/// Files that threads take one by one.
struct Work {
    snapshot: PathBuf,
    files: Vec<Entry>,
    next: AtomicUsize,
    done: AtomicU64,
    stop: AtomicBool,
    wrong: Mutex<Vec<WrongFile>>,
}

/// Ends the threads when nobody waits for them any more.
struct Stops(Arc<Work>);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Work {
    fn run(&self) {
        while let Some(file) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let why = self.look(file);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Some(why) = why {
                let mut found = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                found.push(WrongFile {
                    path: file.path.clone(),
                    why,
                });
            }
        }
    }

    /// What is wrong with a file; `None` when nothing is.
    fn look(&self, entry: &Entry) -> Option<String> {
        let path = self.snapshot.join(&entry.path);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => return Some(error.to_string()),
        };
        let length = file.metadata().map_or(0, |meta| meta.len());
        if length != entry.size {
            return Some(format!("it has {length} bytes instead of {}", entry.size));
        }
        let mut hasher = Hasher::new(&entry.oid, entry.size);
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    self.done.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) => return Some(error.to_string()),
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
        }
        let found = hasher.hex();
        if found != entry.oid.hex() {
            return Some(format!("its hash is {found} instead of {}", entry.oid.hex()));
        }
        // A file that is what the hub has, and no safetensors, would fail at the engine's start.
        let is_shard = path.extension().is_some_and(|kind| kind == "safetensors");
        let why = || tensors::check(&path).unwrap_or_else(|error| Some(error.message()));
        is_shard.then(why).flatten()
    }
}

/// Removes a repository from the cache, or with `unfinished` only its unfinished files; returns the bytes freed.
///
/// # Errors
/// [`Kind::Hub`] when it is not there; [`Kind::Host`] when it cannot be removed.
pub async fn remove(cache_dir: &Path, repo: &str, unfinished: bool, events: &StepEvents<'_>) -> Result<u64> {
    let cache = RepoCache::new(cache_dir, repo);
    let root = cache.root().to_owned();
    if !root.is_dir() {
        return Err(Error::new(Kind::Hub, format!("{repo} is not in the cache"))
            .cause(format!("there is no `{}`", root.display()))
            .hint("dsr1 weights list shows what is"));
    }
    let held = format!("another dsr1 pulls {repo}");
    let _lock = files::lock(&cache.lock(), events, &held).await?;
    let found = described(cache_dir, repo);
    let failed = |path: &Path| format!("cannot remove `{}`", path.display());
    if unfinished {
        for (_, _, path) in parts(&cache.parts()) {
            std::fs::metadata(&path).at(Kind::Host, || failed(&path))?;
            part::remove(&path);
        }
        return Ok(found.unfinished_bytes);
    }
    // Away from its name first: nobody finds half of it.
    let gone = root.with_file_name(format!(".dsr1-removed-{}", std::process::id()));
    std::fs::rename(&root, &gone).at(Kind::Host, || failed(&root))?;
    std::fs::remove_dir_all(&gone).at(Kind::Host, || failed(&gone))?;
    Ok(found.bytes + found.unfinished_bytes)
}
