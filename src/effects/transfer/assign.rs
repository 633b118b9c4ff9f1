//! The files that are being fetched: how far each is, who helps, how fast they come.
//!
//! Not in this module: fetching (`fetch`, `help`), how it is shown (`ui`).

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::chunks::{Chunks, RecoveredChunk};
use super::partial::durable::PartialHandle;
use crate::effects::hub::listing::Entry;
use crate::event::FileState;

/// How long one waits for news before one looks for oneself: a note that came a moment too early is lost.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause of all helpers after a chunk that failed; doubled with each that fails after it. Whether the file can be had at
/// all is its own worker's to find out.
const CHUNK_PAUSE: Duration = Duration::from_millis(500);
/// Longest of these pauses, unless the hub asks for more.
const LONGEST_CHUNK_PAUSE: Duration = Duration::from_secs(30);

/// The files that are being fetched.
#[derive(Default)]
pub(in crate::effects) struct Transfers {
    files: Mutex<Vec<Arc<Transfer>>>,
    /// Told when there is more to claim than before.
    work_available: Arc<Notify>,
    backoff: Mutex<ChunkBackoff>,
}

/// How help went: a hub that refuses one helper refuses all, and a file's own worker asks it anyway.
#[derive(Default)]
struct ChunkBackoff {
    /// Until then nobody helps.
    paused_until: Option<Instant>,
    /// Chunks in a row that came to nothing.
    failed: u32,
    /// Bytes a second of the last chunk that came.
    rate: Option<u64>,
}

/// One of them.
pub(super) struct Transfer {
    pub(super) entry: Entry,
    /// The part, once it is open.
    part: Mutex<Option<PartialHandle>>,
    chunks: Mutex<Chunks>,
    claim_finished: Notify,
    work_available: Arc<Notify>,
    front: AtomicU64,
    retries: AtomicU32,
    state: AtomicU8,
    /// Bytes a second of its own worker, 0 while that is not known.
    rate: AtomicU64,
}

/// How far a file is.
pub(super) struct Progress {
    pub(super) path: String,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) state: FileState,
    pub(super) retries: u32,
}

/// Takes a file off the board when its worker is done with it, well or not.
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

/// A chunk that a helper claimed. What did not come of it before it is dropped is free again.
pub(super) struct ChunkClaim {
    pub(super) file: Arc<Transfer>,
    pub(super) part: PartialHandle,
    pub(super) from: u64,
    pub(super) to: u64,
    done_to: u64,
}

impl ChunkClaim {
    /// It came up to this place.
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
    fn files(&self) -> MutexGuard<'_, Vec<Arc<Transfer>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file on the board.
    pub(super) fn start(self: &Arc<Self>, entry: &Entry) -> ActiveTransfer {
        let file = Arc::new(Transfer {
            entry: entry.clone(),
            part: Mutex::default(),
            chunks: Mutex::new(Chunks::new(entry.size, 0, Vec::new())),
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

    /// A chunk of the file that has most left, for one who has nothing to do.
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
        let part = file.handle()?;
        let (from, to) = file.chunks().claim_chunk(file.front())?;
        Some(ChunkClaim {
            part,
            file: Arc::clone(file),
            from,
            to,
            done_to: from,
        })
    }

    /// Until there may be more to claim, or some time has passed.
    pub(super) async fn wait_for_work(&self) {
        let _ = tokio::time::timeout(WAKE_INTERVAL, self.work_available.notified()).await;
    }

    fn backoff(&self) -> MutexGuard<'_, ChunkBackoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk came, at so many bytes a second: help is welcome. A rest that was asked for meanwhile goes on.
    pub(super) fn chunk_succeeded(&self, rate: Option<u64>) {
        let mut backoff = self.backoff();
        (backoff.failed, backoff.rate) = (0, rate);
    }

    /// A chunk came to nothing: nobody helps for as long as the hub asks, or for a while.
    pub(super) fn chunk_failed(&self, asked: Option<Duration>) {
        let mut backoff = self.backoff();
        let pause = CHUNK_PAUSE * 2_u32.saturating_pow(backoff.failed.min(8));
        let until = Instant::now() + asked.unwrap_or_default().max(pause.min(LONGEST_CHUNK_PAUSE));
        backoff.paused_until = backoff.paused_until.max(Some(until));
        backoff.failed += 1;
    }

    /// How many there are.
    pub(super) fn active_count(&self) -> usize {
        self.files().len()
    }

    /// How far each file is.
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

    /// The rate that half of the others exceed; while fewer than three are known, that of the last helper.
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
        self.part.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn front(&self) -> u64 {
        self.front.load(Ordering::Relaxed)
    }

    /// Its part is open and `at` bytes are there.
    pub(super) fn open_for_workers(
        &self,
        part: &PartialHandle,
        at: u64,
        recovered: Vec<RecoveredChunk>,
    ) -> u64 {
        *self.chunks() = Chunks::new(self.entry.size, at, recovered);
        self.set_front(at);
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = Some(part.clone());
        self.work_available.notify_waiters();
        self.chunks().done_bytes()
    }

    /// So many bytes are there.
    pub(super) fn set_front(&self, at: u64) {
        self.front.store(at, Ordering::Relaxed);
    }

    /// Bytes a second that its own worker brings, or brought last; `None` while that is not known.
    pub(super) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Whether its own worker has come to `from`, and waits for who fetches what follows.
    pub(super) fn has_reached(&self, from: u64) -> bool {
        self.front() >= from
    }

    /// Its own worker brings so many bytes a second.
    pub(super) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// A stream had to be opened again.
    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// What happens to it.
    pub(super) fn set_state(&self, state: FileState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn state(&self) -> FileState {
        let code = self.state.load(Ordering::Relaxed);
        let known = [FileState::Checking, FileState::Fetching, FileState::Waiting];
        let found = known.into_iter().find(|state| *state as u8 == code);
        found.unwrap_or(FileState::Proven)
    }

    /// Asks or changes who fetches what.
    pub(super) fn with_chunks<T>(&self, ask: impl FnOnce(&mut Chunks) -> T) -> T {
        ask(&mut self.chunks())
    }

    /// Until a helper is done with a chunk, or some time has passed.
    pub(super) async fn wait_for_claim(&self) {
        let _ = tokio::time::timeout(WAKE_INTERVAL, self.claim_finished.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::effects::hub::listing::Oid;

    /// F10: what one helper was told holds for all, also when another's chunk comes meanwhile.
    #[test]
    fn a_rest_that_was_asked_for_is_kept() {
        let transfers = Arc::new(Transfers::default());
        let entry = Entry {
            path: "x".to_owned(),
            size: 10 << 30,
            oid: Oid::Sha256("ab".repeat(32)),
            xet: None,
        };
        let active = transfers.start(&entry);
        active
            .file
            .open_for_workers(&PartialHandle::new(Path::new("x.part")), 0, Vec::new());
        assert!(transfers.claim_chunk().is_some());
        transfers.chunk_failed(Some(Duration::from_mins(1)));
        transfers.chunk_succeeded(Some(1_000_000));
        assert!(transfers.claim_chunk().is_none());
        assert_eq!(transfers.median_rate(), Some(1_000_000));
        // And a request to come back at once is no invitation to spin.
        let transfers = Transfers::default();
        transfers.chunk_failed(Some(Duration::ZERO));
        assert!(
            transfers
                .backoff()
                .paused_until
                .is_some_and(|until| until > Instant::now())
        );
    }
}
