//! A chunk of a part, written by a helper.
//!
//! Not in this module: which chunk (`ahead`), where its bytes come from (`help`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::hash::Hasher;
use super::record::note_ahead;
use crate::engine::files;
use crate::error::{At, Kind, Result};

/// A chunk of a part, written by a helper.
pub(in crate::engine::hub) struct PartChunk {
    path: PathBuf,
    file: File,
    from: u64,
    at: u64,
    hasher: Hasher,
}

impl PartChunk {
    /// Opens the part at `path` for a chunk from `from` on.
    pub(in crate::engine::hub) fn open(path: &Path, from: u64) -> Result<Self> {
        let opened = files::open_to_write(path);
        Ok(Self {
            file: opened.at(Kind::Host, || format!("cannot write `{}`", path.display()))?,
            path: path.to_owned(),
            from,
            at: from,
            hasher: Hasher::sha256(),
        })
    }

    /// Where the next byte goes.
    pub(in crate::engine::hub) fn at(&self) -> u64 {
        self.at
    }

    /// Writes and hashes bytes.
    pub(in crate::engine::hub) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, self.at);
        written.at(Kind::Host, || format!("cannot write `{}`", self.path.display()))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Notes that all of it is there, for a pull that comes after a kill.
    pub(in crate::engine::hub) fn finish(self) {
        note_ahead(&self.path, self.from, self.at, self.hasher.digest());
    }
}
