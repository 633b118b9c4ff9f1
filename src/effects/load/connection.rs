//! A connection to a server that never blocks, plain or within TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::socket::{Socket, room_for_stamp};
use super::tls::{Session, TlsServer};

/// Longest wait for a connection that is opened before the run, and for the handshake of TLS.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// Bytes that are read at once. A chunk of a stream has some hundred.
const BUFFER: usize = 64 << 10;
/// Connections that are opened at once before a run: fewer than the queue of any server (`listen(2)`) has room for.
const AT_ONCE: u32 = 16;

/// The way to a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'a> {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Its name in messages.
    pub(super) host: &'a str,
    /// The settings of TLS; `None` without.
    pub(super) tls: Option<&'a TlsServer>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    session: Option<Session>,
}

/// Room for what is read, shared by all connections of a thread.
#[derive(Debug)]
pub(super) struct Room {
    buffer: Vec<u8>,
    control: Vec<u8>,
    /// The decrypted bytes of a connection within TLS.
    plain: Vec<u8>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER],
            control: room_for_stamp(),
            plain: Vec::new(),
        }
    }
}

/// Data that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received<'a> {
    /// Its bytes. Within TLS there may be none: a part of a record, or a message of TLS itself.
    pub(super) data: &'a [u8],
    /// The time of day at which the kernel received the last of them, before any decryption, since the Unix epoch, if it says so.
    pub(super) stamp: Option<Duration>,
    /// The end of the connection behind them.
    pub(super) end: Option<Closing>,
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// The server has closed it, and said so within TLS.
    Closed,
    /// TLS ended without `close_notify`: what came before may be cut off (RFC 8446, 6.1).
    CutOff,
}

impl Connection {
    /// Opens a connection and waits for it, and for the handshake of TLS, for at most [`CONNECT`]. [`io::ErrorKind::Interrupted`] when
    /// `is_stopped` says so before.
    pub(super) fn open(route: Route<'_>, is_stopped: &dyn Fn() -> bool) -> io::Result<Self> {
        let mut session = route.tls.map(Session::begin).transpose()?;
        let socket = Socket::connect(
            route.address,
            CONNECT,
            is_stopped,
            &mut |stream| match &mut session {
                Some(session) => session.finish_handshake(stream),
                None => Ok(()),
            },
        )?;
        Ok(Self { socket, session })
    }

    /// Opens so many connections and waits for them, some at a time: each needs several ways to the server and back. Ends early with
    /// fewer when `is_stopped` says so.
    pub(super) fn open_all(
        route: Route<'_>,
        count: u32,
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> io::Result<Vec<Self>> {
        let left = AtomicU32::new(count);
        let open_some = || {
            let mut opened = Vec::new();
            let take = |left: u32| left.checked_sub(1);
            while !is_stopped() && left.fetch_update(Relaxed, Relaxed, take).is_ok() {
                match Self::open(route, &is_stopped) {
                    Ok(connection) => opened.push(connection),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                    Err(error) => {
                        // The others need not go on.
                        left.store(0, Relaxed);
                        return Err(error);
                    }
                }
            }
            Ok(opened)
        };
        let parts: Vec<io::Result<Vec<Self>>> = std::thread::scope(|scope| {
            let begin = |_| std::thread::Builder::new().spawn_scoped(scope, open_some);
            // A host that has no further thread needs more time: this thread opens connections, too.
            let threads: Vec<_> = (1..AT_ONCE.min(count))
                .map_while(|number| begin(number).ok())
                .collect();
            let own = open_some();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|part| part.unwrap_or_else(|_| Err(io::Error::other("a thread failed"))))
                .chain([own])
                .collect()
        });
        let parts: Vec<Vec<Self>> = parts.into_iter().collect::<io::Result<_>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Begins to open a connection. It is open, or has failed, when it can be written to.
    pub(super) fn begin(route: Route<'_>) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::begin_connect(route.address)?,
            session: route.tls.map(Session::begin).transpose()?,
        })
    }

    /// Writes what the kernel takes now. Returns the bytes that it took, or that wait encrypted.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.write(bytes, self.socket.writer()),
            None => io::Write::write(self.socket.writer(), bytes),
        }
    }

    /// Writes the encrypted bytes that wait.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => session.flush(self.socket.writer()),
            None => Ok(()),
        }
    }

    /// Returns true if encrypted bytes wait to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        self.session.as_ref().is_some_and(Session::wants_write)
    }

    /// Returns true if nothing can be written before the server has sent its part of the handshake.
    pub(super) fn waits_for_handshake(&self) -> bool {
        let waits = |session: &Session| session.is_handshaking() && !session.wants_write();
        self.session.as_ref().is_some_and(waits)
    }

    /// Reads what is there.
    pub(super) fn read<'a>(&mut self, room: &'a mut Room) -> io::Result<Received<'a>> {
        let received = self.socket.read(&mut room.buffer, &mut room.control)?;
        let (bytes, is_over) = (&room.buffer[..received.bytes], received.bytes == 0);
        let Some(session) = &mut self.session else {
            return Ok(Received {
                data: bytes,
                stamp: received.stamp,
                end: is_over.then_some(Closing::Closed),
            });
        };
        room.plain.clear();
        let taken = session.decrypt(bytes, &mut room.plain);
        // An answer of TLS itself, or the alert that tells the server what is wrong: what the kernel does not take goes out with
        // the next request.
        match session.flush(self.socket.writer()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && taken.is_ok() => return Err(error),
            _ => {}
        }
        taken?;
        Ok(Received {
            data: &room.plain,
            stamp: received.stamp,
            end: match (session.is_closed, is_over) {
                (true, _) => Some(Closing::Closed),
                (false, true) => Some(Closing::CutOff),
                (false, false) => None,
            },
        })
    }

    /// Returns true if the other side has closed the connection, or sent what nobody asked for. Within TLS it may send tickets for
    /// later sessions.
    pub(super) fn is_stale(&mut self, room: &mut Room) -> bool {
        loop {
            match self.read(room) {
                Ok(received) if received.data.is_empty() && received.end.is_none() => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                _ => return true,
            }
        }
    }
}
