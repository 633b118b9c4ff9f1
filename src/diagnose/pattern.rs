//! A pattern of a user for lines of a log.

use regex::Regex;

/// A regular expression for a line; letter case counts.
#[derive(Debug)]
pub struct LinePattern(Regex);

impl LinePattern {
    /// Returns a pattern.
    ///
    /// # Errors
    /// The reason why a text is no regular expression, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })
    }

    /// Returns true if a line has the pattern.
    #[must_use]
    pub fn fits(&self, line: &str) -> bool {
        self.0.is_match(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_and_a_broken_pattern_says_why() {
        let pattern = LinePattern::new("error|killed").unwrap();
        assert!(pattern.fits("a process was killed") && !pattern.fits("fine"));
        assert_eq!(LinePattern::new("(").unwrap_err(), "unclosed group");
    }
}
