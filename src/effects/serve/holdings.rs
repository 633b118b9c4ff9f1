//! The record of what a server holds.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The things that a server holds while it runs, and that must be gone before the next one starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Its port on 127.0.0.1.
    pub(super) port: u16,
    /// Its processes on this host.
    pub(super) processes: Vec<i32>,
    /// Its segments in /dev/shm, and those of nobody else.
    pub(super) segments: BTreeSet<PathBuf>,
}
