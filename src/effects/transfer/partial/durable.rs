//! What a disk has of a part for sure: it is asked to keep what it has while more comes, and where it says that it did
//! not, the part is cut back to what it kept before.
//!
//! Not in this module: what was written (the parent), the last sync before a file gets its name (there, too).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::journal::{ahead_of, record_of};
use super::lease::remove;
use crate::effects::files;

/// Bytes between two requests to the disk to keep what it has. Twice as much is what a power cut costs at most: what it is
/// asked to keep, and what came meanwhile.
const SYNC: u64 = 32 << 20;

/// Time between two looks whether a disk is done.
const PAUSE: Duration = Duration::from_millis(5);

/// What a disk was asked to keep of a part, and did.
pub(super) struct Durable {
    part: PartFile,
    /// Open as long as the part is, and used for nothing else: a system tells each open file once of a failure
    /// (`errseq_t` of Linux), of those since it was opened. Where it cannot be had, the last sync does all of it.
    file: Option<Arc<File>>,
    asked: u64,
    task: Option<JoinHandle<()>>,
}

/// Where a part is, and what its disk has of it: for all who write to it.
#[derive(Clone)]
pub(in crate::effects) struct PartFile {
    pub(super) path: PathBuf,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    kept: Kept,
    /// Set by a sync that failed.
    lost: bool,
    /// Times that the part was begun.
    begun: u32,
}

/// What a disk has for sure, in bytes: of the part from its front, and of its record. A chunk is told of when the disk has
/// it (`chunk`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) at: u64,
    pub(super) record: u64,
}

impl PartFile {
    /// That of a part of which nothing is kept so far.
    pub(in crate::effects) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            disk: Arc::default(),
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what must not be done once the part was cut back.
    pub(super) fn unless_lost<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let disk = self.disk();
        (!disk.lost).then(work)
    }

    /// Leaves what the disk kept. Nobody is told of the rest any more, who was not told yet.
    fn cut_back(&self) {
        let mut disk = self.disk();
        disk.lost = true;
        cut_back(&self.path, disk.kept);
    }
}

impl Durable {
    /// Of this part of a file of `size` bytes, before anything of it is read or written. Memory keeps nothing.
    pub(super) fn new(part: PartFile, size: u64, in_memory: bool) -> Self {
        let is_asked = size > SYNC && !in_memory;
        let file = is_asked.then(|| files::open_to_write(&part.path).ok()).flatten();
        Self {
            part,
            file: file.map(Arc::new),
            asked: 0,
            task: None,
        }
    }

    /// So much is there, and its disk has all of it.
    pub(super) fn begin(&mut self, kept: Kept) {
        self.asked = kept.at;
        let mut disk = self.part.disk();
        disk.kept = kept;
        // A sync that is under way tells of what was there before.
        disk.begun += 1;
    }

    /// The part is as long as `at` by now, and its record as `record`.
    pub(super) fn reached(&mut self, at: u64, record: u64) {
        if at.saturating_sub(self.asked) < SYNC {
            return;
        }
        // A disk that is slower than what comes: more is not written ahead of it.
        self.settle();
        let Some(file) = self.file.clone() else { return };
        self.asked = at;
        let part = self.part.clone();
        let begun = part.disk().begun;
        self.task = Some(tokio::task::spawn_blocking(move || {
            if file.sync_data().is_err() {
                // At once: whoever goes on from it is told nothing any more.
                return part.cut_back();
            }
            // Without what proves it, it is worth nothing after a power cut.
            let beside = files::open_to_write(&record_of(&part.path));
            let is_proven = beside.and_then(|beside| beside.sync_data()).is_ok();
            let mut disk = part.disk();
            if is_proven && disk.begun == begun {
                disk.kept = Kept { at, record };
            }
        }));
    }

    /// Waits for a sync that is under way: from then on nothing is cut back unless the part's owner says so.
    pub(super) fn settle(&self) {
        while self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            std::thread::sleep(PAUSE);
        }
    }

    /// The failure of a sync: what a disk did not take then it is not asked for again.
    ///
    /// # Errors
    /// That failure.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.part.disk().lost {
            return Err(io::Error::other("the disk did not keep what was written to it"));
        }
        Ok(())
    }

    /// A disk said elsewhere that it did not take all of it: what came after the last place that it kept is not gone on
    /// from, though it reads well, for it may be in memory only, and a second sync would not say so (fsync(2)).
    pub(super) fn cut_back(&self) {
        self.part.cut_back();
    }

    /// The part, as others open it.
    pub(super) fn part(&self) -> &PartFile {
        &self.part
    }
}

/// Leaves what the disk kept of a part; all of it goes where that cannot be done.
fn cut_back(part: &Path, kept: Kept) {
    let is_nothing = kept == Kept::default() && !ahead_of(part).exists();
    if is_nothing || try_cut_back(part, kept).is_err() {
        let _ = remove(part);
    }
}

/// The record first: what it does not prove is not taken. Whoever still appends to it leaves zeros between, which are no
/// line of one.
fn try_cut_back(part: &Path, kept: Kept) -> io::Result<()> {
    files::open_to_write(&record_of(part))?.set_len(kept.record)?;
    if ahead_of(part).exists() {
        // The chunks that it has lie behind what it has not.
        return Ok(());
    }
    files::open_to_write(part)?.set_len(kept.at)
}

#[cfg(test)]
mod tests {
    use super::super::journal::{LINE, note_ahead, read_ahead, read_record, write_line};
    use super::*;

    /// A part of 14 bytes, with a record of three lines and two chunks told of it.
    fn part() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("x.part");
        let lines: Vec<u8> = [2, 4, 6]
            .into_iter()
            .flat_map(|at| write_line(at, [1; 32]))
            .collect();
        std::fs::write(&part, [7; 14]).unwrap();
        std::fs::write(record_of(&part), lines).unwrap();
        note_ahead(&part, 12, 14, [2; 32]).unwrap();
        note_ahead(&part, 10, 12, [3; 32]).unwrap();
        (dir, part)
    }

    fn places(part: &Path) -> Vec<u64> {
        let record = read_record(&record_of(part)).unwrap();
        record.iter().map(|line| line.0).collect()
    }

    #[test]
    fn chunks_that_a_disk_kept_stay() {
        let kept = Kept {
            at: 4,
            record: 2 * LINE as u64,
        };
        for (kept, left) in [(kept, vec![2, 4]), (Kept::default(), Vec::new())] {
            let (_dir, part) = part();
            let file = PartFile::new(&part);
            file.disk().kept = kept;
            file.cut_back();
            assert_eq!(places(&part), left);
            assert_eq!(
                read_ahead(&ahead_of(&part), 4, 14),
                [(12, 14, [2; 32]), (10, 12, [3; 32])]
            );
            // A helper that comes late tells of nothing.
            assert_eq!(file.unless_lost(|| ()), None);
        }
    }
}
