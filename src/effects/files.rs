//! Files that are complete or absent, and locks between two processes of dsr1.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock, fstatfs, statfs};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{At, Kind, Result};
use crate::event::StepEvents;
use crate::units;

/// Writes `bytes` under a temporary name beside `path`, syncs and renames it; makes missing directories.
///
/// # Errors
/// [`Kind::Host`] when the filesystem refuses.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    write_through(&temporary, path, bytes, None)
}

/// Writes like [`write_atomic`], under a temporary name on the same filesystem, with `mode` independent of the umask.
///
/// # Errors
/// [`Kind::Host`] when the filesystem refuses.
pub(super) fn write_through(temporary: &Path, path: &Path, bytes: &[u8], mode: Option<u32>) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    // The parent of a bare name is empty.
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(dir).at(Kind::Host, failed)?;
    let write = || -> std::io::Result<()> {
        // A file of this name was left by a killed process, or is a link to another file.
        let _ = std::fs::remove_file(temporary);
        let mut file = File::create_new(temporary)?;
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(temporary, path)?;
        File::open(dir)?.sync_all()
    };
    write()
        .inspect_err(|_| drop(std::fs::remove_file(temporary)))
        .at(Kind::Host, failed)
}

/// Returns the flags for `OpenOptionsExt::custom_flags` with which a link is not opened, and a pipe does not block: another
/// user who can make one must neither redirect nor stop dsr1.
pub(super) fn no_follow() -> i32 {
    flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// Opens a regular file to read it; a link is an error, like everything else that is not a file.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    open_by(OpenOptions::new().read(true).custom_flags(no_follow()), path)
}

/// Opens a regular file to read it, also through links: names in a snapshot are links to blobs.
pub(super) fn open_through(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    open_by(options.read(true).custom_flags(flags(OFlags::NONBLOCK)), path)
}

/// Opens an existing regular file to write into it; a link is an error, like everything else that is not a file.
pub(super) fn open_to_write(path: &Path) -> std::io::Result<File> {
    open_by(OpenOptions::new().write(true).custom_flags(no_follow()), path)
}

/// Removes a file; returns true if it existed.
pub(super) fn remove_if_there(path: &Path) -> std::io::Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Opens a regular file to write at its end, and makes it if it is missing; a link is an error, like everything else that
/// is not a file.
pub(super) fn open_to_append(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    // Whatever the umask allows: other users must not write what dsr1 believes.
    options.append(true).create(true).mode(0o644);
    open_by(options.custom_flags(no_follow()), path)
}

/// Opens a regular file with these options.
///
/// # Errors
/// Those of the system; [`std::io::ErrorKind::InvalidInput`] if it is not a regular file.
pub(super) fn open_by(options: &OpenOptions, path: &Path) -> std::io::Result<File> {
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::InvalidInput,
        "it is not a file",
    ))
}

/// Reads a regular file of at most `max` bytes; a larger one is an error, and so is a link.
pub(super) fn read(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    read_most(open(path)?, max)
}

/// As [`read()`], also through links.
pub(super) fn read_through(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    read_most(open_through(path)?, max)
}

fn read_most(file: File, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Returns true unless the filesystem or the permissions forbid to write the file, or to make it if it is missing. Other
/// failures (a full disk, a broken disk) are not checked.
pub(super) fn is_to_be_written(path: &Path) -> bool {
    !matches!(
        access_to_write(path),
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM)
    )
}

/// Checks that a file or directory may be written to; for a missing one, checks the directory in which it would be made.
///
/// # Errors
/// The reason why it may not.
pub(super) fn access_to_write(path: &Path) -> std::result::Result<(), Errno> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let there = nearest(path);
    let enter = if there.is_dir() {
        Access::EXEC_OK
    } else {
        Access::empty()
    };
    accessat(CWD, there, Access::WRITE_OK | enter, AtFlags::EACCESS)
}

/// Returns the path, or the nearest directory above it that exists.
pub(super) fn nearest(path: &Path) -> &Path {
    let there = path.ancestors().find(|path| path.exists());
    there.unwrap_or(Path::new("."))
}

/// Filesystems of one host, on which a lock is exclusive (linux/magic.h): ext, XFS, btrfs, tmpfs, overlayfs, ZFS, F2FS,
/// bcachefs. On others two processes may hold the same lock (Lustre, some NFS).
const LOCAL: [rustix::fs::FsWord; 8] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x0102_1994,
    0x794c_7630,
    0x2fc1_2fc1,
    0xF2F5_2010,
    0xca45_1a4e,
];

/// A lock, held until it is dropped.
pub(super) struct Lock {
    _file: File,
    /// True if it is certainly exclusive.
    pub(super) is_certain: bool,
}

/// Returns the text of a lock file while it is held, which names the holder for people.
fn holder_text() -> String {
    let host = rustix::system::uname();
    let pid = std::process::id();
    format!("process {pid} on {}\n", host.nodename().to_string_lossy())
}

/// Returns the holder that a lock file names, in brackets; empty if it names none.
fn named_holder(file: &File) -> String {
    let mut text = [0; 128];
    let count = file.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..count]);
    let line = text.lines().next().unwrap_or_default();
    if line.starts_with("process ") {
        format!(" ({})", line.escape_debug())
    } else {
        String::new()
    }
}

/// Returns true if a lock in this directory is exclusive.
pub(super) fn is_local(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|at| LOCAL.contains(&at.f_type))
}

/// The result of an attempt to take a lock.
pub(super) enum Attempt {
    /// This process has the lock.
    Taken(Lock),
    /// Another process has the lock; its name in words, if it is known.
    Busy(String),
}

/// Takes an exclusive lock on `path`; waits, with a note, while another process holds it.
///
/// # Errors
/// Those of [`try_lock`].
pub(super) async fn lock(path: &Path, events: &StepEvents<'_>, held: &str) -> Result<Lock> {
    let mut is_noted = false;
    loop {
        match try_lock(path, events)? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Busy(who) if !is_noted => events.note(format!("waiting: {held}{who}")),
            Attempt::Busy(_) => {}
        }
        is_noted = true;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A shared lock: while one exists, no process has the exclusive lock of the same file.
pub(super) struct SharedLock {
    _file: File,
}

/// Takes a shared lock on `path`; waits, with a note, while another process holds the exclusive one. `None` if nothing can be
/// locked here, as in a folder of another user.
pub(super) async fn share(path: &Path, events: &StepEvents<'_>, held: &str) -> Option<SharedLock> {
    let mut is_noted = false;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).ok()?;
    }
    loop {
        let file = open_to_append(path).or_else(|_| open(path)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Some(SharedLock { _file: file }),
            Err(Errno::WOULDBLOCK) => {}
            Err(_) => return None,
        }
        if !is_noted {
            events.note(format!("waiting: {held}{}", named_holder(&file)));
        }
        is_noted = true;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Takes an exclusive lock on `path` if no process has it. On a filesystem without locks (Lustre without `flock`, NFS
/// without a lock daemon) it is not certain, which is noted: callers that need certainty have other means.
///
/// # Errors
/// [`Kind::Host`] when the lock file cannot be opened.
pub(super) fn try_lock(path: &Path, events: &StepEvents<'_>) -> Result<Attempt> {
    let failed = || format!("cannot lock `{}`", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).at(Kind::Host, failed)?;
    }
    let mut options = OpenOptions::new();
    options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        // The name of the holder must not be written through another user's link.
        .custom_flags(no_follow());
    loop {
        let file = options.open(path).at(Kind::Host, failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // A lock on a file that was removed does not exclude others.
            Ok(()) if !is_at(&file, path) => {}
            Ok(()) => {
                write_holder(&file);
                let is_certain = fstatfs(&file).is_ok_and(|at| LOCAL.contains(&at.f_type));
                return Ok(Attempt::Taken(Lock {
                    _file: file,
                    is_certain,
                }));
            }
            Err(Errno::WOULDBLOCK) => return Ok(Attempt::Busy(named_holder(&file))),
            Err(Errno::INTR) => {}
            Err(error) => {
                events.note(format!(
                    "cannot lock `{}` ({error}): continuing without a lock",
                    path.display()
                ));
                return Ok(Attempt::Taken(Lock {
                    _file: file,
                    is_certain: false,
                }));
            }
        }
    }
}

/// Writes the holder into a lock's file, unless the file has another name too, under which it may not be a lock.
fn write_holder(file: &File) {
    if file
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.nlink() == 1)
    {
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all_at(holder_text().as_bytes(), 0));
    }
}

/// Returns true if an open file still has this name.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let here = file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let there = std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

/// Returns the current time of the filesystem of `dir`; `None` if nothing can be written there.
pub(super) fn clock_of(dir: &Path) -> Option<std::time::SystemTime> {
    let probe = dir.join(format!(".clock.{}", std::process::id()));
    let written = File::create_new(&probe).and_then(|file| file.metadata()?.modified());
    let _ = std::fs::remove_file(&probe);
    written.ok()
}

/// The holders of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// No process.
    Free,
    /// Processes that share it.
    Shared,
    /// A process alone.
    Exclusive,
}

/// Returns who holds the lock at `path`.
pub(super) fn held(path: &Path) -> Held {
    let Ok(file) = File::open(path) else {
        return Held::Free;
    };
    let is_busy = |lock| matches!(flock(&file, lock), Err(Errno::WOULDBLOCK));
    if is_busy(FlockOperation::NonBlockingLockShared) {
        Held::Exclusive
    } else if is_busy(FlockOperation::NonBlockingLockExclusive) {
        Held::Shared
    } else {
        Held::Free
    }
}

/// Largest value that is kept.
const MAX_KEPT: u64 = 1 << 20;

/// Returns the value that is kept at `path`, and notes its use; `None` if there is none that can be read.
pub(super) fn read_kept<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let kept = serde_json::from_slice(&read(path, MAX_KEPT).ok()?).ok()?;
    note_use(path);
    Some(kept)
}

/// Keeps a value for [`read_kept`]. A cache that cannot be written is no reason to fail.
pub(super) fn keep<T: Serialize>(path: &Path, value: &T) {
    if let Ok(text) = serde_json::to_vec(value) {
        let _ = write_atomic(path, &text);
    }
}

/// Sets the time of the last change of a file to now, so that its age is the time since its last use.
pub(super) fn note_use(path: &Path) {
    // A file of another user keeps its time.
    let _ = open(path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
}

/// Returns the time in UTC as `20261123T215231Z`, which sorts by name and fits every filesystem.
#[must_use]
pub(super) fn timestamp() -> String {
    utc_now().replace(['-', ':'], "")
}

/// Returns the time in UTC as `2026-11-23T21:52:31Z` (RFC 3339).
#[must_use]
pub(super) fn utc_now() -> String {
    units::utc(unix_now())
}

/// Returns the time in seconds of Unix.
pub(super) fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Returns the seconds since a time in seconds of Unix; `None` if it lies ahead.
#[must_use]
pub(super) fn seconds_since(unix: i64) -> Option<u64> {
    unix_now().checked_sub(u64::try_from(unix).ok()?)
}

/// Returns the time in seconds of Unix so many seconds ago.
#[must_use]
pub(super) fn unix_before(seconds: u64) -> i32 {
    i32::try_from(unix_now().saturating_sub(seconds)).unwrap_or(i32::MAX)
}

/// Returns true if standard input holds bytes that nobody has read.
#[must_use]
pub fn has_unread_input() -> bool {
    rustix::io::ioctl_fionread(std::io::stdin()).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        assert_eq!(
            write_atomic(&path.join("c"), b"x").unwrap_err().kind(),
            Kind::Host
        );
    }
}
