//! A client of bare sockets that keeps what came as it came.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::truth::Truth;

/// The end of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By the length or the last chunk.
    Whole,
    /// The connection was closed before that.
    Closed,
    Reset,
    /// Nothing came for a while.
    Silent,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Came {
    pub status: u16,
    /// The head in lower case.
    pub head: String,
    /// The chunks of the transfer encoding; an answer with a length is one.
    pub chunks: Vec<Vec<u8>>,
    /// The number of reads, which pieces make many.
    pub reads: usize,
    pub ended: Ended,
}

impl Came {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }

    /// Returns the data of the events; `[DONE]` is the last of a regular stream.
    pub(super) fn data(&self) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(str::to_owned).collect()
    }

    /// Returns the events of a stream that ends with `[DONE]`.
    #[track_caller]
    pub(super) fn events(&self) -> Vec<Value> {
        let mut data = self.data();
        assert_eq!(data.pop().as_deref(), Some("[DONE]"), "{}", self.text());
        data.iter()
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

/// A connection to a server.
pub(super) struct Client {
    pub socket: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    pub(super) fn connect(truth: &Truth) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", truth.port())).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            socket,
            bytes: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.socket.write_all((head + body).as_bytes()).unwrap();
    }

    pub(super) fn post(&mut self, path: &str, body: &Value) -> Came {
        self.send("POST", path, &body.to_string());
        self.receive()
    }

    pub(super) fn get(&mut self, path: &str) -> Came {
        self.send("GET", path, "");
        self.receive()
    }

    /// Receives one answer.
    pub(super) fn receive(&mut self) -> Came {
        let mut came = Came {
            status: 0,
            head: String::new(),
            chunks: Vec::new(),
            reads: 0,
            ended: Ended::Whole,
        };
        loop {
            if self.parse(&mut came) {
                return came;
            }
            let mut buffer = [0; 16 << 10];
            match self.socket.read(&mut buffer) {
                Ok(0) => came.ended = Ended::Closed,
                Ok(length) => {
                    self.bytes.extend_from_slice(&buffer[..length]);
                    came.reads += 1;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => came.ended = Ended::Reset,
                Err(_) => came.ended = Ended::Silent,
            }
            return came;
        }
    }

    /// Takes what the bytes have of an answer, and returns whether it is whole.
    fn parse(&mut self, came: &mut Came) -> bool {
        if came.status == 0 {
            let Some(at) = memchr::memmem::find(&self.bytes, b"\r\n\r\n") else {
                return false;
            };
            came.head = String::from_utf8(self.bytes.drain(..at + 4).collect())
                .unwrap()
                .to_lowercase();
            came.status = came.head[9..12].parse().unwrap();
        }
        let length = came.head.split("content-length: ").nth(1);
        if let Some(length) = length.and_then(|rest| rest.lines().next()) {
            let length: usize = length.parse().unwrap();
            let is_whole = self.bytes.len() >= length;
            if is_whole {
                came.chunks.push(self.bytes.drain(..length).collect());
            }
            return is_whole;
        }
        loop {
            let Some(at) = memchr::memmem::find(&self.bytes, b"\r\n") else {
                return false;
            };
            let line = std::str::from_utf8(&self.bytes[..at]).unwrap();
            let size = usize::from_str_radix(line, 16).unwrap();
            if self.bytes.len() < at + 2 + size + 2 {
                return false;
            }
            let chunk = self.bytes.drain(..at + 4 + size).skip(at + 2).take(size);
            let chunk: Vec<u8> = chunk.collect();
            if size == 0 {
                return true;
            }
            came.chunks.push(chunk);
        }
    }
}

/// Sends one request over a connection of its own.
pub(super) fn post(truth: &Truth, path: &str, body: &Value) -> Came {
    Client::connect(truth).post(path, body)
}

/// Fetches one page over a connection of its own.
pub(super) fn get(truth: &Truth, path: &str) -> Came {
    Client::connect(truth).get(path)
}
