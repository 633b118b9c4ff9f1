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

use super::journal::{chunk_list_of, journal_of};
use super::lease::remove_partial_file;
use crate::effects::files;

/// Bytes between two requests to the disk to keep what it has. Twice as much is what a power cut costs at most: what it is
/// asked to keep, and what came meanwhile.
const SYNC_BYTES: u64 = 32 << 20;

/// Time between two looks whether a disk is done.
const SYNC_POLL: Duration = Duration::from_millis(5);

/// What a disk was asked to keep of a part, and did.
pub(super) struct BackgroundSync {
    part: PartialHandle,
    /// Open as long as the part is, and used for nothing else: a system tells each open file once of a failure
    /// (`errseq_t` of Linux), of those since it was opened. Where it cannot be had, the last sync does all of it.
    file: Option<Arc<File>>,
    asked: u64,
    task: Option<JoinHandle<()>>,
}

/// Where a part is, and what its disk has of it: for all who write to it.
#[derive(Clone)]
pub(in crate::effects) struct PartialHandle {
    pub(super) path: PathBuf,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    synced: Synced,
    /// Set by a sync that failed.
    lost: bool,
    /// Times that the part was begun.
    begun: u32,
}

/// What a disk has for sure, in bytes: of the part from its front, and of its record. A chunk is told of when the disk has
/// it (`chunk`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) at: u64,
    pub(super) record: u64,
}

impl PartialHandle {
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
    pub(super) fn if_intact<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let disk = self.disk();
        (!disk.lost).then(work)
    }

    /// Leaves what the disk kept. Nobody is told of the rest any more, who was not told yet.
    fn cut_back(&self) {
        let mut disk = self.disk();
        disk.lost = true;
        cut_back(&self.path, disk.synced);
    }
}

impl BackgroundSync {
    /// Of this part of a file of `size` bytes, before anything of it is read or written. Memory keeps nothing.
    pub(super) fn new(part: PartialHandle, size: u64, in_memory: bool) -> Self {
        let is_asked = size > SYNC_BYTES && !in_memory;
        let file = is_asked.then(|| files::open_to_write(&part.path).ok()).flatten();
        Self {
            part,
            file: file.map(Arc::new),
            asked: 0,
            task: None,
        }
    }

    /// So much is there, and its disk has all of it.
    pub(super) fn start_at(&mut self, synced: Synced) {
        self.asked = synced.at;
        let mut disk = self.part.disk();
        disk.synced = synced;
        // A sync that is under way tells of what was there before.
        disk.begun += 1;
    }

    /// The part is as long as `at` by now, and its record as `record`.
    pub(super) fn sync_if_due(&mut self, at: u64, record: u64) {
        if at.saturating_sub(self.asked) < SYNC_BYTES {
            return;
        }
        // A disk that is slower than what comes: more is not written ahead of it.
        self.wait();
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
            let beside = files::open_to_write(&journal_of(&part.path));
            let is_proven = beside.and_then(|beside| beside.sync_data()).is_ok();
            let mut disk = part.disk();
            if is_proven && disk.begun == begun {
                disk.synced = Synced { at, record };
            }
        }));
    }

    /// Waits for a sync that is under way: from then on nothing is cut back unless the part's owner says so.
    pub(super) fn wait(&self) {
        while self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            std::thread::sleep(SYNC_POLL);
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
    pub(super) fn handle(&self) -> &PartialHandle {
        &self.part
    }
}

/// Leaves what the disk kept of a part; all of it goes where that cannot be done.
fn cut_back(part: &Path, synced: Synced) {
    let is_nothing = synced == Synced::default() && !chunk_list_of(part).exists();
    if is_nothing || try_cut_back(part, synced).is_err() {
        let _ = remove_partial_file(part);
    }
}

/// The record first: what it does not prove is not taken. Whoever still appends to it leaves zeros between, which are no
/// line of one.
fn try_cut_back(part: &Path, synced: Synced) -> io::Result<()> {
    files::open_to_write(&journal_of(part))?.set_len(synced.record)?;
    if chunk_list_of(part).exists() {
        // The chunks that it has lie behind what it has not.
        return Ok(());
    }
    files::open_to_write(part)?.set_len(synced.at)
}

#[cfg(test)]
mod tests {
    use super::super::journal::{LINE_BYTES, append_chunk, read_chunks, read_journal, write_line};
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
        std::fs::write(journal_of(&part), lines).unwrap();
        append_chunk(&part, 12, 14, [2; 32]).unwrap();
        append_chunk(&part, 10, 12, [3; 32]).unwrap();
        (dir, part)
    }

    fn places(part: &Path) -> Vec<u64> {
        let record = read_journal(&journal_of(part)).unwrap();
        record.iter().map(|line| line.0).collect()
    }

    #[test]
    fn chunks_that_a_disk_kept_stay() {
        let synced = Synced {
            at: 4,
            record: 2 * LINE_BYTES as u64,
        };
        for (synced, left) in [(synced, vec![2, 4]), (Synced::default(), Vec::new())] {
            let (_dir, part) = part();
            let file = PartialHandle::new(&part);
            file.disk().synced = synced;
            file.cut_back();
            assert_eq!(places(&part), left);
            assert_eq!(
                read_chunks(&chunk_list_of(&part), 4, 14),
                [(12, 14, [2; 32]), (10, 12, [3; 32])]
            );
            // A helper that comes late tells of nothing.
            assert_eq!(file.if_intact(|| ()), None);
        }
    }
}
