//! The commands on weights: pull, dry run, verify and repair, list, remove; and the rehearsal model.
//!
//! | file | subject |
//! |---|---|
//! | `pull` | the pull of a snapshot |
//! | `selection` | the files of a revision that a pull fetches |
//! | `access` | the question whether a hub has a revision |
//! | `dry_run` | what a pull would fetch |
//! | `shape` | the shape of a model that is not pulled, read from its hub |
//! | `verify` | the check of a snapshot, and its repair |
//! | `place` | the place of a snapshot on disk, and the hub that its files are fetched from |
//! | `inventory` | the list of weights in the cache, and their removal |
//! | `rehearsal` | the rehearsal model, written as if it had been pulled |
//!
//! Not in this module: the protocol (`hub`), the transfer of bytes (`transfer`), the files on disk (`store`).

mod access;
mod dry_run;
mod inventory;
mod place;
mod pull;
mod rehearsal;
mod selection;
pub(in crate::effects) mod shape;
mod verify;

pub use access::access;
pub use dry_run::dry_run;
pub use inventory::{list, removable, remove};
pub use place::{Download, Place};
pub use pull::pull;
pub use rehearsal::{rehearsal_commit, write_model};
pub use shape::{configuration, listed};
pub use verify::{VerifyOptions, verify};
