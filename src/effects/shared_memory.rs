//! Segments of shared memory in /dev/shm that the processes of a server use: a killed engine leaves them behind, and they take
//! the host's memory until somebody removes them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder of POSIX shared memory (`shm_overview(7)`).
const FOLDER: &str = "/dev/shm/";

/// Returns the segments that these processes map or hold open, and no other process that this user may see.
#[must_use]
pub(super) fn segments_of(processes: &[i32]) -> BTreeSet<PathBuf> {
    let mut own = BTreeSet::new();
    for pid in processes {
        own.extend(used_by(&PathBuf::from(format!("/proc/{pid}"))));
    }
    if own.is_empty() {
        return own;
    }
    let others = processes_of_host()
        .into_iter()
        .filter(|(pid, _)| !processes.contains(pid));
    for (_, process) in others {
        for segment in used_by(&process) {
            own.remove(&segment);
        }
    }
    own
}

/// Removes the segments that no process uses any more; returns their number.
pub(super) fn remove_unused(segments: &BTreeSet<PathBuf>) -> usize {
    if segments.is_empty() {
        return 0;
    }
    let used: BTreeSet<PathBuf> = processes_of_host()
        .iter()
        .flat_map(|(_, process)| used_by(process))
        .collect();
    let unused = segments.iter().filter(|segment| !used.contains(*segment));
    unused
        .filter(|segment| std::fs::remove_file(segment).is_ok())
        .count()
}

fn processes_of_host() -> Vec<(i32, PathBuf)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect()
}

/// Returns the segments that a process maps (`proc_pid_maps(5)`) or holds open.
fn used_by(process: &Path) -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string(process.join("maps")).unwrap_or_default();
    let mapped = maps
        .lines()
        .filter_map(|line| segment(&line[line.find(FOLDER)?..]));
    let mut found: BTreeSet<PathBuf> = mapped.collect();
    let open = std::fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let open = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    found.extend(open.filter_map(|path| segment(path.to_str()?)));
    found
}

/// Returns a path as that of a segment: a file of /dev/shm itself that still has its name.
fn segment(path: &str) -> Option<PathBuf> {
    let name = path.strip_prefix(FOLDER)?;
    let is_named = !name.is_empty() && !name.contains('/') && !name.ends_with(" (deleted)");
    is_named.then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_file_of_the_folder_is_a_segment() {
        assert_eq!(segment("/dev/shm/psm_12"), Some(PathBuf::from("/dev/shm/psm_12")));
        for path in [
            "/dev/shm/",
            "/dev/shm/a/b",
            "/dev/shm/psm_12 (deleted)",
            "/tmp/psm",
        ] {
            assert_eq!(segment(path), None, "{path}");
        }
    }

    #[test]
    fn a_segment_in_use_stays_and_one_without_a_process_goes() {
        let name = format!("/dev/shm/dsr1-test-{}", std::process::id());
        let file = std::fs::File::create(&name).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = segments_of(&[pid]);
        assert!(found.contains(Path::new(&name)), "{found:?}");
        let only = BTreeSet::from([PathBuf::from(&name)]);
        assert_eq!(remove_unused(&only), 0);
        assert!(Path::new(&name).exists());
        drop(file);
        assert_eq!(remove_unused(&only), 1);
        assert!(!Path::new(&name).exists());
    }
}
