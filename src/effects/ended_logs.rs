//! The logs of earlier starts of a server: `NAME.ended.log` is that of the last one, `NAME.ended.2.log` that of the one before it.

use std::path::{Path, PathBuf};

/// Most logs of earlier starts that are kept of a server. A crash that `dsr1 watch` answers with three restarts leaves four.
pub(in crate::effects) const MOST: usize = 5;

/// End of the name of the newest log; the others have a number before the last dot.
const NEWEST: &str = ".ended.log";

/// Returns the path of the log of a generation: 1 is the newest log, 2 the one before it.
fn path(folder: &Path, name: &str, generation: usize) -> PathBuf {
    folder.join(match generation {
        0 | 1 => format!("{name}{NEWEST}"),
        older => format!("{name}.ended.{older}.log"),
    })
}

/// Returns the path of the newest log.
pub(in crate::effects) fn newest(folder: &Path, name: &str) -> PathBuf {
    path(folder, name, 1)
}

/// Makes room for a new log: each one becomes a start older, and the oldest one is removed. Returns the path of the new log.
pub(in crate::effects) fn make_room(folder: &Path, name: &str) -> PathBuf {
    let newest = newest(folder, name);
    if newest.exists() {
        for generation in (1..MOST).rev() {
            // One that is missing leaves nothing to move.
            let _ = std::fs::rename(path(folder, name, generation), path(folder, name, generation + 1));
        }
    }
    newest
}

/// Returns the logs of earlier starts of a server, the newest first.
pub(in crate::effects) fn logs_of(folder: &Path, name: &str) -> Vec<PathBuf> {
    let all = (1..=MOST).map(|generation| path(folder, name, generation));
    all.filter(|path| path.is_file()).collect()
}

/// Returns the name of the server whose last start left the log of that file name; `None` for any other file.
pub(in crate::effects) fn server_of(file: &str) -> Option<&str> {
    file.strip_suffix(NEWEST).filter(|name| !name.is_empty())
}

/// Returns true if a file of that name is the log of an earlier start.
pub(in crate::effects) fn is_ended(file: &str) -> bool {
    let stem = file.strip_suffix(".log").unwrap_or_default();
    let stem = match stem.rsplit_once('.') {
        Some((stem, number)) if number.parse::<usize>().is_ok() => stem,
        _ => stem,
    };
    matches!(stem.rsplit_once('.'), Some((_, "ended")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_logs_are_kept_the_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        for start in 0..8 {
            let log = make_room(folder.path(), "dsr1-a");
            std::fs::write(log, start.to_string()).unwrap();
        }
        std::fs::write(folder.path().join("dsr1-a.log"), "now").unwrap();
        std::fs::write(folder.path().join("dsr1-ab.ended.log"), "another").unwrap();
        let kept = logs_of(folder.path(), "dsr1-a");
        let texts: Vec<String> = kept
            .iter()
            .map(|log| std::fs::read_to_string(log).unwrap())
            .collect();
        assert_eq!(texts, ["7", "6", "5", "4", "3"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), MOST + 2);
    }

    #[test]
    fn logs_of_earlier_starts_are_told_by_their_names() {
        for (file, ended, server) in [
            ("dsr1-a.log", false, None),
            ("dsr1-a.ended.log", true, Some("dsr1-a")),
            ("dsr1-a.ended.2.log", true, None),
            ("dsr1-a.2.log", false, None),
            (".ended.log", true, None),
            ("dsr1-a.events", false, None),
        ] {
            assert_eq!((is_ended(file), server_of(file)), (ended, server), "{file}");
        }
    }
}
