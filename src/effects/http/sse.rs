//! A parser of Server-Sent Events.

/// Most bytes of an event, and of a line: an event of the API holds some tokens.
const MAX_EVENT: usize = 4 << 20;

/// An error: a line or an event is longer than [`MAX_EVENT`].
#[derive(Debug, PartialEq, Eq)]
pub(in crate::effects) struct TooLong;

/// An incremental parser (WHATWG HTML, 9.2.6) that reads only `data`.
#[derive(Debug, Default)]
pub(in crate::effects) struct Events {
    line: Vec<u8>,
    data: String,
    after_return: bool,
}

impl Events {
    /// Adds bytes and passes the data of each event that became complete to `on_event`.
    ///
    /// # Errors
    /// [`TooLong`] for a line or an event without end.
    pub(in crate::effects) fn push(
        &mut self,
        bytes: &[u8],
        on_event: &mut dyn FnMut(&str),
    ) -> Result<(), TooLong> {
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line(on_event),
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > MAX_EVENT {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, on_event: &mut dyn FnMut(&str)) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        if line.is_empty() {
            if !self.data.is_empty() {
                let data = std::mem::take(&mut self.data);
                on_event(data.strip_suffix('\n').unwrap_or(&data));
            }
        } else if let Some(value) = line.strip_prefix("data:") {
            self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
            self.data.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Vec<String> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        for chunk in chunks {
            events
                .push(chunk, &mut |data| found.push(data.to_owned()))
                .unwrap();
        }
        found
    }

    #[test]
    fn events_are_found_with_every_kind_of_line_ending() {
        let expected = ["{\"a\":1}", "two\nlines", "[DONE]"];
        for end in ["\n", "\r\n", "\r"] {
            let text = ": note\ndata: {\"a\":1}\n\nevent: x\ndata:two\ndata: lines\n\ndata: [DONE]\n\n"
                .replace('\n', end);
            assert_eq!(parse(&[text.as_bytes()]), expected, "{end:?}");
        }
    }

    #[test]
    fn a_line_and_an_event_without_end_are_refused() {
        let endless = vec![b'x'; MAX_EVENT + 1];
        assert_eq!(Events::default().push(&endless, &mut |_| ()), Err(TooLong));
        let lines = "data: x\n".repeat(MAX_EVENT / 2 + 1);
        assert_eq!(
            Events::default().push(lines.as_bytes(), &mut |_| ()),
            Err(TooLong)
        );
    }

    proptest::proptest! {
        #[test]
        fn chunking_does_not_matter(text in "(data: [a\u{e9}]{0,3}(\n|\r\n)?(\n|\r\n)?){0,6}", at in 0_usize..80) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            proptest::prop_assert_eq!(parse(&[bytes]), parse(&[&bytes[..at], &bytes[at..]]));
        }
    }
}
