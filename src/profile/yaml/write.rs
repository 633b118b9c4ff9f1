//! Values to YAML text.

use std::fmt::Write;

use serde::Serialize;

use crate::error::{At, Error, Kind, Result};

/// Writes a value as YAML that all versions of YAML read alike. Strings that some of them read as another type (`1_000`,
/// `22:22`, `2024-01-01`, `no`) are quoted; the crate's own writer does not do that.
///
/// # Errors
/// [`Kind::Internal`] for a value that has no YAML form, such as a map whose keys are maps.
pub fn to_text<T: Serialize>(value: &T) -> Result<String> {
    let failed = || "cannot write YAML".to_owned();
    let value = serde_yaml::to_value(value).at(Kind::Internal, failed)?;
    let mut text = String::new();
    write_value(&value, 0, &mut text).ok_or_else(|| Error::new(Kind::Internal, failed()))?;
    Ok(text)
}

/// Writes the value after a key or a dash, with its line end; `depth` is the depth of the lines below. `None` for values
/// that cannot be written.
fn write_value(value: &serde_yaml::Value, depth: usize, text: &mut String) -> Option<()> {
    use serde_yaml::Value;
    let indent = "  ".repeat(depth);
    match value {
        Value::Mapping(map) if !map.is_empty() => {
            if !text.is_empty() && !text.ends_with("- ") {
                text.push('\n');
            }
            for (key, value) in map {
                if !text.ends_with("- ") {
                    text.push_str(&indent);
                }
                let _ = write!(text, "{}:", scalar(key.as_str()?));
                if !matches!(value, Value::Mapping(map) if !map.is_empty())
                    && !matches!(value, Value::Sequence(items) if !items.is_empty())
                {
                    text.push(' ');
                }
                write_value(value, depth + 1, text)?;
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            if !text.is_empty() {
                text.push('\n');
            }
            for item in items {
                let _ = write!(text, "{indent}- ");
                if matches!(item, Value::Sequence(items) if !items.is_empty()) {
                    return None;
                }
                write_value(item, depth + 1, text)?;
            }
        }
        Value::Mapping(_) => text.push_str("{}\n"),
        Value::Sequence(_) => text.push_str("[]\n"),
        Value::Null => text.push_str("null\n"),
        Value::Bool(truth) => {
            let _ = writeln!(text, "{truth}");
        }
        Value::Number(number) => {
            let _ = writeln!(text, "{number}");
        }
        Value::String(string) => {
            let _ = writeln!(text, "{}", scalar(string));
        }
        Value::Tagged(_) => return None,
    }
    Some(())
}

/// Returns a string plain if every reader takes it for a string, else in double quotes with JSON's escapes, which YAML has
/// too.
fn scalar(text: &str) -> String {
    let word = text.strip_prefix("--").or(text.strip_prefix('/')).unwrap_or(text);
    let reserved = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let fits = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./=@,".contains(c));
    if word.starts_with(|c: char| c.is_ascii_alphabetic())
        && fits
        && !reserved.contains(&text.to_ascii_lowercase().as_str())
    {
        return text.to_owned();
    }
    let mut quoted = String::new();
    for c in serde_json::Value::from(text).to_string().chars() {
        // In JSON these are letters; in YAML they end a line or begin a text (YAML 1.1, 5.4 and 5.2).
        if matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_look_like_another_type_are_quoted() {
        let plain = ["--port", "/models", "a=1_000", "json-file"];
        let quoted = [
            "1_000",
            "22:22",
            "2024-01-01",
            "no",
            "Off",
            "",
            "=",
            "a: b",
            "-m",
            "1e3",
            "#",
        ];
        for word in plain {
            assert_eq!(to_text(&[word]).unwrap(), format!("- {word}\n"));
        }
        for word in quoted {
            assert_eq!(to_text(&[word]).unwrap(), format!("- \"{word}\"\n"));
        }
    }

    proptest::proptest! {
        #[test]
        fn written_values_read_back(
            words in proptest::collection::vec("[^\\x00-\\x1f\\x7f-\\u{9f}]{0,20}", 0..4),
            map in proptest::collection::btree_map("\\PC{0,8}", proptest::collection::vec("\\PC{0,8}", 0..3), 0..3),
        ) {
            let value = serde_json::json!({ "words": words, "map": map, "list": [{"a": words, "b": 1}, {}], "t": true });
            let text = to_text(&value).unwrap();
            let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            proptest::prop_assert_eq!(read, value, "{}", text);
        }
    }
}
