//! Values: quotes around them, and values that are no secret.

use crate::redact::sort::MARK;

/// Returns true for a value that is no secret: nothing, a constant, or one that was replaced.
pub(super) fn is_open(value: &str) -> bool {
    let value = value
        .trim()
        .trim_end_matches([',', ';', ')', ']', '}', '\\', '.', ' ']);
    let lower = value.to_ascii_lowercase();
    matches!(lower.as_str(), "" | "none" | "null" | "true" | "false" | MARK)
}

/// A quote that opens a value, with the backslashes before it: their number is the depth of JSON inside of JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quote {
    mark: char,
    backslashes: usize,
}

impl Quote {
    /// Returns the quote at the begin of a text, and its length in bytes.
    pub(super) fn at_begin(text: &str) -> Option<(Self, usize)> {
        let rest = text.trim_start_matches('\\');
        let backslashes = text.len() - rest.len();
        let mark = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        Some((Self { mark, backslashes }, backslashes + 1))
    }

    /// Returns the quote at the end of a text.
    pub(super) fn at_end(text: &str) -> Option<Self> {
        let mark = text.chars().next_back().filter(|c| matches!(c, '"' | '\''))?;
        let backslashes = count_backslashes(&text[..text.len() - 1]);
        Some(Self { mark, backslashes })
    }

    /// Returns the length in bytes of the value after the quote, up to the quote that closes it, or to the end of the text.
    pub(super) fn length_of_value(self, text: &str) -> usize {
        let period = 2 * (self.backslashes + 1);
        for (at, _) in text.match_indices(self.mark) {
            let backslashes = count_backslashes(&text[..at]);
            // Fewer backslashes close a text around this one.
            if backslashes < self.backslashes || backslashes % period == self.backslashes {
                return at - self.backslashes.min(backslashes);
            }
        }
        text.len()
    }
}

fn count_backslashes(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
}
