//! An answer on its way to a socket; a file's bytes go from the page cache, and through no memory of ours.
//!
//! Not in this module: what is answered (`answer`).

use std::io::{Error, ErrorKind, Result};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::answer::{Answer, Body};
use super::snapshot::Opened;

/// Bytes asked of the kernel at a time; before each, the file is looked at.
const SENDFILE_BYTES: u64 = 8 << 20;
/// Bytes read at a time where the filesystem knows no sendfile.
const COPY_BYTES: usize = 256 * 1024;

/// A socket whose reader may be slow, but not stand still.
pub(super) struct Sender<'a> {
    stream: &'a TcpStream,
    stall: Duration,
    moved: Instant,
    /// Bytes of the body that went out.
    pub(super) sent: &'a AtomicU64,
}

impl<'a> Sender<'a> {
    /// Sends to `stream`, and gives up when it takes nothing for `stall`; `sent` tells how far it is.
    pub(super) fn new(stream: &'a TcpStream, stall: Duration, sent: &'a AtomicU64) -> Result<Self> {
        // The kernel's timeout begins again with each call, so it is a part of ours only.
        stream.set_write_timeout(Some((stall / 6).max(Duration::from_millis(10))))?;
        Ok(Self {
            stream,
            stall,
            moved: Instant::now(),
            sent,
        })
    }

    /// Sends an answer, or its head.
    ///
    /// # Errors
    /// Those of the socket; [`ErrorKind::TimedOut`] when its reader stands still; [`ErrorKind::InvalidData`] when the
    /// file changed on the way, and what was sent must not look whole.
    pub(super) fn send(&mut self, answer: &Answer, head_only: bool, close: bool) -> Result<()> {
        let head = answer.head(close);
        match &answer.body {
            Body::Text(text) if !head_only => {
                self.send_bytes(format!("{head}{text}").as_bytes(), SendFlags::empty())?;
                self.sent.store(text.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Body::File { opened, from, length } if !head_only && *length > 0 => {
                // The head waits for the first bytes, to leave in one packet.
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
        // Reads further ahead; no matter where it is not known.
        let _ = rustix::fs::fadvise(
            &opened.file,
            from,
            std::num::NonZeroU64::new(length),
            rustix::fs::Advice::Sequential,
        );
        // The last bytes go through our hands, and are looked at before they go: without them, nothing looks whole.
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

    /// As [`Self::file`], where the filesystem knows no sendfile, and at the end.
    fn copy_file(&mut self, opened: &Opened, mut at: u64, end: u64, from: u64) -> Result<()> {
        let left = |at: u64| usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let mut buffer = vec![0; left(at)];
        while at < end {
            let most = left(at);
            let count = opened.file.read_at(&mut buffer[..most], at)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            // After it was read: what changed before is not sent.
            if !opened.is_same() {
                return Err(changed());
            }
            self.send_bytes(&buffer[..count], SendFlags::empty())?;
            at += count as u64;
            self.sent.store(at - from, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Goes on after an error that is none; not for ever.
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
        // What changed does not look whole.
        file.as_file().set_len(850_000).unwrap();
        let error = sender.copy_file(&opened, 0, 800_000, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        drop(stream);
        assert!(got.join().unwrap() == bytes[7..800_000]);
    }
}
