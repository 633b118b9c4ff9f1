//! Gaps of a part: its record tells what is right behind a place that is not, and only what lies between is fetched.
//!
//! That is what a file has that went bad on disk (`damaged`), and a part whose disk lost some of its middle. A line of a
//! record states the hash of all bytes before it: behind a gap it says whether what came is right.
//! Not in this module: the record's format (`record`), where bytes come from (`fetch`).

use std::io;
use std::time::Instant;

use super::super::hash::{Hasher, is_lost};
use super::record::LINE;
use super::{Part, READ, STEP, patiently};
use crate::error::Result;

/// Most bytes in a row that are bad where a disk or a copy went wrong: more are another file's.
const MOST_IN_A_ROW: u64 = 16 << 20;

/// Largest block of a disk or a filesystem that is read as one.
const BLOCK: u64 = 64 << 10;

/// What is to be fetched before the record says more.
pub(super) struct Gap {
    from: u64,
    to: u64,
    /// Of all bytes before it.
    before: Hasher,
    /// It came once, and was not what the record says.
    is_second: bool,
}

impl Part {
    /// Where the gap ends that begins at [`Part::at`] or before; `None` where nothing is known of what lies behind.
    pub(in crate::effects::hub) fn gap(&self) -> Option<u64> {
        self.gap.as_ref().map(|gap| gap.to)
    }

    /// At the end of a gap, goes on over what is right behind it, or once back to where it begins when what came is not
    /// right; `false` when what the record says of the rest is of no use.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::effects::hub) fn pass_gap(&mut self) -> Result<bool> {
        let at = self.at;
        let Some(gap) = self.gap.as_mut().filter(|gap| gap.to == at) else {
            return Ok(true);
        };
        let is_line = |line: &&(u64, _)| line.0 == at;
        let digest = self.beyond.iter().find(is_line).map(|(_, digest)| *digest);
        if digest != Some(self.hasher.digest()) {
            if gap.is_second {
                // The record is wrong, or all that comes is: the whole file's hash will say.
                return Ok(false);
            }
            gap.is_second = true;
            (self.at, self.hasher) = (gap.from, gap.before.clone());
            return Ok(true);
        }
        while self.beyond.front().is_some_and(|(place, _)| *place <= at) {
            self.pop_line(at);
        }
        self.pass_right().map_err(|error| self.cannot(&error))?;
        if self.at > at {
            self.bad_from = self.at;
        }
        if self.gap.is_some() && self.at - self.bad_from >= MOST_IN_A_ROW {
            return Ok(false);
        }
        if self.gap.is_none() {
            self.close_record().map_err(|error| self.cannot(&error))?;
        }
        self.durable.reached(self.at, self.record_length);
        Ok(true)
    }

    /// Goes by the record no more: all that follows is fetched.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::effects::hub) fn forget_beyond(&mut self) -> Result<()> {
        self.gap = None;
        self.beyond.clear();
        self.close_record().map_err(|error| self.cannot(&error))
    }

    /// Reads what is here as far as the record proves it. What it says of the rest stays known.
    pub(super) fn pass_right(&mut self) -> io::Result<()> {
        let (mut buffer, mut does_not_read) = (vec![0; READ], false);
        while let Some((place, digest)) = self.beyond.front().copied() {
            let mut hasher = self.hasher.clone();
            match self.read(&mut buffer, place, |bytes| hasher.update(bytes)) {
                // What does not read is bad.
                Err(error) if is_lost(&error) => {
                    does_not_read = true;
                    break;
                }
                read => read?,
            }
            if hasher.digest() != digest {
                break;
            }
            (self.hasher, self.at) = (hasher, place);
            self.pop_line(place);
        }
        // Lines of a slow stream lie close: a request for each of them would take longer than what lies between.
        let places = || self.beyond.iter().map(|(place, _)| *place);
        let end = places().find(|place| place - self.at >= STEP);
        self.gap = end.or_else(|| places().next_back()).map(|to| Gap {
            from: self.at,
            to,
            before: self.hasher.clone(),
            is_second: false,
        });
        if let Some(to) = self.gap().filter(|_| does_not_read) {
            self.give_back(to);
        }
        Ok(())
    }

    /// The next line of the record is right, as is all that lies before `at`.
    fn pop_line(&mut self, at: u64) {
        self.beyond.pop_front();
        self.record_length += LINE as u64;
        self.recorded = (at, Instant::now());
    }

    /// Gives the blocks between here and `to` back to the disk: one that does not read is not written to, either, unless
    /// all of it is at once.
    fn give_back(&self, to: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        let punch = |to| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, self.at, to - self.at)
        };
        // Of a block that does not read a part cannot be given back, either: what follows in it is then bad, too. Not every
        // filesystem can.
        let _ = punch(to).or_else(|_| punch(to.next_multiple_of(BLOCK)));
    }

    /// From here on the record is written again.
    pub(super) fn close_record(&mut self) -> io::Result<()> {
        patiently(&self.path, || self.record.set_len(self.record_length))?;
        io::Seek::seek(&mut self.record, io::SeekFrom::Start(self.record_length))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::super::super::cache::RepoCache;
    use super::super::super::listing::Entry;
    use super::super::durable::Kept;
    use super::super::owner::here;
    use super::super::record::{ahead_of, record_of};
    use super::super::tests::{cache, entry, noise};
    use super::super::{PartChunk, parts};
    use super::*;

    const MIB: usize = 1 << 20;

    /// A file in its place.
    fn published(cache: &RepoCache, bytes: &[u8]) -> Entry {
        let entry = entry(bytes);
        let mut part = Part::open(cache, &entry).unwrap();
        bytes.chunks(MIB).for_each(|mib| part.write(mib).unwrap());
        part.publish(&cache.place(&entry), &cache.record(&entry)).unwrap();
        entry
    }

    fn spoil(path: &Path, at: usize) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0; 4096], at as u64).unwrap();
    }

    /// Where a part is, and where its gap ends, in MiB.
    fn gap(part: &Part) -> (u64, Option<u64>) {
        (part.at() >> 20, part.gap().map(|to| to >> 20))
    }

    /// What was right long before counts for nothing when two steps in a row are bad.
    #[tokio::test]
    async fn two_steps_in_a_row_are_no_other_file() {
        let (_dir, cache) = cache();
        let bytes = noise(40 * MIB);
        let entry = published(&cache, &bytes);
        spoil(&cache.place(&entry), 24 * MIB - 2048);
        let mut part = Part::open(&cache, &entry).unwrap();
        for from in [20, 24] {
            assert_eq!(gap(&part), (from, Some(from + 4)));
            let from = usize::try_from(from).unwrap() * MIB;
            part.write(&bytes[from..from + 4 * MIB]).unwrap();
            assert!(part.pass_gap().unwrap());
        }
        assert_eq!(gap(&part), (40, None));
        assert_eq!(part.hex(), entry.oid.hex());
    }

    /// Five are.
    #[tokio::test]
    async fn what_is_bad_throughout_is_another_file() {
        let (_dir, cache) = cache();
        let bytes = noise(40 * MIB);
        let entry = published(&cache, &bytes);
        (4..24).for_each(|mib| spoil(&cache.place(&entry), mib * MIB));
        let mut part = Part::open(&cache, &entry).unwrap();
        let mut passed = Vec::new();
        while passed.last() != Some(&false) {
            let (from, to) = gap(&part);
            let place = |mib| usize::try_from(mib).unwrap() * MIB;
            part.write(&bytes[place(from)..place(to.unwrap())]).unwrap();
            passed.push(part.pass_gap().unwrap());
        }
        assert_eq!(passed, [true, true, true, false]);
        part.forget_beyond().unwrap();
        assert_eq!(gap(&part), (20, None));
    }

    /// A disk says once that it did not keep what came: what a helper wrote there before says nothing of it.
    #[tokio::test]
    async fn what_came_anew_is_not_taken_for_what_a_helper_wrote() {
        let (_dir, cache) = cache();
        let bytes = noise(20 * MIB);
        let entry = entry(&bytes);
        let mut part = Part::open(&cache, &entry).unwrap();
        part.write(&bytes[..4 * MIB]).unwrap();
        let mut chunk = PartChunk::open(part.file(), 4 << 20).unwrap();
        chunk.write(&bytes[4 * MIB..12 * MIB]).unwrap();
        chunk.finish().unwrap();
        assert!(part.take(12 << 20, None).unwrap());
        part.write(&bytes[12 * MIB..16 * MIB]).unwrap();
        let path = part.path.clone();
        drop(part);
        spoil(&path, 5 * MIB);
        let mut part = Part::open(&cache, &entry).unwrap();
        assert_eq!(gap(&part), (4, Some(8)));
        part.write(&bytes[4 * MIB..8 * MIB]).unwrap();
        // As a sync that fails does.
        part.durable.cut_back();
        drop(part);
        let mut part = Part::open(&cache, &entry).unwrap();
        assert_eq!((gap(&part), part.take_recovered().len()), ((4, None), 0));
        assert!(!ahead_of(&path).exists());
    }

    /// What a chunk has that does not hold any more is not known either, once it is fetched again.
    #[tokio::test]
    async fn a_chunk_that_is_rejected_is_forgotten() {
        let (_dir, cache) = cache();
        let bytes = noise(12 * MIB);
        let entry = entry(&bytes);
        let mut part = Part::open(&cache, &entry).unwrap();
        part.write(&bytes[..4 * MIB]).unwrap();
        for from in [8, 4] {
            let mut chunk = PartChunk::open(part.file(), from << 20).unwrap();
            let from = usize::try_from(from).unwrap() * MIB;
            chunk.write(&bytes[from..from + 4 * MIB]).unwrap();
            chunk.finish().unwrap();
        }
        let path = part.path.clone();
        drop(part);
        spoil(&path, 5 * MIB);
        let mut part = Part::open(&cache, &entry).unwrap();
        let recovered = part.take_recovered();
        let (_, to, digest) = *recovered.iter().find(|(from, _, _)| *from == 4 << 20).unwrap();
        assert!(!part.take(to, Some(digest)).unwrap());
        drop(part);
        let mut part = Part::open(&cache, &entry).unwrap();
        let left: Vec<u64> = part.take_recovered().iter().map(|chunk| chunk.0 >> 20).collect();
        assert_eq!(left, [8]);
    }

    /// Syncs that fail again and again leave no more than one part.
    #[tokio::test]
    async fn what_is_mended_anew_leaves_no_parts_behind() {
        let (_dir, cache) = cache();
        let bytes = noise(20 * MIB);
        let entry = published(&cache, &bytes);
        spoil(&cache.place(&entry), 9 * MIB);
        spoil(&cache.place(&entry), 17 * MIB);
        for round in 1..4 {
            let mut part = Part::open(&cache, &entry).unwrap();
            part.write(&bytes[8 * MIB..12 * MIB]).unwrap();
            assert!(part.pass_gap().unwrap());
            let (at, record) = (part.at, part.record_length);
            part.durable.begin(Kept { at, record });
            part.durable.cut_back();
            let path = part.path.clone();
            drop(part);
            let name = format!("{}.{}.1-{round}.part", entry.oid.hex(), here());
            let dead = cache.parts().join(name);
            std::fs::rename(record_of(&path), record_of(&dead)).unwrap();
            std::fs::rename(&path, &dead).unwrap();
            assert_eq!(parts(&cache.parts()).count(), 1, "round {round}");
        }
    }
}
