//! The result of `dsr1 bundle`.

use std::collections::BTreeMap;

use serde::Serialize;

/// An archive for a person who helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bundled {
    /// Always `dsr1.bundle/1`.
    pub schema: &'static str,
    /// True if nothing was written.
    pub dry_run: bool,
    /// Path of the archive; `None` if nothing was written.
    pub file: Option<String>,
    /// Size of the archive in bytes; without one that of its files before compression.
    pub bytes: u64,
    /// Files in it.
    pub files: Vec<BundledFile>,
    /// Parts that are missing.
    pub left_out: Vec<LeftOut>,
    /// Number of replacements, by the name of the sort of secret.
    pub redacted: BTreeMap<String, u64>,
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundledFile {
    /// Path below the folder of the archive.
    pub name: String,
    /// Size in bytes, before compression.
    pub bytes: u64,
}

/// A part that is missing in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// The reason.
    pub why: String,
}
