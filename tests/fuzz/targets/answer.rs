//! Any bytes as a streamed answer, in any parts: the counts never fall, the parts do not matter, and nothing panics.

use dsr1::measure::{AnswerReader, Api, Kept};

/// Reads the input whole and in parts, and compares both. The first byte chooses the API and the size of the parts.
pub(crate) fn check_answer(bytes: &[u8]) {
    let (first, stream) = bytes
        .split_first()
        .map_or((0, bytes), |(first, rest)| (*first, rest));
    let api = [Api::Generate, Api::Completions, Api::Chat][usize::from(first) % 3];
    let size = usize::from(first / 3).max(1);
    for keeps in [Kept::Text, Kept::Ids] {
        let mut whole = AnswerReader::new(api, keeps);
        let tokens = whole.push(stream, 7);
        let mut parts = AnswerReader::new(api, keeps);
        let of_parts: u64 = stream.chunks(size).map(|part| parts.push(part, 7)).sum();
        assert_eq!(tokens, of_parts);
        let (whole, parts) = (whole.finish(), parts.finish());
        assert_eq!(whole, parts);
        let counted: u64 = whole.chunks.iter().map(|chunk| u64::from(chunk.tokens)).sum();
        assert!(counted <= tokens);
        if let (Ok(_), Some(usage)) = (&whole.end, whole.usage) {
            assert!(usage.completion > 0);
        }
        let ids = whole.text.map_or(0, |text| text.ids.len());
        assert!(keeps != Kept::Ids || whole.end.is_err() || ids > 0);
    }
}
