//! A splitter of bytes into lines, at newlines and at the carriage returns of progress bars.

/// Longest line; the rest of a longer one is dropped.
const MAX: usize = 64 * 1024;

/// An incremental splitter.
#[derive(Debug, Default)]
pub(in crate::effects) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Adds bytes and passes each line that became complete to `on_line`.
    pub(in crate::effects) fn push(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (content, ends) = match part.split_last() {
                Some((b'\n' | b'\r', content)) => (content, true),
                _ => (part, false),
            };
            let room = MAX.saturating_sub(self.partial.len());
            self.partial.extend(&content[..content.len().min(room)]);
            if ends {
                self.finish(on_line);
            }
        }
    }

    /// Returns true if the last line has no end yet.
    pub(in crate::effects) const fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Passes the last line, which has no end, to `on_line`.
    pub(in crate::effects) fn finish(&mut self, on_line: &mut dyn FnMut(&str)) {
        if !self.partial.is_empty() {
            on_line(&String::from_utf8_lossy(&self.partial));
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Splitter::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, &mut |line| found.push(line.to_owned()));
        }
        lines.finish(&mut |line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn progress_bars_are_lines() {
        assert_eq!(split(&[b"a\r", b"b\r\nc", b"d\n"]), ["a", "b", "cd"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let endless = vec![b'x'; 3 * MAX];
        assert_eq!(
            split(&[&endless, b"\nnext"]),
            ["x".repeat(MAX), "next".to_owned()]
        );
    }

    proptest::proptest! {
        #[test]
        fn chunking_does_not_matter(text in "[a\\r\\n\u{e9}]{0,60}", at in 0_usize..60) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            proptest::prop_assert_eq!(split(&[bytes]), split(&[&bytes[..at], &bytes[at..]]));
        }
    }
}
