//! The licence in a model card. Only one line of one form is understood, instead of YAML.

/// Number of bytes of a card that are read.
pub(super) const MAX_CARD: u64 = 64 * 1024;

/// Returns the licence from the front matter of a `README.md`.
pub(super) fn license(card: &str) -> Option<&str> {
    let mut lines = card.lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let value = lines
        .take_while(|line| line.trim_end() != "---")
        .find_map(|line| line.strip_prefix("license:"))?
        .trim();
    let quoted = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!value.is_empty() && value.len() <= 64 && value.bytes().all(fits)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_one_word_of_the_front_matter() {
        assert_eq!(license("---\nlibrary: x\nlicense: mit\n---\n# R1"), Some("mit"));
        assert_eq!(
            license("---\r\nlicense: \"apache-2.0\"\r\n---\r\n"),
            Some("apache-2.0")
        );
        for card in [
            "",
            "---",
            "license: mit",
            "---\n---\nlicense: mit",
            "---\n  license: mit\n---",
            "---\nlicense:\n- mit\n---",
            "---\nlicense: a b\n---",
            "---\nlicense: <b>\n---",
            "---\nlicense: \"\n---",
        ] {
            assert_eq!(license(card), None, "{card:?}");
        }
    }
}
