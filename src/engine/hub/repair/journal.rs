//! What was fetched to mend a file: on the disk, until all of it is there.
//!
//! Not in this module: what is in it (the parent). A kill leaves a name that `tidy` knows.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::engine::files;

/// Bytes copied at a time.
const COPY: usize = 1 << 20;

/// The ranges of a file that were bad, and what belongs there, each at its own place.
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
    /// From and length.
    ranges: Vec<(u64, usize)>,
}

impl Journal {
    /// One that is at `path` once something is in it.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            ranges: Vec::new(),
        }
    }

    /// Notes what belongs at a place behind all that were noted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn note(&mut self, from: u64, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            files::remove_if_there(&self.path)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(0o600);
            self.file = Some(files::open_by(&options, &self.path)?);
        }
        if let Some(file) = &self.file {
            file.write_all_at(bytes, from)?;
        }
        self.ranges.push((from, bytes.len()));
        Ok(())
    }

    /// The first place that was bad.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.first().map(|(from, _)| *from)
    }

    /// Writes all of it where it belongs.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn apply(&self, to: &File) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut buffer = vec![0; COPY];
        for (from, length) in &self.ranges {
            for done in (0..*length).step_by(COPY) {
                let bytes = &mut buffer[..COPY.min(length - done)];
                let at = from + done as u64;
                file.read_exact_at(bytes, at)?;
                to.write_all_at(bytes, at)?;
            }
        }
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
