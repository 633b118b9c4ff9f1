//! The bytes of one write: chunks of the transfer encoding, and the places where a write is cut.

use std::io::Write;

/// A buffer that all answers of a server use, one after the other.
#[derive(Debug, Default)]
pub struct Wire {
    /// The bytes to write.
    pub raw: Vec<u8>,
    /// The places at which the write is cut, ascending.
    pub cuts: Vec<usize>,
    /// The events of the chunk that is being made.
    pub event: Vec<u8>,
}

impl Wire {
    pub fn clear(&mut self) {
        self.raw.clear();
        self.cuts.clear();
        self.event.clear();
    }

    /// Ends a chunk with the events so far; with a cut, there are two chunks and two writes.
    pub fn frame(&mut self, cut: Option<usize>) {
        match cut.filter(|cut| *cut > 0 && *cut < self.event.len()) {
            Some(cut) => {
                chunk(&mut self.raw, &self.event[..cut]);
                self.cuts.push(self.raw.len());
                chunk(&mut self.raw, &self.event[cut..]);
            }
            None => chunk(&mut self.raw, &self.event),
        }
        self.event.clear();
    }

    /// Adds the last chunk.
    pub fn end(&mut self) {
        self.raw.extend_from_slice(b"0\r\n\r\n");
    }

    /// Cuts the write into pieces of nearly the same size.
    pub fn cut_evenly(&mut self, pieces: u32) {
        let pieces = (pieces as usize).clamp(1, self.raw.len().max(1));
        let len = self.raw.len();
        self.cuts = (1..pieces).map(|piece| piece * len / pieces).collect();
    }

    /// Returns the pieces of the write.
    pub fn pieces(&self) -> Vec<Vec<u8>> {
        let ends = self.cuts.iter().copied().chain([self.raw.len()]);
        let mut start = 0;
        ends.map(|end| {
            let piece = self.raw[start..end].to_vec();
            start = end;
            piece
        })
        .collect()
    }
}

fn chunk(raw: &mut Vec<u8>, bytes: &[u8]) {
    let _ = write!(raw, "{:x}\r\n", bytes.len());
    raw.extend_from_slice(bytes);
    raw.extend_from_slice(b"\r\n");
}

/// Adds a head. A stream has no length.
pub fn push_head(raw: &mut Vec<u8>, status: u16, kind: &str, length: Option<usize>, extra: &str) {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Answer",
    };
    let _ = write!(
        raw,
        "HTTP/1.1 {status} {reason}\r\nserver: uvicorn\r\ncontent-type: {kind}\r\n{extra}"
    );
    let _ = match length {
        Some(length) => write!(raw, "content-length: {length}\r\n\r\n"),
        None => write!(raw, "transfer-encoding: chunked\r\n\r\n"),
    };
}

/// Adds a whole answer.
pub fn push_answer(raw: &mut Vec<u8>, status: u16, kind: &str, body: &[u8], extra: &str) {
    push_head(raw, status, kind, Some(body.len()), extra);
    raw.extend_from_slice(body);
}

pub const JSON: &str = "application/json";
pub const EVENTS: &str = "text/event-stream; charset=utf-8";
