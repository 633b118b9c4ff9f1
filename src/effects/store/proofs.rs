//! A log of verified files, one line per file, so that files that an interrupted pull finished are not hashed
//! again.
//!
//! A line contains the file's fingerprint right after it was verified and got its final name. A file whose
//! fingerprint differs, or whose line was lost, is hashed again.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::hash;
use super::layout::{TEMPORARY, sync_dir};
use super::owner::owner;
use crate::effects::files;
use crate::effects::hub::listing::Entry;
use crate::error::{At, Kind, Result};

/// File name of the log.
const LOG_NAME: &str = "proven.jsonl";
/// Largest log that is read; a line takes about 200 bytes. A larger log is deleted and starts anew.
const MAX_LOG: u64 = 32 << 20;

/// A change time that no file has. A line with it does not count as a proof.
const REVOKED_CHANGE_TIME: i64 = i64::MIN;

/// One verified file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// Path relative to the repository.
    place: PathBuf,
    oid: String,
    /// True if a pull downloaded the file, and did not find it there.
    #[serde(default, rename = "brought")]
    downloaded: bool,
    #[serde(flatten)]
    fingerprint: Fingerprint,
}

/// The log of one repository.
pub(in crate::effects) struct ProofLog {
    path: PathBuf,
    lines: Mutex<HashMap<PathBuf, Line>>,
}

impl ProofLog {
    /// Opens the log in `dir`. Lines that cannot be read are ignored.
    pub(in crate::effects) fn open(dir: &Path) -> Self {
        let path = dir.join(LOG_NAME);
        let mut text = String::new();
        let read = files::open(&path).and_then(|file| {
            let size = file.metadata()?.len();
            if size > MAX_LOG {
                return std::fs::remove_file(&path);
            }
            file.take(MAX_LOG).read_to_string(&mut text).map(drop)
        });
        if read.is_err() {
            text.clear();
        }
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        Self {
            path,
            lines: Mutex::new(lines.map(|line| (line.place.clone(), line)).collect()),
        }
    }

    /// Returns the fingerprint of the file at `place`, if it was verified as `entry` and has not changed since.
    pub(in crate::effects) fn known_fingerprint(&self, place: &Path, entry: &Entry) -> Option<Fingerprint> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines
            .get(&self.key(place))
            .filter(|line| line.oid == entry.oid.hex())?;
        let now = Fingerprint::at(place)?;
        (now == line.fingerprint && now.size == entry.size).then_some(now)
    }

    /// Returns whether the file at `place` is `entry`. An unknown file is hashed, and logged if it is right.
    ///
    /// # Errors
    /// Same as [`hash::verify_file`].
    pub(in crate::effects) fn verify_and_log(&self, place: &Path, entry: &Entry) -> std::io::Result<bool> {
        if self.known_fingerprint(place, entry).is_some() {
            return Ok(true);
        }
        let fingerprint = hash::verify_file(place, &entry.oid, entry.size)?;
        Ok(fingerprint
            .inspect(|fingerprint| self.log_verified(place, entry, *fingerprint))
            .is_some())
    }

    /// Forgets a file that is about to be replaced, until this log is closed.
    pub(in crate::effects) fn forget(&self, place: &Path) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.remove(&self.key(place));
    }

    /// Revokes all proofs of the log in `dir`, after a file was found corrupt whose fingerprint had not
    /// changed. Files without a manifest entry are then hashed again. The log still tells which files pulls
    /// downloaded.
    ///
    /// # Errors
    /// [`Kind::Host`] if the log cannot be removed.
    pub(in crate::effects) fn revoke_all(dir: &Path) -> Result<()> {
        let path = dir.join(LOG_NAME);
        let log = Self::open(dir);
        let lines = log.lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        let downloaded = lines.into_values().filter(|line| line.downloaded);
        let unproven: Vec<String> = downloaded
            .filter_map(|mut line| {
                line.fingerprint.changed_ns = REVOKED_CHANGE_TIME;
                serde_json::to_string(&line).ok()
            })
            .map(|line| line + "\n")
            .collect();
        if !unproven.is_empty() {
            let temporary = dir.join(format!("proven.{}.{TEMPORARY}", owner()));
            if files::write_through(&temporary, &path, unproven.concat().as_bytes(), Some(0o644)).is_ok() {
                return Ok(());
            }
            // The disk may be full. Then the log is removed, because revoking matters more than the marks of
            // downloads.
        }
        let removed = files::remove_if_there(&path);
        if removed.at(Kind::Host, || format!("cannot remove `{}`", path.display()))? {
            sync_dir(dir)?;
        }
        Ok(())
    }

    /// Returns the path relative to the repository, so that different mount points give one key.
    fn key(&self, place: &Path) -> PathBuf {
        let root = self.path.ancestors().nth(2).unwrap_or(Path::new(""));
        place.strip_prefix(root).unwrap_or(place).to_owned()
    }

    /// Returns whether a pull downloaded the file with this fingerprint.
    pub(in crate::effects) fn is_downloaded(
        &self,
        place: &Path,
        entry: &Entry,
        fingerprint: &Fingerprint,
    ) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.get(&self.key(place));
        line.is_some_and(|line| {
            line.downloaded && line.oid == entry.oid.hex() && line.fingerprint.has_same_bytes(fingerprint)
        })
    }

    /// Logs that the file at `place` was verified as `entry`. If the line cannot be written, the file is hashed
    /// again later.
    pub(in crate::effects) fn log_verified(&self, place: &Path, entry: &Entry, fingerprint: Fingerprint) {
        self.append(
            place,
            entry,
            fingerprint,
            self.is_downloaded(place, entry, &fingerprint),
        );
    }

    /// Same as [`Self::log_verified`], for a file that this pull downloaded.
    pub(in crate::effects) fn log_downloaded(&self, place: &Path, entry: &Entry, fingerprint: Fingerprint) {
        self.append(place, entry, fingerprint, true);
    }

    fn append(&self, place: &Path, entry: &Entry, fingerprint: Fingerprint, downloaded: bool) {
        let line = Line {
            place: self.key(place),
            oid: entry.oid.hex().to_owned(),
            downloaded,
            fingerprint,
        };
        let Ok(mut text) = serde_json::to_string(&line) else {
            return;
        };
        text.push('\n');
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // A single write, so that lines of two pulls do not mix.
        let _ = files::open_to_append(&self.path).and_then(|mut file| file.write_all(text.as_bytes()));
        lines.insert(line.place.clone(), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::hub::listing::Oid;

    #[test]
    fn a_verified_file_is_known_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("x");
        let entry = Entry {
            path: "x".to_owned(),
            size: 3,
            oid: Oid::Sha256("ab".repeat(32)),
            xet: None,
        };
        std::fs::write(&place, b"abc").unwrap();
        let fingerprint = Fingerprint::of(&std::fs::metadata(&place).unwrap()).unwrap();
        ProofLog::open(dir.path()).log_verified(&place, &entry, fingerprint);
        std::fs::write(dir.path().join("proven.jsonl.x"), b"").unwrap();
        let mut log = std::fs::read(dir.path().join("proven.jsonl")).unwrap();
        // A line that a kill tore.
        log.extend(b"{\"place\":");
        std::fs::write(dir.path().join("proven.jsonl"), log).unwrap();
        let log = ProofLog::open(dir.path());
        assert_eq!(log.known_fingerprint(&place, &entry), Some(fingerprint));
        let other = Entry {
            oid: Oid::Sha256("cd".repeat(32)),
            ..entry.clone()
        };
        assert_eq!(log.known_fingerprint(&place, &other), None);
        std::fs::write(&place, b"abd").unwrap();
        assert_eq!(log.known_fingerprint(&place, &entry), None);
    }

    #[test]
    fn the_mark_of_a_download_survives_a_revocation() {
        let dir = tempfile::tempdir().unwrap();
        let (found, downloaded) = (dir.path().join("found"), dir.path().join("downloaded"));
        let entry = |path: &str| Entry {
            path: path.to_owned(),
            size: 3,
            oid: Oid::Sha256("ab".repeat(32)),
            xet: None,
        };
        for path in [&found, &downloaded] {
            std::fs::write(path, b"abc").unwrap();
        }
        let fingerprint = |path: &Path| Fingerprint::at(path).unwrap();
        let log = ProofLog::open(dir.path());
        log.log_verified(&found, &entry("found"), fingerprint(&found));
        ProofLog::revoke_all(dir.path()).unwrap();
        assert!(!dir.path().join(LOG_NAME).exists());
        log.log_downloaded(&downloaded, &entry("downloaded"), fingerprint(&downloaded));
        ProofLog::revoke_all(dir.path()).unwrap();
        let log = ProofLog::open(dir.path());
        assert_eq!(log.known_fingerprint(&downloaded, &entry("downloaded")), None);
        assert!(log.is_downloaded(&downloaded, &entry("downloaded"), &fingerprint(&downloaded)));
        assert!(!log.is_downloaded(&found, &entry("found"), &fingerprint(&found)));
        // The mark survives another verification.
        log.log_verified(&downloaded, &entry("downloaded"), fingerprint(&downloaded));
        let log = ProofLog::open(dir.path());
        assert!(log.known_fingerprint(&downloaded, &entry("downloaded")).is_some());
        assert!(log.is_downloaded(&downloaded, &entry("downloaded"), &fingerprint(&downloaded)));
    }
}
