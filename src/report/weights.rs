//! What lies in the hub cache, and whether it is right.

use serde::{Deserialize, Serialize};

/// One repository in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsRepo {
    /// `owner/name`.
    pub repo: String,
    /// Its directory.
    pub path: String,
    /// Bytes of its files, each counted once.
    pub bytes: u64,
    /// Bytes of unfinished files.
    pub unfinished_bytes: u64,
    /// Its snapshots.
    pub snapshots: Vec<WeightsSnapshot>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsSnapshot {
    /// Commit.
    pub commit: String,
    /// Branches and tags that stand for it here.
    pub revisions: Vec<String>,
    /// Files.
    pub files: usize,
    /// Their sizes together.
    pub bytes: u64,
    /// What is known of it.
    pub state: WeightsState,
}

/// What is known of a snapshot without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsState {
    /// Every hash was checked, and nothing changed since.
    Proven,
    /// Every hash was checked, and something changed since.
    Changed,
    /// Another client wrote it: nothing was checked.
    Unproven,
}

/// What a check of a snapshot found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsChecked {
    /// `owner/name`.
    pub repo: String,
    /// Commit.
    pub commit: String,
    /// Files looked at.
    pub files: usize,
    /// Their sizes together.
    pub bytes: u64,
    /// Whether only sizes and times were compared.
    pub fast: bool,
    /// Seconds it took.
    pub seconds: f64,
    /// Files that are not what they must be.
    pub wrong: Vec<WrongFile>,
    /// Those of them that were made right again.
    pub repaired: usize,
    /// Bytes that were fetched for it.
    pub fetched_bytes: u64,
}

/// A file that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongFile {
    /// Path in the snapshot.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}
