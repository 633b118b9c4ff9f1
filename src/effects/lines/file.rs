//! The log file of a process, read as it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::effects::lines::splitter::Splitter;
use crate::plan::LOG_HEADER;

/// Most bytes that are read at once.
const PIECE: u64 = 4 << 20;

/// A log file and the position up to which it was read.
#[derive(Debug)]
pub(in crate::effects) struct LogFile {
    log: PathBuf,
    offset: u64,
    splitter: Splitter,
    /// Lines that were read and not returned yet.
    pending: Vec<String>,
    /// Tells whether a process still writes to the file.
    is_written: fn(&Path) -> bool,
}

impl LogFile {
    /// Returns a log file at its beginning; it need not exist yet. `is_written` tells whether a process still writes to
    /// the file of that path.
    #[must_use]
    pub(in crate::effects) fn new(log: &Path, is_written: fn(&Path) -> bool) -> Self {
        Self {
            log: log.to_owned(),
            offset: 0,
            splitter: Splitter::default(),
            pending: Vec::new(),
            is_written,
        }
    }

    /// Skips the lines before the last `count` of those that the file has now.
    #[must_use]
    pub(in crate::effects) fn skip_to_last(mut self, count: u64) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut last = VecDeque::new();
        loop {
            let lines = self.read_lines();
            if lines.is_empty() {
                break;
            }
            last.extend(lines);
            last.drain(..last.len().saturating_sub(count));
        }
        // A last line that has no end yet is one of them.
        if self.splitter.has_partial() {
            last.drain(..(last.len() + 1).saturating_sub(count).min(last.len()));
        }
        self.pending = last.into();
        self
    }

    /// Returns lines since the last call, without the header that dsr1 writes; none if the file has no further line that
    /// is complete.
    pub(in crate::effects) fn read_lines(&mut self) -> Vec<String> {
        let mut found = std::mem::take(&mut self.pending);
        let Ok(mut file) = File::open(&self.log) else {
            return found;
        };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return found;
        }
        // A line may be longer than a piece.
        while found.is_empty() {
            let mut bytes = Vec::new();
            let read = (&mut file).take(PIECE).read_to_end(&mut bytes);
            if read.is_err() || bytes.is_empty() {
                break;
            }
            self.offset += bytes.len() as u64;
            self.splitter.push(&bytes, &mut keep_lines(&mut found));
        }
        found
    }

    /// Returns the last line if it has no end: its writer was killed in the middle of it.
    pub(in crate::effects) fn unfinished_line(&mut self) -> Option<String> {
        let mut found = Vec::new();
        self.splitter.finish(&mut keep_lines(&mut found));
        found.pop()
    }

    /// Returns true while a process writes to the file.
    pub(in crate::effects) fn is_written(&self) -> bool {
        (self.is_written)(&self.log)
    }
}

/// Returns a function that adds lines to `found`, without the header that dsr1 writes.
fn keep_lines(found: &mut Vec<String>) -> impl FnMut(&str) {
    |line| {
        if !line.starts_with(LOG_HEADER) {
            found.push(line.to_owned());
        }
    }
}
