//! The listener of an exposed server, its connections, and the end after the running requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::keys::KeyFile;
use super::request::{Gate, answer};
use super::tls::TlsFiles;
use crate::access::Routes;
use crate::effects::host;
use crate::effects::http::Http;
use crate::error::{At, Kind, Result};
use crate::event::{Event, Reporter};
use crate::report::ExposedRequest;

/// Most connections; each needs a descriptor to the client and one to the engine.
const MOST_CONNECTIONS: u64 = 16_384;
/// Descriptors for everything else.
const SPARE: u64 = 64;
/// Longest time for the head of a request, and longest wait for the next one.
const HEAD: Duration = Duration::from_secs(75);
/// Longest time for the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time between two warnings about connections that are all in use.
const WARNED: Duration = Duration::from_mins(1);
/// Pause after the system ran out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for the last bytes of answers that have ended.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// Time between two looks at the requests that still run.
const TICK: Duration = Duration::from_millis(50);

/// Settings of an exposed server.
pub struct ExposeOptions {
    /// `http://127.0.0.1:PORT` of its engine.
    pub upstream: String,
    /// The keys.
    pub keys: KeyFile,
    /// The paths.
    pub routes: Routes,
    /// Most requests at a time; `None` for no limit.
    pub most_requests: Option<usize>,
    /// Certificate and key; `None` for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// True while the server takes requests, as far as dsr1 knows; its owner keeps it up to date.
    pub is_serving: Arc<AtomicBool>,
    /// Receives each request when its answer has ended. It must not block.
    pub on_request: Box<dyn Fn(&ExposedRequest) + Send + Sync>,
    /// Receives warnings.
    pub reporter: Arc<dyn Reporter>,
}

/// An exposed server that listens. When it is dropped, it takes no further connection, and running requests may finish.
pub struct Exposed {
    gate: Arc<Gate>,
    address: SocketAddr,
    end: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    connections: Arc<AtomicUsize>,
}

impl Exposed {
    /// Begins to take requests.
    ///
    /// # Errors
    /// [`Kind::Host`] when the listener cannot be used.
    pub fn begin(listener: std::net::TcpListener, http: &Http, options: ExposeOptions) -> Result<Self> {
        let failed = || "cannot listen".to_owned();
        listener.set_nonblocking(true).at(Kind::Host, failed)?;
        let address = listener.local_addr().at(Kind::Host, failed)?;
        let listener = TcpListener::from_std(listener).at(Kind::Host, failed)?;
        let gate = Arc::new(Gate {
            http: http.with_own_connections(),
            upstream: options.upstream,
            keys: options.keys,
            routes: options.routes,
            most: options.most_requests,
            running: AtomicUsize::new(0),
            health: Mutex::new(None),
            is_serving: options.is_serving,
            on_request: options.on_request,
            reporter: options.reporter,
        });
        let (end, ended) = watch::channel(false);
        let connections = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(accept(Accepting {
            listener,
            gate: Arc::clone(&gate),
            tls: options.tls,
            ended,
            connections: Arc::clone(&connections),
        }));
        Ok(Self {
            gate,
            address,
            end,
            accepting,
            connections,
        })
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of requests that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.gate.running.load(Ordering::Acquire)
    }

    /// Takes no further connection, and waits for the running requests for `limit` at most; returns how many are cut.
    pub async fn drain(&self, limit: Duration) -> usize {
        let _ = self.end.send(true);
        let begun = Instant::now();
        while begun.elapsed() < limit && self.running() > 0 {
            tokio::time::sleep(TICK).await;
        }
        let cut = self.running();
        // The last bytes of an answer are sent after it has ended; a client that only connected is not waited for.
        let begun = Instant::now();
        while cut == 0 && begun.elapsed() < LAST_BYTES && self.connections.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(TICK).await;
        }
        cut
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Accepting {
    listener: TcpListener,
    gate: Arc<Gate>,
    tls: Option<TlsFiles>,
    ended: watch::Receiver<bool>,
    connections: Arc<AtomicUsize>,
}

/// A connection that is counted.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes connections until the end.
async fn accept(mut this: Accepting) {
    let most = most_connections();
    let room = Arc::new(Semaphore::new(most));
    let mut warned: Option<Instant> = None;
    loop {
        if room.available_permits() == 0 && warned.is_none_or(|at| at.elapsed() > WARNED) {
            warned = Some(Instant::now());
            this.gate.reporter.event(&Event::Warning {
                text: format!("all {most} connections are in use, and further clients wait"),
                hint:
                    "a larger limit of open files (ulimit -Hn) allows more; a firewall can limit each client"
                        .to_owned(),
            });
        }
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let taken = tokio::select! {
            taken = this.listener.accept() => taken,
            _ = this.ended.changed() => return,
        };
        let Ok((stream, peer)) = taken else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // The pieces of an answer are small, and each is awaited.
        let _ = stream.set_nodelay(true);
        this.connections.fetch_add(1, Ordering::AcqRel);
        let open = Open(Arc::clone(&this.connections));
        let (gate, tls, ended) = (Arc::clone(&this.gate), this.tls.clone(), this.ended.clone());
        tokio::spawn(async move {
            let _held = (place, open);
            encrypt(gate, stream, peer, tls, ended).await;
        });
    }
}

/// Makes a connection secure if there is a certificate, and answers its requests.
async fn encrypt(
    gate: Arc<Gate>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsFiles>,
    ended: watch::Receiver<bool>,
) {
    match tls {
        None => answer_all(gate, stream, peer, ended).await,
        Some(tls) => {
            let shaken = tokio::time::timeout(HANDSHAKE, tls.acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = shaken {
                answer_all(gate, stream, peer, ended).await;
            }
        }
    }
}

/// Answers the requests of a connection, one after the other; after the end only the one that runs.
async fn answer_all(
    gate: Arc<Gate>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let gate = Arc::clone(&gate);
        async move { Ok::<_, Infallible>(answer(gate, request, peer.ip().to_canonical()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that leaves, or sends no HTTP, ends its connection.
        _ = connection.as_mut() => return,
        _ = ended.wait_for(|ended| *ended) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Returns the number of connections that the limit of descriptors allows, which is raised as far as it may be.
fn most_connections() -> usize {
    host::raise_file_limit();
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = (allowed.saturating_sub(SPARE) / 2).clamp(1, MOST_CONNECTIONS);
    usize::try_from(most).unwrap_or(usize::MAX)
}
