//! Sends answers to a socket. The bytes of a file go from the page cache to the socket without a copy in our
//! memory.

use std::io::{Error, ErrorKind, Result};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::answer::{Answer, Body};
use super::snapshot::Opened;

/// Number of bytes per `sendfile` call. The file is checked for changes before each.
const SENDFILE_BYTES: u64 = 8 << 20;
/// Number of bytes read at a time if the filesystem does not support `sendfile`.
const COPY_BYTES: usize = 256 * 1024;

/// Sends to a socket whose reader may be slow, but must not stall.
pub(super) struct Sender<'a> {
    stream: &'a TcpStream,
    stall: Duration,
    moved: Instant,
    /// Number of bytes of the body that were sent.
    pub(super) sent: &'a AtomicU64,
}

impl<'a> Sender<'a> {
    /// Creates a sender for `stream` that gives up if it accepts no byte for `stall`. Counts sent bytes in
    /// `sent`.
    pub(super) fn new(stream: &'a TcpStream, stall: Duration, sent: &'a AtomicU64) -> Result<Self> {
        // The kernel's timeout starts again with each call, so it is only a fraction of ours.
        stream.set_write_timeout(Some((stall / 6).max(Duration::from_millis(10))))?;
        Ok(Self {
            stream,
            stall,
            moved: Instant::now(),
            sent,
        })
    }

    /// Sends an answer, or only its head.
    ///
    /// # Errors
    /// Those of the socket; [`ErrorKind::TimedOut`] if the reader stalls; [`ErrorKind::InvalidData`] if the
    /// file changed meanwhile: the client must not take it for complete.
    pub(super) fn send(&mut self, answer: &Answer, head_only: bool, close: bool) -> Result<()> {
        let head = answer.head(close);
        match &answer.body {
            Body::Text(text) if !head_only => {
                self.send_bytes(format!("{head}{text}").as_bytes(), SendFlags::empty())?;
                self.sent.store(text.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Body::File { opened, from, length } if !head_only && *length > 0 => {
                // Sent together with the first bytes of the body, in one packet.
                self.send_bytes(head.as_bytes(), SendFlags::MORE)?;
                self.send_file(opened, *from, *length)
            }
            _ => self.send_bytes(head.as_bytes(), SendFlags::empty()),
        }
    }

    fn send_bytes(&mut self, mut bytes: &[u8], flags: SendFlags) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::net::send(self.stream, bytes, flags | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.moved = Instant::now();
                    bytes = &bytes[count..];
                }
                Err(error) => self.check_progress(error)?,
            }
        }
        Ok(())
    }

    fn send_file(&mut self, opened: &Opened, from: u64, length: u64) -> Result<()> {
        let (mut at, end) = (from, from + length);
        // Enlarges the read-ahead; an error does not matter.
        let _ = rustix::fs::fadvise(
            &opened.file,
            from,
            std::num::NonZeroU64::new(length),
            rustix::fs::Advice::Sequential,
        );
        // The last bytes are copied through memory and sent only after the file was checked. Without them no
        // client takes the answer for complete.
        let most = end.saturating_sub(COPY_BYTES as u64);
        while at < most {
            if !opened.is_same() {
                return Err(changed());
            }
            let count = usize::try_from((most - at).min(SENDFILE_BYTES)).unwrap_or(COPY_BYTES);
            match rustix::fs::sendfile(self.stream, &opened.file, Some(&mut at), count) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.moved = Instant::now(),
                Err(Errno::INVAL | Errno::NOSYS) => return self.copy_file(opened, at, end, from),
                Err(error) => self.check_progress(error)?,
            }
            self.sent.store(at - from, Ordering::Relaxed);
        }
        self.copy_file(opened, at, end, from)
    }

    /// Same as [`Self::send_file`], for filesystems without `sendfile` and for the last bytes.
    fn copy_file(&mut self, opened: &Opened, mut at: u64, end: u64, from: u64) -> Result<()> {
        let left = |at: u64| usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let mut buffer = vec![0; left(at)];
        while at < end {
            let most = left(at);
            let count = opened.file.read_at(&mut buffer[..most], at)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            // Checked after the read, so that changed bytes are not sent.
            if !opened.is_same() {
                return Err(changed());
            }
            self.send_bytes(&buffer[..count], SendFlags::empty())?;
            at += count as u64;
            self.sent.store(at - from, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Continues after a temporary error, but not forever.
    fn check_progress(&self, error: Errno) -> Result<()> {
        match error {
            Errno::INTR => Ok(()),
            Errno::AGAIN if self.moved.elapsed() < self.stall => Ok(()),
            Errno::AGAIN => Err(ErrorKind::TimedOut.into()),
            error => Err(error.into()),
        }
    }
}

fn changed() -> Error {
    Error::new(ErrorKind::InvalidData, "it changed while it was sent")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::effects::store::fingerprint::Fingerprint;

    #[test]
    fn a_filesystem_without_sendfile_sends_the_same_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let bytes: Vec<u8> = (0..900_000_u32).map(|number| (number % 251) as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let got = std::thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        let opened = Opened {
            fingerprint: Fingerprint::of_any(&file.as_file().metadata().unwrap()),
            file: file.reopen().unwrap(),
        };
        let sent = AtomicU64::new(0);
        let mut sender = Sender::new(&stream, Duration::from_secs(5), &sent).unwrap();
        sender.copy_file(&opened, 7, 800_000, 7).unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), 799_993);
        // A changed file is not sent completely.
        file.as_file().set_len(850_000).unwrap();
        let error = sender.copy_file(&opened, 0, 800_000, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        drop(stream);
        assert!(got.join().unwrap() == bytes[7..800_000]);
    }
}
