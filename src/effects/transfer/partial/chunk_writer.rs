//! Writes a claimed chunk into a partial file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::durable::PartialHandle;
use super::journal::append_chunk;
use crate::effects::files;
use crate::effects::store::hash::{Hasher, sync_data};
use crate::error::{At, Kind, Result};

/// Writes a claimed chunk into a partial file.
pub(in crate::effects) struct ChunkWriter {
    partial: PartialHandle,
    file: File,
    from: u64,
    at: u64,
    hasher: Hasher,
    /// True if nothing is left to do when it is dropped.
    is_finished: bool,
}

impl ChunkWriter {
    /// Opens a partial file to write a chunk at `from`.
    pub(in crate::effects) fn open(partial: &PartialHandle, from: u64) -> Result<Self> {
        let opened = files::open_to_write(&partial.path);
        Ok(Self {
            file: opened.at(Kind::Host, || {
                format!("cannot write `{}`", partial.path.display())
            })?,
            partial: partial.clone(),
            from,
            at: from,
            hasher: Hasher::sha256(),
            is_finished: false,
        })
    }

    /// Returns the offset of the next byte.
    pub(in crate::effects) fn at(&self) -> u64 {
        self.at
    }

    /// Writes and hashes bytes.
    pub(in crate::effects) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, self.at);
        written.at(Kind::Host, || {
            format!("cannot write `{}`", self.partial.path.display())
        })?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Returns whether enough bytes arrived to be worth a sync and a line in the chunk list.
    pub(in crate::effects) fn is_worth_keeping(&self) -> bool {
        self.at - self.from >= self.partial.limits.journal_step
    }

    /// Syncs the chunk and adds it to the chunk list, so that a later pull finds it after a kill or a power
    /// cut. Blocks until the disk is done.
    ///
    /// # Errors
    /// [`Kind::Host`] if the sync failed. The chunk then counts as missing.
    pub(in crate::effects) fn finish(mut self) -> Result<()> {
        self.is_finished = true;
        self.note()
    }

    fn note(&self) -> Result<()> {
        sync_data(&self.file).at(Kind::Host, || {
            format!("cannot write `{}`", self.partial.path.display())
        })?;
        let digest = self.hasher.digest();
        let noted = self
            .partial
            .if_intact(|| append_chunk(&self.partial.path, self.from, self.at, digest));
        // Without the line, the chunk is fetched again after a power cut.
        if let Some(Ok(log)) = noted {
            let _ = log.sync_data();
        }
        Ok(())
    }
}

impl Drop for ChunkWriter {
    /// An interrupted pull resumes after these bytes.
    fn drop(&mut self) {
        if !self.is_finished && self.is_worth_keeping() {
            let _ = self.note();
        }
    }
}
