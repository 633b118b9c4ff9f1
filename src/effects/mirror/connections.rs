//! The open connections of a mirror, the state that their threads share, and room for new ones.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use crate::event::{Event, Reporter};
use crate::secret::Secret;

/// Pause after the system ran out of threads or descriptors.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Time without a complete request after which a client must make room for another.
const SILENT_CLIENT: Duration = Duration::from_secs(1);
/// Duration of an answer after which its reader may be disconnected, if there is no room and it reads less than
/// [`LEAST_RATE`] bytes a second. The slowest reader is disconnected first. It can resume, as after any other broken
/// connection.
const LONG_ANSWER: Duration = Duration::from_secs(30);
/// Rate in bytes a second below which a reader is slow.
const LEAST_RATE: u64 = 256 << 10;

/// Options of a mirror.
#[derive(Clone, Default)]
pub struct MirrorOptions {
    /// The token that every request must carry.
    pub token: Option<Secret>,
    /// Receives every request, and warnings about corrupt snapshots.
    pub reporter: Option<Arc<dyn Reporter>>,
    /// Timeouts.
    pub limits: Limits,
}

/// Timeouts of a mirror.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest time for the head of a request, from its first byte.
    pub head: Duration,
    /// Longest wait for the next request.
    pub idle: Duration,
    /// Longest time in which a client accepts no byte.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            stall: Duration::from_mins(1),
        }
    }
}

/// State that all threads share.
pub(super) struct Shared {
    pub(super) catalog: Catalog,
    pub(super) endpoint: String,
    pub(super) options: MirrorOptions,
    pub(super) connections: Mutex<Connections>,
    /// Notified when a connection or the mirror ends.
    pub(super) bell: Condvar,
    pub(super) most: usize,
}

/// The open connections.
#[derive(Default)]
pub(super) struct Connections {
    pub(super) stopped: bool,
    count: u64,
    pub(super) open: HashMap<u64, Connection>,
}

pub(super) struct Connection {
    pub(super) stream: Arc<TcpStream>,
    /// Start of the wait for a request; `None` while a request is answered.
    idle: Option<Instant>,
    /// Start of the current answer.
    answered: Instant,
    /// Number of bytes sent of the current answer.
    sent: Arc<AtomicU64>,
}

impl Connection {
    /// Returns the rate of an answer that takes long, in bytes a second; `None` if the delay may be our own
    /// disk's.
    pub(super) fn rate(&self) -> Option<u64> {
        let (seconds, sent) = (
            self.answered.elapsed().as_secs(),
            self.sent.load(Ordering::Relaxed),
        );
        let is_long = self.idle.is_none() && seconds >= LONG_ANSWER.as_secs() && sent > 0;
        is_long.then(|| sent / seconds)
    }
}

/// A connection's entry among the open ones. It is removed when the thread ends for any reason.
pub(super) struct ConnectionSlot {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.number);
        self.shared.bell.notify_all();
    }
}

impl Shared {
    /// Locks the connections. Every change under the lock is a single call, so that a panic leaves nothing half
    /// done.
    pub(super) fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room; returns `false` if the mirror ended. The client that has been silent for
    /// longest must make room.
    pub(super) fn has_room(&self) -> bool {
        let mut connections = self.lock();
        while !connections.stopped && connections.open.len() >= self.most {
            let silent = connections
                .open
                .values_mut()
                .filter(|connection| {
                    connection
                        .idle
                        .is_some_and(|since| since.elapsed() >= SILENT_CLIENT)
                })
                .min_by_key(|connection| connection.idle);
            if let Some(silent) = silent {
                silent.idle = None;
                silent.answered = Instant::now();
                let _ = silent.stream.shutdown(Shutdown::Both);
            } else {
                let slow = connections
                    .open
                    .values()
                    .filter_map(|one| Some((one.rate()?, one)));
                let slowest = slow
                    .min_by_key(|(rate, _)| *rate)
                    .filter(|(rate, _)| *rate < LEAST_RATE);
                if let Some((_, slowest)) = slowest {
                    let _ = slowest.stream.shutdown(Shutdown::Both);
                }
            }
            connections = self
                .bell
                .wait_timeout(connections, RETRY_PAUSE)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
        !connections.stopped
    }

    /// Adds a connection; returns `None` if the mirror ended.
    pub(super) fn add(&self, stream: &Arc<TcpStream>) -> Option<u64> {
        let mut connections = self.lock();
        if connections.stopped {
            return None;
        }
        connections.count += 1;
        let number = connections.count;
        connections.open.insert(
            number,
            Connection {
                stream: Arc::clone(stream),
                idle: Some(Instant::now()),
                answered: Instant::now(),
                sent: Arc::default(),
            },
        );
        Some(number)
    }

    /// Sets whether a connection waits for a request.
    pub(super) fn set_idle(&self, number: u64, waits: bool) {
        if let Some(connection) = self.lock().open.get_mut(&number) {
            connection.idle = waits.then(Instant::now);
            connection.answered = Instant::now();
        }
    }

    /// Returns the counter of bytes sent on a connection.
    pub(super) fn sent_counter(&self, number: u64) -> Arc<AtomicU64> {
        let connections = self.lock();
        let connection = connections.open.get(&number);
        connection
            .map(|connection| Arc::clone(&connection.sent))
            .unwrap_or_default()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    pub(super) fn report(&self, event: &Event) {
        if let Some(reporter) = &self.options.reporter {
            reporter.event(event);
        }
    }

    pub(super) fn warn_corrupt(&self, what: &str, why: &str) {
        self.report(&Event::Warning {
            text: format!("{what} is not served any more: {why}"),
            hint: "dsr1 weights verify finds corrupt files, and --repair fetches them again".to_owned(),
        });
    }
}
