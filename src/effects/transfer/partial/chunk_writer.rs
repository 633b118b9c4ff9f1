//! A chunk of a part, written by a helper.
//!
//! Not in this module: which chunk (`ahead`), where its bytes come from (`help`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::durable::PartialHandle;
use super::journal::{JOURNAL_STEP, append_chunk};
use crate::effects::files;
use crate::effects::store::hash::{Hasher, sync_data};
use crate::error::{At, Kind, Result};

/// A chunk of a part, written by a helper.
pub(in crate::effects) struct ChunkWriter {
    part: PartialHandle,
    file: File,
    from: u64,
    at: u64,
    hasher: Hasher,
    /// Nothing more is to be done about it.
    is_settled: bool,
}

impl ChunkWriter {
    /// Opens a part for a chunk from `from` on.
    pub(in crate::effects) fn open(part: &PartialHandle, from: u64) -> Result<Self> {
        let opened = files::open_to_write(&part.path);
        Ok(Self {
            file: opened.at(Kind::Host, || format!("cannot write `{}`", part.path.display()))?,
            part: part.clone(),
            from,
            at: from,
            hasher: Hasher::sha256(),
            is_settled: false,
        })
    }

    /// Where the next byte goes.
    pub(in crate::effects) fn at(&self) -> u64 {
        self.at
    }

    /// Writes and hashes bytes.
    pub(in crate::effects) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, self.at);
        written.at(Kind::Host, || {
            format!("cannot write `{}`", self.part.path.display())
        })?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Whether so much came that it is worth a sync and a line of its own.
    pub(in crate::effects) fn is_worth_keeping(&self) -> bool {
        self.at - self.from >= JOURNAL_STEP
    }

    /// Has the disk keep what came, and notes that it is there, for a pull that comes after a kill or a power cut. Takes as
    /// long as the disk does.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk did not keep it: it is then as good as not there.
    pub(in crate::effects) fn finish(mut self) -> Result<()> {
        self.is_settled = true;
        self.note()
    }

    fn note(&self) -> Result<()> {
        sync_data(&self.file).at(Kind::Host, || {
            format!("cannot write `{}`", self.part.path.display())
        })?;
        let digest = self.hasher.digest();
        let noted = self
            .part
            .if_intact(|| append_chunk(&self.part.path, self.from, self.at, digest));
        // Without the line it is fetched again, after a power cut.
        if let Some(Ok(log)) = noted {
            let _ = log.sync_data();
        }
        Ok(())
    }
}

impl Drop for ChunkWriter {
    /// An interrupted pull goes on from here.
    fn drop(&mut self) {
        if !self.is_settled && self.is_worth_keeping() {
            let _ = self.note();
        }
    }
}
