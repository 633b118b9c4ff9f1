//! Reads, copies and creations that bear with a disk or a file server that fails for a moment.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use crate::effects::files;
use crate::effects::store::hash::is_data_loss;
use crate::effects::store::layout::TEMPORARY;
use crate::effects::store::owner::owner;

/// Times that a disk is asked once more for what it does not give: a server of files that is begun anew says `EIO` too.
const IO_RETRIES: u32 = 5;
/// Time before the first of them; each waits twice as long as the one before, all of them some six seconds.
const IO_RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Bytes copied at a time: so much around a place that does not read is fetched.
const COPY_STEP: u64 = 1 << 20;

/// What a disk gives when it is asked more than once. That something is lost is said by one that answers otherwise: a
/// server of files that is away has lost nothing.
pub(super) fn retry_io<T>(path: &Path, mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for again in 0..IO_RETRIES {
        match ask() {
            Err(error) if is_data_loss(&error) => std::thread::sleep(IO_RETRY_PAUSE * 2_u32.pow(again)),
            answer => return answer,
        }
    }
    match probe_file(path) {
        // It was asked, and has no room.
        Err(error) if !is_full(&error) => Err(io::Error::other(format!("its disk does not answer: {error}"))),
        _ => ask(),
    }
}

/// Whether there is no room: what was begun is then not given up for another try.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What a file looks like that we write beside another: its server decides about its time and its owner.
pub(super) fn probe_file(path: &Path) -> io::Result<Metadata> {
    let probe = path.with_file_name(format!("now.{}.{TEMPORARY}", owner()));
    let options = &mut OpenOptions::new();
    options.create(true).write(true).truncate(true);
    let mut file = files::open_by(options.custom_flags(files::no_follow()), &probe)?;
    let written = file.write_all(b"\n").and_then(|()| file.sync_all());
    let _ = std::fs::remove_file(&probe);
    written.and_then(|()| file.metadata())
}

/// Copies a range of a file to its place in another, beside `ours`. What does not read stays empty: it is fetched.
pub(super) fn copy_range(
    from: &File,
    to: &mut File,
    (start, end): (u64, u64),
    ours: &Path,
) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let next = end.min(at + COPY_STEP);
        let copied = retry_io(ours, || {
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

/// Copies a file, which is on the disk then; nothing where nothing is.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    match files::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        from => {
            let mut to = create_private(to)?;
            io::copy(&mut from?, &mut to)?;
            // What it proves may be on the disk soon, and is worth nothing without it.
            to.sync_all()
        }
    }
}

/// Makes a file that has another name too one of its own: what is written to it goes nowhere else.
pub(super) fn unshare(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) {
        return Ok(());
    }
    let copy = path.with_extension(TEMPORARY);
    copy_file(path, &copy)?;
    std::fs::rename(copy, path)
}

/// Makes a file that nobody else can write to, in the place of what has its name: a link there is not followed.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
