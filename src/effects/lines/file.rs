//! The log file of a process, read as it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::diagnose;
use crate::effects::lines::splitter::Splitter;
use crate::plan::LOG_HEADER;

/// Most bytes that are read at once.
const PIECE: u64 = 4 << 20;

/// Lines at the end of a log among which one has a time.
const STAMPED: u64 = 500;

/// Bytes at the end of a file in which its last lines are looked for at first.
const WINDOW: u64 = 1 << 20;

/// A log file and the position up to which it was read.
#[derive(Debug)]
pub(in crate::effects) struct LogFile {
    log: PathBuf,
    offset: u64,
    splitter: Splitter,
    /// Lines that were read and not returned yet.
    pending: Vec<String>,
    /// Lines with a time before this one are left out, in seconds of the clock of the log.
    begin: Option<i64>,
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
            begin: None,
            is_written,
        }
    }

    /// Skips the lines before the last `count` of those that the file has now. Only the end of a large file is read.
    #[must_use]
    pub(in crate::effects) fn skip_to_last(mut self, count: u64) -> Self {
        let size = std::fs::metadata(&self.log).map_or(0, |meta| meta.len());
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut window = WINDOW;
        loop {
            let begin = size.saturating_sub(window);
            self.offset = begin;
            self.splitter = Splitter::default();
            let (mut last, dropped) = self.read_last(count, begin > 0);
            if begin == 0 || dropped || last.len() >= count {
                // A last line that has no end yet is one of them.
                if self.splitter.has_partial() {
                    last.drain(..(last.len() + 1).saturating_sub(count).min(last.len()));
                }
                self.pending = last.into();
                return self;
            }
            window = window.saturating_mul(8);
        }
    }

    /// Skips the lines that are older than so many seconds, of those that were not skipped yet. The engine writes its own local time; the file was changed when its
    /// last line was written, which ties that clock to this host's.
    #[must_use]
    pub(in crate::effects) fn skip_to_recent(mut self, seconds: u64) -> Self {
        let mut last = Self::new(&self.log, self.is_written).skip_to_last(STAMPED);
        let lines = last.read_lines();
        let time = lines.iter().rev().find_map(|line| diagnose::seconds_of(line));
        let changed = std::fs::metadata(&self.log).and_then(|meta| meta.modified());
        let age = changed
            .ok()
            .and_then(|time| time.elapsed().ok())
            .unwrap_or_default();
        let back = seconds.saturating_sub(age.as_secs());
        self.begin = time.map(|time| time.saturating_sub(i64::try_from(back).unwrap_or(i64::MAX)));
        if seconds < age.as_secs() {
            // Nothing was written in that time.
            return self.skip_to_last(0);
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.drop_old(&mut pending);
        self.pending = pending;
        self
    }

    /// Leaves out the lines before the first one that is recent.
    fn drop_old(&mut self, lines: &mut Vec<String>) {
        let Some(begin) = self.begin else { return };
        let is_recent = |line: &String| diagnose::seconds_of(line).is_some_and(|time| time >= begin);
        match lines.iter().position(is_recent) {
            Some(first) => {
                lines.drain(..first);
                self.begin = None;
            }
            None => lines.clear(),
        }
    }

    /// Reads to the end; returns the last `count` lines, and true if there were more. The first line does not count if the
    /// reading begins within it.
    fn read_last(&mut self, count: usize, within: bool) -> (VecDeque<String>, bool) {
        let (mut last, mut dropped) = (VecDeque::new(), false);
        let mut skip = usize::from(within);
        loop {
            let lines = self.read_lines();
            if lines.is_empty() {
                return (last, dropped);
            }
            let skipped = skip.min(lines.len());
            skip -= skipped;
            last.extend(lines.into_iter().skip(skipped));
            let more = last.len().saturating_sub(count);
            dropped |= more > 0;
            last.drain(..more);
        }
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
            self.drop_old(&mut found);
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
