//! Words as a shell reads them, for scripts and for commands in hints.

/// Quotes one word for a POSIX shell: single quotes, and a quote inside leaves and re-enters them.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
