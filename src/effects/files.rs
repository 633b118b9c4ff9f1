//! Files that are whole or absent, and locks between two dsr1.
//!
//! Not in this module: weights, which are hashed on their way (`hub`).

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock, fstatfs, statfs};
use rustix::io::Errno;

use crate::error::{At, Kind, Result};
use crate::event::StepEvents;

/// Writes `bytes` under a temporary name beside `path`, syncs, and renames; makes missing directories.
///
/// # Errors
/// [`Kind::Host`] when the filesystem refuses.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    write_through(&temporary, path, bytes, None)
}

/// As [`write_atomic`], under a temporary name of the caller's, on the same filesystem; with this mode, whatever the umask.
///
/// # Errors
/// [`Kind::Host`] when the filesystem refuses.
pub(super) fn write_through(temporary: &Path, path: &Path, bytes: &[u8], mode: Option<u32>) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).at(Kind::Host, failed)?;
    let write = || -> std::io::Result<()> {
        // What has the name already is of one that was killed, or a link to elsewhere.
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

/// The flags for `OpenOptionsExt::custom_flags` with which a link is not opened, and a pipe is not waited for: whoever may
/// make one must neither lead us elsewhere nor hold us up.
pub(super) fn no_follow() -> i32 {
    flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// Opens a file to read it; a link, and what is no file, is an error.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    open_by(OpenOptions::new().read(true).custom_flags(no_follow()), path)
}

/// As [`open`], through links: for what has its names in a snapshot, where these are links to blobs.
pub(super) fn open_through(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    open_by(options.read(true).custom_flags(flags(OFlags::NONBLOCK)), path)
}

/// Opens a file that is there to write into it; a link, and what is no file, is an error.
pub(super) fn open_to_write(path: &Path) -> std::io::Result<File> {
    open_by(OpenOptions::new().write(true).custom_flags(no_follow()), path)
}

/// Removes a file; whether it was there.
pub(super) fn remove_if_there(path: &Path) -> std::io::Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Opens a file to write at its end, and makes it when it is not there; a link, and what is no file, is an error.
pub(super) fn open_to_append(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    open_by(options.append(true).create(true).custom_flags(no_follow()), path)
}

/// Opens with these options what is a file.
///
/// # Errors
/// Those of the system; [`std::io::ErrorKind::InvalidInput`] for what is no file.
pub(super) fn open_by(options: &OpenOptions, path: &Path) -> std::io::Result<File> {
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::InvalidInput,
        "it is no file",
    ))
}

/// Reads a file of at most `max` bytes; a larger one, a link, and what is no file is an error.
pub(super) fn read(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Whether a file may be written to, or made where it is not there: neither its filesystem nor its rights forbid it. What
/// else is in the way of it (a full disk, one that fails) is another matter.
pub(super) fn is_to_be_written(path: &Path) -> bool {
    !matches!(
        access_to_write(path),
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM)
    )
}

/// Asks whether a file or a directory may be written to; of one that is not there, that in which it would be made.
///
/// # Errors
/// What is in the way of it.
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

/// A path, or the nearest directory above it that is there.
pub(super) fn nearest(path: &Path) -> &Path {
    let there = path.ancestors().find(|path| path.exists());
    there.unwrap_or(Path::new("."))
}

/// Filesystems of one host, on which a lock keeps everybody out (linux/magic.h): ext, XFS, btrfs, tmpfs, overlayfs, ZFS,
/// F2FS, bcachefs. On others a lock may be had by two (Lustre, some NFS).
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
    /// Whether it certainly keeps others out.
    pub(super) is_certain: bool,
}

/// What is in a lock file while it is held: for people, who may want to know.
fn holder() -> String {
    let host = rustix::system::uname();
    let pid = std::process::id();
    format!("process {pid} on {}\n", host.nodename().to_string_lossy())
}

/// Who holds a lock, as its file says; nothing when it does not.
fn held_by(file: &File) -> String {
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

/// Whether a lock in this directory keeps everybody out.
pub(super) fn is_local(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|at| LOCAL.contains(&at.f_type))
}

/// What came of the attempt to take a lock.
pub(super) enum Attempt {
    /// It is held.
    Taken(Lock),
    /// Another process has it; which one, in words, when that is known.
    Busy(String),
}

/// Takes an exclusive lock on `path`, waiting with a note while another process holds it.
///
/// # Errors
/// As [`try_lock`].
pub(super) async fn lock(path: &Path, events: &StepEvents<'_>, held: &str) -> Result<Lock> {
    let mut told = false;
    loop {
        match try_lock(path, events)? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Busy(who) if !told => events.note(format!("waiting: {held}{who}")),
            Attempt::Busy(_) => {}
        }
        told = true;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Takes an exclusive lock on `path` if nobody has it. A filesystem that has no locks (Lustre without `flock`, NFS
/// without a lock daemon) gives none, which is noted: whoever must not rely on them has other means.
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
        // What is written into it must not go through somebody's link.
        .custom_flags(no_follow());
    loop {
        let file = options.open(path).at(Kind::Host, failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // A lock on a file that was removed meanwhile keeps nobody out.
            Ok(()) if !is_at(&file, path) => {}
            Ok(()) => {
                say_who(&file);
                let is_certain = fstatfs(&file).is_ok_and(|at| LOCAL.contains(&at.f_type));
                return Ok(Attempt::Taken(Lock {
                    _file: file,
                    is_certain,
                }));
            }
            Err(Errno::WOULDBLOCK) => return Ok(Attempt::Busy(held_by(&file))),
            Err(Errno::INTR) => {}
            Err(error) => {
                events.note(format!(
                    "`{}` cannot be locked ({error}): going on without",
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

/// Writes into a lock's file who holds it, unless that file has another name too: what has the other one is no lock.
fn say_who(file: &File) {
    if file
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.nlink() == 1)
    {
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all_at(holder().as_bytes(), 0));
    }
}

/// Whether an open file still has this name.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let here = file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let there = std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

/// UTC now as `20261123T215231Z`: sorts by name, fits every filesystem.
#[must_use]
pub(super) fn timestamp() -> String {
    utc_now().replace(['-', ':'], "")
}

/// UTC now as `2026-11-23T21:52:31Z` (RFC 3339).
#[must_use]
pub(super) fn utc_now() -> String {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    utc(since.as_secs())
}

fn utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest % 3600 / 60,
        rest % 60
    )
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

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
