//! Percent-encoding of what stands in a URL (RFC 3986, 2.1).
//!
//! Not in this module: which paths a hub has (`source`, `mirror::path`).

use std::fmt::Write;

/// Whether `text` is lower-case hex.
pub(in crate::effects) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` is a commit id.
pub(in crate::effects) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Whether a path stays below its root on any filesystem and shows as what it is.
pub(in crate::effects) fn is_path(path: &str) -> bool {
    let segment_fits =
        |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.len() <= 255;
    // What shows as nothing, or changes how the rest shows (Unicode's format characters and line separators).
    let hidden = |c: char| {
        c.is_control()
            || c == '\\'
            || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FEFF}')
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
            || matches!(c, '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
    };
    path.len() <= 1024 && path.split('/').all(segment_fits) && !path.chars().any(hidden)
}

/// Whether a path would be ours, another client's, or git's, in a directory of the user's.
pub(in crate::effects) fn is_reserved_path(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let first = path.split('/').next().unwrap_or_default();
    // A work tree's settings name programs that git runs; `git~1` is what some filesystems call it too.
    let is_git = path.split('/').any(|part| matches!(part, ".git" | "git~1"));
    first == ".dsr1" || path.starts_with(".cache/huggingface") || is_git
}

/// A revision becomes a path below `refs` and a part of a URL.
pub(in crate::effects) fn is_revision(revision: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.contains("..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
    };
    revision.len() <= 200 && revision.split('/').all(fits)
}

/// Undoes percent-encoding; `None` when it is broken or not UTF-8.
pub(in crate::effects) fn percent_decode(part: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), part.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encodes all but what stands for itself anywhere in a URL.
pub(in crate::effects) fn percent_encode(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                out.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
            out
        })
}

/// A path as a URL has it: each part encoded, the slashes kept.
pub(in crate::effects) fn url_path(path: &str) -> String {
    path.split('/').map(percent_encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_urls() {
        assert_eq!(url_path("a b/ü#?.bin"), "a%20b/%C3%BC%23%3F.bin");
    }

    #[test]
    fn revisions_stay_below_refs() {
        for good in ["main", "refs/pr/1", "v1.0", "feature/x-y"] {
            assert!(is_revision(good), "{good}");
        }
        for bad in ["", "..", "../x", "a/../b", "/a", "a/", ".hidden", "a b", "a\\b"] {
            assert!(!is_revision(bad), "{bad}");
        }
    }
}
