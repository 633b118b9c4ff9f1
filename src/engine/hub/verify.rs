//! Whether a snapshot is still what was proven; made right again, and what was found is kept.
//!
//! Not in this module: one bad file (`repair`), what is in the cache at all (`weights`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cache::RepoCache;
use super::hash::Hasher;
use super::listing::Entry;
use super::manifest::{Extent, INDEX, Manifest, Publication, is_model, missing_from, unchanged};
use super::proven::ProvenLog;
use super::weights::{entries, only_snapshot};
use super::{HubOptions, pull, tensors};
use crate::engine::host;
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{PullSnapshot, shell};
use crate::report::{WeightsChecked, WrongFile, WrongState};

/// Time between two progress events.
const TICK: Duration = Duration::from_millis(200);
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// How a snapshot is checked.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Sizes and times against the pull's, and not every byte against its hash.
    pub fast: bool,
    /// What is wrong is fetched again, and only that.
    pub repair: bool,
    /// It must be a whole model: a selection is not enough.
    pub whole: bool,
}

/// Checks a snapshot.
///
/// # Errors
/// [`Kind::Hub`] when the snapshot is not there, or a repair cannot fetch.
pub async fn verify(
    step: &PullSnapshot,
    options: HubOptions<'_>,
    check: Check,
    events: &StepEvents<'_>,
) -> Result<WeightsChecked> {
    let Check { fast, repair, whole } = check;
    let PullSnapshot { repo, revision, .. } = step;
    if repair && options.offline {
        return Err(
            Error::new(Kind::Hub, format!("nothing of {repo} can be repaired"))
                .cause("HF_HUB_OFFLINE is set: the network is off limits")
                .hint("unset HF_HUB_OFFLINE, or leave out --repair to check only"),
        );
    }
    let cache = RepoCache::of(step);
    let commit = commit(step, &cache)?;
    let begun = Instant::now();
    let manifest = cache.manifest(&commit).filter(|manifest| manifest.repo == *repo);
    let files = entries(&cache, &commit);
    if files.is_empty() {
        return Err(Error::new(
            Kind::Hub,
            format!("there is nothing of {repo}@{revision} to check"),
        )
        .cause("no pull of dsr1 finished there, and no links to blobs tell what files must be")
        .hint(again(step)));
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
    let found = Found {
        step,
        cache: &cache,
        commit: &commit,
        files: &files,
        before: manifest.as_ref(),
    };
    let (mut fetched_bytes, mut repaired) = (0, 0);
    if repair && !wrong.is_empty() {
        let bad: BTreeSet<&str> = wrong.iter().map(|file| file.path.as_str()).collect();
        let is_bad = |file: &&Entry| bad.contains(file.path.as_str());
        let bad: Vec<Entry> = files.iter().filter(is_bad).cloned().collect();
        fetched_bytes = pull::repair(step, &commit, &bad, options, events).await?;
        repaired = bad.len();
        for file in &mut wrong {
            file.state = WrongState::Repaired;
        }
    }
    let extent = manifest
        .as_ref()
        .map_or(Extent::Unknown, |manifest| manifest.extent);
    let lacking = if whole || extent != Extent::Part {
        missing(&snapshot, &files, extent, whole)
    } else {
        Vec::new()
    };
    let kept = if fast && repaired == 0 {
        Ok(())
    } else if wrong.len() > repaired {
        found.withdraw(&wrong, events).await
    } else if lacking.is_empty() {
        found.publish(events).await
    } else {
        Ok(())
    };
    if let Err(error) = kept {
        // The answer is right all the same: a cache may be somebody else's, or on a disk that is read only.
        let why = error.causes().join(": ");
        events.note(format!(
            "this is not noted in the cache: {}: {why}",
            error.message()
        ));
    }
    wrong.extend(lacking);
    Ok(WeightsChecked {
        repo: repo.clone(),
        commit,
        files: files.len(),
        part: extent == Extent::Part,
        bytes,
        fast,
        seconds: begun.elapsed().as_secs_f64(),
        wrong,
        repaired,
        fetched_bytes,
    })
}

/// The commit that is checked.
fn commit(step: &PullSnapshot, cache: &RepoCache) -> Result<String> {
    let PullSnapshot { repo, revision, .. } = step;
    let commit = cache
        .commit(revision)
        .or_else(|| only_snapshot(cache).filter(|_| revision == "main"))
        .filter(|commit| cache.snapshot(commit).is_dir());
    commit.ok_or_else(|| {
        let hint = again(step);
        let report = match &step.local_dir {
            Some(dir) => Error::new(Kind::Hub, format!("{repo}@{revision} is not in `{dir}`"))
                .cause("no pull of dsr1 into it finished"),
            None => Error::new(Kind::Hub, format!("{repo}@{revision} is not in the cache"))
                .cause(format!("no snapshot of it in `{}`", step.cache_dir)),
        };
        report.hint(hint)
    })
}

/// The command that fetches what is checked.
fn again(step: &PullSnapshot) -> String {
    let PullSnapshot { repo, revision, .. } = step;
    let into = step.local_dir.as_ref();
    let into = into.map_or_else(String::new, |dir| format!(" --local-dir {}", shell::quote(dir)));
    format!("dsr1 pull {repo} --revision {revision}{into}")
}

/// What a model needs and `files` lack.
fn missing(snapshot: &Path, files: &[Entry], extent: Extent, whole: bool) -> Vec<WrongFile> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let lacks = |path: String, why: &str| WrongFile {
        path,
        why: why.to_owned(),
        state: WrongState::Missing,
    };
    let why = if extent == Extent::Part {
        "only a part of the repository was pulled, without it"
    } else {
        "the index names it, and the snapshot does not have it"
    };
    let shards = missing_from(&snapshot.join(INDEX), &paths);
    let mut missing: Vec<WrongFile> = shards.into_iter().map(|shard| lacks(shard, why)).collect();
    if missing.is_empty() && whole && !is_model(&paths) {
        missing.push(lacks(
            "config.json".to_owned(),
            "it or the weights lack: only a part was pulled, or a hub had no more of it",
        ));
    }
    missing
}

/// A snapshot that was checked, and what is kept of that.
struct Found<'a> {
    step: &'a PullSnapshot,
    cache: &'a RepoCache,
    commit: &'a str,
    files: &'a [Entry],
    /// The manifest as it was before.
    before: Option<&'a Manifest>,
}

impl Found<'_> {
    /// Read from the first byte, and right: what a copy or a restore changed of times and inodes is no matter, nor who
    /// wrote it. Whether another client's snapshot is all of its commit, only a listing would say.
    async fn publish(&self, events: &StepEvents<'_>) -> Result<()> {
        let Self { step, commit, .. } = *self;
        let (cache, _lock) = pull::hold(self.cache.clone(), &step.repo, events).await?;
        let before = cache.manifest(commit);
        if before.as_ref() != self.before {
            // A pull has proven it meanwhile, and perhaps more of it.
            return Ok(());
        }
        // A branch that a pull moved on meanwhile stays where it is.
        let revision = match cache.commit(&step.revision) {
            Some(other) if other != commit => commit,
            _ => &step.revision,
        };
        cache.publish(&Publication {
            repo: &step.repo,
            revision,
            commit,
            entries: self.files,
            endpoint: before.as_ref().and_then(|manifest| manifest.endpoint.as_deref()),
            extent: before
                .as_ref()
                .map_or(Extent::Unknown, |manifest| manifest.extent),
        })?;
        let log = ProvenLog::open(&cache.parts());
        for file in self.files {
            let place = cache.place(file);
            if !log.knows(&place, file) {
                log.note(&place, file);
            }
        }
        Ok(())
    }

    /// Not what was proven: nobody may take it for that, though it looks the same.
    async fn withdraw(&self, wrong: &[WrongFile], events: &StepEvents<'_>) -> Result<()> {
        let (cache, _lock) = pull::hold(self.cache.clone(), &self.step.repo, events).await?;
        let is_wrong = |path: &str| wrong.iter().any(|file| file.path == path);
        let log = ProvenLog::open(&cache.parts());
        for file in self.files.iter().filter(|file| is_wrong(&file.path)) {
            log.forget(&cache.place(file));
        }
        cache.withdraw(self.commit, is_wrong)
    }
}

/// Files that do not look as they did when they were proven.
pub(super) fn changed(snapshot: &Path, manifest: &Manifest) -> Vec<WrongFile> {
    let files = manifest.files.iter().filter(|file| !unchanged(snapshot, file));
    files
        .map(|file| WrongFile {
            path: file.path.clone(),
            why: "its size, time or inode changed, or it is gone".to_owned(),
            state: WrongState::Wrong,
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
                    state: WrongState::Wrong,
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
