//! File operations that tolerate short failures of a disk or a file server.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use crate::effects::files;
use crate::effects::hub::limits::Limits;
use crate::effects::store::hash::is_data_loss;
use crate::effects::store::layout::TEMPORARY;
use crate::effects::store::owner::owner;

/// Number of retries after an I/O error, because a file server that restarts also returns `EIO`.
const IO_RETRIES: u32 = 5;

/// Retries an operation after I/O errors. Data counts as lost only if the disk works otherwise: a file server
/// that is away has lost nothing.
pub(super) fn retry_io<T>(
    path: &Path,
    pause: Duration,
    mut ask: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for again in 0..IO_RETRIES {
        match ask() {
            Err(error) if is_data_loss(&error) => std::thread::sleep(pause * 2_u32.pow(again)),
            answer => return answer,
        }
    }
    match probe_file(path) {
        // The disk works, but is full.
        Err(error) if !is_full(&error) => {
            Err(io::Error::other(format!("the disk does not respond: {error}")))
        }
        _ => ask(),
    }
}

/// Returns whether an error means that the disk is full. Another try would not help then.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Creates a file beside another one and returns its metadata. The file server decides about its time and
/// owner.
pub(super) fn probe_file(path: &Path) -> io::Result<Metadata> {
    let probe = path.with_file_name(format!("now.{}.{TEMPORARY}", owner()));
    let options = &mut OpenOptions::new();
    options.create(true).write(true).truncate(true);
    let mut file = files::open_by(options.custom_flags(files::no_follow()), &probe)?;
    let written = file.write_all(b"\n").and_then(|()| file.sync_all());
    let _ = std::fs::remove_file(&probe);
    written.and_then(|()| file.metadata())
}

/// Copies a range of a file to the same offset in another, beside `ours`. Unreadable blocks stay empty and are
/// fetched later.
pub(super) fn copy_range(
    from: &File,
    to: &mut File,
    (start, end): (u64, u64),
    ours: &Path,
    limits: &Limits,
) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let next = end.min(at + limits.copy);
        let copied = retry_io(ours, limits.io_retry, || {
            let mut from = from;
            from.seek(SeekFrom::Start(at))?;
            to.seek(SeekFrom::Start(at))?;
            io::copy(&mut from.take(next - at), to)
        });
        match copied {
            Err(error) if is_data_loss(&error) => {}
            copied => drop(copied?),
        }
        at = next;
    }
    Ok(())
}

/// Copies and syncs a file. A missing source is skipped.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    match files::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        from => {
            let mut to = create_private(to)?;
            io::copy(&mut from?, &mut to)?;
            // The file that it verifies may reach the disk soon, and is useless without this one.
            to.sync_all()
        }
    }
}

/// Replaces a file that has several hard links by its own copy, so that writes change nothing else.
pub(super) fn unshare(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) {
        return Ok(());
    }
    let copy = path.with_extension(TEMPORARY);
    copy_file(path, &copy)?;
    std::fs::rename(copy, path)
}

/// Creates a file that only its owner can write to, and replaces what has its name. Does not follow links.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
