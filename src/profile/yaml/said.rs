//! The messages of the YAML crate and of serde in the words of a user, and hints about the value that was written.

use crate::profile::{foreign, spelling};

/// Returns a message without the words of the program: its types have names of their own.
pub(crate) fn in_words(message: &str) -> String {
    if message.contains("more than one document") {
        return "it holds more than one document: a line `---` begins the second".to_owned();
    }
    if let Some(key) = message.strip_prefix("duplicate entry with key ") {
        return format!("the key {} is there twice", key.replace('"', "`"));
    }
    if message.starts_with("data did not match any variant") {
        return "wrong value".to_owned();
    }
    let message = message.replacen("unknown variant ", "unknown value ", 1);
    let Some((start, expected)) = message.rsplit_once(", expected ") else {
        return message;
    };
    format!("{}, expected {}", found(start), wanted(expected))
}

/// Returns the first half of a message about a value: what was found.
fn found(start: &str) -> String {
    let kind = start
        .strip_prefix("invalid type: ")
        .or_else(|| start.strip_prefix("invalid value: "));
    let Some(kind) = kind else {
        return start.to_owned();
    };
    let kind = match kind {
        "map" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "unit" | "null" | "Option value" => "nothing".to_owned(),
        kind if kind.contains("variant") => "another kind of value".to_owned(),
        kind => kind
            .replacen("integer ", "number ", 1)
            .replacen("floating point ", "number ", 1),
    };
    format!("wrong value: {kind}")
}

/// Returns the second half: what is wanted.
fn wanted(expected: &str) -> &str {
    match expected {
        "struct Speculative" => "a mapping with steps, top_k and draft_tokens",
        "a map" => "a mapping",
        mapping if mapping.starts_with("struct ") => "a mapping",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "field identifier" | "identifier" => "a key",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "a nonzero u32" => "a whole number",
        "f32" | "f64" => "a number",
        "unit variant" | "variant identifier" | "string or map" | "map with a single key" | "unit" => {
            "one word"
        }
        choice
            if choice.contains(" enum") || choice.starts_with("enum ") || choice.starts_with("variant ") =>
        {
            "one word"
        }
        other => other,
    }
}

/// Returns what to write in place of a value of the wrong kind, by serde's message.
pub(super) fn value_hint(message: &str, path: &[&str]) -> Option<String> {
    let key = path.last().copied().unwrap_or_default();
    let is_variable = path.iter().rev().nth(1) == Some(&"env");
    if let Some(share) = message
        .split_once(" is not a share between")
        .map(|(number, _)| number)
    {
        let percent: f64 = share
            .parse()
            .ok()
            .filter(|percent| (1.0..100.0).contains(percent))?;
        return (percent > 1.0).then(|| format!("write {}", percent / 100.0));
    }
    let (value, expected) = message
        .strip_prefix("invalid type: ")?
        .rsplit_once(", expected ")?;
    let text = value
        .strip_prefix("string ")
        .and_then(|quoted| serde_json::from_str::<String>(quoted).ok());
    let scalar = text.clone().or_else(|| Some(value.split('`').nth(1)?.to_owned()));
    match expected {
        _ if key == "chunked_prefill_size" && scalar.as_deref() == Some("-1") => Some(
            "-1 turns chunks off: write --chunked-prefill-size and \"-1\" into `extra_args`, two items"
                .to_owned(),
        ),
        "struct Model" => Some("write the repository as `repo:` below `model:`".to_owned()),
        "a string" if value == "map" && is_item(key) => Some(
            "write an option and its value as two items: - --page-size, and below it - \"64\"".to_owned(),
        ),
        "a string" if value.starts_with("boolean") && !is_variable => None,
        "a boolean" => is_true(&scalar?).map(|is_true| format!("write {is_true}")),
        "a string" => scalar.map(|scalar| format!("quote the value: \"{scalar}\"")),
        "a sequence" if key == "extra_args" => Some(arguments(&text?)),
        "a sequence" => scalar.map(|scalar| format!("write a list: [{scalar}]")),
        "a map" if key == "env" => Some("write each as NAME: \"VALUE\" on a line of its own".to_owned()),
        "struct Speculative" => {
            Some("write {steps: 3, top_k: 1, draft_tokens: 4}, or leave it out".to_owned())
        }
        number if number.contains("number") || matches!(number, "u32" | "u64" | "f64") => {
            let is_whole = !matches!(number, "a number" | "f64");
            foreign::number_of(&scalar?, is_whole).map(|number| format!("write {number}"))
        }
        _ => None,
    }
}

/// Returns the truth value that people write otherwise.
fn is_true(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" | "enable" | "enabled" => Some(true),
        "false" | "no" | "off" | "n" | "0" | "disable" | "disabled" => Some(false),
        _ => None,
    }
}

/// Returns a line of arguments as a list.
fn arguments(line: &str) -> String {
    let words: Vec<String> = line
        .split_whitespace()
        .map(|word| {
            if word.starts_with("--") && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                word.to_owned()
            } else {
                format!("\"{word}\"")
            }
        })
        .collect();
    if words.is_empty() || words.len() > 8 || line.contains(['"', '\'', '\\']) {
        return "write a list, each word an item: [--page-size, \"64\"]".to_owned();
    }
    format!("write a list: [{}]", words.join(", "))
}

/// Returns the hint for an unknown key or value, by serde's message and the keys above it.
pub(super) fn word_hint(message: &str, path: &[&str]) -> Option<String> {
    if let Some((wrong, known)) = unknown(message, "unknown field `") {
        // The path may end with the key itself.
        let path = path.strip_suffix(&[wrong]).unwrap_or(path);
        let nearest = || spelling::nearest(&foreign::plain(wrong), known.iter().copied());
        return foreign::key_hint(wrong, path, &known)
            .or_else(|| nearest().map(|key| format!("did you mean `{key}`?")));
    }
    let (wrong, known) = unknown(message, "unknown variant `")?;
    let key = path.iter().rev().find(|key| !is_item(key));
    if let Some(hint) = foreign::value_as_argument(key.copied().unwrap_or_default(), wrong) {
        return Some(hint);
    }
    let meant = foreign::value_of(key.copied().unwrap_or_default(), wrong, &known);
    if let Some(meant) = meant {
        return Some(format!("did you mean `{meant}`?"));
    }
    if key == Some(&"device") {
        return Some("leave it out: the engine computes on the GPUs".to_owned());
    }
    spelling::nearest(wrong, known.into_iter()).map(|value| format!("did you mean `{value}`?"))
}

/// Returns true for the place of a list's item in a path: `[0]`.
fn is_item(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'[' | b']'))
}

/// Returns the unknown word of a message, and the words that it expects.
fn unknown<'a>(message: &'a str, begin: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let (_, rest) = message.split_once(begin)?;
    let (wrong, rest) = rest
        .rsplit_once("`, expected")
        .map_or((rest.split('`').next()?, rest), |split| split);
    Some((wrong, rest.split('`').skip(1).step_by(2).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_has_a_word_of_the_program() {
        for (message, expected) in [
            (
                "invalid type: map, expected unit variant",
                "wrong value: a mapping, expected one word",
            ),
            (
                "invalid type: sequence, expected a map",
                "wrong value: a list, expected a mapping",
            ),
            (
                "invalid type: integer `5`, expected struct EngineSettings",
                "wrong value: number `5`, expected a mapping",
            ),
            (
                "invalid type: unit value, expected u32",
                "wrong value: nothing, expected a whole number",
            ),
            (
                "unknown variant `x`, expected `a` or `b`",
                "unknown value `x`, expected `a` or `b`",
            ),
            (
                "duplicate entry with key \"name\"",
                "the key `name` is there twice",
            ),
        ] {
            assert_eq!(in_words(message), expected);
        }
    }
}
