//! The steps of a redaction: each replaces one form of secrets in a line.

use std::borrow::Cow;
use std::fmt::Write;

use aho_corasick::AhoCorasick;

use crate::redact::names::{is_secret_in_quotes, sort_of_name};
use crate::redact::patterns::{PATTERNS, Patterns};
use crate::redact::sort::{Awaited, Counts, MARK, Sort, count};
use crate::redact::value::{Quote, is_open};

/// A line whose pieces are replaced from left to right.
struct Edit<'a> {
    text: &'a str,
    out: String,
    /// Bytes of `text` that are in `out`.
    done: usize,
}

impl<'a> Edit<'a> {
    const fn new(text: &'a str) -> Self {
        Self {
            text,
            out: String::new(),
            done: 0,
        }
    }

    /// Replaces the bytes from `begin` to `end`. A piece that begins inside of one that was replaced stays, and so does one
    /// that is no secret.
    fn replace(&mut self, begin: usize, end: usize, sort: Sort, counts: &mut Counts) {
        if begin < self.done || is_open(&self.text[begin..end]) {
            return;
        }
        self.out += &self.text[self.done..begin];
        self.out += MARK;
        self.done = end;
        count(counts, sort);
    }

    /// Returns the line, or `None` if nothing was replaced.
    fn finish(mut self) -> Option<String> {
        if self.out.is_empty() {
            return None;
        }
        self.out += &self.text[self.done..];
        Some(self.out)
    }
}

/// Applies one step to a line.
pub(super) fn apply(line: Cow<'_, str>, step: impl FnOnce(&str) -> Option<String>) -> Cow<'_, str> {
    match step(&line) {
        Some(changed) => Cow::Owned(changed),
        None => line,
    }
}

/// Replaces the certain secrets of one line.
pub(super) fn replace_certain<'a>(
    patterns: &Patterns,
    line: Cow<'a, str>,
    counts: &mut Counts,
) -> Cow<'a, str> {
    let engine_key = |name: &str| sort_of_name(name).filter(|sort| *sort == Sort::EngineKey);
    let line = apply(line, |line| headers(patterns, line, counts));
    let line = apply(line, |line| bearers(patterns, line, counts));
    let line = apply(line, |line| assignments(patterns, line, &engine_key, counts));
    let line = apply(line, |line| options(patterns, line, true, counts));
    let line = apply(line, |line| logins(patterns, line, counts));
    let line = apply(line, |line| parameters(patterns, line, counts));
    apply(line, |line| tokens(patterns, line, counts))
}

/// Returns the length of a value without quotes around it, up to white space or a quote.
fn length_of_word(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'))
        .unwrap_or(text.len())
}

/// Replaces the values of headers that log in: up to the quote that closes them, or to the end of the line.
fn headers(patterns: &Patterns, line: &str, counts: &mut Counts) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in patterns.header.captures_iter(line) {
        let Some(all) = found.get(0) else { continue };
        let begin = all.end();
        // `-H 'Authorization: ...'`: the quote is before the name.
        let is_bare = found.get(1).is_some_and(|quote| quote.is_empty());
        let quote =
            Quote::at_end(all.as_str()).or_else(|| Quote::at_end(&line[..all.start()]).filter(|_| is_bare));
        let rest = &line[begin..];
        let length = quote.map_or(rest.len(), |quote| quote.length_of_value(rest));
        edit.replace(begin, begin + length, Sort::Header, counts);
    }
    edit.finish()
}

/// Replaces bearer tokens.
fn bearers(patterns: &Patterns, line: &str, counts: &mut Counts) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in patterns.bearer.captures_iter(line) {
        if let Some(token) = found.get(1) {
            edit.replace(token.start(), token.end(), Sort::Header, counts);
        }
    }
    edit.finish()
}

/// Replaces the values of names for which `sort_of` returns a sort: `NAME=value`, `"NAME": "value"`, `NAME: value`,
/// `"NAME=value"`.
pub(super) fn assignments(
    patterns: &Patterns,
    line: &str,
    sort_of: &dyn Fn(&str) -> Option<Sort>,
    counts: &mut Counts,
) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in patterns.assignment.captures_iter(line) {
        let (Some(all), Some(name), Some(after)) = (found.get(0), found.get(1), found.get(2)) else {
            continue;
        };
        let begin = all.end();
        let rest = &line[begin..];
        let opened = Quote::at_begin(rest);
        let Some(sort) = sort_of(name.as_str()) else {
            // The certain keys are asked for without the others.
            let is_full = sort_of("PASSWORD").is_some();
            if let Some((quote, open)) = opened.filter(|_| is_full && is_secret_in_quotes(name.as_str())) {
                let length = quote.length_of_value(&rest[open..]);
                if length >= 8 {
                    edit.replace(begin + open, begin + open + length, Sort::Variable, counts);
                }
            }
            continue;
        };
        let before = &line[..name.start()];
        let around = Quote::at_end(before).filter(|_| after.is_empty());
        let (open, length) = match (opened, around) {
            (Some((quote, open)), _) => (open, quote.length_of_value(&rest[open..])),
            (None, Some(quote)) => (0, quote.length_of_value(rest)),
            (None, None) if sort == Sort::Variable && is_begin_of_line(before) => (0, rest.len()),
            (None, None) => (0, length_of_word(rest)),
        };
        edit.replace(begin + open, begin + open + length, sort, counts);
    }
    edit.finish()
}

/// Returns true for the text before a name that is the first of its line, as in YAML, an environment file or a Dockerfile.
fn is_begin_of_line(before: &str) -> bool {
    matches!(before.trim(), "" | "-" | "export" | "ENV" | "Environment=")
}

/// Returns the sort of the value after an option; `None` if the option takes no secret.
pub(super) fn sort_of_option(option: &str) -> Option<Sort> {
    let patterns = PATTERNS.as_ref()?;
    // The pattern needs something behind the option.
    let text = format!("{option} ");
    let found = patterns.option.captures(&text)?;
    let whole = found.get(0)?;
    (whole.start() == 0 && whole.end() == text.len()).then(|| sort_of(option))
}

fn sort_of(option: &str) -> Sort {
    sort_of_name(option.trim_start_matches('-')).unwrap_or(Sort::Variable)
}

/// Replaces the values of options with secrets: `--api-key X`, `--api-key=X`, `'--api-key', 'X'`. With `only_engine` those of
/// keys of the engine only.
pub(super) fn options(
    patterns: &Patterns,
    line: &str,
    only_engine: bool,
    counts: &mut Counts,
) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in patterns.option.captures_iter(line) {
        let (Some(all), Some(option), Some(after)) = (found.get(0), found.get(1), found.get(2)) else {
            continue;
        };
        let sort = sort_of(option.as_str());
        if only_engine && sort != Sort::EngineKey {
            continue;
        }
        let begin = all.end();
        let rest = &line[begin..];
        let around = Quote::at_end(&line[..option.start()]).filter(|_| after.is_empty());
        let (open, length) = match (Quote::at_begin(rest), around) {
            (Some((quote, open)), _) => (open, quote.length_of_value(&rest[open..])),
            (None, Some(quote)) if all.as_str().contains('=') => (0, quote.length_of_value(rest)),
            // The next option: this one has no value.
            (None, _) if rest.starts_with("--") => continue,
            (None, _) => (0, length_of_word(rest)),
        };
        edit.replace(begin + open, begin + open + length, sort, counts);
    }
    edit.finish()
}

/// Returns true if a line has a name whose value may be secret, or an option with such a name. This search is cheaper than the
/// patterns of assignments, and nearly every line of SGLang's log has the word `token`.
pub(super) fn has_secret_name(patterns: &Patterns, line: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut done = 0;
    patterns.hints.find_iter(line).any(|found| {
        if found.start() < done {
            return false;
        }
        let before = line[..found.start()].trim_end_matches(is_of_name).len();
        let after = line[found.start()..].find(|c| !is_of_name(c));
        let after = after.map_or(line.len(), |length| found.start() + length);
        done = after;
        let name = &line[before..after];
        if is_secret_in_quotes(name) {
            let rest = line[after..].trim_start_matches([':', '=', ' ', '>']);
            return rest.starts_with(['"', '\'', '\\']);
        }
        name.starts_with("--") || sort_of_name(name).is_some()
    })
}

/// Returns the form of a value that the next line has, because this one ends with its name.
pub(super) fn awaited_after(patterns: &Patterns, line: &str) -> Option<Awaited> {
    if let Some(option) = patterns.last_option.captures(line).and_then(|found| found.get(1)) {
        return sort_of_option(option.as_str()).map(Awaited::Word);
    }
    let found = patterns.named_value.captures_iter(line).last()?;
    let is_last = found.get(2).is_some_and(|field| field.is_empty());
    let name = found.get(1).filter(|_| is_last)?;
    sort_of_name(name.as_str()).map(Awaited::Field)
}

/// Replaces the first word of a line, or the text in quotes at its begin.
pub(super) fn first_word(line: &str, sort: Sort, counts: &mut Counts) -> Option<String> {
    let begin = line.len() - line.trim_start_matches([' ', '\t', '-']).len();
    let rest = &line[begin..];
    let (open, length) = match Quote::at_begin(rest) {
        Some((quote, open)) => (open, quote.length_of_value(&rest[open..])),
        None => (0, length_of_word(rest)),
    };
    let mut edit = Edit::new(line);
    edit.replace(begin + open, begin + open + length, sort, counts);
    edit.finish()
}

/// Replaces values beside their names: `"name": "HF_TOKEN", "value": "..."`.
pub(super) fn named_values(patterns: &Patterns, line: &str, counts: &mut Counts) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in patterns.named_value.captures_iter(line) {
        let (Some(all), Some(name), Some(field)) = (found.get(0), found.get(1), found.get(2)) else {
            continue;
        };
        let Some(sort) = sort_of_name(name.as_str()).filter(|_| !field.is_empty()) else {
            continue;
        };
        let begin = all.end();
        let rest = &line[begin..];
        let (open, length) = match Quote::at_begin(rest) {
            Some((quote, open)) => (open, quote.length_of_value(&rest[open..])),
            None => (0, length_of_word(rest)),
        };
        edit.replace(begin + open, begin + open + length, sort, counts);
    }
    edit.finish()
}

/// Replaces users and passwords of URLs. A user alone stays, except where it may be a token: in HTTP.
fn logins(patterns: &Patterns, line: &str, counts: &mut Counts) -> Option<String> {
    if !line.contains('@') {
        return None;
    }
    let mut edit = Edit::new(line);
    let begins: Vec<_> = patterns.url.captures_iter(line).collect();
    for (index, found) in begins.iter().enumerate() {
        let (Some(all), Some(scheme)) = (found.get(0), found.get(1)) else {
            continue;
        };
        let next = begins.get(index + 1).and_then(|next| next.get(0));
        let run = &line[all.end()..next.map_or(line.len(), |next| next.start())];
        let length = run
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '\\'))
            .unwrap_or(run.len());
        let run = &run[..length];
        let host = run.find(['/', '?', '#']).map_or(run, |end| &run[..end]);
        let port = host.rsplit_once(':').map(|(_, port)| port);
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let end = match host.rfind('@') {
            Some(end) => end,
            // A password with a slash in it.
            None if port.is_some_and(|port| !is_port(port)) => match run.rfind('@') {
                Some(end) => end,
                None => continue,
            },
            None => continue,
        };
        let is_http = scheme.as_str().to_ascii_lowercase().starts_with("http");
        if is_http || run[..end].contains(':') {
            edit.replace(all.end(), all.end() + end, Sort::UrlLogin, counts);
        }
    }
    edit.finish()
}

/// Replaces the parameters of signed URLs.
fn parameters(patterns: &Patterns, line: &str, counts: &mut Counts) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in patterns.parameter.captures_iter(line) {
        let (Some(all), Some(sign)) = (found.get(0), found.get(1)) else {
            continue;
        };
        let rest = &line[all.end()..];
        let word = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '`' | '<' | '>' | '\\'))
            .unwrap_or(rest.len());
        // A URL inside of another ends a parameter with an encoded `&`.
        let length = if sign.as_str() == "=" {
            word
        } else {
            rest[..word].find("%26").unwrap_or(word)
        };
        edit.replace(all.end(), all.end() + length, Sort::SignedUrl, counts);
    }
    edit.finish()
}

/// Replaces tokens that are known by their form.
fn tokens(patterns: &Patterns, line: &str, counts: &mut Counts) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in patterns.token.find_iter(line) {
        // Names such as `hf_overrides` are short and in small letters. A token of the hub has 34 characters after `hf_`.
        let is_word = found.as_str().strip_prefix("hf_").is_some_and(|rest| {
            rest.len() < 20 && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        if !is_word {
            edit.replace(found.start(), found.end(), Sort::Token, counts);
        }
    }
    edit.finish()
}

/// Replaces values that dsr1 uses as secrets.
pub(super) fn known(values: &AhoCorasick, line: &str, counts: &mut Counts) -> Option<String> {
    let mut edit = Edit::new(line);
    for found in values.find_iter(line) {
        edit.replace(found.start(), found.end(), Sort::Known, counts);
    }
    edit.finish()
}

/// Replaces the names of the host and the user, and the home directory; `words` are the words in their places.
pub(super) fn names(names: &AhoCorasick, words: &[&str], line: &str, counts: &mut Counts) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut out = String::new();
    let mut done = 0;
    for found in names.find_iter(line) {
        let (before, after) = (&line[..found.start()], &line[found.end()..]);
        let word = words.get(found.pattern().as_usize()).copied().unwrap_or(MARK);
        let begins_inside = word != "~" && before.ends_with(is_part);
        if begins_inside || after.starts_with(is_part) {
            continue;
        }
        out += &line[done..found.start()];
        out += word;
        done = found.end();
        count(counts, Sort::Name);
    }
    (done > 0).then(|| out + &line[done..])
}

/// Replaces the content of a request and of its answer in the log of SGLang; the ID and the counts of tokens stay.
pub(super) fn requests(patterns: &Patterns, line: &str, counts: &mut Counts) -> Option<String> {
    if let Some(found) = patterns.request.captures(line).filter(|_| line.contains("obj=")) {
        let end = found.get(0)?.end();
        let (head, content) = line.split_at(end);
        if patterns.redacted_request.is_match(content) {
            return None;
        }
        let close = match found.get(1).map(|open| open.as_str()) {
            Some("{") => "}",
            Some(_) => ")",
            None => "",
        };
        let id = patterns
            .request_id
            .captures(content)
            .and_then(|found| found.get(1));
        let id = id.map_or_else(String::new, |id| format!("rid='{}', ", id.as_str()));
        let mut out = format!("{head}{id}{MARK}{close}");
        if head.contains("Finish:") {
            for found in patterns.count_of_tokens.captures_iter(content).take(2) {
                let (_, [what, number]) = found.extract();
                let _ = write!(out, ", {what}_tokens={number}");
            }
        }
        count(counts, Sort::Prompt);
        return Some(out);
    }
    let found = patterns
        .request_in_json
        .captures(line)
        .filter(|_| line.contains("request."))?;
    let (head, content) = line.split_at(found.get(0)?.end());
    let quote = format!("{}\"", found.get(1)?.as_str());
    let redacted = format!("{quote}{MARK}{quote}}}");
    if content == redacted {
        return None;
    }
    count(counts, Sort::Prompt);
    Some(head.to_owned() + &redacted)
}
