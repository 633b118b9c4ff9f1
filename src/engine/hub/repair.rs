//! A file that went bad on disk: the record kept from its pull tells where, and only that is fetched again.
//!
//! First all that is bad is fetched and proven, in memory; then the file is made right, as a part without its name. A
//! hub that says no meanwhile leaves the file as it was. Not in this module: finding out which files are bad (`weights`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fetch::{Fetcher, Patience};
use super::hash::{self, Bytes32, Hasher};
use super::listing::Entry;
use super::part::{self, read_record};
use super::source::{self, Failure, Via};
use super::watch::Watch;
use crate::engine::files;
use crate::error::{At, Kind, Result};
use crate::units::hex;

/// Most bytes that are held in memory, of all files that are mended at once; of one that needs more, all comes again.
const MOST: u64 = 256 << 20;
/// Most bytes in a row that are bad where a disk or a copy went wrong: more are another file's.
const MOST_IN_A_ROW: u64 = 16 << 20;

/// Bytes that are held in memory, over all files.
#[derive(Default)]
pub(super) struct Held(AtomicU64);

/// Some of them, until the file is mended.
struct Share<'a> {
    of: &'a Held,
    bytes: u64,
}

impl Held {
    fn share(&self) -> Share<'_> {
        Share { of: self, bytes: 0 }
    }
}

impl Share<'_> {
    /// Takes so many more; `false` when there are no more.
    fn take(&mut self, bytes: u64) -> bool {
        let fits = self.of.0.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST;
        if fits {
            self.bytes += bytes;
        } else {
            self.of.0.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A file that is read against its record.
struct Damaged {
    file: File,
    /// Its length; what lacks reads as zeros.
    length: u64,
    /// Places, and the hash of all bytes before each.
    record: std::vec::IntoIter<(u64, Bytes32)>,
    hasher: Hasher,
    at: u64,
}

/// A range that was bad, and what belongs there.
type Mended = (u64, Vec<u8>);

impl Damaged {
    /// Opens a file that has a whole record.
    fn open(place: &Path, record: &Path, entry: &Entry) -> Option<Self> {
        let lines = read_record(record);
        let (end, digest) = lines.last()?;
        // A record that ends elsewhere is of other bytes: to mend by it would end with a file that is neither.
        let mut at = 0;
        if lines
            .iter()
            .any(|(end, _)| end - std::mem::replace(&mut at, *end) > MOST)
        {
            return None;
        }
        let is_whole = *end == entry.size && hex(digest).starts_with(entry.oid.hex());
        if !is_whole {
            return None;
        }
        let file = files::open(place).ok()?;
        Some(Self {
            length: file.metadata().ok()?.len(),
            file,
            record: lines.into_iter(),
            hasher: Hasher::new(&entry.oid, entry.size),
            at: 0,
        })
    }

    /// Goes on to the next range whose bytes are not those that were recorded: its end, and the hash there. Says how far it
    /// is.
    fn next_bad(&mut self, reached: &mut impl FnMut(u64)) -> std::io::Result<Option<(u64, Bytes32)>> {
        while let Some((end, digest)) = self.record.next() {
            let mut bytes = vec![0; usize::try_from(end - self.at).map_err(std::io::Error::other)?];
            let there = self.length.saturating_sub(self.at).min(bytes.len() as u64);
            let there = usize::try_from(there).map_err(std::io::Error::other)?;
            self.file.read_exact_at(&mut bytes[..there], self.at)?;
            if !self.fits(&bytes, end, digest) {
                return Ok(Some((end, digest)));
            }
            reached(end);
        }
        Ok(None)
    }

    /// Whether `bytes` are what was recorded of the next range; if so, goes past it.
    fn fits(&mut self, bytes: &[u8], end: u64, digest: Bytes32) -> bool {
        let mut hasher = self.hasher.clone();
        hasher.update(bytes);
        let fits = hasher.digest() == digest;
        if fits {
            (self.hasher, self.at) = (hasher, end);
        }
        fits
    }
}

impl Fetcher {
    /// Mends a file that is there and wrong, where its record tells which ranges are bad, and leaves it as a part that is
    /// whole; returns the bytes that were counted as done meanwhile. What cannot be mended so comes anew.
    pub(super) async fn mend(&self, entry: &Entry) -> Result<u64> {
        let (place, record) = (self.cache.place(entry), self.cache.record(entry));
        let failed = || format!("cannot repair `{}`", entry.path);
        // What a link leads to is somebody else's: all of it comes, in the link's place.
        let damaged = Damaged::open(&place, &record, entry).filter(|_| !self.cache.is_link(entry));
        let Some(damaged) = damaged else { return Ok(0) };
        let mut counted = 0;
        let mut share = self.held.share();
        let Some(mended) = self.mended(entry, damaged, &mut share, &mut counted).await? else {
            return Ok(counted);
        };
        let part = part::take_over(&self.cache, entry, &place, &record).at(Kind::Host, failed)?;
        let file = files::open_to_write(&part).at(Kind::Host, failed)?;
        let write = |(at, bytes): &Mended| file.write_all_at(bytes, *at);
        let written = mended.iter().try_for_each(write).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // It may look whole, and not be on the disk (fsync(2)): what lies before is.
            part::cut_back(&part, mended.first().map_or(0, |(at, _)| *at));
            return Err(error).at(Kind::Host, failed);
        }
        Ok(counted)
    }

    /// What belongs where the file is bad; `None` when that is too much of it, or does not come by ranges.
    async fn mended(
        &self,
        entry: &Entry,
        mut damaged: Damaged,
        share: &mut Share<'_>,
        counted: &mut u64,
    ) -> Result<Option<Vec<Mended>>> {
        let failed = || format!("cannot repair `{}`", entry.path);
        let (mut mended, mut in_a_row) = (Vec::new(), (0, 0));
        // To fetch all of it costs no more than this.
        let mut left = entry.size;
        let mut count = |to: u64| {
            self.counts.done.fetch_add(to - *counted, Ordering::Relaxed);
            *counted = to;
        };
        loop {
            let (end, digest) = match damaged.next_bad(&mut count) {
                Ok(Some(bad)) => bad,
                Ok(None) => return Ok(Some(mended)),
                // Where a disk does not read it may not write: all of it goes elsewhere.
                Err(error) if hash::is_lost(&error) => return Ok(None),
                Err(error) => return Err(error).at(Kind::Host, failed),
            };
            let from = damaged.at;
            let began = if in_a_row.1 == from { in_a_row.0 } else { from };
            in_a_row = (began, end);
            // One range alone may be longer: a helper's chunk is.
            let are_many = began < from && end - began > MOST_IN_A_ROW;
            if are_many || !share.take(end - from) {
                return Ok(None);
            }
            let Some(bytes) = self.patient_range(entry, from, end, &mut left).await? else {
                return Ok(None);
            };
            if !damaged.fits(&bytes, end, digest) {
                // The record is wrong, or what came is: the whole file's hash will say.
                return Ok(None);
            }
            count(end);
            mended.push((from, bytes));
        }
    }

    /// A range's bytes; `None` where they do not come that way, and all of the file may.
    ///
    /// # Errors
    /// What the whole file would fail with, too.
    async fn patient_range(
        &self,
        entry: &Entry,
        from: u64,
        to: u64,
        left: &mut u64,
    ) -> Result<Option<Vec<u8>>> {
        let mut patience = Patience::new(from);
        let source = Arc::clone(&self.source);
        loop {
            let failure = match self.range(&source, entry, (from, to), left).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => failure,
            };
            let (cause, is_of_the_way) = (failure.cause(), failure.is_of_the_way());
            let pause = match patience.after(failure, from) {
                Err(_) if is_of_the_way => return Ok(None),
                pause => pause?,
            };
            if let Some(cause) = cause {
                self.say_at_times(&format!("`{}` waits and tries again: {cause}", entry.path));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// As [`Self::patient_range`], once.
    async fn range(
        &self,
        source: &source::Source,
        entry: &Entry,
        (from, to): (u64, u64),
        left: &mut u64,
    ) -> std::result::Result<Option<Vec<u8>>, Failure> {
        // Over HTTP where that is allowed: a few MiB are not worth the store's way of doing it.
        let via = match source.via(entry) {
            Via::Xet if !source.may_switch() => Via::Xet,
            _ => Via::Http,
        };
        let mut arriving = source.open(entry, (from, to), None, via).await?;
        // A server may send all that lies before, for each range.
        let Some(less) = left.checked_sub(arriving.skip + (to - from)) else {
            return Ok(None);
        };
        *left = less;
        let mut watch = Watch::new(source.idle());
        let want = usize::try_from(to - from).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(want);
        while bytes.len() < want {
            let ended = || Failure::Again(source::broken(entry, "the connection ended before the last byte"));
            let chunk = self.next(&mut watch, entry, &mut arriving).await?;
            let chunk = chunk.ok_or_else(ended)?;
            bytes.extend_from_slice(&chunk[..chunk.len().min(want - bytes.len())]);
        }
        Ok(Some(bytes))
    }
}
