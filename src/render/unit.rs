//! Words and lines of unit files, which systemd and Quadlet read by the same rules.

/// Returns the name of the unit: the file name without the last extension.
pub(super) fn name(file_name: &str) -> &str {
    file_name.rsplit_once('.').map_or(file_name, |(unit, _)| unit)
}

/// Returns a word of a command line. `%` begins a specifier and `$` a variable, so both are doubled.
pub(super) fn word(text: &str) -> String {
    quote(text, true)
}

/// Returns a word of a setting with specifiers but without variables, such as `Environment=`.
pub(super) fn setting(text: &str) -> String {
    quote(text, false)
}

/// Returns the value of a setting that systemd reads to the end of its line, without quotes.
pub(super) fn raw(text: &str) -> String {
    text.replace('%', "%%")
}

fn quote(text: &str, variables: bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            '$' if variables => quoted.push_str("$$"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns a setting whose words are spread over lines; each item of `lines` is one line.
pub(super) fn command(key: &str, lines: &[Vec<&str>]) -> String {
    let joined = |words: &Vec<&str>| words.iter().map(|text| word(text)).collect::<Vec<_>>().join(" ");
    let text = lines.iter().map(joined).collect::<Vec<_>>().join(" \\\n  ");
    format!("{key}={text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_when_they_must_be() {
        assert_eq!(word("--port"), "--port");
        assert_eq!(word(""), "\"\"");
        assert_eq!(word("50% of $HOME"), "\"50%% of $$HOME\"");
        assert_eq!(setting("A=50% of $HOME"), "\"A=50%% of $HOME\"");
        assert_eq!(word(r#"a"b\"#), r#""a\"b\\""#);
        assert_eq!(word(";"), "\";\"");
    }
}
