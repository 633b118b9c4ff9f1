//! An unfinished file: what is written of it, and a journal that proves how far.
//!
//! Beside `OID.OWNER.part` lies `OID.OWNER.record`: every few MiB the place, and the hash of all bytes before it. A
//! pull that was killed goes on from the last place whose hash still holds, so that neither a torn write nor a disk
//! that lost power is taken for bytes. The record of a proven file is kept: it tells which part of it went bad later.
//!
//! Beside both lies `OID.OWNER.ahead`: the chunks that helpers wrote from the end (see `chunks`), each with its hash.
//!
//! A file that is there and wrong becomes a part by its record: all of it, with gaps where it is bad.
//!
//! Parts have owners, so that two pulls whose filesystem has no working locks (Lustre, some NFS) never write one file.
//!
//! Not in this module: where bytes come from (`fetch`).

pub(super) mod adopt;
pub(super) mod chunk_writer;
pub(super) mod damaged;
pub(super) mod disk;
pub(super) mod durable;
pub(super) mod file;
pub(super) mod journal;
pub(in crate::effects) mod lease;
pub(in crate::effects) mod wait;
