//! YAML text to a typed value, with errors that show the line. No other module uses the YAML crate.
//!
//! In `Cargo.toml`, `serde_yaml` is the name for `yaml_serde`, its maintained continuation. Crates of that family do not
//! apply merge keys (`<<`). The types refuse unknown keys.
//! Not in this module tree: the keys (`schema`, `stack`).

mod lines;
mod said;
mod write;

use serde::de::DeserializeOwned;

pub(crate) use lines::{comment_of, line_of};
pub(crate) use said::in_words;
pub use write::to_text;

use crate::error::{Error, Kind, Result};

/// Largest accepted document. The built-in ones have a few KB. A hostile document of this size is refused in about 30 ms,
/// one of 1 MiB in 200.
pub const MAX_BYTES: usize = 128 << 10;

/// Limit of opening brackets in a document. Parsers of libyaml's family take time in the square of their depth: 100 000
/// of them take 18 seconds.
const MAX_BRACKETS: usize = 4096;

/// A file's name, for messages, and its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source<'a> {
    /// File name, as the user knows it.
    pub(super) origin: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

/// Returns the list of texts at a path of a file, as YAML reads it; `None` if there is none.
pub(crate) fn texts_at(text: &str, path: &[&str]) -> Option<Vec<String>> {
    let document = Document::read(Source { origin: "", text }).ok()?;
    let value = path.iter().try_fold(&document.0, |value, key| value.get(*key))?;
    let list = value.as_sequence()?;
    list.iter().map(|word| Some(word.as_str()?.to_owned())).collect()
}

/// Returns the keys of the mapping at a path of a file, in its order; `None` if there is none.
pub(crate) fn keys_at(text: &str, path: &[&str]) -> Option<Vec<String>> {
    let document = Document::read(Source { origin: "", text }).ok()?;
    let value = path.iter().try_fold(&document.0, |value, key| value.get(*key))?;
    let keys = value.as_mapping()?.iter();
    keys.map(|(key, _)| Some(key.as_str()?.to_owned())).collect()
}

/// A document that is not turned into a type yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document(serde_yaml::Value);

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Kind::Usage`] with file and line.
    pub(super) fn read(source: Source<'_>) -> Result<Self> {
        let Source { origin, text } = source;
        // Editors on Windows begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source { origin, text };
        if text.len() > MAX_BYTES {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "{origin} is too large: {} bytes, the limit is {MAX_BYTES}",
                    text.len()
                ),
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
            .hint("remove this character: it can hide a part of the line"));
        }
        if text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > MAX_BRACKETS {
            return Err(Error::new(
                Kind::Usage,
                format!("{origin} has more than {MAX_BRACKETS} opening brackets"),
            ));
        }
        let value = serde_yaml::from_str(text).map_err(|error| {
            let line = error.location().map(|location| location.line());
            report(source, line, &error.to_string(), &[])
        })?;
        // `"\e"` is plain text in the file, and a control character after reading.
        if let Some(hidden) = hidden_string(&value) {
            let line = text.lines().position(|line| line.contains('\\')).map(|at| at + 1);
            let message = format!(
                "`{}` holds a control or direction character",
                hidden.escape_debug()
            );
            return Err(report(source, line, &message, &[]));
        }
        Ok(Self(value))
    }

    /// Returns the text at a key of the top level.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// Returns a copy of the document at a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<Self> {
        let found = path.iter().try_fold(&self.0, |value, key| value.get(key))?;
        Some(Self(found.clone()))
    }

    /// Returns the text that the document is, if it is one.
    pub(super) fn scalar(&self) -> Option<&str> {
        self.0.as_str()
    }

    /// Sets a key of the top level to a value, which is in YAML.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the value is not YAML.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let value = Self::read(Source {
            origin: key,
            text: value,
        })?;
        if let serde_yaml::Value::Mapping(map) = &mut self.0 {
            map.insert(serde_yaml::Value::String(key.to_owned()), value.0);
        }
        Ok(())
    }

    /// Returns true for an empty document and for `null`.
    pub(super) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Merges `over` into this document. Mappings merge key by key, and any other value replaces; `null` resets a setting.
    pub(super) fn merge(&mut self, over: Self) {
        merge(&mut self.0, over.0);
    }

    /// Merges a file into this document, as [`Self::merge`] does. But `null` for a whole section of the top level changes
    /// nothing: such a section holds only comments.
    pub(super) fn merge_file(&mut self, mut over: Self) {
        if let (Some(base), serde_yaml::Value::Mapping(sections)) = (self.0.as_mapping(), &mut over.0) {
            sections.retain(|key, value| {
                !value.is_null() || !base.get(key).is_some_and(serde_yaml::Value::is_mapping)
            });
        }
        merge(&mut self.0, over.0);
    }

    /// Turns the document into a type. `sources` are the files that it was merged from, the overriding one last, and
    /// `below` is the path of keys below which it is there: an error names the file that holds the key.
    ///
    /// # Errors
    /// [`Kind::Usage`] with file, line, a three-line snippet and the nearest known key.
    pub(super) fn into_type<T: DeserializeOwned>(self, sources: &[Source<'_>], below: &[&str]) -> Result<T> {
        serde_path_to_error::deserialize(self.0).map_err(|error| {
            let above = below.iter().map(|key| (*key).to_owned());
            let mut path: Vec<String> = above
                .chain(error.path().iter().map(ToString::to_string))
                .collect();
            let message = error.into_inner().to_string();
            let above = path.clone();
            if let Some(unknown) = unknown_word(&message) {
                path.push(unknown.to_owned());
            }
            let keys: Vec<&str> = path.iter().map(String::as_str).collect();
            let found = sources
                .iter()
                .rev()
                .find_map(|source| line_of(source.text, &keys).map(|line| (*source, Some(line))));
            let top = sources.last().copied().unwrap_or(Source { origin: "", text: "" });
            // A missing key is in no file; the overriding file should have it.
            let (source, line) = found.unwrap_or((top, None));
            let above: Vec<&str> = above.iter().map(String::as_str).collect();
            report(source, line, &message, &above)
        })
    }
}

/// Parses one file.
///
/// # Errors
/// As [`Document::read`] and [`Document::into_type`].
pub(crate) fn parse<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T> {
    let source = Source { origin, text };
    Document::read(source)?.into_type(&[source], &[])
}

fn merge(base: &mut serde_yaml::Value, over: serde_yaml::Value) {
    match (base, over) {
        (serde_yaml::Value::Mapping(base), serde_yaml::Value::Mapping(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(below) => merge(below, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// Returns an error about a line of a file. `path` are the keys above the problem.
fn report(source: Source<'_>, line: Option<usize>, message: &str, path: &[&str]) -> Error {
    let Source { origin, text } = source;
    let place = line.map_or_else(|| origin.to_owned(), |line| format!("{origin}:{line}"));
    let word = said::word_hint(message, path);
    let mut shown = without_position(message).to_owned();
    // The hint names a key; a list of all keys tells nothing.
    if (word.is_some() && message.starts_with("unknown ")) || shown.matches("`, `").count() > 8 {
        shown = shown.split(", expected ").next().unwrap_or(&shown).to_owned();
    }
    let mut report = Error::new(
        Kind::Usage,
        format!("{place} is not valid: {}", said::in_words(&shown)),
    );
    if let Some(line) = line {
        report = report.log(lines::snippet(text, line));
    }
    match word.or_else(|| said::value_hint(&shown, path)) {
        Some(hint) => report.hint(hint),
        None if message.starts_with("missing field") => {
            report.hint("write it, or `extends:` a profile that has it: dsr1 profiles new NAME")
        }
        None if message.contains("tab character") => report.hint("indent with spaces: YAML takes no tabs"),
        None if message.starts_with("unknown field")
            && path
                .iter()
                .all(|key| !matches!(*key, "bench" | "model" | "speculative")) =>
        {
            report.hint(
                "dsr1 profiles new NAME lists the settings; other options of the engine go into extra_args",
            )
        }
        None => report,
    }
}

/// Returns the first string, key or value, that holds a forbidden character; line breaks are allowed.
fn hidden_string(value: &serde_yaml::Value) -> Option<&str> {
    use serde_yaml::Value;
    match value {
        Value::String(text) => text.chars().any(|c| c != '\n' && is_forbidden(c)).then_some(text),
        Value::Sequence(items) => items.iter().find_map(hidden_string),
        Value::Mapping(map) => map
            .iter()
            .find_map(|(key, value)| hidden_string(key).or_else(|| hidden_string(value))),
        Value::Tagged(tagged) => hidden_string(&tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn is_forbidden(c: char) -> bool {
    let bidi = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    bidi || (c.is_control() && c != '\t')
}

/// Returns the first C0/C1 control (other than newline, tab, carriage return) or bidirectional override, with its line.
fn forbidden_character(text: &str) -> Option<(usize, char)> {
    text.lines()
        .enumerate()
        .find_map(|(index, line)| line.chars().find(|c| is_forbidden(*c)).map(|c| (index + 1, c)))
}

fn without_position(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

/// Returns the misspelt key in serde's message.
fn unknown_word(message: &str) -> Option<&str> {
    message.split_once("unknown field `")?.1.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn unknown_key_names_file_line_and_nearest() {
        let text = include_str!("../../../profiles/rehearsal.yaml").replace("mem_fraction:", "mem_fracton:");
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
                .contains("too large")
        );
        let hidden = parse::<Profile>("name: a\u{202E}b\n", "bidi.yaml").unwrap_err();
        assert!(
            hidden.message().starts_with("bidi.yaml:1 "),
            "{}",
            hidden.message()
        );
    }

    #[test]
    fn null_resets_a_setting_and_mappings_merge() {
        let read = |text| Document::read(Source { origin: "t", text }).unwrap();
        let mut base = read("a: {b: 1, c: 2}\nd: [1, 2]\n");
        base.merge_file(read("a: {b: null, e: 3}\nd: [9]\n"));
        assert_eq!(base, read("a: {b: null, c: 2, e: 3}\nd: [9]\n"));
        base.merge_file(read("a:\n"));
        assert_eq!(base, read("a: {b: null, c: 2, e: 3}\nd: [9]\n"));
        base.merge(read("a:\n"));
        assert_eq!(base, read("a: null\nd: [9]\n"));
    }

    proptest::proptest! {


        #[test]
        fn any_text_parses_or_fails_without_panic(text in "\\PC{0,200}") {
            let _ = parse::<Profile>(&text, "any.yaml");
        }
    }
}
