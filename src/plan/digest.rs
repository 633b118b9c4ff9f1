//! The digest of what decides an image, a venv, a server or a lock.

use sha2::{Digest, Sha256};

use crate::units::hex;

/// Returns the SHA-256 of named parts in hex. The length of each part is hashed too, so that parts cannot run together.
pub(super) fn digest(parts: &[(&str, &String)]) -> String {
    let mut hash = Sha256::new();
    for (name, value) in parts {
        hash.update(format!("{name}:{}:", value.len()));
        hash.update(value);
    }
    hex(&hash.finalize())
}
