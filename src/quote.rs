//! Quoting of words for a shell, in scripts and in the commands of hints, and the characters that a text may not hide.

/// Quotes one word for a POSIX shell in single quotes. A quote inside ends them, is escaped, and begins them again.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns true for C0 and C1 controls, line separators, and the characters that reorder text (Unicode TR 9; CVE-2021-42574).
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{206F}')
}
