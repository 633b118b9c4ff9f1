//! Serves one connection: reads a request and answers it before it reads the next.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::answer::{Source, answer, invalid_head};
use super::connections::{Limits, Shared};
use super::head::{self, Head, Parsed};
use super::send::Sender;
use crate::effects::files;
use crate::event::{Event, Request};

/// Number of bytes read at a time; most heads are smaller.
const READ_BYTES: usize = 8 * 1024;
/// Limits for a client that still sends while the connection is closed: bytes, and time.
const LINGER: (usize, Duration) = (1 << 20, Duration::from_secs(2));
/// Number of characters of a client's text that are logged.
const LOGGED_CHARS: usize = 500;

/// The next event on a connection.
enum Next {
    Head(Head),
    Wrong(u16),
    End,
}

/// Serves a connection until it ends.
pub(super) fn serve(shared: &Shared, number: u64, stream: &TcpStream, client: SocketAddr) {
    // Small answers must not wait for the acknowledgement of the previous one.
    let _ = stream.set_nodelay(true);
    let mut reader = Reader {
        shared,
        number,
        stream,
        buffer: Vec::new(),
    };
    let client = client.ip().to_canonical().to_string();
    let sent = shared.sent_counter(number);
    loop {
        let next = reader.next();
        sent.store(0, Ordering::Relaxed);
        let (begun, time) = (Instant::now(), files::utc_now());
        let (head, status) = match next {
            Next::Head(head) => (head, None),
            Next::Wrong(status) => (Head::default(), Some(status)),
            Next::End => return,
        };
        let on_corrupt = |repo: &str, why: &str| shared.warn_corrupt(repo, why);
        let source = Source {
            catalog: &shared.catalog,
            token: shared.options.token.as_ref(),
            endpoint: &shared.endpoint,
            on_corrupt: &on_corrupt,
        };
        let answered = status.map_or_else(|| answer(&source, &head), invalid_head);
        // A request body is never read. The connection is closed, because the body could be taken for another
        // request.
        let close = status.is_some() || !head.keep_alive || head.has_body || shared.is_stopped();
        let Ok(mut sender) = Sender::new(stream, shared.options.limits.stall, &sent) else {
            return;
        };
        let done = sender.send(&answered, head.is_head(), close);
        let shown = |text: &str| text.chars().take(LOGGED_CHARS).collect();
        shared.report(&Event::Request(Request {
            time,
            client: client.clone(),
            method: shown(&head.method),
            path: shown(&head.path),
            range: shown(head.header("range").unwrap_or_default()),
            status: answered.status,
            bytes: sent.load(Ordering::Relaxed),
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
        match done {
            Ok(()) if close => return reader.linger(),
            Ok(()) => {}
            Err(error) => {
                if error.kind() == ErrorKind::InvalidData {
                    shared.report(&Event::Warning {
                        text: format!(
                            "{client} received only a part of {}: the file changed while it was sent",
                            head.path
                        ),
                        hint: String::new(),
                    });
                }
                return;
            }
        }
    }
}

/// Reads heads from a socket.
struct Reader<'a> {
    shared: &'a Shared,
    number: u64,
    stream: &'a TcpStream,
    /// Bytes that belong to the next request.
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn next(&mut self) -> Next {
        let limits = self.shared.options.limits;
        // While it waits for a request, the connection may be closed to make room, also if the client sent only
        // half a head; not while it is answered.
        self.shared.set_idle(self.number, true);
        let next = self.next_head(limits);
        self.shared.set_idle(self.number, false);
        next
    }

    fn next_head(&mut self, limits: Limits) -> Next {
        let waits = self.buffer.is_empty();
        let mut until = Instant::now() + if waits { limits.idle } else { limits.head };
        let mut looked = 0;
        loop {
            // Empty lines before a request are allowed (RFC 9112, 2.2).
            let blank = self
                .buffer
                .iter()
                .take_while(|byte| b"\r\n".contains(byte))
                .count();
            self.buffer.drain(..blank);
            if head::may_end(&self.buffer, looked.min(self.buffer.len()))
                || self.buffer.len() >= head::MAX_HEAD
            {
                match head::parse(&self.buffer) {
                    Parsed::Head(head, length) => {
                        self.buffer.drain(..length);
                        return Next::Head(head);
                    }
                    Parsed::Wrong(status) => return Next::Wrong(status),
                    Parsed::Partial => {}
                }
            }
            looked = self.buffer.len();
            let silent = self.buffer.is_empty();
            match self.read(until) {
                Ok(0) => return Next::End,
                Ok(_) if silent => until = Instant::now() + limits.head,
                Ok(_) | Err(ErrorKind::Interrupted) => {}
                Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) if !silent => return Next::Wrong(408),
                Err(_) => return Next::End,
            }
        }
    }

    fn read(&mut self, until: Instant) -> Result<usize, ErrorKind> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut);
        }
        let mut chunk = [0; READ_BYTES];
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .and_then(|()| self.stream.read(&mut chunk))
            .inspect(|count| self.buffer.extend_from_slice(&chunk[..*count]))
            .map_err(|error| error.kind())
    }

    /// Closes the connection in such a way that the last answer arrives. A socket that is closed with unread
    /// bytes is reset, and the client would lose the answer.
    fn linger(&mut self) {
        let (most, time) = LINGER;
        let _ = self.stream.shutdown(Shutdown::Write);
        let until = Instant::now() + time;
        self.buffer.clear();
        while self.buffer.len() < most && self.read(until).is_ok_and(|count| count > 0) {}
    }
}
