//! The log file of a process, read as it grows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::effects::lines::splitter::Splitter;
use crate::plan::LOG_HEADER;

/// A log file and the place up to which it was read.
#[derive(Debug)]
pub(in crate::effects) struct LogFile {
    log: PathBuf,
    offset: u64,
    lines: Splitter,
}

impl LogFile {
    /// A log file at its beginning; it need not exist yet.
    #[must_use]
    pub(in crate::effects) fn new(log: &Path) -> Self {
        Self {
            log: log.to_owned(),
            offset: 0,
            lines: Splitter::default(),
        }
    }

    /// Returns the lines since the last call, without the header that dsr1 writes.
    pub(in crate::effects) fn read(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let Ok(mut file) = File::open(&self.log) else {
            return found;
        };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return found;
        }
        let mut bytes = Vec::new();
        if file.take(4 << 20).read_to_end(&mut bytes).is_ok() {
            self.offset += bytes.len() as u64;
            self.lines.push(&bytes, &mut |line| {
                if !line.starts_with(LOG_HEADER) {
                    found.push(line.to_owned());
                }
            });
        }
        found
    }
}
