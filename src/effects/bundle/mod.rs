//! The archive of `dsr1 bundle`, and the files of this host that go into it.
//!
//! | file | subject |
//! |---|---|
//! | `archive` | the archive itself: the one place through which each part goes, without secrets |
//! | `parts` | files of this host, and what is known of Docker |
//! | `tail` | the end of a log |
//!
//! Not in this module tree: the choice of the parts (`commands::bundle`), the forms of secrets (`redact`).

mod archive;
mod parts;
mod tail;

pub use archive::Archive;
pub use parts::{Part, servers_of};
pub use tail::{MOST_OF_LOG, Tail};

use crate::effects::files;

/// Returns the time in UTC as `20261123T215231Z`, for the name of an archive.
#[must_use]
pub fn timestamp() -> String {
    files::timestamp()
}
