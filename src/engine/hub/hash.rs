//! Hashes of files, as a hub states them.

use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::listing::Oid;
use crate::engine::files;
use crate::units::hex;

/// A hash's bytes, padded with zeros where it has fewer.
pub(super) type Bytes32 = [u8; 32];

/// A hash under way.
#[derive(Clone)]
pub(super) enum Hasher {
    /// Of the bytes.
    Sha256(Sha256),
    /// Of git's blob header and the bytes.
    GitSha1(Sha1),
}

impl Hasher {
    /// Begins the hash of a file of `size` bytes that `oid` states.
    pub(super) fn new(oid: &Oid, size: u64) -> Self {
        match oid {
            Oid::Sha256(_) => Self::Sha256(Sha256::new()),
            Oid::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    /// Begins a SHA-256.
    pub(super) fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// Takes bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitSha1(hash) => hash.update(bytes),
        }
    }

    /// The hash of what came so far.
    pub(super) fn digest(&self) -> Bytes32 {
        let mut digest = Bytes32::default();
        match self {
            Self::Sha256(hash) => digest.copy_from_slice(&hash.clone().finalize()),
            Self::GitSha1(hash) => digest[..20].copy_from_slice(&hash.clone().finalize()),
        }
        digest
    }

    /// The hash in hex.
    pub(super) fn hex(self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::GitSha1(hash) => hex(&hash.finalize()),
        }
    }
}

/// Reads a file through `hasher`; returns the bytes read.
pub(super) fn feed(hasher: &mut Hasher, path: &Path) -> std::io::Result<u64> {
    let mut file = files::open_through(path)?;
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
pub(super) fn is_there(path: &Path, size: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// Whether the file at `path` has the size and hash that are stated.
///
/// # Errors
/// When it cannot be read now, which says nothing about it.
pub(super) fn matches(path: &Path, oid: &Oid, size: u64) -> std::io::Result<bool> {
    if !is_there(path, size) {
        return Ok(false);
    }
    let mut hasher = Hasher::new(oid, size);
    let read = feed(&mut hasher, path)?;
    Ok(read == size && hasher.hex() == oid.hex())
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
            assert!(matches(file.path(), &oid, 5).unwrap(), "{oid:?}");
            assert!(!matches(file.path(), &oid, 6).unwrap());
        }
    }
}
