//! The listener of a mirror, and its start and end.

use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, getrlimit};

use super::beneath::Root;
use super::catalog::Catalog;
use super::connection;
use super::connections::{ConnectionSlot, MirrorOptions, RETRY_PAUSE, Shared};
use crate::effects::blocking::blocking;
use crate::effects::host;
use crate::error::{At, Error, Kind, Result};
use crate::event::Event;
use crate::report::{MirroredSnapshot, MirroredState};

/// Largest number of connections: 64 nodes with 16 streams each.
const MAX_CONNECTIONS: u64 = 1024;
/// Number of descriptors needed: each connection has a socket, a file and a directory on the way to it; and
/// some spare.
const DESCRIPTORS: u64 = MAX_CONNECTIONS * 3 + 128;
/// Stack size of a connection's thread. The parser of an index needs most of it.
const STACK_BYTES: usize = 512 * 1024;
/// A running mirror; it ends when this is dropped.
pub struct Mirror {
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
}

impl Mirror {
    /// Returns the base URL, for `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.shared.endpoint.clone()
    }

    /// Returns the snapshots of the cache, and whether they are served. Checks the metadata of every file.
    ///
    /// # Errors
    /// [`Kind::Host`] if the cache cannot be read.
    pub async fn served(&self) -> Result<Vec<MirroredSnapshot>> {
        let shared = Arc::clone(&self.shared);
        let all = blocking(move || shared.catalog.all()).await?;
        for snapshot in &all {
            let MirroredSnapshot { repo, commit, .. } = snapshot;
            let (text, command) = match snapshot.state {
                MirroredState::Unproven => (format!("{repo} was not verified by dsr1"), "weights verify"),
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

    /// Ends the mirror and breaks its connections.
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

/// Starts a mirror of the hub cache `cache_dir`.
///
/// # Errors
/// [`Kind::Host`] if the cache cannot be read; [`Kind::Usage`] if no client can send the token.
pub fn mirror(listener: TcpListener, cache_dir: &str, options: MirrorOptions) -> Result<Mirror> {
    if let Some(token) = &options.token
        && (token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(Error::new(Kind::Usage, "no client can send the mirror's token")
            .cause("it is empty, or contains more than letters, digits and punctuation")
            .hint("openssl rand -hex 32 makes a token"));
    }
    let failed = || format!("cannot read `{cache_dir}`");
    let root = Root::new(Path::new(cache_dir)).at(Kind::Host, failed)?;
    let bound = listener
        .local_addr()
        .at(Kind::Host, || "cannot read the address of the mirror".to_owned())?;
    let listener = Arc::new(listener);
    let shared = Arc::new(Shared {
        catalog: Catalog::new(root),
        endpoint: format!("http://{bound}"),
        options,
        connections: Mutex::default(),
        bell: Condvar::new(),
        most: max_connections(),
    });
    if shared.options.token.is_none() && !bound.ip().to_canonical().is_loopback() {
        shared.report(&Event::Warning {
            text: format!("whoever reaches {bound} can read every model in {cache_dir}"),
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

/// Returns the number of connections for which the process has descriptors, after raising its limit.
fn max_connections() -> usize {
    host::raise_file_limit();
    let have = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS);
    usize::try_from((have.saturating_sub(128) / 3).clamp(8, MAX_CONNECTIONS)).unwrap_or(8)
}

/// Accepts connections until the mirror ends. Without room, new clients wait in the kernel.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        // Waits for a client before making room for it.
        let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], None);
        if !shared.has_room() {
            return;
        }
        let Ok((stream, client)) = listener.accept() else {
            // The client left, or there are no descriptors. One becomes free when a connection ends.
            let connections = shared.lock();
            if connections.stopped {
                return;
            }
            drop(shared.bell.wait_timeout(connections, RETRY_PAUSE));
            continue;
        };
        let stream = Arc::new(stream);
        let Some(number) = shared.add(&stream) else {
            return;
        };
        let place = ConnectionSlot {
            shared: Arc::clone(shared),
            number,
        };
        // If no thread can be started, the connection and its slot are dropped with the closure.
        let _ = std::thread::Builder::new()
            .name("mirror client".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || connection::serve(&place.shared, place.number, &stream, client));
    }
}
