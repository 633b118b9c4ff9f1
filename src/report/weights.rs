//! Results about the hub cache: its contents, and the outcome of checks.

use serde::{Deserialize, Serialize};

/// One repository in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsRepo {
    /// `owner/name`.
    pub repo: String,
    /// Directory of the repository.
    pub path: String,
    /// Bytes of all files; a file that several snapshots share counts once.
    pub bytes: u64,
    /// Disk space of partial files in bytes, including the space that is reserved for missing bytes.
    pub unfinished_bytes: u64,
    /// Bytes of partial files that are present, and that a resumed pull reuses.
    #[serde(default)]
    pub unfinished_here_bytes: u64,
    /// Snapshots of the repository.
    pub snapshots: Vec<WeightsSnapshot>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsSnapshot {
    /// Commit.
    pub commit: String,
    /// Branches and tags that refer to the commit in this cache.
    pub revisions: Vec<String>,
    /// Number of files.
    pub files: usize,
    /// Total size of the files.
    pub bytes: u64,
    /// State of the snapshot.
    pub state: WeightsState,
}

/// State of a snapshot, as it is known without reading the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsState {
    /// Every file was verified, and none changed since.
    Proven,
    /// Every present file was verified; the commit has more files.
    Part,
    /// Every present file was verified; no hub listing states whether the commit has more files.
    Unlisted,
    /// Every file was verified, and at least one changed since.
    Changed,
    /// A check found a corrupt or missing file.
    Wrong,
    /// Another client wrote the snapshot, and no file was verified.
    Unproven,
}

/// The survey of a pull: the files it would fetch, and the space it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullSurvey {
    /// Always [`PullSurvey::SCHEMA`].
    pub schema: String,
    /// `owner/name`.
    pub repo: String,
    /// Requested revision.
    pub revision: String,
    /// Commit of the revision.
    pub commit: String,
    /// Licence, as the hub states it, otherwise as the profile states it; may be empty.
    pub license: String,
    /// True if the user must accept the licence.
    pub must_be_accepted: bool,
    /// URL of the repository's page.
    pub page: String,
    /// Directory that the pull would write to.
    pub destination: String,
    /// Free bytes in that directory; `None` if they cannot be determined.
    pub free_bytes: Option<u64>,
    /// Free bytes that the pull needs: the missing bytes and a margin.
    pub needed_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Bytes to fetch.
    pub missing_bytes: u64,
    /// Rate limit of the user in bytes per second.
    pub limit_rate: Option<u64>,
    /// Reason for which the pull would be refused before its first byte; `None` if it would not be refused.
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
    /// Size of the file.
    pub bytes: u64,
    /// Bytes of the file on the disk, verified or not.
    pub here_bytes: u64,
    /// True if the file is present and verified.
    pub proven: bool,
    /// True if a check found the file damaged. Its corrupt ranges are fetched again; their size is unknown until the
    /// file is read.
    pub damaged: bool,
    /// True if the file holds unknown code, which a pull refuses.
    pub refused: bool,
    /// SHA-256, or git's blob SHA-1 of a small file, in hex.
    pub hash: String,
}

/// The result of a check of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsChecked {
    /// `owner/name`.
    pub repo: String,
    /// Commit.
    pub commit: String,
    /// Number of files that were checked.
    pub files: usize,
    /// True if the pull fetched only a selection of the repository.
    pub part: bool,
    /// True if no hub listing states whether the commit has more files.
    pub unlisted: bool,
    /// Total size of the files.
    pub bytes: u64,
    /// True if only sizes and times were compared.
    pub fast: bool,
    /// Duration of the check in seconds.
    pub seconds: f64,
    /// Files that failed the check.
    pub wrong: Vec<WrongFile>,
    /// Number of those files that were repaired.
    pub repaired: usize,
    /// Bytes that were fetched for the repair.
    pub fetched_bytes: u64,
}

/// A file that failed a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongFile {
    /// Path in the snapshot.
    pub path: String,
    /// Reason for the failure.
    pub why: String,
    /// State of the file.
    pub state: WrongState,
}

/// State of a file that failed a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrongState {
    /// The file is corrupt, or it was removed.
    Wrong,
    /// The file's fingerprint differs from the one at verification; its bytes were not read.
    Changed,
    /// The file belongs to the model and was never fetched, or its blob is gone.
    Missing,
    /// The file is present, and no hash is known for it.
    Unknown,
    /// The file was corrupt, and was repaired.
    Repaired,
}
