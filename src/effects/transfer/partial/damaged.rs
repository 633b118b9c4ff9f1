//! A file that is in its place and wrong: a part begins with a copy of it, where the record of its pull is there to tell
//! what is right.
//!
//! The file itself stays as it is, whoever reads it, until a right one takes its name.
//! Not in this module: which part of it is bad (`gaps`), that it is wrong at all (`hash`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{copy_file, copy_range, create_private, is_full};
use super::journal::{journal_of, read_journal};
use crate::effects::files;
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::RepoCache;
use crate::units::{Bytes, hex};

/// A file that is in its place and wrong, and the record of its pull.
pub(super) struct DamagedFile {
    oid: String,
    file: File,
    journal: PathBuf,
    length: u64,
    /// What it should be.
    size: u64,
    /// Bytes that the record tells of.
    recorded_to: u64,
}

impl DamagedFile {
    /// What is in the place of `entry`, if it has a whole record.
    pub(super) fn find(cache: &RepoCache, entry: &Entry) -> Option<Self> {
        let (place, journal) = (cache.file_path(entry), cache.journal_path(entry));
        // What a link leads to is somebody else's: all of it comes, in the link's place.
        if cache.is_link(entry) {
            return None;
        }
        let lines = read_journal(&journal).ok()?;
        let (end, digest) = lines.last()?;
        // One that ends elsewhere is of other bytes.
        if *end != entry.size || !hex(digest).starts_with(entry.oid.hex()) {
            return None;
        }
        let file = files::open(&place).ok()?;
        let length = file.metadata().ok()?.len().min(entry.size);
        let places = lines.iter().map(|(place, _)| *place);
        Some(Self {
            oid: entry.oid.hex().to_owned(),
            file,
            journal,
            length,
            size: entry.size,
            recorded_to: places.take_while(|place| *place <= length).last()?,
        })
    }

    /// Whether more may be right of it than of a part with `kept` bytes. What was mended of a copy is better.
    pub(super) fn may_hold_more(&self, kept: u64) -> bool {
        self.recorded_to > kept
    }

    /// Makes our part of it.
    ///
    /// # Errors
    /// Those of the disk: nothing is ours then, and it is as it was.
    pub(super) fn copy_to_partial(&self, cache: &RepoCache, ours: &Path) -> io::Result<()> {
        let temporary = cache.temporary_path(&format!("copy-{}", self.oid));
        // First the record: without it, a part is worth nothing.
        let copied = copy_file(&self.journal, &journal_of(ours))
            .and_then(|()| self.copy(&temporary, ours))
            .and_then(|()| std::fs::rename(&temporary, ours));
        copied.map_err(|error| {
            let _ = std::fs::remove_file(&temporary);
            let _ = std::fs::remove_file(journal_of(ours));
            if is_full(&error) {
                let needed = Bytes(self.size);
                let text = format!("to mend it takes a copy of it, {needed} for each worker: {error}");
                return io::Error::new(error.kind(), text);
            }
            error
        })
    }

    /// Copies it, at once where a filesystem shares blocks between files; a place that does not read stays empty.
    fn copy(&self, to: &Path, ours: &Path) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate, ioctl_ficlone};
        let mut to = create_private(to)?;
        if ioctl_ficlone(&to, &self.file).is_err() {
            // Before the first byte: a disk must not be filled for nothing. Not every filesystem can say.
            match fallocate(&to, FallocateFlags::KEEP_SIZE, 0, self.size) {
                Err(error) if is_full(&error.into()) => return Err(error.into()),
                _ => {}
            }
            copy_range(&self.file, &mut to, (0, self.length), ours)?;
        }
        to.set_len(self.length)?;
        to.sync_all()
    }
}
