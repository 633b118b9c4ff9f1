//! A file that went bad on disk: the record kept from its pull tells where, and only that is fetched again.
//!
//! Not in this module: finding out which files are bad (`weights`).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::fetch::Fetcher;
use super::hash::{Bytes32, Hasher};
use super::listing::Entry;
use super::part::{self, read_record};
use super::source::{self, Failure};
use super::watch::Watch;
use crate::error::{At, Kind, Result};

/// A file that is read against its record.
struct Damaged {
    file: File,
    /// Places, and the hash of all bytes before each.
    record: Vec<(u64, Bytes32)>,
    hasher: Hasher,
    at: u64,
}

impl Damaged {
    /// Takes the file's name away, so that nobody reads it meanwhile, and keeps it as a part of ours. `None` without
    /// a whole record.
    fn take(fetcher: &Fetcher, entry: &Entry) -> Result<Option<Self>> {
        let cache = &fetcher.cache;
        let (place, record) = (cache.place(entry), cache.record(entry));
        if !place.exists() {
            return Ok(None);
        }
        let lines = read_record(&record);
        let part: PathBuf = part::take_over(cache, entry, &place, &record)
            .at(Kind::Host, || format!("cannot move `{}`", place.display()))?;
        if lines.last().is_none_or(|(end, _)| *end != entry.size) {
            return Ok(None);
        }
        let failed = || format!("cannot write `{}`", part.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&part)
            .at(Kind::Host, failed)?;
        // A file that was cut short reads as zeros where nothing is.
        file.set_len(entry.size).at(Kind::Host, failed)?;
        Ok(Some(Self {
            file,
            record: lines,
            hasher: Hasher::new(&entry.oid, entry.size),
            at: 0,
        }))
    }

    /// Goes on to the next range whose bytes are not those that were recorded.
    fn next_bad(&mut self) -> std::io::Result<Option<(u64, u64)>> {
        while let Some((end, _)) = self.record.first().copied() {
            let length = usize::try_from(end - self.at).map_err(std::io::Error::other)?;
            let mut bytes = vec![0; length];
            self.file.read_exact_at(&mut bytes, self.at)?;
            if !self.fits(&bytes) {
                return Ok(Some((self.at, end)));
            }
        }
        Ok(None)
    }

    /// Whether `bytes` are what was recorded of the next range; if so, goes past it.
    fn fits(&mut self, bytes: &[u8]) -> bool {
        let Some((end, digest)) = self.record.first().copied() else {
            return false;
        };
        let mut hasher = self.hasher.clone();
        hasher.update(bytes);
        let fits = hasher.digest() == digest;
        if fits {
            (self.hasher, self.at) = (hasher, end);
            self.record.remove(0);
        }
        fits
    }

    fn mend(&mut self, bytes: &[u8]) -> std::io::Result<bool> {
        let at = self.at;
        if !self.fits(bytes) {
            return Ok(false);
        }
        self.file.write_all_at(bytes, at)?;
        Ok(true)
    }
}

impl Fetcher {
    /// Makes a file right again: range by range where its record tells which, else as [`Self::fetch`] does.
    pub(super) async fn repair(&self, entry: &Entry) -> Result<()> {
        if let Some(damaged) = Damaged::take(self, entry)? {
            self.mend(entry, damaged).await?;
        }
        // Proves it from the first byte, and gives it its name; what could not be mended is fetched from there on.
        self.fetch(entry).await
    }

    async fn mend(&self, entry: &Entry, mut damaged: Damaged) -> Result<()> {
        let failed = || format!("cannot repair `{}`", entry.path);
        loop {
            let bad = damaged.next_bad().at(Kind::Host, failed)?;
            let Some((from, to)) = bad else { return Ok(()) };
            let Ok(bytes) = self.range(entry, from, to).await else {
                return Ok(());
            };
            if !damaged.mend(&bytes).at(Kind::Host, failed)? {
                return Ok(());
            }
        }
    }

    /// The bytes of a range; one try, because a file that cannot be mended is fetched with all patience.
    async fn range(&self, entry: &Entry, from: u64, to: u64) -> std::result::Result<Vec<u8>, Failure> {
        let via = self.source.via(entry);
        let mut arriving = self.source.open(entry, (from, to), None, via).await?;
        let mut watch = Watch::new(self.source.idle());
        let want = usize::try_from(to - from).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(want);
        while bytes.len() < want {
            let ended = || Failure::Again(source::broken(entry, "the connection ended before the last byte"));
            let chunk = watch.next(entry, &mut arriving).await?.ok_or_else(ended)?;
            self.count(chunk.len());
            bytes.extend_from_slice(&chunk[..chunk.len().min(want - bytes.len())]);
        }
        Ok(bytes)
    }
}
