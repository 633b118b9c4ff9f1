//! Text from elsewhere, made safe to show: a log line must not move the cursor, recolour or rewrite anything.

use std::borrow::Cow;
use std::fmt::Write;

/// Shows control characters and direction overrides as escapes; tabs become spaces.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\t' => shown.push_str("    "),
            c if hidden(c) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// C0 and C1 controls, line separators, and the characters that reorder text (Unicode TR 9; CVE-2021-42574).
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown() {
        assert_eq!(
            safe("\x1b[31mred\u{9b}2J\u{202e}"),
            "\\u{1b}[31mred\\u{9b}2J\\u{202e}"
        );
        assert!(matches!(safe("plain ünïcode ▁"), Cow::Borrowed(_)));
    }

    proptest::proptest! {
        #[test]
        fn nothing_hidden_is_left(text in "\\PC{0,40}[\\x00-\\x1f\\x7f-\\x9f\u{202e}]{0,10}") {
            proptest::prop_assert!(!safe(&text).chars().any(hidden));
        }
    }
}
