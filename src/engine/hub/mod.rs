//! Weights: pulled from a hub, proven, kept in the hub cache layout, served on.
//!
//! hf-hub carries the bytes that a hub keeps in Xet (`download_file_stream`) and nothing else: its
//! `snapshot_download` and `download_file` report success on wrong bytes (1.0.0: no status check on the cached path,
//! no size check, no hash), so clippy forbids them. Ranges over HTTP are asked for here, because it asks twice for
//! each file and takes any answer for the range. Listings are parsed here, because the crate drops `lfs.oid`.
//! The only home of hf-hub.
//!
//! | file | subject |
//! |---|---|
//! | `listing` | a repository's file list, hostile until parsed |
//! | `remote` | the two questions to a hub: which commit, which files |
//! | `source` | a stream of a file's bytes, over HTTP or Xet, and what each says no with |
//! | `part` | an unfinished file on disk, and the record that proves how far it is |
//! | `fetch` | one file: stream, hash, resume, retry |
//! | `workers` | threads that do so, file after file |
//! | `repair` | a file that went bad: only what is bad is fetched |
//! | `weights` | what is in the cache, whether it is still right, and its removal |
//! | `cache` | the cache layout, the manifest of what was proven |
//! | `pull` | a whole snapshot |
//! | `write` | the rehearsal model |
//! | `mirror` | the cache as a hub |

mod cache;
mod fetch;
mod hash;
mod listing;
mod mirror;
mod part;
mod pull;
mod remote;
mod repair;
mod source;
mod tensors;
mod weights;
mod workers;
mod write;

pub use cache::{cached_commit, check_snapshot, proven_files};
pub use mirror::{Limits, Mirror, MirrorOptions, mirror};
pub use pull::pull;
pub use tensors::model_facts;
pub use weights::{list, remove, verify};
pub use write::{rehearsal_commit, write_model};

use super::http::Http;
use crate::secret::Secret;

/// What a pull needs beside its step.
#[derive(Clone, Copy)]
pub struct HubOptions<'a> {
    /// The HTTP clients.
    pub http: &'a Http,
    /// Token for gated and private repositories.
    pub token: Option<&'a Secret>,
    /// Whether the network is off limits.
    pub offline: bool,
}
