//! Weights: pulled from a hub, proven, kept in the hub cache layout, served on.
//!
//! hf-hub gives the types of a hub's answers, hf-xet below it the bytes that a hub keeps in Xet. hf-hub's own
//! downloads are not used: `snapshot_download` and `download_file` report success on wrong bytes (1.0.0: no status
//! check on the cached path, no size check, no hash), so clippy forbids them; `download_file_stream` asks twice for each
//! file, takes any answer for the range, and follows the redirect that states a file's Xet hash. Listings are parsed
//! here, because the crate drops `lfs.oid`. The only home of hf-hub and hf-xet.
//!
//! | file | subject |
//! |---|---|
//! | `listing` | a repository's file list, hostile until parsed |
//! | `remote` | the two questions to a hub: which commit, which files |
//! | `ask` | a hub that does not answer, or not now |
//! | `refusal` | what it means when a hub says no |
//! | `source` | a stream of a file's bytes, and what each way says no with |
//! | `xet` | a hub's Xet store |
//! | `watch` | a stream that stalls, crawls or is slower than others |
//! | `percent` | what stands in a URL |
//! | `part` | an unfinished file on disk, or one that went bad, and the record that proves what is right of it |
//! | `fetch` | one file: stream, hash, resume, retry |
//! | `ahead` | who fetches which part of a large file |
//! | `help` | a worker without a file fetches a chunk of another's |
//! | `board` | the files that are under way |
//! | `workers` | threads that do so, file after file |
//! | `growth` | how many threads |
//! | `look` | a file's size, times and inode |
//! | `proven` | a log of files that were proven |
//! | `verify` | whether a snapshot is still right |
//! | `weights` | what is in the cache, and its removal |
//! | `cache` | where files are: in the hub cache, or a directory |
//! | `claim` | which repository a directory is for |
//! | `manifest` | what was proven of a snapshot |
//! | `foreign` | snapshots that other clients left |
//! | `tidy` | what killed pulls leave |
//! | `wanted` | which files of a revision are to come |
//! | `survey` | what a pull would fetch |
//! | `space` | room for it |
//! | `pull` | a whole snapshot |
//! | `progress` | all its files, and how far they are |
//! | `twins` | the same bytes under two names, in a directory |
//! | `write` | the rehearsal model |
//! | `mirror` | the cache as a hub |
//!
//! Not in this module: which repository and where to (`plan::pull`), how it is shown (`ui`).

mod ahead;
mod ask;
mod board;
mod cache;
mod claim;
mod fetch;
mod foreign;
mod growth;
mod hash;
mod help;
pub mod listing;
mod look;
mod manifest;
mod mirror;
mod part;
mod percent;
mod progress;
mod proven;
mod pull;
mod refusal;
mod remote;
mod source;
mod space;
mod survey;
mod tensors;
mod tidy;
mod twins;
mod verify;
mod wanted;
mod watch;
mod weights;
mod workers;
mod write;
mod xet;

pub use claim::described_directory;
pub use manifest::{cached_commit, check_snapshot, proven_files};
pub use mirror::{Limits, Mirror, MirrorOptions, mirror};
pub use pull::pull;
pub use survey::survey;
pub use tensors::model_facts;
pub use verify::{Check, verify};
pub use weights::{list, removable, remove};
pub use write::{rehearsal_commit, write_model};

use std::time::Duration;

use super::http::Http;
use crate::event::StepEvents;
use crate::secret::Secret;

/// What a pull needs beside its step.
#[derive(Clone, Copy)]
pub struct HubOptions<'a> {
    /// The HTTP clients.
    pub http: &'a Http,
    /// Token for gated and private repositories.
    pub token: Option<&'a Secret>,
    /// Where the token is from: a variable or a file, in words.
    pub token_from: &'a str,
    /// Whether the network is off limits.
    pub offline: bool,
    /// How long nothing is waited for, when the user says so (`HF_HUB_DOWNLOAD_TIMEOUT`).
    pub idle: Option<Duration>,
    /// Told what is waited for before the first file comes.
    pub events: Option<StepEvents<'a>>,
}

/// How long nothing is waited for, an answer or the next byte, unless the user says otherwise.
const SILENCE: Duration = Duration::from_secs(30);

impl<'a> HubOptions<'a> {
    /// How long nothing is waited for.
    fn silence(&self) -> Duration {
        self.idle.unwrap_or(SILENCE)
    }

    /// The same, with somebody who is told.
    #[must_use]
    pub const fn telling(mut self, events: StepEvents<'a>) -> Self {
        self.events = Some(events);
        self
    }
}
