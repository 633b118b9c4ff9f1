//! The open connections of a mirror, what their threads share, and room for more.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use crate::event::{Event, Reporter};
use crate::secret::Secret;

/// Wait when the system has no more threads or descriptors.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A client that sent no whole request for so long makes room for another. One that just came has not sent its yet.
const SILENT_CLIENT: Duration = Duration::from_secs(1);
/// Where there is no room, the slowest reader makes some: one whose answer has taken so long, at less than this many bytes a
/// second. It goes on where it was, as after any other broken connection.
const LONG_ANSWER: Duration = Duration::from_secs(30);
const LEAST_RATE: u64 = 256 << 10;

/// How a mirror behaves.
#[derive(Clone, Default)]
pub struct MirrorOptions {
    /// What every request must carry.
    pub token: Option<Secret>,
    /// Told of every request, and of snapshots that turn out not to be whole.
    pub reporter: Option<Arc<dyn Reporter>>,
    /// How long it waits.
    pub limits: Limits,
}

/// How long a mirror waits for its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the whole head of a request, from its first byte.
    pub head: Duration,
    /// For the next request.
    pub idle: Duration,
    /// For a client to take anything at all.
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

/// What its threads share.
pub(super) struct Shared {
    pub(super) catalog: Catalog,
    pub(super) endpoint: String,
    pub(super) options: MirrorOptions,
    pub(super) connections: Mutex<Connections>,
    /// Rung when a connection ends, and when the mirror does.
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
    /// Since when it waits for a request.
    idle: Option<Instant>,
    /// Since when it is answered, else.
    answered: Instant,
    /// Bytes of the answer that went out.
    sent: Arc<AtomicU64>,
}

impl Connection {
    /// Bytes a second of an answer that takes long to be read; `None` while it is our disk that takes long.
    pub(super) fn rate(&self) -> Option<u64> {
        let (seconds, sent) = (
            self.answered.elapsed().as_secs(),
            self.sent.load(Ordering::Relaxed),
        );
        let is_long = self.idle.is_none() && seconds >= LONG_ANSWER.as_secs() && sent > 0;
        is_long.then(|| sent / seconds)
    }
}

/// A connection's place among the open ones, given back however its thread ends.
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
    /// Every change under the lock is one call: a thread that panicked leaves nothing half done.
    pub(super) fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; false when the mirror ended. The client that has asked nothing for longest makes room.
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

    /// Takes a connection in; `None` when the mirror ended.
    pub(super) fn enter(&self, stream: &Arc<TcpStream>) -> Option<u64> {
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

    /// Says whether a connection waits for a request.
    pub(super) fn idle(&self, number: u64, waits: bool) {
        if let Some(connection) = self.lock().open.get_mut(&number) {
            connection.idle = waits.then(Instant::now);
            connection.answered = Instant::now();
        }
    }

    /// Where it is counted what a connection's answer brought.
    pub(super) fn meter(&self, number: u64) -> Arc<AtomicU64> {
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
            hint: "dsr1 weights verify finds what is wrong, and --repair makes it right".to_owned(),
        });
    }
}
