//! Files on disk: where they are, and what was verified of them.
//!
//! | file | subject |
//! |---|---|
//! | `layout` | paths of a repository in the hub cache or in a directory |
//! | `owner` | this process as other hosts know it |
//! | `claim` | the repository that a directory is for |
//! | `fingerprint` | a file's size, times and inode |
//! | `hash` | hashes of files |
//! | `proofs` | a log of verified files |
//! | `manifest` | the verified files of a snapshot |
//! | `publish` | from verified files to a snapshot |
//! | `snapshot` | verified snapshots, asked for by revision |
//! | `contents` | repositories, snapshots and their files, also those that other clients wrote |
//! | `model` | shape and sizes of a model, from config.json and the headers of its shards |
//! | `folder` | a folder of a model that is served as it is |
//! | `verify` | every byte of a snapshot against its hash |
//! | `outcome` | the result of a check, recorded |
//!
//! Not in this module: unfinished files (`transfer`), the hub protocol (`hub`).

pub(super) mod claim;
pub(super) mod contents;
pub(super) mod fingerprint;
pub(super) mod folder;
pub(super) mod hash;
pub(super) mod layout;
pub(super) mod manifest;
pub(super) mod model;
pub(super) mod outcome;
pub(super) mod owner;
pub(super) mod proofs;
pub(super) mod publish;
pub(super) mod snapshot;
pub(super) mod verify;

pub use claim::last_pull_into;
pub use folder::{check_folder, folder, model_of_path};
pub use model::{configuration, configuration_in, model_facts};
pub use snapshot::{cached_commit, check_snapshot, verified_files};
