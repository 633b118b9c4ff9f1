//! The contents of a mirror: snapshots of a hub cache.

use serde::{Deserialize, Serialize};

/// A mirror that is listening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    /// Always [`Mirrored::SCHEMA`].
    pub schema: String,
    /// Its base URL.
    pub endpoint: String,
    /// The hub cache that it serves.
    pub cache_dir: String,
    /// True if clients need a token.
    pub token: bool,
    /// The snapshots of the cache.
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
    /// Branches and tags that refer to the commit.
    pub revisions: Vec<String>,
    /// The commit.
    pub commit: String,
    /// Number of files.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// State of the snapshot.
    #[serde(flatten)]
    pub state: MirroredState,
}

/// State of a snapshot in a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum MirroredState {
    /// Served; dsr1 verified every file when it pulled the snapshot.
    Proven,
    /// Served; every hash was checked, but no hub listing confirms that the snapshot is complete.
    Unlisted,
    /// Served; another client wrote the snapshot, and dsr1 did not verify it.
    Unproven,
    /// Not served.
    NotServed {
        /// The reason.
        why: String,
    },
}
