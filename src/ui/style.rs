//! The few colours there are.
//!
//! Not in this module: when there are any, which the environment and the terminal say (`effects::env`).

/// Paints text, or leaves it alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Whether to paint.
    pub(super) color: bool,
}

impl Style {
    /// Nothing is painted that is not there: an empty text stays empty.
    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// For what failed.
    pub(super) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For what is done.
    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// For the words that the user waited for.
    pub(super) fn bold_green(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// For warnings.
    pub(super) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// For hints.
    pub(super) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// For what may be overlooked.
    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_asked_for_colours_are_painted() {
        assert_eq!(Style { color: false }.red("error:"), "error:");
        assert_eq!(Style { color: true }.red("error:"), "\x1b[1;31merror:\x1b[0m");
        assert_eq!(Style { color: true }.dim(""), "");
    }
}
