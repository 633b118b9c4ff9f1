//! Hashes of files, as a hub states them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::io::Errno;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::fingerprint::Fingerprint;
use crate::effects::files;
use crate::effects::hub::listing::Oid;
use crate::units::hex;

/// The bytes of a hash, padded with zeros if it is shorter.
pub(in crate::effects) type Bytes32 = [u8; 32];

/// A hash in progress.
#[derive(Clone)]
pub(in crate::effects) enum Hasher {
    /// SHA-256 of the bytes.
    Sha256(Sha256),
    /// SHA-1 of git's blob header and the bytes.
    GitSha1(Sha1),
}

impl Hasher {
    /// Starts the hash of a file of `size` bytes, of the kind that `oid` has.
    pub(in crate::effects) fn new(oid: &Oid, size: u64) -> Self {
        match oid {
            Oid::Sha256(_) => Self::Sha256(Sha256::new()),
            Oid::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    /// Starts a SHA-256.
    pub(in crate::effects) fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// Adds bytes.
    pub(in crate::effects) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitSha1(hash) => hash.update(bytes),
        }
    }

    /// Returns the hash of the bytes so far.
    pub(in crate::effects) fn digest(&self) -> Bytes32 {
        let mut digest = Bytes32::default();
        match self {
            Self::Sha256(hash) => digest.copy_from_slice(&hash.clone().finalize()),
            Self::GitSha1(hash) => digest[..20].copy_from_slice(&hash.clone().finalize()),
        }
        digest
    }

    /// Returns the hash in hex.
    pub(in crate::effects) fn hex(self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::GitSha1(hash) => hex(&hash.finalize()),
        }
    }
}

/// Reads a file through `hasher`; returns the number of bytes read.
fn feed(hasher: &mut Hasher, mut file: &File) -> std::io::Result<u64> {
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(total);
        }
        hasher.update(&buffer[..count]);
        total += count as u64;
    }
}

/// Returns whether a regular file of this size is at `path`.
pub(in crate::effects) fn has_size(path: &Path, size: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// Number of times that a correct file is read again because its metadata changed meanwhile. A chmod or a
/// rename is over in a moment.
pub(in crate::effects) const MAX_READS: u32 = 3;

/// Returns the fingerprint of the file at `path` if it has the stated size and hash; it covers the whole time
/// of reading. Returns `None` if the file differs, changes all the time, or cannot be read back from its disk.
///
/// # Errors
/// If the file cannot be read now, which says nothing about its bytes.
pub(in crate::effects) fn verify_file(
    path: &Path,
    oid: &Oid,
    size: u64,
) -> std::io::Result<Option<Fingerprint>> {
    if !has_size(path, size) {
        return Ok(None);
    }
    let fingerprint = |file: &File| Ok::<_, std::io::Error>(Fingerprint::of(&file.metadata()?));
    for _ in 0..MAX_READS {
        let file = files::open_through(path)?;
        match sync_data(&file) {
            Err(error) if is_failed_sync(&error) => return Ok(None),
            kept => kept?,
        }
        let before = fingerprint(&file)?;
        let mut hasher = Hasher::new(oid, size);
        let read = match feed(&mut hasher, &file) {
            Err(error) if is_data_loss(&error) => return Ok(None),
            read => read?,
        };
        if read != size || hasher.hex() != oid.hex() {
            return Ok(None);
        }
        if before == fingerprint(&file)? {
            return Ok(before);
        }
    }
    Ok(None)
}

/// Syncs a file's data before it is hashed. Data that is only in memory may never reach the disk, and writes
/// through a memory map change the file's times only when they are written back (mmap(2)).
///
/// # Errors
/// If the disk did not accept the data or did not answer. Filesystems without this call, and files that may
/// only be read, count as synced.
pub(in crate::effects) fn sync_data(file: &File) -> std::io::Result<()> {
    let needless = [
        Errno::INVAL,
        Errno::ROFS,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::BADF,
        Errno::PERM,
        Errno::ACCESS,
    ];
    match file.sync_data() {
        Err(error) if is_one_of(&error, &needless) => Ok(()),
        Err(error) => {
            // A disk reports a failed write only once. Drops the pages from memory, so that the next reader
            // gets what is on disk.
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Returns whether the disk reports lost data: an unreadable sector, or a checksum error of the filesystem (EIO
/// on Btrfs and ZFS, EUCLEAN or EBADMSG on XFS).
pub(in crate::effects) fn is_data_loss(error: &std::io::Error) -> bool {
    is_one_of(error, &[Errno::IO, Errno::UCLEAN, Errno::BADMSG])
}

/// Returns whether a sync failed: data loss, or no space for data that was accepted before (NFS).
pub(in crate::effects) fn is_failed_sync(error: &std::io::Error) -> bool {
    is_data_loss(error) || is_one_of(error, &[Errno::NOSPC, Errno::DQUOT])
}

fn is_one_of(error: &std::io::Error, errors: &[Errno]) -> bool {
    Errno::from_io_error(error).is_some_and(|error| errors.contains(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        // `printf 'hello' | git hash-object --stdin` and `printf 'hello' | sha256sum`
        let cases = [
            Oid::GitSha1("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0".to_owned()),
            Oid::Sha256("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned()),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"hello").unwrap();
        for oid in cases {
            assert!(verify_file(file.path(), &oid, 5).unwrap().is_some(), "{oid:?}");
            assert!(verify_file(file.path(), &oid, 6).unwrap().is_none());
        }
    }
}
