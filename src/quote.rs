//! Quoting of words for a shell, in scripts and in the commands of hints.

/// Quotes one word for a POSIX shell in single quotes. A quote inside ends them, is escaped, and begins them again.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
