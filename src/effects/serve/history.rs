//! The history of a server: what happened to it, a line for each event, beside its log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::effects::files;
use crate::redact::redact_certain;
use crate::report::{Happening, ServerEvent};

/// Extension of the file.
pub(in crate::effects) const EXTENSION: &str = "events";
/// Bytes from which the older half of a history is left out.
const MOST: u64 = 512 << 10;

/// Returns the path of the history of a server.
fn path(state: &Path, name: &str) -> PathBuf {
    state.join("servers").join(format!("{name}.{EXTENSION}"))
}

/// Adds an event. A state directory that cannot be written is no reason to fail.
pub(in crate::effects) fn note(state: &Path, name: &str, what: Happening, text: &str) {
    let event = ServerEvent {
        at: files::utc_now(),
        server: name.to_owned(),
        what,
        // A cause may quote a log.
        text: redact_certain(text).into_owned(),
    };
    let path = path(state, name);
    let Ok(mut line) = serde_json::to_vec(&event) else {
        return;
    };
    line.push(b'\n');
    let _ = path.parent().map(std::fs::create_dir_all);
    // One write, so that the lines of two commands do not mix.
    if let Ok(mut file) = open(&path) {
        let _ = file.write_all(&line);
    }
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > MOST) {
        shorten(&path);
    }
}

/// Opens a history to append to it. Mode 0600, as that of a log: a cause may quote it.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    files::open_by(&options, path)
}

/// Leaves out the older half of a history.
fn shorten(path: &Path) {
    let Ok(bytes) = std::fs::read(path) else { return };
    let half = bytes.len() / 2;
    if let Some(end) = bytes[half..].iter().position(|byte| *byte == b'\n') {
        let temporary = path.with_extension("events.new");
        let _ = files::write_through(&temporary, path, &bytes[half + end + 1..], Some(0o600));
    }
}

/// Returns the events of a server, the oldest first. A line that is none is left out.
#[must_use]
pub(in crate::effects) fn read(state: &Path, name: &str) -> Vec<ServerEvent> {
    read_file(&path(state, name))
}

fn read_file(path: &Path) -> Vec<ServerEvent> {
    let Ok(bytes) = files::read(path, 2 * MOST) else {
        return Vec::new();
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// Returns the events of all servers, the oldest first.
#[must_use]
pub(in crate::effects) fn read_all(state: &Path) -> Vec<ServerEvent> {
    let entries = std::fs::read_dir(state.join("servers"));
    let is_history = |path: &PathBuf| path.extension().is_some_and(|end| end == EXTENSION);
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut events: Vec<ServerEvent> = paths
        .filter(is_history)
        .flat_map(|path| read_file(&path))
        .collect();
    events.sort_by(|a, b| a.at.cmp(&b.at));
    events
}

/// Returns true if a server was ready since its last start.
#[must_use]
pub(in crate::effects) fn was_ready(state: &Path, name: &str) -> bool {
    let events = read(state, name);
    let last = events.iter().rev().find(|event| {
        matches!(
            event.what,
            Happening::Started | Happening::Ready | Happening::Stopped | Happening::Failed
        )
    });
    last.is_some_and(|event| event.what == Happening::Ready)
}

/// Returns true if a command of dsr1 stopped a server, or began to, since its last start and since `begun`, a time in UTC: a start
/// by another program, as by a service that `dsr1 export` made, is not in the history.
#[must_use]
pub(in crate::effects) fn was_asked_to_stop(state: &Path, name: &str, begun: &str) -> bool {
    let events = read(state, name);
    let mut since_start = events
        .iter()
        .rev()
        .take_while(|event| event.what != Happening::Started && event.at.as_str() >= begun);
    since_start.any(|event| matches!(event.what, Happening::Stopping | Happening::Stopped))
}

/// Returns the cause of the crash with which the history of a server ends: a diagnosis need not find it again.
#[must_use]
pub(in crate::effects) fn cause_of_crash(state: &Path, name: &str) -> Option<String> {
    let last = read(state, name).pop()?;
    (last.what == Happening::Crashed && !last.text.is_empty()).then_some(last.text)
}

/// Returns true if the last event of a server is its READY, or that it works again.
#[must_use]
pub(in crate::effects) fn is_running(state: &Path, name: &str) -> bool {
    let events = read(state, name);
    let last = events.last().map(|event| event.what);
    matches!(
        last,
        Some(Happening::Ready | Happening::Recovered | Happening::Hung)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_of_a_server_is_read_in_its_order() {
        let state = tempfile::tempdir().unwrap();
        for (name, what) in [
            ("a", Happening::Started),
            ("b", Happening::Started),
            ("a", Happening::Ready),
        ] {
            note(state.path(), name, what, "");
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(path(state.path(), "a"))
            .unwrap();
        file.write_all(b"half a li").unwrap();
        let whats: Vec<Happening> = read(state.path(), "a").iter().map(|event| event.what).collect();
        assert_eq!(whats, [Happening::Started, Happening::Ready]);
        assert_eq!(read_all(state.path()).len(), 3);
        assert!(was_ready(state.path(), "a"));
        assert!(!was_ready(state.path(), "b") && !was_ready(state.path(), "c"));
    }

    #[test]
    fn a_history_has_a_bound() {
        let state = tempfile::tempdir().unwrap();
        let text = "x".repeat(10_000);
        for _ in 0..120 {
            note(state.path(), "a", Happening::Hung, &text);
        }
        let kept = read(state.path(), "a");
        assert!(kept.len() > 20 && kept.len() < 60, "{}", kept.len());
    }
}
