//! Hashes every byte of many files in parallel and compares them with their stated hashes.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fingerprint::Fingerprint;
use super::hash::{Hasher, MAX_READS, is_failed_sync, sync_data};
use super::model;
use crate::effects::hub::listing::Entry;
use crate::effects::{files, host};
use crate::error::{At, Kind, Result};
use crate::event::StepEvents;

/// Time between two progress events.
const HASH_REPORT_INTERVAL: Duration = Duration::from_millis(200);
/// Number of bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// The result for one file.
pub(in crate::effects) struct HashedFile {
    pub(in crate::effects) entry: Entry,
    /// The fingerprint, which did not change while the file was read; `None` if it was unreadable or changed.
    pub(in crate::effects) fingerprint: Option<Fingerprint>,
    /// The problem with the file; `None` if it is right.
    pub(in crate::effects) why: Option<String>,
}

/// Hashes files, as many at once as there are processors. The results are sorted by path.
///
/// # Errors
/// [`Kind::Internal`] if a thread fails.
pub(in crate::effects) async fn hash_files(
    snapshot: &Path,
    files: &[Entry],
    events: &StepEvents<'_>,
) -> Result<Vec<HashedFile>> {
    let total = files.iter().map(|file| file.size).sum();
    let work = Arc::new(Work {
        snapshot: snapshot.to_owned(),
        files: files.to_vec(),
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        found: Mutex::default(),
    });
    let _stops = StopOnDrop(Arc::clone(&work));
    let threads = host::processors();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..threads.min(files.len().max(1)) {
        let work = Arc::clone(&work);
        tasks.spawn_blocking(move || work.run());
    }
    let mut tick = tokio::time::interval(HASH_REPORT_INTERVAL);
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
    let mut found = std::mem::take(&mut *work.found.lock().unwrap_or_else(PoisonError::into_inner));
    found.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    Ok(found)
}

/// Files for the threads to take one by one.
struct Work {
    snapshot: PathBuf,
    files: Vec<Entry>,
    next: AtomicUsize,
    done: AtomicU64,
    stop: AtomicBool,
    found: Mutex<Vec<HashedFile>>,
}

/// Stops the threads when the caller is gone.
struct StopOnDrop(Arc<Work>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Work {
    fn run(&self) {
        while let Some(entry) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let (fingerprint, why) = match self.read(entry) {
                Ok((fingerprint, why)) => (fingerprint, why),
                Err(error) if error.kind() == ErrorKind::NotFound => (None, Some("it is gone".to_owned())),
                Err(error) => (None, Some(error.to_string())),
            };
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push(HashedFile {
                entry: entry.clone(),
                fingerprint,
                why,
            });
        }
    }

    /// Returns a file's fingerprint and what is wrong with its bytes. A correct file whose rights or names
    /// changed meanwhile is read again.
    fn read(&self, entry: &Entry) -> std::io::Result<(Option<Fingerprint>, Option<String>)> {
        let path = self.snapshot.join(&entry.path);
        let fingerprint = |meta: std::io::Result<Metadata>| meta.ok().as_ref().and_then(Fingerprint::of);
        for _ in 0..MAX_READS {
            let mut file = files::open_through(&path)?;
            let kept = sync_data(&file);
            let before = fingerprint(file.metadata());
            let why = match kept.and_then(|()| self.problem_of(&path, &mut file, entry)) {
                Ok(why) => why,
                Err(error) if is_failed_sync(&error) => Some(error.to_string()),
                // A failure to read now says nothing about the bytes.
                Err(error) => return Ok((None, Some(error.to_string()))),
            };
            if before == fingerprint(file.metadata()) {
                return Ok((before, why));
            }
            if why.is_some() {
                break;
            }
            self.done.fetch_sub(entry.size, Ordering::Relaxed);
        }
        Ok((None, Some("it changed while it was read".to_owned())))
    }

    /// Returns what is wrong with a file's bytes; `None` if they are right.
    fn problem_of(&self, path: &Path, file: &mut File, entry: &Entry) -> std::io::Result<Option<String>> {
        let length = file.metadata()?.len();
        if length != entry.size {
            return Ok(Some(format!("it has {length} bytes instead of {}", entry.size)));
        }
        let mut hasher = Hasher::new(&entry.oid, entry.size);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 || self.stop.load(Ordering::Relaxed) {
                break;
            }
            hasher.update(&buffer[..count]);
            self.done.fetch_add(count as u64, Ordering::Relaxed);
        }
        let found = hasher.hex();
        if found != entry.oid.hex() {
            return Ok(Some(format!(
                "its hash is {found} instead of {}",
                entry.oid.hex()
            )));
        }
        // SGLang would fail at its start on a file that matches the hub but is not valid safetensors.
        let is_shard = path.extension().is_some_and(|kind| kind == "safetensors");
        let why = || model::check_shard(path).unwrap_or_else(|error| Some(error.message()));
        Ok(is_shard.then(why).flatten())
    }
}
