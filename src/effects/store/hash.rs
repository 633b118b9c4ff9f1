//! Hashes of files, as a hub states them.
//!
//! Not in this module: what follows from a wrong one (`fetch`, `verify`).

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

/// A hash's bytes, padded with zeros where it has fewer.
pub(in crate::effects) type Bytes32 = [u8; 32];

/// A hash under way.
#[derive(Clone)]
pub(in crate::effects) enum Hasher {
    /// Of the bytes.
    Sha256(Sha256),
    /// Of git's blob header and the bytes.
    GitSha1(Sha1),
}

impl Hasher {
    /// Begins the hash of a file of `size` bytes that `oid` states.
    pub(in crate::effects) fn new(oid: &Oid, size: u64) -> Self {
        match oid {
            Oid::Sha256(_) => Self::Sha256(Sha256::new()),
            Oid::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    /// Begins a SHA-256.
    pub(in crate::effects) fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// Takes bytes.
    pub(in crate::effects) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitSha1(hash) => hash.update(bytes),
        }
    }

    /// The hash of what came so far.
    pub(in crate::effects) fn digest(&self) -> Bytes32 {
        let mut digest = Bytes32::default();
        match self {
            Self::Sha256(hash) => digest.copy_from_slice(&hash.clone().finalize()),
            Self::GitSha1(hash) => digest[..20].copy_from_slice(&hash.clone().finalize()),
        }
        digest
    }

    /// The hash in hex.
    pub(in crate::effects) fn hex(self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::GitSha1(hash) => hex(&hash.finalize()),
        }
    }
}

/// Reads a file through `hasher`; returns the bytes read.
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

/// Whether a file of this size is at `path`.
pub(in crate::effects) fn has_size(path: &Path, size: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// Times that a file is read which is right, and was touched meanwhile: other rights or another name take a moment.
pub(in crate::effects) const MAX_READS: u32 = 3;

/// What the file at `path` looked like from before its first byte was read until after the last, when it has the size and
/// hash that are stated; `None` when it has not, when it changes all the time, or when its disk has lost some of it.
///
/// # Errors
/// When it cannot be read now, which says nothing about it.
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

/// Has a disk keep what was written to a file, before its first byte is hashed: what is only in memory may never arrive,
/// and what is still mapped for writing changes no time of the file until it was written back (mmap(2), on disks).
///
/// # Errors
/// That of a disk which did not take it, or could not be asked in time. A filesystem that has no such question, or not for
/// whoever may only read, has nothing to keep.
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
            // It says so once. What is in memory only is not read for what is on the disk, by whoever comes next.
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Whether a disk says that it does not have what was written to it: a sector that does not read, or a checksum of the
/// filesystem's own that does not fit (Btrfs and ZFS say EIO, XFS EUCLEAN or EBADMSG).
pub(in crate::effects) fn is_data_loss(error: &std::io::Error) -> bool {
    is_one_of(error, &[Errno::IO, Errno::UCLEAN, Errno::BADMSG])
}

/// Whether what was to be kept was not: as [`is_lost`], or it was taken before there was a place for it (NFS).
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
