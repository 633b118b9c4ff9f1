//! The elements of a JSON array, found in a stream of bytes without reading any of them: a broken element breaks no other one.

/// A splitter of an array into its elements. It follows strings and brackets only.
#[derive(Debug, Default)]
pub struct ElementSplitter {
    at: u64,
    begin: Option<u64>,
    depth: u32,
    is_in_string: bool,
    is_escaped: bool,
    is_over: bool,
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

    /// Passes an element without an end.
    pub fn finish(&mut self, on_element: &mut dyn FnMut(u64, u64)) {
        self.end(on_element);
    }

    fn add(&mut self, byte: u8, on_element: &mut dyn FnMut(u64, u64)) {
        if self.is_over {
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
                self.depth = self.depth.saturating_add(1);
            }
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.end(on_element);
                    self.is_over = true;
                }
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
        assert_eq!(split("[] {}", 4), Vec::<&str>::new());
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
