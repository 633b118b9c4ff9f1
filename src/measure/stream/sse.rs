//! Events of a stream, found in place: no byte of an event is copied before its end is there.

use memchr::memchr;

/// Most bytes of one event. A cumulative stream of `/generate` repeats the text so far in each event.
const MAX_EVENT: usize = 16 << 20;

/// An event is longer than 16 MiB.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Finds the events of a stream (WHATWG HTML, 9.2.6) whose lines end with LF or CR LF, as all servers of the API write them.
#[derive(Debug, Default)]
pub struct Splitter {
    held: Vec<u8>,
    /// Bytes of `held` that have no end of an event.
    searched: usize,
}

/// One event: the name behind `event:`, and the bytes behind `data:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The name; empty without one.
    pub name: &'a [u8],
    /// The data. Of several `data` lines, only the first one: no server of the API sends more.
    pub data: &'a [u8],
}

impl Splitter {
    /// Forgets what is held, so that the value can read another stream.
    pub fn clear(&mut self) {
        self.held.clear();
        self.searched = 0;
    }

    /// Returns true if an event has begun and not ended.
    #[must_use]
    pub fn is_inside_event(&self) -> bool {
        !self.held.is_empty()
    }

    /// Adds bytes and passes each event that became complete to `on_event`. Comments and other fields are left out.
    ///
    /// # Errors
    /// [`TooLong`] for an event without end.
    pub fn push(&mut self, bytes: &[u8], on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), TooLong> {
        if self.held.is_empty() {
            // The usual case: whole events arrive together.
            let rest = read_events(bytes, 0, on_event);
            self.held.extend_from_slice(&bytes[rest..]);
        } else {
            self.held.extend_from_slice(bytes);
            let rest = read_events(&self.held, self.searched, on_event);
            self.held.drain(..rest);
        }
        self.searched = self.held.len().saturating_sub(3);
        if self.held.len() > MAX_EVENT {
            return Err(TooLong);
        }
        Ok(())
    }
}

/// Passes the complete events of `bytes` on, and returns where the incomplete one begins. The end of the first event is
/// searched from `searched` on.
fn read_events(bytes: &[u8], mut searched: usize, on_event: &mut dyn FnMut(Event<'_>)) -> usize {
    let mut begin = 0;
    while let Some((end, next)) = end_of_event(bytes, begin.max(searched)) {
        if let Some(event) = event_of(&bytes[begin..end]) {
            on_event(event);
        }
        begin = next;
        searched = next;
    }
    begin
}

/// Returns the place of the empty line at or behind `from`, and of what follows it.
fn end_of_event(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let end = at + memchr(b'\n', bytes.get(at..)?)?;
        match bytes.get(end + 1..)? {
            [b'\n', ..] => return Some((end, end + 2)),
            [b'\r', b'\n', ..] => return Some((end, end + 3)),
            _ => at = end + 1,
        }
    }
}

/// Returns the event in the lines of a block; `None` if they have no data.
fn event_of(block: &[u8]) -> Option<Event<'_>> {
    let mut event = Event { name: b"", data: b"" };
    let mut has_data = false;
    for line in block.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(value) = line.strip_prefix(b"data:") {
            if !has_data {
                event.data = value.strip_prefix(b" ").unwrap_or(value);
            }
            has_data = true;
        } else if let Some(value) = line.strip_prefix(b"event:") {
            event.name = value.strip_prefix(b" ").unwrap_or(value);
        }
    }
    has_data.then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[&[u8]]) -> Vec<(String, String)> {
        let (mut splitter, mut found) = (Splitter::default(), Vec::new());
        for part in parts {
            let mut keep = |event: Event<'_>| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                found.push((text(event.name), text(event.data)));
            };
            splitter.push(part, &mut keep).unwrap();
        }
        found
    }

    fn owned(events: &[(&str, &str)]) -> Vec<(String, String)> {
        let text = |(name, data): &(&str, &str)| ((*name).to_owned(), (*data).to_owned());
        events.iter().map(text).collect()
    }

    #[test]
    fn events_are_found_with_both_kinds_of_line_ends() {
        let text = ": ping\n\ndata: {\"a\":1}\n\nevent: error\ndata:two\n\nid: 4\n\ndata: [DONE]\n\n";
        let expected = owned(&[("", "{\"a\":1}"), ("error", "two"), ("", "[DONE]")]);
        assert_eq!(split(&[text.as_bytes()]), expected);
        assert_eq!(split(&[text.replace('\n', "\r\n").as_bytes()]), expected);
        for at in 0..text.len() {
            assert_eq!(
                split(&[&text.as_bytes()[..at], &text.as_bytes()[at..]]),
                expected,
                "{at}"
            );
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(split(&single), expected);
    }

    #[test]
    fn an_event_without_end_is_refused_and_known() {
        let mut splitter = Splitter::default();
        splitter.push(b"data: x", &mut |_| ()).unwrap();
        assert!(splitter.is_inside_event());
        let endless = vec![b'x'; MAX_EVENT];
        assert_eq!(splitter.push(&endless, &mut |_| ()), Err(TooLong));
        splitter.clear();
        assert!(!splitter.is_inside_event());
    }

    proptest::proptest! {
        #[test]
        fn the_place_of_a_cut_does_not_matter(
            text in "((data: |event: |:)?[a\u{e9}]{0,3}(\n|\r\n)?(\n|\r\n)?){0,6}", at in 0_usize..80, then in 0_usize..80,
        ) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            let then = then.clamp(at, bytes.len().max(at)).min(bytes.len());
            proptest::prop_assert_eq!(split(&[bytes]), split(&[&bytes[..at], &bytes[at..then], &bytes[then..]]));
        }
    }
}
