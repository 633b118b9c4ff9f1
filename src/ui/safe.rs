//! Foreign text, made safe to show: a log line must not move the cursor, change colours or rewrite other lines.

use std::borrow::Cow;
use std::fmt::Write;

use crate::quote::is_hidden;

/// Returns a text with control characters as `\x1b` and direction overrides as `\u{202e}`; a tab becomes spaces, because
/// its width depends on its column.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\t' => write!(shown, "    "),
            c if c.is_control() => write!(shown, "\\x{:02x}", u32::from(c)),
            c if is_hidden(c) => write!(shown, "\\u{{{:x}}}", u32::from(c)),
            c => write!(shown, "{c}"),
        };
    }
    Cow::Owned(shown)
}

/// Returns a text of several lines as [`safe()`] does; its newlines and tabs stay.
#[must_use]
pub(super) fn document(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let (content, end) = match part.strip_suffix(['\n', '\t']) {
            Some(content) => (content, &part[content.len()..]),
            None => (part, ""),
        };
        shown += &safe(content);
        shown += end;
    }
    shown
}

/// Makes each line of a text safe, indents it and ends it.
#[must_use]
pub(super) fn lines(text: &str, indent: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{}", format!("{indent}{}", safe(line)).trim_end());
        out
    })
}

/// Returns the same JSON with hidden characters as JSON escapes: parsers read the same values, and the terminal is not
/// changed. JSON itself escapes C0 only; newlines stay, because they are between tokens only.
#[must_use]
pub(super) fn json(text: String) -> String {
    let raw = |c: char| is_hidden(c) && c != '\n';
    if !text.contains(raw) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        let _ = if raw(c) {
            write!(shown, "\\u{:04x}", u32::from(c))
        } else {
            write!(shown, "{c}")
        };
    }
    shown
}

/// Returns a value as JSON on one line, without a newline at its end.
#[must_use]
pub(super) fn json_line(value: &impl serde::Serialize) -> String {
    json(serde_json::to_string(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown() {
        assert_eq!(
            safe("\x1b[31mred\u{9b}2J\r\u{202e}\tx"),
            "\\x1b[31mred\\x9b2J\\x0d\\u{202e}    x"
        );
        assert!(matches!(safe("plain ünïcode ▁"), Cow::Borrowed(_)));
    }

    #[test]
    fn newlines_and_tabs_of_a_document_stay() {
        assert_eq!(
            document("all:\n\tcc \x1b[2J\r\n\t"),
            "all:\n\tcc \\x1b[2J\\x0d\n\t"
        );
    }

    #[test]
    fn json_has_the_same_values() {
        let value = serde_json::json!({ "text": "\x1b[2J\u{9b}2J\u{202e}\u{7f}\n" });
        let shown = json(serde_json::to_string_pretty(&value).unwrap());
        assert!(!shown.chars().any(|c| is_hidden(c) && c != '\n'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    proptest::proptest! {
        #[test]
        fn no_output_has_control_characters(text in "(\\PC|[\\x00-\\x1f\\x7f-\\x9f\u{61c}\u{200e}-\u{200f}\u{2028}-\u{202e}\u{2066}-\u{206f}]){0,60}") {
            proptest::prop_assert!(!safe(&text).chars().any(is_hidden));
            let shown = json(serde_json::to_string(&text).unwrap());
            proptest::prop_assert!(!shown.chars().any(is_hidden));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
