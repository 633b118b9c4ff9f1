//! Partial files: the data of unfinished transfers, journals that verify it, and their owners.
//!
//! `OID.OWNER.part` holds the bytes. Beside it, `OID.OWNER.record` is the journal: every few MiB an offset, and
//! the hash of all bytes before it. A pull that was killed resumes at the last offset whose hash is still
//! right, so that neither a torn write nor data that a disk lost is taken for valid. `OID.OWNER.ahead` lists
//! the chunks that other workers fetched from the end (see `chunks`), each with its hash.
//!
//! The journal of a finished file is kept as `OID.record`: it tells later which ranges are corrupt, and a
//! repair fetches only those.
//!
//! Each partial file has one owner, so that two pulls never write to one file even on filesystems whose locks
//! do not work (Lustre, some NFS).
//!
//! | file | subject |
//! |---|---|
//! | `file` | the partial file |
//! | `chunk_writer` | a chunk, written by another worker |
//! | `journal` | the formats of the journal and the chunk list |
//! | `durable` | syncs in the background |
//! | `damaged` | repair of a finished file |
//! | `lease` | owners of partial files |
//! | `adopt` | takeover of abandoned partial files |
//! | `wait` | the wait for other hosts |
//! | `disk` | file operations that tolerate short failures |
//!
//! Not in this module: streams (`fetch`), finished files (`store`).

pub(super) mod adopt;
pub(super) mod chunk_writer;
pub(super) mod damaged;
pub(super) mod disk;
pub(super) mod durable;
pub(super) mod file;
pub(super) mod journal;
pub(in crate::effects) mod lease;
pub(in crate::effects) mod wait;
