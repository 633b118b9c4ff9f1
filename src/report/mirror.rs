//! What a mirror serves.
//!
//! Not in this module: the serving (`effects::hub`), how it is shown (`ui::mirrored`).

use serde::{Deserialize, Serialize};

/// A mirror that listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    /// Always [`Mirrored::SCHEMA`].
    pub schema: String,
    /// Its base URL.
    pub endpoint: String,
    /// The hub cache that it serves.
    pub cache_dir: String,
    /// Whether it wants a token.
    pub token: bool,
    /// What is in the cache.
    pub snapshots: Vec<MirroredSnapshot>,
}

impl Mirrored {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.mirror/1";
}

/// One snapshot of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirroredSnapshot {
    /// Repository, `owner/name`.
    pub repo: String,
    /// Branches and tags that stand for it.
    pub revisions: Vec<String>,
    /// Its commit.
    pub commit: String,
    /// Files in it.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Whether it is served.
    #[serde(flatten)]
    pub state: MirroredState,
}

/// Whether a snapshot is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum MirroredState {
    /// It is, as dsr1 proved it.
    Proven,
    /// It is, and every hash was checked; whether that is all of the commit no hub was asked.
    Unlisted,
    /// It is, as another client left it.
    Unproven,
    /// It is not.
    NotServed {
        /// What is wrong with it.
        why: String,
    },
}
