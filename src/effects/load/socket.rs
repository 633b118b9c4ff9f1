//! A socket whose data has the kernel's stamp of its arrival.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Longest sleep of a wait: wishes to stop are looked at as often.
const LOOK: Duration = Duration::from_millis(50);

/// A connection that never blocks.
///
/// `nix` reads from it: it is the crate that gives the kernel's stamps without `unsafe`, which `rustix` does not have.
#[derive(Debug)]
pub(super) struct Socket(TcpStream);

/// Data that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Its bytes; 0 at the end of the connection.
    pub(super) bytes: usize,
    /// The time of day at which the kernel received the last of them, since the Unix epoch, if it says so.
    pub(super) stamp: Option<Duration>,
}

impl Socket {
    /// Opens a connection and waits for it, and then for `first`, which is tried again as long as it would block. `wait` is the limit
    /// of each: [`io::ErrorKind::TimedOut`] without a connection, [`io::ErrorKind::WouldBlock`] after it;
    /// [`io::ErrorKind::Interrupted`] when `is_stopped` says so.
    pub(super) fn connect(
        address: SocketAddr,
        wait: Duration,
        is_stopped: &dyn Fn() -> bool,
        first: &mut dyn FnMut(&mut TcpStream) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut socket = Self::begin_connect(address)?;
        let end = Instant::now() + wait;
        while !socket.sleep_until_ready(PollFlags::OUT)? {
            check_stop(is_stopped)?;
            if Instant::now() >= end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
            }
        }
        socket.check_open()?;
        let end = Instant::now() + wait;
        loop {
            match first(&mut socket.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {}
                other => return other.map(|()| socket),
            }
            check_stop(is_stopped)?;
            socket.sleep_until_ready(PollFlags::IN)?;
        }
    }

    /// Sleeps until the socket is ready, at most [`LOOK`]. Returns true if it is ready.
    fn sleep_until_ready(&self, flags: PollFlags) -> io::Result<bool> {
        let timeout = Timespec::try_from(LOOK).ok();
        match poll(&mut [PollFd::new(self, flags)], timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins to open a connection. It is open, or has failed, when it can be written to.
    pub(super) fn begin_connect(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&fd, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Self::prepare(TcpStream::from(fd))
    }

    fn prepare(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // Some sandboxes have no stamps; the moment of reading has to do there, and the report says so.
        let _ = setsockopt(&stream, sockopt::ReceiveTimestampns, &true);
        Ok(Self(stream))
    }

    /// Returns the error with which the opening of a connection ended.
    pub(super) fn check_open(&self) -> io::Result<()> {
        match self.0.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Returns the way out, which takes what the kernel takes now.
    pub(super) const fn writer(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    /// Reads what is there into `buffer`. `control` is room for the stamp, from [`room_for_stamp`].
    pub(super) fn read(&mut self, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Received> {
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(
            self.0.as_raw_fd(),
            &mut parts,
            Some(control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let stamp = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
                _ => None,
            })
        });
        Ok(Received {
            bytes: message.bytes,
            stamp,
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check_stop(is_stopped: &dyn Fn() -> bool) -> io::Result<()> {
    if is_stopped() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(())
}

/// Returns room for one stamp.
pub(super) fn room_for_stamp() -> Vec<u8> {
    nix::cmsg_space!(nix::sys::time::TimeSpec)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket::connect(address, Duration::from_secs(5), &|| false, &mut |_| Ok(())).unwrap();
        (socket, listener.accept().unwrap().0)
    }

    fn read(socket: &mut Socket) -> Received {
        let (mut buffer, mut control) = ([0; 64], room_for_stamp());
        loop {
            match socket.read(&mut buffer, &mut control) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other.unwrap(),
            }
        }
    }

    #[test]
    fn data_has_the_stamp_of_its_arrival_and_not_of_its_reading() {
        let (mut socket, mut far) = pair();
        // The kernel begins to stamp some moments after the first socket asks for it.
        for _ in 0..50 {
            far.write_all(b"hello").unwrap();
            std::thread::sleep(Duration::from_millis(20));
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let received = read(&mut socket);
            assert_eq!(received.bytes, 5);
            if let Some(stamp) = received.stamp {
                let waited = now.checked_sub(stamp).unwrap();
                assert!(waited >= Duration::from_millis(15), "{waited:?}");
                return;
            }
        }
        panic!("this kernel does not stamp");
    }

    #[test]
    fn the_end_is_seen() {
        let (mut socket, far) = pair();
        drop(far);
        assert_eq!(read(&mut socket).bytes, 0);
    }

    /// A listener whose queue is full drops the packets of further connections, as a firewall does.
    #[test]
    fn a_wait_for_a_connection_ends_when_it_is_to_stop() {
        let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = rustix::net::getsockname(&listener).unwrap().try_into().unwrap();
        let _full: Vec<Socket> = (0..4).map(|_| Socket::begin_connect(address).unwrap()).collect();
        let wait = Duration::from_mins(10);
        let looks = std::cell::Cell::new(0);
        let is_stopped = || {
            looks.set(looks.get() + 1);
            looks.get() > 1
        };
        let stopped = Socket::connect(address, wait, &is_stopped, &mut |_| Ok(())).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        let late = Socket::connect(address, Duration::ZERO, &|| false, &mut |_| Ok(())).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_connection_that_is_refused_says_so() {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let refused = match Socket::begin_connect(address) {
            Err(error) => error,
            Ok(socket) => loop {
                match socket.check_open() {
                    Err(error) => break error,
                    Ok(()) => std::thread::sleep(Duration::from_millis(1)),
                }
            },
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
