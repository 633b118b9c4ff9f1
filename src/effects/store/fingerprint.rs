//! A file's fingerprint: its size, times and inode, by which an unchanged file is recognized without reading
//! it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A file's size, times and inode. No program can set `st_ctime`, the time of the last change of any kind, so a
/// write always changes the fingerprint, even if the modification time is set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::effects) struct Fingerprint {
    pub(in crate::effects) size: u64,
    /// Time of the last change of the bytes (`st_mtime`), in nanoseconds since 1970.
    pub(in crate::effects) modified_ns: i64,
    /// Time of the last change of any kind (`st_ctime`), in nanoseconds since 1970.
    pub(in crate::effects) changed_ns: i64,
    pub(in crate::effects) inode: u64,
}

impl Fingerprint {
    /// Returns the fingerprint of a regular file; `None` for anything else.
    pub(in crate::effects) fn of(meta: &Metadata) -> Option<Self> {
        meta.is_file().then(|| Self::of_any(meta))
    }

    /// Returns the fingerprint of a file, a directory or anything else.
    pub(in crate::effects) fn of_any(meta: &Metadata) -> Self {
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size: meta.len(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }

    /// Returns the current fingerprint of the file at `path`; `None` if there is none.
    pub(in crate::effects) fn at(path: &Path) -> Option<Self> {
        Self::of(&std::fs::metadata(path).ok()?)
    }

    /// Returns whether size, modification time and inode are equal. A rename or a change of rights changes only
    /// `st_ctime`.
    pub(in crate::effects) fn has_same_bytes(&self, other: &Self) -> bool {
        (self.size, self.modified_ns, self.inode) == (other.size, other.modified_ns, other.inode)
    }
}
