//! The elements of a JSON array, found in a stream of bytes without reading any of them.
//!
//! An element with a bracket too many, or with a bracket of the other kind, breaks no other one. An element with a bracket or a quote
//! too few has no end of its own, so it reaches to the next end that fits: what it covers is one broken element. Bytes after the end
//! of the array are one broken element, too, so that none of the file is lost without a word.

/// Depth up to which the kinds of brackets are known. `serde_json` reads no deeper value (its recursion limit is 128), so a deeper
/// element is broken in any case.
const KNOWN_DEPTH: u32 = u128::BITS;

/// A splitter of an array into its elements. It follows strings and brackets only.
#[derive(Debug, Default)]
pub struct ElementSplitter {
    at: u64,
    begin: Option<u64>,
    /// Open brackets, that of the array included.
    depth: u32,
    /// A bit for each open bracket, from the outermost: 1 if it is a square one.
    squares: u128,
    is_in_string: bool,
    is_escaped: bool,
    /// Place of the bracket that closed the array.
    closed: Option<u64>,
}

impl ElementSplitter {
    /// Adds bytes, and passes the first byte and the end of each element that became complete.
    pub fn push(&mut self, bytes: &[u8], on_element: &mut dyn FnMut(u64, u64)) {
        for byte in bytes {
            self.add(*byte, on_element);
            self.at += 1;
        }
    }

    /// Takes it that so many bytes were before, outside of the array.
    pub const fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// Passes an element without an end, and the bytes after the end of the array.
    pub fn finish(&mut self, on_element: &mut dyn FnMut(u64, u64)) {
        self.end(on_element);
    }

    fn add(&mut self, byte: u8, on_element: &mut dyn FnMut(u64, u64)) {
        if let Some(closed) = self.closed {
            if !byte.is_ascii_whitespace() {
                // With the closing bracket in front, no such element is JSON.
                self.begin.get_or_insert(closed);
            }
            return;
        }
        if self.is_in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'[' | b'{' => {
                // The first one opens the array itself.
                if self.depth > 0 {
                    self.begin.get_or_insert(self.at);
                }
                self.open(byte == b'[');
            }
            b']' if self.depth == 1 => {
                self.end(on_element);
                self.depth = 0;
                self.closed = Some(self.at);
            }
            b']' | b'}' => {
                if self.depth > 0 {
                    self.begin.get_or_insert(self.at);
                }
                self.close(byte == b']');
            }
            b',' if self.depth == 1 => self.end(on_element),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                if self.depth > 0 {
                    self.begin.get_or_insert(self.at);
                }
                self.is_in_string = byte == b'"';
            }
        }
    }

    const fn open(&mut self, is_square: bool) {
        if self.depth < KNOWN_DEPTH {
            let bit = 1 << self.depth;
            self.squares = if is_square {
                self.squares | bit
            } else {
                self.squares & !bit
            };
        }
        self.depth = self.depth.saturating_add(1);
    }

    /// Closes the innermost bracket of a kind in the element; the innermost one of all if none is of that kind. Without an open
    /// bracket in the element, the byte is only a part of it.
    fn close(&mut self, is_square: bool) {
        if self.depth > KNOWN_DEPTH {
            self.depth -= 1;
            return;
        }
        let same = (1..self.depth)
            .rev()
            .find(|level| ((self.squares >> level) & 1 == 1) == is_square);
        if self.depth > 1 {
            self.depth = same.unwrap_or(self.depth - 1);
        }
    }

    fn end(&mut self, on_element: &mut dyn FnMut(u64, u64)) {
        if let Some(begin) = self.begin.take() {
            on_element(begin, self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize) -> Vec<&str> {
        let mut found = Vec::new();
        let mut splitter = ElementSplitter::default();
        let mut keep = |from, to| found.push((from, to));
        for part in text.as_bytes().chunks(size) {
            splitter.push(part, &mut keep);
        }
        splitter.finish(&mut keep);
        let at = |place: u64| usize::try_from(place).unwrap();
        found
            .into_iter()
            .map(|(from, to)| text[at(from)..at(to)].trim_end())
            .collect()
    }

    #[test]
    fn elements_are_found_and_a_broken_one_breaks_no_other() {
        let text = r#" [ {"a": [1, {"b": "]},{\"" }]} , 7 ,"x,y", {"a" 1}, {"#;
        let expected = [
            r#"{"a": [1, {"b": "]},{\"" }]}"#,
            "7",
            r#""x,y""#,
            r#"{"a" 1}"#,
            "{",
        ];
        for size in [1, 3, 1000] {
            assert_eq!(split(text, size), expected, "{size}");
        }
        assert_eq!(split("[] \n", 4), Vec::<&str>::new());
    }

    #[test]
    fn brackets_too_many_and_of_the_other_kind_break_their_element_only() {
        let deep = format!("[{}, 2]", "[{".repeat(200) + &"}]".repeat(200));
        for (text, expected) in [
            (r#"[{"a":1}}, {"b":2}]"#, &[r#"{"a":1}}"#, r#"{"b":2}"#][..]),
            (r#"[}, {"b":2}]"#, &["}", r#"{"b":2}"#]),
            (r#"[{"a":[1}, {"b":2}]"#, &[r#"{"a":[1}"#, r#"{"b":2}"#]),
            (r#"[{"a":[{1]}, {"b":2}]"#, &[r#"{"a":[{1]}"#, r#"{"b":2}"#]),
            (r#"[{"a":1], {"b":2}]"#, &[r#"{"a":1]"#, r#"{"b":2}"#]),
            ("[[1}, 2]", &["[1}", "2"]),
            // The bytes after the end are no elements, but they are not lost.
            ("[1]] , {}", &["1", "]] , {}"]),
            (r#"[1] {"a": 1}"#, &["1", r#"] {"a": 1}"#]),
            ("[]\n[2]\n", &["]\n[2]"]),
            // One without an end takes the others.
            (r#"[{"a":1, {"b":2}, 3]"#, &[r#"{"a":1, {"b":2}, 3]"#]),
            (&deep, &[&deep[1..deep.len() - 4], "2"]),
        ] {
            for size in [1, 3, 1000] {
                assert_eq!(split(text, size), expected, "{size}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn elements_of_an_array_are_its_elements(
            texts in proptest::collection::vec("[a-z\\[\\]{},\"\\\\ \u{e9}]{0,12}", 0..8),
            size in 1_usize..9,
        ) {
            let values: Vec<serde_json::Value> =
                texts.iter().map(|text| serde_json::json!({"v": [text, 1]})).collect();
            let array = serde_json::to_string_pretty(&values).unwrap();
            let found = split(&array, size);
            let read: Vec<serde_json::Value> =
                found.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            proptest::prop_assert_eq!(read, values);
        }
    }
}
