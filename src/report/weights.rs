//! What lies in the hub cache, and whether it is right.
//!
//! Not in this module: finding out (`effects::hub`), how it is shown (`ui::weights`).

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
    /// Bytes that unfinished files take on the disk, with the room that is reserved for what lacks.
    pub unfinished_bytes: u64,
    /// Bytes of them that are there, and that a pull goes on from.
    #[serde(default)]
    pub unfinished_here_bytes: u64,
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
    /// So was that of every file that is here, and the commit has more.
    Part,
    /// So was that of every file that is here, and no hub was asked whether the commit has more.
    Unlisted,
    /// Every hash was checked, and something changed since.
    Changed,
    /// A check found bytes that are not what was proven.
    Wrong,
    /// Another client wrote it: nothing was checked.
    Unproven,
}

/// What a pull would fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullSurvey {
    /// Always [`PullSurvey::SCHEMA`].
    pub schema: String,
    /// `owner/name`.
    pub repo: String,
    /// Revision asked for.
    pub revision: String,
    /// Commit it resolved to.
    pub commit: String,
    /// Licence, as the hub states it, else as the profile knows it; may be empty.
    pub license: String,
    /// Whether the licence asks to be agreed to.
    pub must_be_accepted: bool,
    /// The repository's page.
    pub page: String,
    /// Directory that would be written to.
    pub destination: String,
    /// Bytes free there; `None` when that cannot be known.
    pub free_bytes: Option<u64>,
    /// Bytes that must be free: what is missing and a margin.
    pub needed_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Bytes to fetch.
    pub missing_bytes: u64,
    /// The rate that the user allows, in bytes a second.
    pub limit_rate: Option<u64>,
    /// Why a pull would be refused before its first byte; `None` when it would not.
    pub refusal: Option<String>,
    /// The files.
    pub files: Vec<SurveyedFile>,
}

impl PullSurvey {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.pull-survey/1";
}

/// One file of a survey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyedFile {
    /// Path in the repository.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Bytes of it that are on the disk, proven or not.
    pub here_bytes: u64,
    /// Whether it is here and was proven.
    pub proven: bool,
    /// Whether a check found it damaged: what is bad of it comes again, how much that is only reading it tells.
    pub damaged: bool,
    /// Whether it holds code that nothing knows: a pull refuses it.
    pub refused: bool,
    /// SHA-256, or git's blob SHA-1 of a small file, in hex.
    pub hash: String,
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
    /// Whether only a selection of the repository was pulled.
    pub part: bool,
    /// Whether no hub was asked if that is all of the commit.
    pub unlisted: bool,
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
    /// What became of it.
    pub state: WrongState,
}

/// What became of a file that is not what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrongState {
    /// It is there, and its bytes are wrong, or it is gone.
    Wrong,
    /// It does not look as it did when it was proven; its bytes were not read.
    Changed,
    /// It was never there: only a pull knows it.
    Missing,
    /// It is there, and nothing tells what it must be.
    Unknown,
    /// It was wrong, and was made right again.
    Repaired,
}
