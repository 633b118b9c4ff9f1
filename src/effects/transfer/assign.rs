//! The files that are being fetched: how far each is, who helps, how fast they come.
//!
//! Not in this module: fetching (`fetch`, `help`), how it is shown (`ui`).

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::chunks::{Ahead, Recovered};
use super::partial::durable::PartFile;
use crate::effects::hub::listing::Entry;
use crate::event::FileState;

/// How long one waits for news before one looks for oneself: a note that came a moment too early is lost.
const LOOK: Duration = Duration::from_secs(1);

/// Pause of all helpers after a chunk that failed; doubled with each that fails after it. Whether the file can be had at
/// all is its own worker's to find out.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest of these pauses, unless the hub asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The files that are being fetched.
#[derive(Default)]
pub(in crate::effects) struct Board {
    files: Mutex<Vec<Arc<UnderWay>>>,
    /// Told when there is more to claim than before.
    news: Arc<Notify>,
    help: Mutex<Help>,
}

/// How help went: a hub that refuses one helper refuses all, and a file's own worker asks it anyway.
#[derive(Default)]
struct Help {
    /// Until then nobody helps.
    rests_until: Option<Instant>,
    /// Chunks in a row that came to nothing.
    failed: u32,
    /// Bytes a second of the last chunk that came.
    rate: Option<u64>,
}

/// One of them.
pub(super) struct UnderWay {
    pub(super) entry: Entry,
    /// The part, once it is open.
    part: Mutex<Option<PartFile>>,
    ahead: Mutex<Ahead>,
    settled: Notify,
    news: Arc<Notify>,
    front: AtomicU64,
    retries: AtomicU32,
    state: AtomicU8,
    /// Bytes a second of its own worker, 0 while that is not known.
    rate: AtomicU64,
}

/// How far a file is.
pub(super) struct Standing {
    pub(super) path: String,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) state: FileState,
    pub(super) retries: u32,
}

/// Takes a file off the board when its worker is done with it, well or not.
pub(super) struct Entered {
    board: Arc<Board>,
    pub(super) file: Arc<UnderWay>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.file.ahead().close();
        self.board.files().retain(|file| !Arc::ptr_eq(file, &self.file));
    }
}

/// A chunk that a helper claimed. What did not come of it before it is dropped is free again.
pub(super) struct Claim {
    pub(super) file: Arc<UnderWay>,
    pub(super) part: PartFile,
    pub(super) from: u64,
    pub(super) to: u64,
    came_to: u64,
}

impl Claim {
    /// It came up to this place.
    pub(super) fn came(mut self, to: u64) {
        self.came_to = to;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.file.ahead().settle(self.from, self.came_to);
        self.file.settled.notify_one();
    }
}

impl Board {
    fn files(&self) -> MutexGuard<'_, Vec<Arc<UnderWay>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file on the board.
    pub(super) fn enter(self: &Arc<Self>, entry: &Entry) -> Entered {
        let file = Arc::new(UnderWay {
            entry: entry.clone(),
            part: Mutex::default(),
            ahead: Mutex::new(Ahead::new(entry.size, 0, Vec::new())),
            settled: Notify::new(),
            news: Arc::clone(&self.news),
            front: AtomicU64::new(0),
            retries: AtomicU32::new(0),
            state: AtomicU8::new(FileState::Checking as u8),
            rate: AtomicU64::new(0),
        });
        self.files().push(Arc::clone(&file));
        Entered {
            board: Arc::clone(self),
            file,
        }
    }

    /// A chunk of the file that has most left, for one who has nothing to do.
    pub(super) fn claim(&self) -> Option<Claim> {
        if self
            .help_so_far()
            .rests_until
            .is_some_and(|until| Instant::now() < until)
        {
            return None;
        }
        let files = self.files();
        let open = files.iter().filter(|file| file.part().is_some());
        let file = open.max_by_key(|file| file.ahead().spare(file.front()))?;
        let part = file.part()?;
        let (from, to) = file.ahead().claim(file.front())?;
        Some(Claim {
            part,
            file: Arc::clone(file),
            from,
            to,
            came_to: from,
        })
    }

    /// Until there may be more to claim, or some time has passed.
    pub(super) async fn news(&self) {
        let _ = tokio::time::timeout(LOOK, self.news.notified()).await;
    }

    fn help_so_far(&self) -> MutexGuard<'_, Help> {
        self.help.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk came, at so many bytes a second: help is welcome. A rest that was asked for meanwhile goes on.
    pub(super) fn helped(&self, rate: Option<u64>) {
        let mut help = self.help_so_far();
        (help.failed, help.rate) = (0, rate);
    }

    /// A chunk came to nothing: nobody helps for as long as the hub asks, or for a while.
    pub(super) fn refused(&self, asked: Option<Duration>) {
        let mut help = self.help_so_far();
        let pause = PAUSE * 2_u32.saturating_pow(help.failed.min(8));
        let until = Instant::now() + asked.unwrap_or_default().max(pause.min(LONGEST_PAUSE));
        help.rests_until = help.rests_until.max(Some(until));
        help.failed += 1;
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.files().len()
    }

    /// How far each file is.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let standing = |file: &Arc<UnderWay>| Standing {
            path: file.entry.path.clone(),
            done: file.front() + file.ahead().done(),
            total: file.entry.size,
            state: file.state(),
            retries: file.retries.load(Ordering::Relaxed),
        };
        self.files().iter().map(standing).collect()
    }

    /// The rate that half of the others exceed; while fewer than three are known, that of the last helper.
    pub(super) fn usual_rate(&self) -> Option<u64> {
        let rates = self.files();
        let rates = rates.iter().map(|file| file.rate.load(Ordering::Relaxed));
        let mut rates: Vec<u64> = rates.filter(|rate| *rate > 0).collect();
        rates.sort_unstable();
        if rates.len() >= 3 {
            return Some(rates[rates.len() / 2]);
        }
        self.help_so_far().rate
    }
}

impl UnderWay {
    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self) -> Option<PartFile> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn front(&self) -> u64 {
        self.front.load(Ordering::Relaxed)
    }

    /// Its part is open and `at` bytes are there.
    pub(super) fn opened(&self, part: &PartFile, at: u64, recovered: Vec<Recovered>) -> u64 {
        *self.ahead() = Ahead::new(self.entry.size, at, recovered);
        self.reached(at);
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = Some(part.clone());
        self.news.notify_waiters();
        self.ahead().done()
    }

    /// So many bytes are there.
    pub(super) fn reached(&self, at: u64) {
        self.front.store(at, Ordering::Relaxed);
    }

    /// Bytes a second that its own worker brings, or brought last; `None` while that is not known.
    pub(super) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Whether its own worker has come to `from`, and waits for who fetches what follows.
    pub(super) fn is_at(&self, from: u64) -> bool {
        self.front() >= from
    }

    /// Its own worker brings so many bytes a second.
    pub(super) fn comes_at(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// A stream had to be opened again.
    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// What happens to it.
    pub(super) fn set(&self, state: FileState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn state(&self) -> FileState {
        let code = self.state.load(Ordering::Relaxed);
        let known = [FileState::Checking, FileState::Fetching, FileState::Waiting];
        let found = known.into_iter().find(|state| *state as u8 == code);
        found.unwrap_or(FileState::Proven)
    }

    /// Asks or changes who fetches what.
    pub(super) fn with<T>(&self, ask: impl FnOnce(&mut Ahead) -> T) -> T {
        ask(&mut self.ahead())
    }

    /// Until a helper is done with a chunk, or some time has passed.
    pub(super) async fn settled(&self) {
        let _ = tokio::time::timeout(LOOK, self.settled.notified()).await;
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
        let board = Arc::new(Board::default());
        let entry = Entry {
            path: "x".to_owned(),
            size: 10 << 30,
            oid: Oid::Sha256("ab".repeat(32)),
            xet: None,
        };
        let entered = board.enter(&entry);
        entered
            .file
            .opened(&PartFile::new(Path::new("x.part")), 0, Vec::new());
        assert!(board.claim().is_some());
        board.refused(Some(Duration::from_mins(1)));
        board.helped(Some(1_000_000));
        assert!(board.claim().is_none());
        assert_eq!(board.usual_rate(), Some(1_000_000));
        // And a request to come back at once is no invitation to spin.
        let board = Board::default();
        board.refused(Some(Duration::ZERO));
        assert!(
            board
                .help_so_far()
                .rests_until
                .is_some_and(|until| until > Instant::now())
        );
    }
}
