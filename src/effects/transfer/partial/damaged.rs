//! Repair of a finished file that is damaged: it is copied to a partial file, and its kept journal tells which
//! ranges are valid.
//!
//! The damaged file itself stays unchanged until the repaired one replaces it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{copy_file, copy_range, create_private, is_full};
use super::journal::{journal_of, read_journal};
use crate::effects::files;
use crate::effects::hub::limits::Limits;
use crate::effects::hub::listing::Entry;
use crate::effects::store::layout::RepoCache;
use crate::units::{Bytes, hex};

/// A finished file that is damaged, and the journal of its pull.
pub(super) struct DamagedFile {
    oid: String,
    file: File,
    journal: PathBuf,
    length: u64,
    /// The size that the file should have.
    size: u64,
    /// The last offset within the file that its journal covers.
    recorded_to: u64,
}

impl DamagedFile {
    /// Returns the file in the place of `entry`, if its journal is complete.
    pub(super) fn find(cache: &RepoCache, entry: &Entry) -> Option<Self> {
        let (path, journal) = (cache.file_path(entry), cache.journal_path(entry));
        // A link leads to somebody else's file. The whole file is fetched and replaces the link.
        if cache.is_link(entry) {
            return None;
        }
        let lines = read_journal(&journal).ok()?;
        let (end, digest) = lines.last()?;
        // A journal that ends elsewhere belongs to other bytes.
        if *end != entry.size || !hex(digest).starts_with(entry.oid.hex()) {
            return None;
        }
        let file = files::open(&path).ok()?;
        let length = file.metadata().ok()?.len().min(entry.size);
        let offsets = lines.iter().map(|(offset, _)| *offset);
        Some(Self {
            oid: entry.oid.hex().to_owned(),
            file,
            journal,
            length,
            size: entry.size,
            recorded_to: offsets.take_while(|offset| *offset <= length).last()?,
        })
    }

    /// Returns whether this damaged file may hold more valid bytes than a partial file with `kept` bytes. On a
    /// tie the partial file wins: it may already contain repairs.
    pub(super) fn may_hold_more(&self, kept: u64) -> bool {
        self.recorded_to > kept
    }

    /// Copies the file and its journal to our partial file.
    ///
    /// # Errors
    /// If the disk fails; then our partial file does not exist, and the damaged file is unchanged.
    pub(super) fn copy_to_partial(&self, cache: &RepoCache, ours: &Path) -> io::Result<()> {
        let temporary = cache.temporary_path(&format!("copy-{}", self.oid));
        // The journal first: a partial file without one is useless.
        let copied = copy_file(&self.journal, &journal_of(ours))
            .and_then(|()| self.copy(&temporary, ours, cache.limits()))
            .and_then(|()| std::fs::rename(&temporary, ours));
        copied.map_err(|error| {
            let _ = std::fs::remove_file(&temporary);
            let _ = std::fs::remove_file(journal_of(ours));
            if is_full(&error) {
                let needed = Bytes(self.size);
                let text = format!("a repair needs space for a copy, {needed} for each worker: {error}");
                return io::Error::new(error.kind(), text);
            }
            error
        })
    }

    /// Copies the file, by sharing blocks if the filesystem can. Ranges that cannot be read stay empty.
    fn copy(&self, to: &Path, ours: &Path, limits: &Limits) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate, ioctl_ficlone};
        let mut to = create_private(to)?;
        if ioctl_ficlone(&to, &self.file).is_err() {
            // Reserves the space first, so that a disk is not filled in vain. Not every filesystem can do that.
            match fallocate(&to, FallocateFlags::KEEP_SIZE, 0, self.size) {
                Err(error) if is_full(&error.into()) => return Err(error.into()),
                _ => {}
            }
            copy_range(&self.file, &mut to, (0, self.length), ours, limits)?;
        }
        to.set_len(self.length)?;
        to.sync_all()
    }
}
