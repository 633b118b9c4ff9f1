//! Colours of the terminal.

/// A painter of text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// False to leave every text unpainted.
    pub(super) color: bool,
}

impl Style {
    /// Paints a text; an empty text stays empty.
    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Paints a failure.
    pub(super) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Paints a finished step.
    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Paints READY and VERIFIED.
    pub(super) fn bold_green(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// Paints a warning.
    pub(super) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Paints a hint.
    pub(super) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// Dims less important text.
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
