//! What a file looks like: by that it is known again without reading it.
//!
//! Not in this module: what was proven of it (`proven`, `manifest`).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A file's size, times and inode. The time of its last change of any kind (`st_ctime`) is set by no program at will: a
/// file that was written to looks otherwise, whatever was done to its other times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::effects) struct Fingerprint {
    pub(in crate::effects) size: u64,
    /// Nanoseconds since 1970 of the last change of its bytes.
    pub(in crate::effects) modified_ns: i64,
    /// Nanoseconds since 1970 of the last change of anything.
    pub(in crate::effects) changed_ns: i64,
    pub(in crate::effects) inode: u64,
}

impl Fingerprint {
    /// What it looks like now; `None` of anything but a file.
    pub(in crate::effects) fn of(meta: &Metadata) -> Option<Self> {
        meta.is_file().then(|| Self::of_any(meta))
    }

    /// The fingerprint of a file, a directory or anything else.
    pub(in crate::effects) fn of_any(meta: &Metadata) -> Self {
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size: meta.len(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }

    /// What the file at `path` looks like now; `None` when there is none.
    pub(in crate::effects) fn at(path: &Path) -> Option<Self> {
        Self::of(&std::fs::metadata(path).ok()?)
    }

    /// Whether the bytes are the same, whatever else changed: a new name changes a file's `st_ctime` too.
    pub(in crate::effects) fn has_same_bytes(&self, other: &Self) -> bool {
        (self.size, self.modified_ns, self.inode) == (other.size, other.modified_ns, other.inode)
    }
}
