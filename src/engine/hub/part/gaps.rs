//! Gaps of a part: its record tells what is right behind a place that is not, and only what lies between is fetched.
//!
//! That is what a file has that went bad on disk (`damaged`), and a part whose disk lost some of its middle. A line of a
//! record states the hash of all bytes before it: behind a gap it says whether what came is right.
//! Not in this module: the record's format (`record`), where bytes come from (`fetch`).

use std::io;
use std::time::Instant;

use super::super::hash::is_lost;
use super::record::LINE;
use super::{Part, READ, patiently};
use crate::error::Result;

/// Most bytes in a row that are bad where a disk or a copy went wrong: more are another file's.
const MOST_IN_A_ROW: u64 = 16 << 20;

impl Part {
    /// Where the gap ends that begins at [`Part::at`]; `None` where nothing is known of what lies behind.
    pub(in crate::engine::hub) fn gap(&self) -> Option<u64> {
        self.beyond.front().map(|(place, _)| *place)
    }

    /// At the end of a gap, goes on over what is right behind it; `false` when what the record says of the rest is of no
    /// use.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::engine::hub) fn pass_gap(&mut self) -> Result<bool> {
        let Some((_, digest)) = self.beyond.front().filter(|(place, _)| *place == self.at) else {
            return Ok(true);
        };
        if self.hasher.digest() != *digest {
            // The record is wrong, or what came is: the whole file's hash will say.
            return Ok(false);
        }
        let mended = self.at;
        self.pass_right().map_err(|error| self.cannot(&error))?;
        if self.at > mended {
            self.gap_from = self.at;
        }
        if self.gap().is_some() && self.at - self.gap_from >= MOST_IN_A_ROW {
            return Ok(false);
        }
        if self.beyond.is_empty() {
            self.close_record().map_err(|error| self.cannot(&error))?;
        }
        self.durable.reached(self.at, self.record_length);
        Ok(true)
    }

    /// Goes by the record no more: all that follows is fetched.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::engine::hub) fn forget_beyond(&mut self) -> Result<()> {
        self.beyond.clear();
        self.close_record().map_err(|error| self.cannot(&error))
    }

    /// Reads what is here as far as the record proves it. What it says of the rest stays known.
    pub(super) fn pass_right(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ];
        while let Some((place, digest)) = self.beyond.front().copied() {
            let mut hasher = self.hasher.clone();
            match self.read(&mut buffer, place, |bytes| hasher.update(bytes)) {
                // What does not read is bad.
                Err(error) if is_lost(&error) => {
                    self.give_back(place);
                    break;
                }
                read => read?,
            }
            if hasher.digest() != digest {
                break;
            }
            self.beyond.pop_front();
            (self.hasher, self.at) = (hasher, place);
            self.record_length += LINE as u64;
            self.recorded = (place, Instant::now());
        }
        Ok(())
    }

    /// Gives the blocks between here and `to` back to the disk: one that does not read is not written to, either, unless all
    /// of it is at once.
    fn give_back(&self, to: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Not every filesystem can.
        let _ = fallocate(&self.file, punch, self.at, to - self.at);
    }

    /// From here on the record is written again.
    pub(super) fn close_record(&mut self) -> io::Result<()> {
        patiently(&self.path, || self.record.set_len(self.record_length))?;
        io::Seek::seek(&mut self.record, io::SeekFrom::Start(self.record_length))?;
        Ok(())
    }
}
