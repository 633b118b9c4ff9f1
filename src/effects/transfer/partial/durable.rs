//! Syncs a partial file in the background, and truncates it to what was synced if a sync fails.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::journal::{chunk_list_of, journal_of};
use super::lease::remove_partial_file;
use crate::effects::files;
use crate::effects::hub::limits::Limits;

/// Poll interval while waiting for a sync.
const SYNC_POLL: Duration = Duration::from_millis(5);

/// The background sync of a partial file.
pub(super) struct BackgroundSync {
    partial: PartialHandle,
    /// Open for the whole life of the partial file and used for nothing else: Linux reports a failed write once
    /// to each open file, and only failures since it was opened (`errseq_t`). If it cannot be opened, the final
    /// sync does everything.
    file: Option<Arc<File>>,
    asked: u64,
    task: Option<JoinHandle<()>>,
}

/// The path of a partial file and its sync state, shared by all writers.
#[derive(Clone)]
pub(in crate::effects) struct PartialHandle {
    pub(super) path: PathBuf,
    pub(super) limits: Limits,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    synced: Synced,
    /// True if a sync failed.
    lost: bool,
    /// Number of times that the partial file was started over.
    begun: u32,
}

/// Lengths in bytes that are certainly on disk: of the partial file from its front, and of its journal. Chunks
/// are listed only after they were synced (`chunk_writer`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) at: u64,
    pub(super) journal: u64,
}

impl PartialHandle {
    /// Creates the handle of a partial file of which nothing is synced yet.
    pub(in crate::effects) fn new(path: &Path, limits: &Limits) -> Self {
        Self {
            path: path.to_owned(),
            limits: *limits,
            disk: Arc::default(),
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` unless the partial file was truncated after a failed sync.
    pub(super) fn if_intact<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let disk = self.disk();
        (!disk.lost).then(work)
    }

    /// Truncates the partial file to what was synced. Writers do not report anything after this.
    fn cut_back(&self) {
        let mut disk = self.disk();
        disk.lost = true;
        cut_back(&self.path, disk.synced);
    }
}

impl BackgroundSync {
    /// Creates the background sync for a file of `size` bytes, before anything of it is read or written. A file
    /// in memory is never synced.
    pub(super) fn new(partial: PartialHandle, size: u64, in_memory: bool) -> Self {
        let is_asked = size > partial.limits.sync && !in_memory;
        let file = is_asked
            .then(|| files::open_to_write(&partial.path).ok())
            .flatten();
        Self {
            partial,
            file: file.map(Arc::new),
            asked: 0,
            task: None,
        }
    }

    /// Sets the lengths that are certainly on disk.
    pub(super) fn start_at(&mut self, synced: Synced) {
        self.asked = synced.at;
        let mut disk = self.partial.disk();
        disk.synced = synced;
        // A sync that is running belongs to the state before.
        disk.begun += 1;
    }

    /// Starts a sync if enough bytes were written. The partial file has `at` bytes, and its journal has
    /// `journal` bytes.
    pub(super) fn sync_if_due(&mut self, at: u64, journal: u64) {
        if at.saturating_sub(self.asked) < self.partial.limits.sync {
            return;
        }
        // If the disk is slower than the network, writing waits for it.
        self.wait();
        let Some(file) = self.file.clone() else { return };
        self.asked = at;
        let partial = self.partial.clone();
        let begun = partial.disk().begun;
        self.task = Some(tokio::task::spawn_blocking(move || {
            if file.sync_data().is_err() {
                // At once, before another writer relies on it.
                return partial.cut_back();
            }
            // Without its journal, the data is useless after a power cut.
            let beside = files::open_to_write(&journal_of(&partial.path));
            let is_proven = beside.and_then(|beside| beside.sync_data()).is_ok();
            let mut disk = partial.disk();
            if is_proven && disk.begun == begun {
                disk.synced = Synced { at, journal };
            }
        }));
    }

    /// Waits for a running sync. After that only the owner truncates the partial file.
    pub(super) fn wait(&self) {
        while self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            std::thread::sleep(SYNC_POLL);
        }
    }

    /// Returns an error if a sync failed. The disk is not asked again.
    ///
    /// # Errors
    /// The failed sync.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.partial.disk().lost {
            return Err(io::Error::other("the disk did not store what was written to it"));
        }
        Ok(())
    }

    /// Truncates the partial file after a failure that was noticed elsewhere. Data after the synced length may
    /// read well and still be only in memory, and a second sync would not report that (fsync(2)).
    pub(super) fn cut_back(&self) {
        self.partial.cut_back();
    }

    /// Returns the handle for other writers.
    pub(super) fn handle(&self) -> &PartialHandle {
        &self.partial
    }
}

/// Truncates a partial file to what was synced, or removes it if that fails.
fn cut_back(partial: &Path, synced: Synced) {
    let is_nothing = synced == Synced::default() && !chunk_list_of(partial).exists();
    if is_nothing || try_cut_back(partial, synced).is_err() {
        let _ = remove_partial_file(partial);
    }
}

/// Truncates the journal before the data, because data without a journal line is never trusted. A concurrent
/// append leaves zeros, which do not parse as a line.
fn try_cut_back(partial: &Path, synced: Synced) -> io::Result<()> {
    files::open_to_write(&journal_of(partial))?.set_len(synced.journal)?;
    if chunk_list_of(partial).exists() {
        // The listed chunks are behind the data that was lost.
        return Ok(());
    }
    files::open_to_write(partial)?.set_len(synced.at)
}

#[cfg(test)]
mod tests {
    use super::super::journal::{LINE_BYTES, append_chunk, read_chunks, read_journal, write_line};
    use super::*;

    /// A partial file of 14 bytes, with a journal of three lines and two listed chunks.
    fn partial() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let partial = dir.path().join("x.part");
        let lines: Vec<u8> = [2, 4, 6]
            .into_iter()
            .flat_map(|at| write_line(at, [1; 32]))
            .collect();
        std::fs::write(&partial, [7; 14]).unwrap();
        std::fs::write(journal_of(&partial), lines).unwrap();
        append_chunk(&partial, 12, 14, [2; 32]).unwrap();
        append_chunk(&partial, 10, 12, [3; 32]).unwrap();
        (dir, partial)
    }

    fn places(partial: &Path) -> Vec<u64> {
        let journal = read_journal(&journal_of(partial)).unwrap();
        journal.iter().map(|line| line.0).collect()
    }

    #[test]
    fn synced_chunks_survive_a_failed_sync() {
        let synced = Synced {
            at: 4,
            journal: 2 * LINE_BYTES as u64,
        };
        for (synced, left) in [(synced, vec![2, 4]), (Synced::default(), Vec::new())] {
            let (_dir, partial) = partial();
            let file = PartialHandle::new(&partial, &Limits::DEFAULT);
            file.disk().synced = synced;
            file.cut_back();
            assert_eq!(places(&partial), left);
            assert_eq!(
                read_chunks(&chunk_list_of(&partial), 4, 14),
                [(12, 14, [2; 32]), (10, 12, [3; 32])]
            );
            // A chunk writer that finishes late lists nothing.
            assert_eq!(file.if_intact(|| ()), None);
        }
    }
}
