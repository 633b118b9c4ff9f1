//! YAML text to a typed value, with errors that show the line. The only home of the YAML crate.
//!
//! `serde_yaml` is the card's name for `yaml_serde`, its maintained continuation; merge keys (`<<`) are not
//! applied by that family, and unknown keys are refused by the types.

use std::fmt::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{At, Error, Kind, Result};

/// Largest accepted document: an alias bomb needs only a few hundred bytes, but a 50 MB scalar costs seconds.
pub const MAX_BYTES: usize = 1 << 20;

/// Parses `text`, which came from `origin` (a file name, for messages).
///
/// # Errors
/// [`Kind::Usage`] with file, line, a three-line snippet and the nearest known key.
pub(super) fn parse<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T> {
    if text.len() > MAX_BYTES {
        return Err(Error::new(
            Kind::Usage,
            format!("{origin} is {} bytes, at most {MAX_BYTES} are read", text.len()),
        ));
    }
    if let Some((line, character)) = forbidden_character(text) {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "{origin}:{line} holds the control or direction character U+{:04X}",
                u32::from(character)
            ),
        )
        .hint("remove it: what such a line shows is not what it says"));
    }
    serde_yaml::from_str(text).map_err(|error| {
        let message = error.to_string();
        let line = error.location().map(|location| location.line());
        let place = line.map_or_else(|| origin.to_owned(), |line| format!("{origin}:{line}"));
        let mut report = Error::new(
            Kind::Usage,
            format!("{place} is not valid: {}", without_position(&message)),
        );
        if let Some(line) = line {
            report = report.log(snippet(text, line));
        }
        match nearest_key(&message) {
            Some(key) => report.hint(format!("did you mean `{key}`?")),
            None => report,
        }
    })
}

/// The first C0/C1 control (other than newline, tab, carriage return) or bidirectional override, with its line.
fn forbidden_character(text: &str) -> Option<(usize, char)> {
    let bidi =
        |c: char| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    text.lines().enumerate().find_map(|(index, line)| {
        line.chars()
            .find(|c| (c.is_control() && *c != '\t') || bidi(*c))
            .map(|c| (index + 1, c))
    })
}

fn without_position(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

fn snippet(text: &str, line: usize) -> Vec<String> {
    text.lines()
        .enumerate()
        .map(|(index, content)| (index + 1, content))
        .filter(|(number, _)| number.abs_diff(line) <= 1)
        .map(|(number, content)| {
            format!(
                "{}{number:>4} | {content}",
                if number == line { ">" } else { " " }
            )
        })
        .collect()
}

/// Reads the misspelt key and the expected ones out of serde's message and picks the nearest.
fn nearest_key(message: &str) -> Option<String> {
    let (_, rest) = message
        .split_once("unknown field `")
        .or_else(|| message.split_once("unknown variant `"))?;
    let mut quoted = rest.split('`');
    let wrong = quoted.next()?;
    nearest(wrong, quoted.skip(1).step_by(2)).map(str::to_owned)
}

/// The candidate nearest to `word`, when it is near enough to be a typo of it.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Writes a value as YAML that every reader takes for the same: strings that any version of YAML could take for
/// something else (`1_000`, `22:22`, `2024-01-01`, `no`) are quoted, which the crate's own writer does not do.
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

/// Writes what follows a key or a dash, line end included; `depth` is that of the lines below. `None` for what
/// has no form here.
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

/// A string: plain when no reader can mistake it, else in double quotes with the escapes of JSON, which are YAML's.
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
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn unknown_key_names_file_line_and_nearest() {
        let text = include_str!("../../profiles/rehearsal.yaml").replace("mem_fraction:", "mem_fracton:");
        let error = parse::<Profile>(&text, "p.yaml").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.message().starts_with("p.yaml:"), "{}", error.message());
        assert!(
            error.message().contains("unknown field `mem_fracton`"),
            "{}",
            error.message()
        );
        assert_eq!(error.hints(), ["did you mean `mem_fraction`?"]);
        assert!(
            error
                .log_lines()
                .iter()
                .any(|line| line.starts_with('>') && line.contains("mem_fracton"))
        );
    }

    #[test]
    fn bombs_and_hidden_characters_are_refused() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert!(parse::<Profile>(bomb, "bomb.yaml").is_err());
        assert!(
            parse::<Profile>(&"x".repeat(MAX_BYTES + 1), "big.yaml")
                .unwrap_err()
                .message()
                .contains("at most")
        );
        let hidden = parse::<Profile>("name: a\u{202E}b\n", "bidi.yaml").unwrap_err();
        assert!(
            hidden.message().starts_with("bidi.yaml:1 "),
            "{}",
            hidden.message()
        );
    }

    #[test]
    fn what_a_reader_could_mistake_is_quoted() {
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
        fn what_is_written_reads_back(
            words in proptest::collection::vec("[^\\x00-\\x1f\\x7f-\\u{9f}]{0,20}", 0..4),
            map in proptest::collection::btree_map("\\PC{0,8}", proptest::collection::vec("\\PC{0,8}", 0..3), 0..3),
        ) {
            let value = serde_json::json!({ "words": words, "map": map, "list": [{"a": words, "b": 1}, {}], "t": true });
            let text = to_text(&value).unwrap();
            let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            proptest::prop_assert_eq!(read, value, "{}", text);
        }

        #[test]
        fn any_text_parses_or_fails_without_panic(text in "\\PC{0,200}") {
            let _ = parse::<Profile>(&text, "any.yaml");
        }
    }
}
