//! Range requests and conditional requests (RFC 9110, 13 and 14). Dates are ignored: a mirror knows files by
//! hash.

/// The part of a file to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Portion {
    /// The whole file.
    Whole,
    /// From this byte to that one, both inclusive.
    Bytes(u64, u64),
    /// The file has no such bytes.
    Unsatisfiable,
}

/// Evaluates `Range` and `If-Range`. Invalid headers and several ranges are ignored.
pub(super) fn portion(range: Option<&str>, if_range: Option<&str>, etag: &str, size: u64) -> Portion {
    let wanted = range
        .filter(|_| if_range.is_none_or(|tag| tag.trim() == etag))
        .and_then(bounds);
    let Some((from, to)) = wanted else {
        return Portion::Whole;
    };
    let Some(last) = size.checked_sub(1) else {
        return Portion::Unsatisfiable;
    };
    match (from, to) {
        (Some(from), _) if from > last => Portion::Unsatisfiable,
        (Some(from), to) => Portion::Bytes(from, to.map_or(last, |to| to.min(last))),
        (None, Some(count)) if count > 0 => Portion::Bytes(size.saturating_sub(count), last),
        (None, _) => Portion::Unsatisfiable,
    }
}

/// Returns the first and last byte of a single range. Without a first byte, the last one counts from the end.
fn bounds(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = text.split_once('=')?;
    let (from, to) = range.trim().split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        // A number that is too large is beyond the end of any file.
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(text.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    };
    let bounds = (number(from)?, number(to)?);
    let ordered = match bounds {
        (Some(from), Some(to)) => from <= to,
        (None, None) => false,
        _ => true,
    };
    (unit.trim().eq_ignore_ascii_case("bytes") && ordered).then_some(bounds)
}

/// Returns whether the client has the file already: `If-None-Match` names its tag.
pub(super) fn client_has_it(if_none_match: Option<&str>, etag: &str) -> bool {
    if_none_match
        .unwrap_or_default()
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let read = |range: &str| portion(Some(range), None, "\"x\"", 10);
        for (range, expected) in [
            ("bytes=0-", Portion::Bytes(0, 9)),
            ("bytes=2-4", Portion::Bytes(2, 4)),
            ("Bytes=2-400", Portion::Bytes(2, 9)),
            ("bytes=9-9", Portion::Bytes(9, 9)),
            ("bytes=-3", Portion::Bytes(7, 9)),
            ("bytes=-30", Portion::Bytes(0, 9)),
            ("bytes=0-99999999999999999999999", Portion::Bytes(0, 9)),
            ("bytes=10-", Portion::Unsatisfiable),
            ("bytes=99999999999999999999999-", Portion::Unsatisfiable),
            ("bytes=-0", Portion::Unsatisfiable),
            ("bytes=5-4", Portion::Whole),
            ("bytes=0-1,3-4", Portion::Whole),
            ("bytes=-", Portion::Whole),
            ("bytes=+1-2", Portion::Whole),
            ("items=0-1", Portion::Whole),
            ("bytes=x-", Portion::Whole),
            ("", Portion::Whole),
        ] {
            assert_eq!(read(range), expected, "{range}");
        }
        assert_eq!(
            portion(Some("bytes=0-"), None, "\"x\"", 0),
            Portion::Unsatisfiable
        );
        assert_eq!(portion(None, None, "\"x\"", 10), Portion::Whole);
    }

    #[test]
    fn a_range_of_another_file_is_not_sent() {
        let read = |tag: &str| portion(Some("bytes=1-2"), Some(tag), "\"x\"", 10);
        assert_eq!(read("\"x\""), Portion::Bytes(1, 2));
        for other in ["\"y\"", "W/\"x\"", "x", "Wed, 21 Oct 2015 07:28:00 GMT", ""] {
            assert_eq!(read(other), Portion::Whole, "{other}");
        }
    }

    #[test]
    fn a_file_that_the_client_has_is_not_sent() {
        for tags in ["\"x\"", "\"y\", \"x\"", "W/\"x\"", "*"] {
            assert!(client_has_it(Some(tags), "\"x\""), "{tags}");
        }
        for tags in ["\"y\"", "x", ""] {
            assert!(!client_has_it(Some(tags), "\"x\""), "{tags}");
        }
        assert!(!client_has_it(None, "\"x\""));
    }

    proptest::proptest! {
        #[test]
        fn a_portion_lies_in_its_file(range in "(bytes=)?[-0-9, x]{0,24}", size in 0_u64..30) {
            if let Portion::Bytes(from, to) = portion(Some(&range), None, "\"x\"", size) {
                proptest::prop_assert!(from <= to && to < size);
            }
        }
    }
}
