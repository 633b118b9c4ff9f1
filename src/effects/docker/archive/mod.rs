//! Tar archives: files for containers and out of them, and the build context of the classic builder. No other module
//! uses tar.
//!
//! Not in this module tree: sending and receiving archives (`exec`, `build`, `images`).

pub(super) mod oci;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tokio::sync::mpsc::{self, Sender};

use crate::effects::docker::context::wheels;
use crate::effects::docker::transport::Body;
use crate::error::{At, Kind, Result};
use crate::plan::{BuildImage, CONTEXT_WHEELS};

/// Bytes of the archive that are sent at once.
const PIECE: usize = 256 * 1024;
/// Pieces in flight.
const IN_FLIGHT: usize = 16;

/// Returns an archive of files: the same bytes for the same files, because time and owner are zero.
pub(super) fn archive_of<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = header(bytes.len() as u64);
        builder
            .append_data(&mut header, path, bytes)
            .at(Kind::Internal, || format!("cannot pack `{path}`"))?;
    }
    builder
        .into_inner()
        .at(Kind::Internal, || "cannot pack files".to_owned())
}

/// Returns the content of an archive's first entry, if that is a file.
pub(super) fn only_file(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    let mut content = Vec::new();
    let is_file = entry.header().entry_type().is_file();
    let read = is_file.then(|| entry.read_to_end(&mut content))?;
    read.ok().map(|_| content)
}

/// Returns the context of a build with the classic builder, packed while it is sent, because wheels are gigabytes.
/// Secrets go into it as `ID/ID`, for a stage that no image keeps: the classic builder has no other way for them.
///
/// # Errors
/// [`Kind::Host`] when the wheels cannot be listed.
pub(super) fn context(step: &BuildImage, secrets: BTreeMap<String, Vec<u8>>) -> Result<Body> {
    let (to, from) = mpsc::channel(IN_FLIGHT);
    let texts = step.files.iter().map(|(path, text)| (path.clone(), text.clone()));
    let mut files: BTreeMap<String, Vec<u8>> = texts
        .chain([("Dockerfile".to_owned(), step.dockerfile.clone())])
        .map(|(path, text)| (path, text.into_bytes()))
        .collect();
    files.extend(
        secrets
            .into_iter()
            .map(|(id, bytes)| (format!("{id}/{id}"), bytes)),
    );
    let wheels = step.wheels.as_deref().map_or_else(|| Ok(Vec::new()), wheels)?;
    tokio::task::spawn_blocking(move || {
        if let Err(error) = pack(&files, &wheels, Pieces::new(to.clone())) {
            // The request fails with this error. If nobody receives it, the daemon has ended the request first.
            let _ = to.blocking_send(Err(error));
        }
    });
    let pieces = stream::unfold(from, |mut from| async move {
        from.recv().await.map(|piece| (piece.map(Frame::data), from))
    });
    Ok(Body::new(StreamBody::new(pieces)))
}

fn pack(files: &BTreeMap<String, Vec<u8>>, wheels: &[PathBuf], to: Pieces) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    for (path, bytes) in files {
        let mut header = header(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    for path in wheels {
        let (Some(name), file) = (path.file_name(), File::open(path)?) else {
            continue;
        };
        let mut header = header(file.metadata()?.len());
        archive.append_data(&mut header, Path::new(CONTEXT_WHEELS).join(name), file)?;
    }
    archive.into_inner()?.flush()
}

/// Returns a header whose owner and time are zero: the builder reuses a step while the files it copies are the same.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}

/// A writer that sends pieces into a channel.
pub(super) struct Pieces {
    to: Sender<io::Result<Bytes>>,
    unsent: Vec<u8>,
}

impl Pieces {
    pub(super) const fn new(to: Sender<io::Result<Bytes>>) -> Self {
        Self {
            to,
            unsent: Vec::new(),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unsent.extend_from_slice(bytes);
        if self.unsent.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.unsent);
        self.to
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the build has ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_reproducible_and_stay_below_their_root() {
        let files = [("Dockerfile", b"FROM x".as_slice()), ("site/a/b.py", b"")];
        assert_eq!(
            archive_of(files.into_iter()).unwrap(),
            archive_of(files.into_iter()).unwrap()
        );
        assert!(archive_of([("../x", b"".as_slice())].into_iter()).is_err());
    }
}
