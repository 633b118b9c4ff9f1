//! What a disk has of a part for sure: it is asked to keep what it has while more comes, and where it says that it did
//! not, the part is cut back to what it kept before.
//!
//! Not in this module: what was written (the parent), the last sync before a file gets its name (there, too).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::owner::remove;
use super::record::{LINE, ahead_of, read_record, record_of};
use crate::engine::files;

/// Bytes between two requests to the disk to keep what it has: what a power cut costs, about.
const SYNC: u64 = 64 << 20;

/// Time between two looks whether a disk is done.
const PAUSE: Duration = Duration::from_millis(5);

/// What a disk was asked to keep of a part, and did.
pub(super) struct Durable {
    path: PathBuf,
    /// Open as long as the part is, and used for nothing else: a system tells each open file once of a failure
    /// (`errseq_t` of Linux), of those since it was opened. Where it cannot be had, the last sync does all of it.
    file: Option<Arc<File>>,
    asked: u64,
    kept: Arc<AtomicU64>,
    /// Set by a sync that failed.
    lost: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Durable {
    /// Of the part at `path` of a file of `size` bytes, before anything of it is read or written. Memory keeps nothing.
    pub(super) fn new(path: &Path, size: u64, in_memory: bool) -> Self {
        let is_asked = size > SYNC && !in_memory;
        let file = is_asked.then(|| files::open_to_write(path).ok()).flatten();
        Self {
            path: path.to_owned(),
            file: file.map(Arc::new),
            asked: 0,
            kept: Arc::default(),
            lost: Arc::default(),
            task: None,
        }
    }

    /// The part is as long as this, and its disk has all of it.
    pub(super) fn begin(&mut self, at: u64) {
        self.asked = at;
        // A sync that is under way tells of what was there before, and keeps none of it where it fails.
        self.kept.store(0, Ordering::SeqCst);
        self.kept = Arc::new(AtomicU64::new(at));
    }

    /// The part is as long as this by now.
    pub(super) fn reached(&mut self, at: u64) {
        let behind = at - self.asked;
        while self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            if behind < 2 * SYNC {
                return;
            }
            // A disk that is slower than what comes: more is not written ahead of it.
            std::thread::sleep(PAUSE);
        }
        if behind < SYNC {
            return;
        }
        let Some(file) = self.file.clone() else { return };
        self.asked = at;
        let (path, kept, lost) = (self.path.clone(), Arc::clone(&self.kept), Arc::clone(&self.lost));
        self.task = Some(tokio::task::spawn_blocking(move || {
            if file.sync_data().is_ok() {
                // Without what proves it, it is worth nothing after a power cut.
                for beside in [record_of(&path), ahead_of(&path)] {
                    let _ = files::open_to_write(&beside).and_then(|beside| beside.sync_data());
                }
                kept.store(at, Ordering::SeqCst);
            } else {
                lost.store(true, Ordering::SeqCst);
                // At once: whoever goes on from it is told nothing any more.
                cut_back(&path, kept.load(Ordering::SeqCst));
            }
        }));
    }

    /// The failure of a sync: what a disk did not take then it is not asked for again.
    ///
    /// # Errors
    /// That failure.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.lost.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk did not keep what was written to it"));
        }
        Ok(())
    }

    /// A disk said elsewhere that it did not take all of it: what came after the last place that it kept is not gone on
    /// from, though it reads well, for it may be in memory only, and a second sync would not say so (fsync(2)).
    pub(super) fn cut_back(&self) {
        self.lost.store(true, Ordering::SeqCst);
        cut_back(&self.path, self.kept.load(Ordering::SeqCst));
    }
}

/// Leaves what the disk kept of a part; all of it goes where that cannot be done.
pub(in crate::engine::hub) fn cut_back(part: &Path, kept: u64) {
    if kept == 0 || try_cut_back(part, kept).is_err() {
        let _ = remove(part);
    }
}

/// The record first: what it does not prove is not taken. Whoever still appends to it leaves zeros between, which are no
/// line of one.
fn try_cut_back(part: &Path, kept: u64) -> io::Result<()> {
    let record = record_of(part);
    let lines = read_record(&record);
    let lines = lines.iter().take_while(|(place, _)| *place <= kept).count();
    files::open_to_write(&record)?.set_len((lines * LINE) as u64)?;
    files::remove_if_there(&ahead_of(part))?;
    files::open_to_write(part)?.set_len(kept)
}

#[cfg(test)]
mod tests {
    use super::super::record::write_line;
    use super::*;

    #[test]
    fn what_a_disk_kept_stays_and_the_rest_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("x.part");
        let lines: Vec<u8> = [4, 8, 12]
            .into_iter()
            .flat_map(|at| write_line(at, [1; 32]))
            .collect();
        std::fs::write(&part, [7; 14]).unwrap();
        std::fs::write(record_of(&part), lines).unwrap();
        std::fs::write(ahead_of(&part), b"x").unwrap();
        cut_back(&part, 9);
        let places: Vec<u64> = read_record(&record_of(&part)).iter().map(|line| line.0).collect();
        assert_eq!(places, [4, 8]);
        assert_eq!(std::fs::read(&part).unwrap(), [7; 9]);
        assert!(!ahead_of(&part).exists());
        cut_back(&part, 0);
        assert!(!part.exists() && !record_of(&part).exists());
    }
}
