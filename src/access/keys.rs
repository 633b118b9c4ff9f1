//! The keys of an exposed server, as a file lists them: a line for each, `NAME KEY` or only `KEY`; a line that begins with # is a
//! comment.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};

/// Shortest key: 16 characters of base64 are 96 bits.
const SHORTEST: usize = 16;
/// Longest key and longest name.
const LONGEST: usize = 256;
const LONGEST_NAME: usize = 40;

/// The rule for the lines of a file of keys.
pub const RULE: &str = "write a line for each key: NAME KEY, with a key of at least 16 letters, digits or other visible characters; \
                        dsr1 expose --add-key NAME makes one";

/// The keys of a server. Only their hashes are kept, so that no text can show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<(String, [u8; 32])>,
}

impl Keys {
    /// Reads the keys of a file; `file` is its name.
    ///
    /// # Errors
    /// [`Kind::Usage`] with file and line for what is no key, a name that stands twice, and a file without a key. No message quotes a
    /// key.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let wrong =
            |line: usize, why: String| Error::new(Kind::Usage, format!("{file}:{line}: {why}")).hint(RULE);
        let (mut keys, mut names) = (Vec::new(), BTreeSet::new());
        // Some editors begin a text with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, key) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [key] => (format!("key-{}", keys.len() + 1), *key),
                [name, key] => ((*name).to_owned(), *key),
                [_, _, ..] => {
                    return Err(wrong(
                        number,
                        "the line has more than a name and a key".to_owned(),
                    ));
                }
            };
            if !is_key_name(&name) {
                return Err(wrong(
                    number,
                    "the name of a key has at most 40 letters, digits, `.`, `_` or `-`, and begins with a letter or a digit".to_owned(),
                ));
            }
            if key.len() < SHORTEST || key.len() > LONGEST {
                return Err(wrong(
                    number,
                    format!(
                        "the key has {} characters; it needs {SHORTEST} to {LONGEST}",
                        key.len()
                    ),
                ));
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong(
                    number,
                    "the key has a character that a header cannot carry".to_owned(),
                ));
            }
            if !names.insert(name.clone()) {
                return Err(wrong(number, format!("the name {name} is used twice")));
            }
            keys.push((name, hash(key)));
        }
        if keys.is_empty() {
            return Err(Error::new(Kind::Usage, format!("{file} has no key")).hint(RULE));
        }
        Ok(Self { keys })
    }

    /// Returns the name of a key that a request carries; `None` for an unknown one. Hashes are compared, so that the time of the
    /// answer tells nothing of a key.
    #[must_use]
    pub fn name_of(&self, sent: &str) -> Option<&str> {
        let sent = hash(sent);
        let found = self.keys.iter().find(|(_, key)| *key == sent)?;
        Some(&found.0)
    }

    /// Returns those keys that are still in a text, as words. It serves for a changed file that is no longer valid.
    #[must_use]
    pub fn still_in(&self, text: &str) -> Self {
        let words: BTreeSet<[u8; 32]> = text.split_whitespace().map(hash).collect();
        let keys = self.keys.iter().filter(|(_, key)| words.contains(key));
        Self {
            keys: keys.cloned().collect(),
        }
    }

    /// Returns the names of the keys, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(name, _)| name.as_str())
    }
}

/// Returns true for a name that a key may have.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=LONGEST_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(fits)
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_known_by_its_name() {
        let text = "# keys\n\nalice 0123456789abcdef\n  fedcba9876543210fedc  \n";
        let keys = Keys::parse(text, "f").unwrap();
        assert_eq!(keys.names().collect::<Vec<_>>(), ["alice", "key-2"]);
        assert_eq!(keys.name_of("0123456789abcdef"), Some("alice"));
        assert_eq!(keys.name_of("fedcba9876543210fedc"), Some("key-2"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "alice",
            "alice 0123456789abcdef",
        ] {
            assert_eq!(keys.name_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_line_is_named_and_no_key_is_quoted() {
        for (text, message) in [
            ("", "f has no key"),
            ("# only a comment\n", "f has no key"),
            ("short\n", "f:1: the key has 5 characters; it needs 16 to 256"),
            (
                "\na 0123456789abcdef x\n",
                "f:2: the line has more than a name and a key",
            ),
            (
                "a 0123456789abcdef\na fedcba9876543210\n",
                "f:2: the name a is used twice",
            ),
            (
                "a/b 0123456789abcdef\n",
                "f:1: the name of a key has at most 40 letters, digits, `.`, `_` or `-`, and begins with a letter or a digit",
            ),
            (
                "a 0123456789abcd\u{e9}f\n",
                "f:1: the key has a character that a header cannot carry",
            ),
        ] {
            let error = Keys::parse(text, "f").unwrap_err();
            assert_eq!(error.message(), message);
            assert!(!format!("{error:?}").contains("0123456789"), "{error:?}");
        }
    }

    #[test]
    fn a_key_that_is_gone_from_a_broken_file_counts_no_more() {
        let keys = Keys::parse("alice 0123456789abcdef\nbob fedcba9876543210\n", "f").unwrap();
        let left = keys.still_in("alice  0123456789abcdef\nbob\nshort\n");
        assert_eq!(left.names().collect::<Vec<_>>(), ["alice"]);
        assert_eq!(keys.still_in("").names().count(), 0);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}", sent in "\\PC{0,40}") {
            if let Ok(keys) = Keys::parse(&text, "f") {
                prop_assert!(keys.names().count() > 0);
                let known = text.split_whitespace().any(|word| word == sent);
                prop_assert!(known || keys.name_of(&sent).is_none());
            }
        }
    }
}
