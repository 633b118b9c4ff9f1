//! The bytes of a file of questions, from this host or a URL, and their hash.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::effects::files;
use crate::effects::http::Http;
use crate::error::{At, Error, Kind, Result};
use crate::units::hex;

/// Largest file that is read; the largest of the public ones, `gpqa_main.csv`, has 2 MB.
const MAX_DATA: u64 = 64 << 20;

/// Returns the bytes and the SHA-256 of the questions at a path or a URL.
///
/// # Errors
/// [`Kind::Usage`] for a file that cannot be read; [`Kind::Integrity`] if the hash is not `expected`.
pub(super) async fn read_data(data: &str, expected: Option<&str>, http: &Http) -> Result<(Vec<u8>, String)> {
    let is_url = data.starts_with("http://") || data.starts_with("https://");
    let bytes = if is_url {
        http.get_bytes(data, MAX_DATA).await?
    } else {
        files::read_through(Path::new(data), MAX_DATA).at(Kind::Usage, || format!("cannot read `{data}`"))?
    };
    let hash = hex(&Sha256::digest(&bytes));
    match expected {
        Some(expected) if expected != hash => Err(Error::new(
            Kind::Integrity,
            format!("`{data}` is not the expected data"),
        )
        .cause(format!("sha256 is {hash}, not {expected}"))
        .hint(format!("if you trust the file, pass --sha256 {hash}"))),
        _ => Ok((bytes, hash)),
    }
}
