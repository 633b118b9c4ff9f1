//! The local cache as a hub: read-only, to one machine or a LAN, at the speed of the line.
//!
//! Serves what a hub client asks for (revision, tree, resolve with ranges), and only snapshots that are whole. One
//! thread per connection, because what it does is one system call: from the page cache to the socket.
//!
//! | file | subject |
//! |---|---|
//! | `head` | a request's head, hostile until parsed |
//! | `path` | URLs of the protocol |
//! | `condition` | ranges, and whether a file is wanted at all |
//! | `beneath` | files below the cache's root and no others |
//! | `snapshot` | the files of a commit, and whether they are what they are said to be |
//! | `catalog` | snapshots kept in memory |
//! | `card` | the licence that a model card names |
//! | `answer` | the hub's answers |
//! | `send` | an answer on its way |
//! | `connection` | requests of one client, one after the other |
//!
//! Not in this module: TLS; it listens on loopback unless told otherwise.

mod answer;
mod beneath;
mod card;
mod catalog;
mod condition;
mod connection;
mod head;
mod path;
mod send;
mod snapshot;

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, getrlimit};

use crate::effects::blocking::blocking;
use crate::effects::host;
use crate::error::{At, Error, Kind, Result};
use crate::event::{Event, Reporter};
use crate::plan::ServeMirror;
use crate::report::{MirroredSnapshot, MirroredState};
use crate::secret::Secret;

use beneath::Root;
use catalog::Catalog;

/// Most connections at once: 64 nodes with 16 streams each.
const CONNECTIONS: u64 = 1024;
/// Descriptors wanted: for each connection a socket, a file and a directory on the way to it, and room.
const DESCRIPTORS: u64 = CONNECTIONS * 3 + 128;
/// Stack of a connection's thread; the deepest is the parser of an index.
const STACK: usize = 512 * 1024;
/// Wait when the system has no more threads or descriptors.
const PAUSE: Duration = Duration::from_millis(100);

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

/// A mirror that listens; it ends when this is dropped.
pub struct Mirror {
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
}

/// What its threads share.
struct Shared {
    catalog: Catalog,
    endpoint: String,
    options: MirrorOptions,
    connections: Mutex<Connections>,
    /// Rung when a connection ends, and when the mirror does.
    bell: Condvar,
    most: usize,
}

/// The open connections.
#[derive(Default)]
struct Connections {
    stopped: bool,
    count: u64,
    open: HashMap<u64, Connection>,
}

struct Connection {
    stream: Arc<TcpStream>,
    /// Since when it waits for a request.
    idle: Option<Instant>,
    /// Since when it is answered, else.
    answered: Instant,
    /// Bytes of the answer that went out.
    sent: Arc<AtomicU64>,
}

impl Connection {
    /// Bytes a second of an answer that takes long to be read; `None` while it is our disk that takes long.
    fn rate(&self) -> Option<u64> {
        let (seconds, sent) = (
            self.answered.elapsed().as_secs(),
            self.sent.load(Ordering::Relaxed),
        );
        let is_long = self.idle.is_none() && seconds >= LONG.as_secs() && sent > 0;
        is_long.then(|| sent / seconds)
    }
}

impl Mirror {
    /// Its base URL, for `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.shared.endpoint.clone()
    }

    /// What it serves, and what it does not. Looks at every file of the cache.
    ///
    /// # Errors
    /// [`Kind::Host`] when the cache cannot be read.
    pub async fn served(&self) -> Result<Vec<MirroredSnapshot>> {
        let shared = Arc::clone(&self.shared);
        let all = blocking(move || shared.catalog.all()).await?;
        for snapshot in &all {
            let MirroredSnapshot { repo, commit, .. } = snapshot;
            let (text, command) = match snapshot.state {
                MirroredState::Unproven => (format!("{repo} was not proven by dsr1"), "weights verify"),
                MirroredState::Unlisted => (format!("{repo} may not be all of its commit"), "pull"),
                MirroredState::Proven | MirroredState::NotServed { .. } => continue,
            };
            let revision = if snapshot.revisions.iter().any(|name| name == "main") {
                String::new()
            } else {
                format!(" --revision {commit}")
            };
            self.shared.report(&Event::Warning {
                text,
                hint: format!("dsr1 {command} {repo}{revision}"),
            });
        }
        Ok(all)
    }

    /// Ends it; open connections break.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let mut connections = self.shared.lock();
        connections.stopped = true;
        for connection in connections.open.values() {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        drop(connections);
        self.shared.bell.notify_all();
        // Frees the port and ends the wait in `accept`.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// Starts a mirror.
///
/// # Errors
/// [`Kind::Host`] when the address cannot be listened on or the cache cannot be read; [`Kind::Usage`] when the
/// address is none.
pub fn mirror(step: &ServeMirror, options: MirrorOptions) -> Result<Mirror> {
    let address: SocketAddr = step.listen.parse().map_err(|_| {
        Error::new(
            Kind::Usage,
            format!("`{}` is not an address", step.listen.escape_debug()),
        )
        .hint("write it as 127.0.0.1:8490 or [::1]:8490")
    })?;
    if let Some(token) = &options.token
        && (token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(Error::new(Kind::Usage, "no client can send the mirror's token")
            .cause("it is empty, or holds more than letters, digits and marks")
            .hint("openssl rand -hex 32 makes one"));
    }
    let root = Root::new(Path::new(&step.cache_dir))
        .at(Kind::Host, || format!("cannot read `{}`", step.cache_dir))?;
    let listener = TcpListener::bind(address).map_err(|error| {
        Error::new(Kind::Host, format!("cannot listen on {address}"))
            .cause(error.to_string())
            .hint("choose another with --listen")
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    let listener = Arc::new(listener);
    let shared = Arc::new(Shared {
        catalog: Catalog::new(root),
        endpoint: format!("http://{bound}"),
        options,
        connections: Mutex::default(),
        bell: Condvar::new(),
        most: room(),
    });
    if shared.options.token.is_none() && !bound.ip().to_canonical().is_loopback() {
        shared.report(&Event::Warning {
            text: format!(
                "whoever reaches {bound} can read every model in {}",
                step.cache_dir
            ),
            hint: "--token-file FILE lets in only clients whose HF_TOKEN is the same".to_owned(),
        });
    }
    let accepting = (Arc::clone(&listener), Arc::clone(&shared));
    std::thread::Builder::new()
        .name("mirror".to_owned())
        .spawn(move || accept(&accepting.0, &accepting.1))
        .at(Kind::Host, || "cannot start a thread".to_owned())?;
    Ok(Mirror { listener, shared })
}

/// A client that sent no whole request for so long makes room for another. One that just came has not sent its yet.
const SILENT: Duration = Duration::from_secs(1);

/// Where there is no room, the slowest reader makes some: one whose answer has taken so long, at less than this many bytes a
/// second. It goes on where it was, as after any other broken connection.
const LONG: Duration = Duration::from_secs(30);
const LEAST: u64 = 256 << 10;

/// How many connections the process may have descriptors for, after it asked for enough.
fn room() -> usize {
    host::raise_file_limit();
    let have = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS);
    usize::try_from((have.saturating_sub(128) / 3).clamp(8, CONNECTIONS)).unwrap_or(8)
}

/// Accepts until the mirror ends; more than there is room for wait in the kernel.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        // Nobody makes room before somebody comes.
        let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], None);
        if !shared.has_room() {
            return;
        }
        let Ok((stream, client)) = listener.accept() else {
            // The client went away, or there are no descriptors: one comes free when a connection ends.
            let connections = shared.lock();
            if connections.stopped {
                return;
            }
            drop(shared.bell.wait_timeout(connections, PAUSE));
            continue;
        };
        let stream = Arc::new(stream);
        let Some(number) = shared.enter(&stream) else {
            return;
        };
        let place = Place {
            shared: Arc::clone(shared),
            number,
        };
        // When there is no thread, the connection and its place are dropped with the closure.
        let _ = std::thread::Builder::new()
            .name("mirror client".to_owned())
            .stack_size(STACK)
            .spawn(move || connection::serve(&place.shared, place.number, &stream, client));
    }
}

/// A connection's place among the open ones, given back however its thread ends.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.number);
        self.shared.bell.notify_all();
    }
}

impl Shared {
    /// Every change under the lock is one call: a thread that panicked leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; false when the mirror ended. The client that has asked nothing for longest makes room.
    fn has_room(&self) -> bool {
        let mut connections = self.lock();
        while !connections.stopped && connections.open.len() >= self.most {
            let silent = connections
                .open
                .values_mut()
                .filter(|connection| connection.idle.is_some_and(|since| since.elapsed() >= SILENT))
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
                    .filter(|(rate, _)| *rate < LEAST);
                if let Some((_, slowest)) = slowest {
                    let _ = slowest.stream.shutdown(Shutdown::Both);
                }
            }
            connections = self
                .bell
                .wait_timeout(connections, PAUSE)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
        !connections.stopped
    }

    /// Takes a connection in; `None` when the mirror ended.
    fn enter(&self, stream: &Arc<TcpStream>) -> Option<u64> {
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
    fn idle(&self, number: u64, waits: bool) {
        if let Some(connection) = self.lock().open.get_mut(&number) {
            connection.idle = waits.then(Instant::now);
            connection.answered = Instant::now();
        }
    }

    /// Where it is counted what a connection's answer brought.
    fn meter(&self, number: u64) -> Arc<AtomicU64> {
        let connections = self.lock();
        let connection = connections.open.get(&number);
        connection
            .map(|connection| Arc::clone(&connection.sent))
            .unwrap_or_default()
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn report(&self, event: &Event) {
        if let Some(reporter) = &self.options.reporter {
            reporter.event(event);
        }
    }

    fn warn_spoilt(&self, what: &str, why: &str) {
        self.report(&Event::Warning {
            text: format!("{what} is not served any more: {why}"),
            hint: "dsr1 weights verify finds what is wrong, and --repair makes it right".to_owned(),
        });
    }
}
