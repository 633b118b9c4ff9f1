//! The file list of a repository. It is hostile text until it is parsed into these types.
//!
//! Public, because the fuzz targets call it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::names::{is_hex, is_path, is_reserved_path};
use crate::error::{Error, Kind, Result};

/// Largest number of files in a repository; DeepSeek-R1 has 174.
const MAX_FILES: usize = 100_000;

/// The hash that a file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oid {
    /// SHA-256 of the bytes (large files).
    Sha256(String),
    /// SHA-1 of `blob <length>\0` and the bytes (files that git keeps itself).
    GitSha1(String),
}

impl Oid {
    /// Returns the hex digits. They are also the name of the blob in the cache.
    #[must_use]
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitSha1(hex) => hex,
        }
    }

    /// Returns the hash that a blob's name in a cache stands for.
    #[must_use]
    pub fn from_blob_name(name: &str) -> Option<Self> {
        match name.len() {
            64 if is_hex(name) => Some(Self::Sha256(name.to_owned())),
            40 if is_hex(name) => Some(Self::GitSha1(name.to_owned())),
            _ => None,
        }
    }
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path in the repository: relative, normal, printable.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Its hash.
    pub oid: Oid,
    /// Its hash in the hub's Xet store, if it is stored there too.
    pub xet: Option<String>,
}

/// Parses one page of the answer to a tree request: an array of files and directories.
///
/// # Errors
/// [`Kind::Integrity`] if it is not a listing, or if a name is unsafe.
pub fn parse_page(page: &[u8]) -> Result<Vec<Entry>> {
    // Parsed into types, so that parsing stops at the first invalid item: a JSON value for each of a million
    // items would fill the memory.
    let items: Vec<Item> = serde_json::from_slice(page)
        .map_err(|error| untrusted(&format!("it is not a list of files ({error})")))?;
    items
        .into_iter()
        .filter(|item| item.kind != "directory")
        .map(parse_entry)
        .collect()
}

/// One item of the answer, with the fields that are used.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    oid: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
    #[serde(default, rename = "xetHash")]
    xet: Option<String>,
}

/// The fields of a large file.
#[derive(Deserialize)]
struct Lfs {
    #[serde(default)]
    oid: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

fn parse_entry(item: Item) -> Result<Entry> {
    let Item {
        kind: _,
        path,
        size,
        oid,
        lfs,
        xet,
    } = item;
    if !is_path(&path) {
        return Err(untrusted(&format!(
            "the file name `{}` is unsafe",
            path.chars().take(120).collect::<String>().escape_debug()
        )));
    }
    let wrong = |what: &str| untrusted(&format!("`{path}` has {what}"));
    let (large, large_size) = lfs.map_or((None, None), |lfs| (lfs.oid, lfs.size));
    let oid = match (large, oid) {
        (Some(oid), _) if oid.len() == 64 && is_hex(&oid) => Oid::Sha256(oid),
        (Some(_), _) => return Err(wrong("no SHA-256")),
        (None, Some(oid)) if oid.len() == 40 && is_hex(&oid) => Oid::GitSha1(oid),
        (None, _) => return Err(wrong("no hash")),
    };
    let size = size.ok_or_else(|| wrong("no size"))?;
    if large_size.is_some_and(|other| other != size) {
        return Err(wrong("two sizes"));
    }
    Ok(Entry {
        path,
        size,
        oid,
        // An invalid Xet hash is treated as a missing one.
        xet: xet.filter(|hash| hash.len() == 64 && is_hex(hash)),
    })
}

/// Refuses a listing that does not end.
///
/// # Errors
/// [`Kind::Integrity`] if there are more files than a repository can have.
pub fn check_count(entries: &[Entry]) -> Result<()> {
    if entries.len() <= MAX_FILES {
        return Ok(());
    }
    Err(untrusted(&format!("more than {MAX_FILES} files")))
}

/// Checks the complete listing: no two names collide, and the sizes add up. Returns the sum of the sizes.
///
/// # Errors
/// [`Kind::Integrity`] for colliding names and impossible sizes.
pub fn check_whole(entries: &[Entry]) -> Result<u64> {
    if entries.is_empty() {
        return Err(untrusted("it is empty"));
    }
    let mut names = BTreeSet::new();
    for entry in entries {
        // Names that differ only in case are the same file on some filesystems.
        if !names.insert(entry.path.to_lowercase()) {
            return Err(untrusted(&format!("`{}` appears twice", entry.path)));
        }
    }
    for name in &names {
        let parents = name.match_indices('/').map(|(at, _)| &name[..at]);
        if let Some(parent) = parents.into_iter().find(|parent| names.contains(*parent)) {
            return Err(untrusted(&format!("`{parent}` is a file and a directory")));
        }
    }
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in entries {
        if *sizes.entry(entry.oid.hex()).or_insert(entry.size) != entry.size {
            return Err(untrusted(&format!("the hash of `{}` has two sizes", entry.path)));
        }
    }
    entries
        .iter()
        .try_fold(0_u64, |sum, entry| sum.checked_add(entry.size))
        .filter(|sum| *sum < 1 << 60)
        .ok_or_else(|| untrusted("its sizes are impossible"))
}

/// Refuses paths that dsr1, another hub client or git reserves in a user's directory.
///
/// # Errors
/// [`Kind::Integrity`], naming the first such path.
pub fn check_directory(entries: &[Entry]) -> Result<()> {
    match entries.iter().find(|entry| is_reserved_path(&entry.path)) {
        Some(entry) => Err(untrusted(&format!(
            "the file name `{}` is reserved for hub clients or git",
            entry.path
        ))),
        None => Ok(()),
    }
}

fn untrusted(cause: &str) -> Error {
    Error::new(Kind::Integrity, "the hub's listing cannot be trusted").cause(cause)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(page: &Value) -> Result<Vec<Entry>> {
        parse_page(page.to_string().as_bytes())
    }

    fn file(path: &str) -> Value {
        json!({ "type": "file", "path": path, "size": 3, "oid": "0".repeat(40) })
    }

    #[test]
    fn both_kinds_of_files_are_read() {
        let sha256 = "a".repeat(64);
        let page = json!([
            { "type": "directory", "path": "d", "oid": "" },
            file("d/config.json"),
            { "type": "file", "path": "w.safetensors", "size": 9, "oid": "1".repeat(40), "lfs": { "oid": sha256, "size": 9, "pointerSize": 130 } },
        ]);
        let entries = parse(&page).unwrap();
        assert_eq!(entries[0].oid, Oid::GitSha1("0".repeat(40)));
        assert_eq!(entries[1].oid, Oid::Sha256(sha256));
        assert_eq!(check_whole(&entries).unwrap(), 12);
    }

    #[test]
    fn hostile_names_are_refused() {
        for path in [
            "../x",
            "/etc/passwd",
            "a//b",
            "a/./b",
            "a\\b",
            "a\u{0}b",
            "a\nb",
            "\u{202e}gpj.exe",
            "a\u{ad}b",
            "a\u{61c}b",
            "a\u{e0041}b",
            "",
            &"x".repeat(256),
        ] {
            assert!(parse(&json!([file(path)])).is_err(), "{path:?}");
        }
        for pair in [["a", "A"], ["a", "a"], ["a", "a/b"]] {
            let entries = parse(&json!([file(pair[0]), file(pair[1])])).unwrap();
            assert!(check_whole(&entries).is_err(), "{pair:?}");
        }
        let huge = json!([{ "type": "file", "path": "x", "size": u64::MAX, "oid": "0".repeat(40) }]);
        assert!(check_whole(&parse(&huge).unwrap()).is_err());
        let no_hash = json!([{ "type": "file", "path": "x", "size": 1, "oid": "../../../etc" }]);
        assert!(parse(&no_hash).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_page(&bytes);
        }

        /// JSON of about the right shape, with arbitrary values.
        #[test]
        fn an_accepted_listing_adds_up_and_has_no_colliding_names(
            files in proptest::collection::vec(("[a-cA-C./]{1,5}", 0_u64..(1 << 61), "[0-9a-f]{39,41}"), 0..6),
        ) {
            let items = files.iter().map(|(path, size, oid)| json!({ "type": "file", "path": path, "size": size, "oid": oid }));
            if let Ok(entries) = parse(&items.collect())
                && let Ok(total) = check_whole(&entries)
            {
                let names: BTreeSet<String> = entries.iter().map(|entry| entry.path.to_lowercase()).collect();
                proptest::prop_assert_eq!(names.len(), entries.len());
                proptest::prop_assert_eq!(total, entries.iter().map(|entry| entry.size).sum::<u64>());
            }
        }

        #[test]
        fn an_accepted_path_stays_below_its_root(path in "[a./\\\\\u{0}~]{0,12}") {
            if let Ok(entries) = parse(&json!([file(&path)])) {
                let joined = std::path::Path::new("/root").join(&entries[0].path);
                proptest::prop_assert!(joined.starts_with("/root"));
                proptest::prop_assert!(joined.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}
