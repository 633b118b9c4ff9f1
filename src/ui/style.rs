//! The few colours there are.

/// Paints text, or leaves it alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Whether to paint.
    pub(super) color: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// For the word `error`.
    pub(super) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For what is done.
    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
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
