//! The transfers in progress, and the assignment of their chunks to idle workers.
//!
//! A file belongs to one worker, which fetches it from the front. A worker without a file fetches chunks of the
//! largest one from the end.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::chunks::{Chunks, RecoveredChunk};
use super::partial::durable::PartialHandle;
use crate::effects::hub::limits::Limits;
use crate::effects::hub::listing::Entry;
use crate::event::FileState;

/// Fallback poll interval; `Notify` loses a wake-up that is sent before the wait begins.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause of all chunk workers after a failed chunk; doubled with each further failure. Whether the file is
/// available at all is found out by its own worker.
const CHUNK_PAUSE: Duration = Duration::from_millis(500);
/// The transfers in progress.
pub(in crate::effects) struct Transfers {
    limits: Limits,
    files: Mutex<Vec<Arc<Transfer>>>,
    /// Notified when more chunks can be claimed.
    work_available: Arc<Notify>,
    backoff: Mutex<ChunkBackoff>,
}

/// Backoff of chunk workers. A hub that refuses one of them would refuse all; the files' own workers go on.
#[derive(Default)]
struct ChunkBackoff {
    /// Time until which no chunk is claimed.
    paused_until: Option<Instant>,
    /// Number of chunks that failed in a row.
    failed: u32,
    /// Rate of the last successful chunk, in bytes a second.
    rate: Option<u64>,
}

/// The transfer of one file.
pub(super) struct Transfer {
    pub(super) entry: Entry,
    /// Handle of the partial file, once it is open.
    partial: Mutex<Option<PartialHandle>>,
    chunks: Mutex<Chunks>,
    /// Size of a chunk.
    chunk: u64,
    claim_finished: Notify,
    work_available: Arc<Notify>,
    front: AtomicU64,
    retries: AtomicU32,
    state: AtomicU8,
    /// Rate of the file's own worker in bytes a second; 0 if unknown.
    rate: AtomicU64,
}

/// Progress of one file.
pub(super) struct Progress {
    pub(super) path: String,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) state: FileState,
    pub(super) retries: u32,
}

/// Guard that removes a transfer when its worker is done with it, successfully or not.
pub(super) struct ActiveTransfer {
    transfers: Arc<Transfers>,
    pub(super) file: Arc<Transfer>,
}

impl Drop for ActiveTransfer {
    fn drop(&mut self) {
        self.file.chunks().close();
        self.transfers
            .files()
            .retain(|file| !Arc::ptr_eq(file, &self.file));
    }
}

/// A claimed chunk. When it is dropped, the bytes that were not fetched become free again.
pub(super) struct ChunkClaim {
    pub(super) file: Arc<Transfer>,
    pub(super) partial: PartialHandle,
    pub(super) from: u64,
    pub(super) to: u64,
    done_to: u64,
}

impl ChunkClaim {
    /// Marks the bytes before `to` as fetched.
    pub(super) fn finished_at(mut self, to: u64) {
        self.done_to = to;
    }
}

impl Drop for ChunkClaim {
    fn drop(&mut self) {
        self.file.chunks().finish_claim(self.from, self.done_to);
        self.file.claim_finished.notify_one();
    }
}

impl Transfers {
    /// Creates an empty set of transfers.
    pub(in crate::effects) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            files: Mutex::default(),
            work_available: Arc::default(),
            backoff: Mutex::default(),
        }
    }

    fn files(&self) -> MutexGuard<'_, Vec<Arc<Transfer>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a transfer.
    pub(super) fn start(self: &Arc<Self>, entry: &Entry) -> ActiveTransfer {
        let file = Arc::new(Transfer {
            entry: entry.clone(),
            partial: Mutex::default(),
            chunk: self.limits.chunk,
            chunks: Mutex::new(Chunks::new(entry.size, self.limits.chunk, 0, Vec::new())),
            claim_finished: Notify::new(),
            work_available: Arc::clone(&self.work_available),
            front: AtomicU64::new(0),
            retries: AtomicU32::new(0),
            state: AtomicU8::new(FileState::Checking as u8),
            rate: AtomicU64::new(0),
        });
        self.files().push(Arc::clone(&file));
        ActiveTransfer {
            transfers: Arc::clone(self),
            file,
        }
    }

    /// Claims a chunk of the file with the most bytes left, for an idle worker.
    pub(super) fn claim_chunk(&self) -> Option<ChunkClaim> {
        if self
            .backoff()
            .paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return None;
        }
        let files = self.files();
        let open = files.iter().filter(|file| file.handle().is_some());
        let file = open.max_by_key(|file| file.chunks().claimable_bytes(file.front()))?;
        let partial = file.handle()?;
        let (from, to) = file.chunks().claim_chunk(file.front())?;
        Some(ChunkClaim {
            partial,
            file: Arc::clone(file),
            from,
            to,
            done_to: from,
        })
    }

    /// Waits until there may be more to claim, at most [`WAKE_INTERVAL`].
    pub(super) async fn wait_for_work(&self) {
        let _ = tokio::time::timeout(WAKE_INTERVAL, self.work_available.notified()).await;
    }

    fn backoff(&self) -> MutexGuard<'_, ChunkBackoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a successful chunk and its rate. A pause that the hub asked for meanwhile stays.
    pub(super) fn chunk_succeeded(&self, rate: Option<u64>) {
        let mut backoff = self.backoff();
        (backoff.failed, backoff.rate) = (0, rate);
    }

    /// Notes a failed chunk and pauses all chunk workers, for as long as the hub asks or for a growing time.
    pub(super) fn chunk_failed(&self, asked: Option<Duration>) {
        let mut backoff = self.backoff();
        let pause = CHUNK_PAUSE * 2_u32.saturating_pow(backoff.failed.min(8));
        let until = Instant::now()
            + asked
                .unwrap_or_default()
                .max(pause.min(self.limits.longest_pause));
        backoff.paused_until = backoff.paused_until.max(Some(until));
        backoff.failed += 1;
    }

    /// Returns the number of transfers.
    pub(super) fn active_count(&self) -> usize {
        self.files().len()
    }

    /// Returns the progress of each file.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let progress = |file: &Arc<Transfer>| Progress {
            path: file.entry.path.clone(),
            done: file.front() + file.chunks().done_bytes(),
            total: file.entry.size,
            state: file.state(),
            retries: file.retries.load(Ordering::Relaxed),
        };
        self.files().iter().map(progress).collect()
    }

    /// Returns the median rate of the files' own workers, or the rate of the last chunk if fewer than three are
    /// known.
    pub(super) fn median_rate(&self) -> Option<u64> {
        let rates = self.files();
        let rates = rates.iter().map(|file| file.rate.load(Ordering::Relaxed));
        let mut rates: Vec<u64> = rates.filter(|rate| *rate > 0).collect();
        rates.sort_unstable();
        if rates.len() >= 3 {
            return Some(rates[rates.len() / 2]);
        }
        self.backoff().rate
    }
}

impl Transfer {
    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Option<PartialHandle> {
        self.partial
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn front(&self) -> u64 {
        self.front.load(Ordering::Relaxed)
    }

    /// Sets the opened partial file, of which `at` bytes are there, and its recovered chunks. Returns the bytes
    /// of the chunks.
    pub(super) fn open_for_workers(
        &self,
        partial: &PartialHandle,
        at: u64,
        recovered: Vec<RecoveredChunk>,
    ) -> u64 {
        *self.chunks() = Chunks::new(self.entry.size, self.chunk, at, recovered);
        self.set_front(at);
        *self.partial.lock().unwrap_or_else(PoisonError::into_inner) = Some(partial.clone());
        self.work_available.notify_waiters();
        self.chunks().done_bytes()
    }

    /// Sets the number of bytes that are there from the front.
    pub(super) fn set_front(&self, at: u64) {
        self.front.store(at, Ordering::Relaxed);
    }

    /// Returns the current or last rate of the file's own worker in bytes a second; `None` if unknown.
    pub(super) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Returns whether the file's own worker has reached `from` and waits for the chunk there.
    pub(super) fn has_reached(&self, from: u64) -> bool {
        self.front() >= from
    }

    /// Sets the rate of the file's own worker, in bytes a second.
    pub(super) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Counts a stream that had to be reopened.
    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the state that is shown to the user.
    pub(super) fn set_state(&self, state: FileState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn state(&self) -> FileState {
        let code = self.state.load(Ordering::Relaxed);
        let known = [FileState::Checking, FileState::Fetching, FileState::Waiting];
        let found = known.into_iter().find(|state| *state as u8 == code);
        found.unwrap_or(FileState::Proven)
    }

    /// Runs `ask` with the chunks of the file, locked.
    pub(super) fn with_chunks<T>(&self, ask: impl FnOnce(&mut Chunks) -> T) -> T {
        ask(&mut self.chunks())
    }

    /// Waits until a claimed chunk is finished, at most [`WAKE_INTERVAL`].
    pub(super) async fn wait_for_claim(&self) {
        let _ = tokio::time::timeout(WAKE_INTERVAL, self.claim_finished.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::effects::hub::listing::Oid;

    /// A pause that the hub asked one worker for holds for all, even if another chunk succeeds meanwhile.
    #[test]
    fn a_pause_that_the_hub_asked_for_is_kept() {
        let transfers = Arc::new(Transfers::new(&Limits::DEFAULT));
        let entry = Entry {
            path: "x".to_owned(),
            size: 10 << 30,
            oid: Oid::Sha256("ab".repeat(32)),
            xet: None,
        };
        let active = transfers.start(&entry);
        active.file.open_for_workers(
            &PartialHandle::new(Path::new("x.part"), &Limits::DEFAULT),
            0,
            Vec::new(),
        );
        assert!(transfers.claim_chunk().is_some());
        transfers.chunk_failed(Some(Duration::from_mins(1)));
        transfers.chunk_succeeded(Some(1_000_000));
        assert!(transfers.claim_chunk().is_none());
        assert_eq!(transfers.median_rate(), Some(1_000_000));
        // A hub that asks for a pause of 0 s is not flooded with requests.
        let transfers = Transfers::new(&Limits::DEFAULT);
        transfers.chunk_failed(Some(Duration::ZERO));
        assert!(
            transfers
                .backoff()
                .paused_until
                .is_some_and(|until| until > Instant::now())
        );
    }
}
