//! The mark of a watched server: a file that exists while a command starts the server or is attached to it, and into which
//! `dsr1 stop` of another terminal writes, so that the command can say why its server ended.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Extension of the file.
pub(in crate::effects) const EXTENSION: &str = "watched";

/// A mark; its file goes with it.
pub(in crate::effects) struct WatchMark(PathBuf);

impl WatchMark {
    /// Makes the mark at `path`, or takes one that a killed command left. Without it a stop is only not told apart.
    pub(in crate::effects) fn set(path: PathBuf) -> Self {
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(&path, "");
        Self(path)
    }
}

impl Drop for WatchMark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns the path of the mark of a server, beside its log.
pub(super) fn path(servers: &Path, name: &str) -> PathBuf {
    servers.join(format!("{name}.{EXTENSION}"))
}

/// Notes in the mark, if there is one, that a command stops the server.
pub(super) fn note_stop(path: &Path) {
    if let Ok(mut file) = fs::OpenOptions::new().write(true).open(path) {
        let _ = file.write_all(b"stopped\n");
    }
}

/// Returns true if a command stopped the server.
pub(super) fn is_stopped(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_noted_only_while_somebody_watches() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "dsr1-a");
        note_stop(&path);
        assert!(!path.exists() && !is_stopped(&path));
        let mark = WatchMark::set(path.clone());
        assert!(!is_stopped(&path));
        note_stop(&path);
        assert!(is_stopped(&path));
        drop(mark);
        assert!(!path.exists());
    }
}
