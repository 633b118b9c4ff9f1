//! Any bytes as a data file, as a line of it and as a line of a trace: nothing panics, parts do not matter, and what is read is within
//! its bounds.

use dsr1::measure::{Api, BlockPrompts, Content, ElementSplitter, TraceFormat, read_item};

/// Most tokens that a record may have or ask for.
const MOST: u32 = 1 << 20;

/// Reads the input in each way. The first byte chooses the API and the size of the parts.
pub(crate) fn check_data(bytes: &[u8]) {
    let (first, text) = bytes
        .split_first()
        .map_or((0, bytes), |(first, rest)| (*first, rest));
    let api = [Api::Generate, Api::Completions, Api::Chat][usize::from(first) % 3];
    let whole = elements(text, text.len().max(1));
    assert_eq!(whole, elements(text, usize::from(first / 3).max(1)));
    for (from, to) in whole {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let element = text
            .get(place(from)..place(to))
            .unwrap_or_else(|| panic!("{from}..{to}"));
        assert!(!element.is_empty());
        check_item(element, api);
    }
    let mut lines = text.split(|byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    check_item(header, api);
    let Ok(format) = TraceFormat::of_first_line(header) else {
        return;
    };
    let mut prompts = BlockPrompts::new(1000, u64::from(first));
    for line in std::iter::once(header).chain(lines) {
        check_item(line, api);
        if let Ok(row) = format.read(line) {
            assert!((1..=MOST).contains(&row.input) && (1..=MOST).contains(&row.output));
            assert!(row.at_ns >= 0);
            if row.input < 4096 {
                assert_eq!(prompts.ids(&row).len(), row.input as usize);
            }
        }
    }
}

fn check_item(bytes: &[u8], api: Api) {
    let Ok(item) = read_item(bytes, api, 3) else {
        return;
    };
    match (item.content, api) {
        (Content::Text(text), _) => assert!(!text.is_empty()),
        (Content::Messages(messages), Api::Chat) => {
            assert_eq!(messages.last().map(|last| last.role.as_str()), Some("user"));
        }
        (Content::Ids(ids), Api::Generate | Api::Completions) => assert!(!ids.is_empty()),
        (content, api) => panic!("{content:?} for {api:?}"),
    }
    assert!(item.output_tokens.is_none_or(|count| (1..=MOST).contains(&count)));
}

/// Returns the places of the elements of the input as an array, which is given in parts.
fn elements(text: &[u8], size: usize) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut splitter = ElementSplitter::default();
    for part in text.chunks(size) {
        splitter.push(part, &mut |from, to| found.push((from, to)));
    }
    splitter.finish(&mut |from, to| found.push((from, to)));
    found
}
