//! Names of the hub protocol: the commits, revisions and paths that are accepted, and their encoding in URLs.

use std::fmt::Write;

/// Returns whether `text` is lower-case hex.
pub(in crate::effects) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns whether `text` is a commit id.
pub(in crate::effects) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Returns whether a path stays below its root on any filesystem and is displayed as it is.
pub(in crate::effects) fn is_path(path: &str) -> bool {
    let segment_fits =
        |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.len() <= 255;
    // Characters that are invisible or change how the rest is displayed (Unicode's format characters and line
    // separators).
    let hidden = |c: char| {
        c.is_control()
            || c == '\\'
            || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FEFF}')
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
            || matches!(c, '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
    };
    path.len() <= 1024 && path.split('/').all(segment_fits) && !path.chars().any(hidden)
}

/// Returns whether a path belongs to dsr1, another hub client or git in a user's directory.
pub(in crate::effects) fn is_reserved_path(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let first = path.split('/').next().unwrap_or_default();
    // The settings of a work tree name programs that git runs. Some filesystems also accept `git~1` for `.git`.
    let is_git = path.split('/').any(|part| matches!(part, ".git" | "git~1"));
    first == ".dsr1" || path.starts_with(".cache/huggingface") || is_git
}

/// Decodes percent-encoding (RFC 3986, 2.1); returns `None` if it is malformed or not UTF-8.
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

/// Percent-encodes everything except the characters that are unreserved in a URL (RFC 3986, 2.3).
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

/// Returns a path for a URL: each part is encoded, and the slashes stay.
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
}
