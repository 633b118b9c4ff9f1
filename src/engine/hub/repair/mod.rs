//! A file that went bad on disk: the record kept from its pull tells where, and only that is fetched again.
//!
//! First all that is bad is fetched and proven, into a journal; then the file is made right in its place, and keeps its name
//! throughout. One that must not be written to is copied, and the copy becomes a part. A hub that says no meanwhile leaves
//! the file as it was, and a kill leaves it better or as it was.
//! Not in this module: finding out which files are bad (`weights`).

mod damaged;
mod journal;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Semaphore, SemaphorePermit};

use self::damaged::Damaged;
use self::journal::Journal;
use super::fetch::{Fetcher, Patience};
use super::hash;
use super::listing::Entry;
use super::look::Look;
use super::part;
use super::source::{self, Failure, Via};
use super::watch::Watch;
use crate::error::{At, Error, Kind, Result};

/// Most bytes that are held in memory, of all files that are mended at once; a file that has more between two lines of its
/// record comes anew.
const MOST: u64 = 256 << 20;
/// Most bytes in a row that are bad where a disk or a copy went wrong: more are another file's.
const MOST_IN_A_ROW: u64 = 16 << 20;
/// Bytes that one permit is for.
const UNIT: u64 = 64 << 10;

/// What may be held in memory, over all files: whoever wants more than is left waits, and holds nothing meanwhile.
pub(super) struct Held(Semaphore);

impl Default for Held {
    fn default() -> Self {
        Self(Semaphore::new(usize::try_from(MOST / UNIT).unwrap_or(0)))
    }
}

impl Held {
    /// Room for so many bytes, [`MOST`] at most.
    async fn room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        let permits = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = self.0.acquire_many(permits).await;
        room.map_err(|error| Error::new(Kind::Internal, error.to_string()))
    }
}

impl Fetcher {
    /// Mends a file that is there and wrong, where its record tells which ranges are bad; whether it may be right now, by
    /// this pull or by another that no lock keeps out. What could not be mended in its place is a part, or comes anew. Adds
    /// to `counted` the bytes that were counted as done meanwhile.
    pub(super) async fn mend(&self, entry: &Entry, counted: &mut u64) -> Result<bool> {
        let (place, record) = (self.cache.place(entry), self.cache.record(entry));
        // What a link leads to is somebody else's: all of it comes, in the link's place.
        let damaged = Damaged::open(&place, &record, entry).filter(|_| !self.cache.is_link(entry));
        let Some(damaged) = damaged else {
            return Ok(false);
        };
        let look = damaged.look();
        let mut journal = Journal::new(self.cache.temporary(&format!("mend-{}", entry.oid.hex())));
        let Some(end) = self.gather(entry, damaged, &mut journal, counted).await? else {
            return Ok(false);
        };
        match self.put_right(entry, look, &journal, end) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            done => done.at(Kind::Host, || format!("cannot repair `{}`", entry.path)),
        }
    }

    /// Writes what was fetched where it belongs; whether the file is whole in its place. Otherwise a part is, up to `end`.
    ///
    /// # Errors
    /// Those of the disk; [`io::ErrorKind::NotFound`] when the file is not what looked so before.
    fn put_right(&self, entry: &Entry, look: Look, journal: &Journal, end: u64) -> io::Result<bool> {
        let (place, record) = (self.cache.place(entry), self.cache.record(entry));
        if Look::at(&place) != Some(look) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (file, path) = part::open_to_mend(&self.cache, entry, &place)?;
        let written = journal.apply(&file);
        let kept = hash::keep(&file);
        let is_kept = kept.is_ok();
        let take_over = || part::take_over(&self.cache, entry, (&file, &path), &record);
        let is_in_place = path == place;
        let done = written.and(kept).and_then(|()| {
            if is_in_place && end == entry.size {
                return Ok(true);
            }
            let part = take_over()?;
            if end < entry.size {
                part::cut_to(&part, end);
            }
            Ok(false)
        });
        let Err(error) = done else { return done };
        if !is_in_place {
            let _ = std::fs::remove_file(&path);
        } else if !is_kept {
            // It may look whole, and not be on the disk (fsync(2)): what lies before is.
            let first = journal.first().unwrap_or(0);
            match take_over() {
                Ok(part) => part::cut_to(&part, first),
                // Under its name it must not look whole.
                Err(_) => drop(file.set_len(first)),
            }
        }
        Err(error)
    }

    /// Fetches what belongs where the file is bad, up to its end; `None` when that is too much of it, or does not come by
    /// ranges. What lacks at its end is fetched as that of any part.
    async fn gather(
        &self,
        entry: &Entry,
        mut damaged: Damaged,
        journal: &mut Journal,
        counted: &mut u64,
    ) -> Result<Option<u64>> {
        let failed = || format!("cannot repair `{}`", entry.path);
        let mut in_a_row = (0, 0);
        // To fetch all of it costs no more than this.
        let mut left = entry.size;
        let mut count = |to: u64| {
            self.counts.done.fetch_add(to - *counted, Ordering::Relaxed);
            *counted = to;
        };
        loop {
            let (end, digest) = match damaged.next_bad(&mut count) {
                Ok(Some(bad)) => bad,
                Ok(None) => return Ok(Some(entry.size)),
                // Where a disk does not read it may not write: all of it goes elsewhere.
                Err(error) if hash::is_lost(&error) => return Ok(None),
                Err(error) => return Err(error).at(Kind::Host, failed),
            };
            let from = damaged.at();
            if damaged.lacks(end) {
                return Ok(Some(from).filter(|from| *from > 0));
            }
            let began = if in_a_row.1 == from { in_a_row.0 } else { from };
            in_a_row = (began, end);
            // One range alone may be longer: a helper's chunk is.
            if began < from && end - began > MOST_IN_A_ROW {
                return Ok(None);
            }
            let _room = self.held.room(end - from).await?;
            let Some(bytes) = self.patient_range(entry, from, end, &mut left).await? else {
                return Ok(None);
            };
            if !damaged.fits(&bytes, end, digest) {
                // The record is wrong, or what came is: the whole file's hash will say.
                return Ok(None);
            }
            journal.note(from, &bytes).at(Kind::Host, failed)?;
            count(end);
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
