//! Prometheus' text format, as far as a server of SGLang writes it: a sample on each line.

/// Longest line that is read, in bytes. The lines of SGLang 0.5.23 have about 200.
const LONGEST_LINE: usize = 8 << 10;

/// One sample: a metric's name, its labels as they stand between the braces, and its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a str,
    pub(super) value: f64,
}

/// Returns the samples of a text; a line that is none is left out, as is a value that is no finite number.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter_map(|line| {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        // A value of a label may hold any character, so the last brace ends the labels.
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
        let is_sample = !name.starts_with('#') && value.is_finite() && line.len() <= LONGEST_LINE;
        is_sample.then_some(Sample { name, labels, value })
    })
}

/// Returns the value of a label as it is written, with its escapes; `None` if there is no such label.
pub(super) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = labels;
    loop {
        let (key, after) = rest.split_once("=\"")?;
        let end = end_of_value(after)?;
        if key.trim_start_matches([',', ' ']) == name {
            return after.get(..end);
        }
        rest = after.get(end + 1..)?;
    }
}

/// Returns the place of the quote that ends a value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

/// Returns a count: what is no such number becomes the nearest one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count; what is no such number becomes the nearest one"
)]
pub(super) fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_found_behind_values_that_look_like_labels() {
        for (labels, found) in [
            (r#"le="0.5""#, Some("0.5")),
            (r#"model_name="m",le="0.5""#, Some("0.5")),
            (r#"model_name="m", le="0.5""#, Some("0.5")),
            (r#"le="0.5",model_name="m""#, Some("0.5")),
            (r#"model_name=",le=\"9\"",le="+Inf""#, Some("+Inf")),
            (r#"model_name="a\\",le="1""#, Some("1")),
            (r#"tile="9""#, None),
            (r#"le="9"#, None),
            ("le", None),
            ("", None),
        ] {
            assert_eq!(label(labels, "le"), found, "{labels}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "(\\PC|[\\x00-\\x1f]){0,80}", name in "[a-z\"=,]{0,4}") {
            let _ = samples(&text).count();
            let _ = label(&text, &name);
        }
    }
}
