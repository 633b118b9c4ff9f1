//! The end of a log: its last lines, up to a number of bytes.

/// Most bytes of a log in an archive.
pub const MOST_OF_LOG: usize = 50_000_000;

/// The last lines of a log that is read from its begin.
#[derive(Debug)]
pub struct Tail {
    text: String,
    most: usize,
    left_out_bytes: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self::new(MOST_OF_LOG)
    }
}

impl Tail {
    /// Returns an empty tail of at most `most` bytes.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            text: String::new(),
            most,
            left_out_bytes: 0,
        }
    }

    /// Adds a line without its end.
    pub fn push_line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        // Moving the rest costs as much as reading it once.
        if self.text.len() > self.most.saturating_mul(2) {
            self.shorten();
        }
    }

    /// Leaves out the lines before the last `most` bytes.
    fn shorten(&mut self) {
        let Some(mut begin) = self.text.len().checked_sub(self.most).filter(|begin| *begin > 0) else {
            return;
        };
        while !self.text.is_char_boundary(begin) {
            begin += 1;
        }
        // A line that begins exactly there stays whole.
        let end_of_line = self.text[begin - 1..].find('\n').map(|end| begin + end);
        let begin = end_of_line.unwrap_or(self.text.len());
        self.text.drain(..begin);
        self.left_out_bytes += begin as u64;
        // The rest of a private key whose first lines are gone is not known as one.
        if self.begins_inside_key() {
            let end = self.text.find("-----END ").unwrap_or(0);
            let end = self.text[end..]
                .find('\n')
                .map_or(self.text.len(), |at| end + at + 1);
            self.text.drain(..end);
            self.left_out_bytes += end as u64;
        }
    }

    /// Returns true if a private key ends before another begins.
    fn begins_inside_key(&self) -> bool {
        let Some(key) = self.text.find("PRIVATE KEY-----") else {
            return false;
        };
        let before = &self.text[..key];
        match (before.rfind("-----END "), before.rfind("-----BEGIN ")) {
            (Some(end), Some(begin)) => end > begin,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Returns the text, and the number of bytes that were left out before it.
    #[must_use]
    pub fn finish(mut self) -> (String, u64) {
        self.shorten();
        (self.text, self.left_out_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(most: usize, text: &str) -> (String, u64) {
        let mut tail = Tail::new(most);
        text.lines().for_each(|line| tail.push_line(line));
        tail.finish()
    }

    #[test]
    fn the_last_whole_lines_are_kept() {
        assert_eq!(tail(100, "a\nb\n"), ("a\nb\n".to_owned(), 0));
        assert_eq!(tail(4, "one\ntwo\nsix\n"), ("six\n".to_owned(), 8));
        assert_eq!(tail(5, "one\ntwo\nsix\n"), ("six\n".to_owned(), 8));
        assert_eq!(tail(3, "one\ntwo\nsix\n"), (String::new(), 12));
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number} ü\n")).collect();
        let long = lines.concat();
        let (text, left_out) = tail(300, &long);
        assert!(
            text.len() <= 300 && text.len() > 280 && text.starts_with("line "),
            "{text}"
        );
        assert_eq!(text.len() as u64 + left_out, long.len() as u64);
    }

    #[test]
    fn the_rest_of_a_private_key_is_left_out() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\nBBBB\n-----END PRIVATE KEY-----\nafter it\n";
        assert_eq!(tail(60, key).0, "after it\n");
    }
}
