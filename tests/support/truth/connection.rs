//! One connection: its bytes in and out, and the answer on its way.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use super::end::Step;
use super::request::Incoming;
use super::run::Ticket;
use super::stream::Stream;

/// An answer on its way, with the pieces of its current write.
pub struct Active {
    pub stream: Box<Stream>,
    pub ticket: Ticket,
    /// The write that is cut, and its pieces that are not written yet.
    pub cut: Option<(Step, VecDeque<Vec<u8>>)>,
}

pub struct Connection {
    pub socket: OwnedFd,
    pub incoming: Incoming,
    pub active: Option<Active>,
    /// The bytes that the socket did not take.
    unsent: Vec<u8>,
    /// The client asked for the end of the connection after the answer.
    pub closes: bool,
    /// The connection ends when the bytes are out.
    pub is_ending: bool,
    /// A number that makes old timers of the connection void.
    pub epoch: u32,
}

/// A state after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Whole,
    /// The socket took a part; the rest follows when it can.
    Blocked,
    Gone,
}

/// A state after reading all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    Some,
    None,
    Gone,
}

impl Connection {
    pub fn new(socket: OwnedFd, epoch: u32) -> Self {
        Self {
            socket,
            incoming: Incoming::default(),
            active: None,
            unsent: Vec::new(),
            closes: false,
            is_ending: false,
            epoch,
        }
    }

    /// Reads all there is, because the events are edge-triggered.
    pub fn read(&mut self, buffer: &mut [u8]) -> Came {
        let mut came = Came::None;
        loop {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(0) => return Came::Gone,
                Ok(length) => {
                    self.incoming.bytes.extend_from_slice(&buffer[..length]);
                    came = Came::Some;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return came,
                Err(_) => return Came::Gone,
            }
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Sent {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Sent::Blocked;
        }
        match write_all(&self.socket, bytes) {
            Ok(length) if length == bytes.len() => Sent::Whole,
            Ok(length) => {
                self.unsent.extend_from_slice(&bytes[length..]);
                Sent::Blocked
            }
            Err(_) => Sent::Gone,
        }
    }

    /// Writes what the socket did not take before.
    pub fn flush(&mut self) -> Sent {
        match write_all(&self.socket, &self.unsent) {
            Ok(length) => {
                self.unsent.drain(..length);
                if self.unsent.is_empty() {
                    Sent::Whole
                } else {
                    Sent::Blocked
                }
            }
            Err(_) => Sent::Gone,
        }
    }

    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Makes the end of the socket a reset (RST).
    pub fn linger_not(&self) {
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}

/// Writes as many bytes as the socket takes.
fn write_all(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while length < bytes.len() {
        match rustix::net::send(socket, &bytes[length..], rustix::net::SendFlags::NOSIGNAL) {
            Ok(sent) => length += sent,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
