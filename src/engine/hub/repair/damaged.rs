//! A file that is there and wrong, read against the record of its pull.
//!
//! Not in this module: what belongs where it is wrong (the parent).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::hash::{Bytes32, Hasher};
use super::super::listing::Entry;
use super::super::look::Look;
use super::super::part::read_record;
use super::MOST;
use crate::engine::files;
use crate::units::hex;

/// Bytes read at a time.
const READ: u64 = 1 << 20;

/// A file that is read against its record.
pub(super) struct Damaged {
    file: File,
    /// What it looked like.
    look: Look,
    /// Places, and the hash of all bytes before each.
    record: std::vec::IntoIter<(u64, Bytes32)>,
    hasher: Hasher,
    at: u64,
}

impl Damaged {
    /// Opens a file that has a whole record.
    pub(super) fn open(place: &Path, record: &Path, entry: &Entry) -> Option<Self> {
        let lines = read_record(record).ok()?;
        let (end, digest) = lines.last()?;
        // A record that ends elsewhere is of other bytes: to mend by it would end with a file that is neither.
        let is_whole = *end == entry.size && hex(digest).starts_with(entry.oid.hex());
        let mut at = 0;
        let has_gap = lines
            .iter()
            .any(|(end, _)| end - std::mem::replace(&mut at, *end) > MOST);
        if !is_whole || has_gap {
            return None;
        }
        let file = files::open(place).ok()?;
        Some(Self {
            look: Look::of(&file.metadata().ok()?)?,
            file,
            record: lines.into_iter(),
            hasher: Hasher::new(&entry.oid, entry.size),
            at: 0,
        })
    }

    /// What it looked like before it was read.
    pub(super) fn look(&self) -> Look {
        self.look
    }

    /// Whether it is shorter than this.
    pub(super) fn lacks(&self, end: u64) -> bool {
        end > self.look.size
    }

    /// Where what is known to be right ends.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Goes on to the next range whose bytes are not those that were recorded: its end, and the hash there. Says how far it
    /// is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next_bad(
        &mut self,
        reached: &mut impl FnMut(u64),
    ) -> std::io::Result<Option<(u64, Bytes32)>> {
        while let Some((end, digest)) = self.record.next() {
            if !self.is_right(end, digest)? {
                return Ok(Some((end, digest)));
            }
            reached(end);
        }
        Ok(None)
    }

    /// Whether the file's bytes up to `end` are what was recorded; if so, goes past them.
    fn is_right(&mut self, end: u64, digest: Bytes32) -> std::io::Result<bool> {
        if self.lacks(end) {
            return Ok(false);
        }
        let (mut hasher, mut at) = (self.hasher.clone(), self.at);
        let mut buffer = Vec::new();
        while at < end {
            let want = (end - at).min(READ);
            buffer.resize(usize::try_from(want).map_err(std::io::Error::other)?, 0);
            self.file.read_exact_at(&mut buffer, at)?;
            hasher.update(&buffer);
            at += want;
        }
        Ok(self.goes_past(hasher, end, digest))
    }

    /// Whether `bytes` are what was recorded of the next range; if so, goes past it.
    pub(super) fn fits(&mut self, bytes: &[u8], end: u64, digest: Bytes32) -> bool {
        let mut hasher = self.hasher.clone();
        hasher.update(bytes);
        self.goes_past(hasher, end, digest)
    }

    fn goes_past(&mut self, hasher: Hasher, end: u64, digest: Bytes32) -> bool {
        let fits = hasher.digest() == digest;
        if fits {
            (self.hasher, self.at) = (hasher, end);
        }
        fits
    }
}
