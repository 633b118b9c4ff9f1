//! Any JSON as a hub's listing: what is accepted stays below its root, has no twins and sums up; never a panic.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use dsr1::effects::hub::listing::{check_count, check_directory, check_whole, parse_page};
use dsr1::error::Kind;

/// Parses the input as a page of a listing and checks what was accepted.
pub(crate) fn check_listing(bytes: &[u8]) {
    let entries = match parse_page(bytes) {
        Ok(entries) => entries,
        Err(error) => {
            assert_eq!(error.kind(), Kind::Integrity);
            assert!(
                !error.causes().concat().chars().any(char::is_control),
                "{error:?}"
            );
            return;
        }
    };
    if check_count(&entries).is_err() {
        return;
    }
    let Ok(total) = check_whole(&entries) else { return };
    assert_eq!(total, entries.iter().map(|entry| entry.size).sum::<u64>());
    let is_free = check_directory(&entries).is_ok();
    let mut seen = BTreeSet::new();
    for entry in &entries {
        let path = Path::new("/root").join(&entry.path);
        assert!(path.starts_with("/root"), "{}", entry.path);
        assert!(
            path.components().all(|part| part != Component::ParentDir),
            "{}",
            entry.path
        );
        assert!(!entry.path.chars().any(char::is_control), "{:?}", entry.path);
        assert!(seen.insert(entry.path.to_lowercase()), "{}", entry.path);
        assert!(matches!(entry.oid.hex().len(), 40 | 64));
        let first = entry.path.split('/').next().unwrap_or_default();
        assert!(!is_free || !first.eq_ignore_ascii_case(".dsr1"), "{}", entry.path);
    }
}
