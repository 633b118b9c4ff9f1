//! The redaction of a text that leaves the host, line by line.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::redact::names::sort_of_name;
use crate::redact::patterns::{PATTERNS, Patterns};
use crate::redact::sort::{Awaited, Counts, MARK, Sort, count};
use crate::redact::steps;
use crate::secret::Secret;

/// Least length of a known value, in bytes: a shorter one would be found inside of other words.
const SHORTEST_KNOWN: usize = 8;
/// Least length of the name of a host or a user, in bytes.
const SHORTEST_NAME: usize = 3;
/// Most passes over a line.
const MOST_PASSES: usize = 4;
/// Most lines of a private key: a key of RSA with 16384 bits has about 200.
const LONGEST_KEY: usize = 400;
/// Names of users that every host has: they say nothing of a person.
const COMMON_USERS: [&str; 10] = [
    "root", "ubuntu", "admin", "user", "debian", "centos", "nobody", "docker", "sglang", "ec2-user",
];

/// The names that a file should not tell, each with the word in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The home directory, which becomes `~`; empty if it is unknown.
    pub home: String,
    /// The name of the host, which becomes `HOST`; empty if it is unknown.
    pub host: String,
    /// The name of the user, which becomes `USER`; empty if it is unknown. Names that every host has stay.
    pub user: String,
}

/// Everything that is replaced in files that leave the host.
#[derive(Debug, Default)]
pub struct Redactor {
    known: Option<AhoCorasick>,
    names: Option<AhoCorasick>,
    words: Vec<&'static str>,
}

impl Redactor {
    /// Returns a redactor that replaces `known` values, too, each of at least 8 bytes, and `names`.
    #[must_use]
    pub fn new(known: &[Secret], names: &Names) -> Self {
        let known: Vec<String> = known
            .iter()
            .map(Secret::expose)
            .filter(|value| value.len() >= SHORTEST_KNOWN)
            .flat_map(spellings)
            .collect();
        let is_name = |name: &str| name.len() >= SHORTEST_NAME;
        let host = names.host.split('.').next().unwrap_or_default();
        let user = names.user.as_str();
        let (mut texts, mut words) = (Vec::new(), Vec::new());
        for (text, word, holds) in [
            (names.home.trim_end_matches('/'), "~", true),
            (names.host.as_str(), "HOST", names.host != "localhost"),
            (host, "HOST", host != "localhost"),
            (user, "USER", !COMMON_USERS.contains(&user)),
        ] {
            if is_name(text) && holds {
                texts.push(text.to_owned());
                words.push(word);
            }
        }
        Self {
            known: searcher(&known),
            names: searcher(&texts),
            words,
        }
    }

    /// Begins a text.
    #[must_use]
    pub fn begin(&self) -> Redaction<'_> {
        Redaction {
            redactor: self,
            counts: Counts::new(),
            lines_of_key: 0,
            awaited: None,
        }
    }
}

/// Returns the spellings of a value: itself, inside of JSON, and in a URL.
fn spellings(value: &str) -> Vec<String> {
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    let json = json.unwrap_or(value).to_owned();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let url = value
        .bytes()
        .map(|byte| {
            if is_plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let mut all = vec![value.to_owned(), json, url];
    all.dedup();
    all
}

/// Returns a search for texts that takes the longest of those that begin at one place.
fn searcher(texts: &[String]) -> Option<AhoCorasick> {
    let builder = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(texts);
    builder.ok().filter(|_| !texts.is_empty())
}

/// A text that is being redacted, line by line.
#[derive(Debug)]
pub struct Redaction<'a> {
    pub(super) redactor: &'a Redactor,
    pub(super) counts: Counts,
    /// Lines of a private key that were read; 0 outside of one.
    lines_of_key: usize,
    /// The sort of the value in the next line, whose name or option ended the last one.
    awaited: Option<Awaited>,
}

impl Redaction<'_> {
    /// Returns the number of replacements so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns a line without secrets; neither it nor the result has a newline.
    pub fn redact_line<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        let Some(patterns) = &*PATTERNS else {
            return Cow::Borrowed(MARK);
        };
        if self.is_of_key(line) {
            return Cow::Borrowed(MARK);
        }
        let line = Cow::Borrowed(line);
        let line = steps::apply(line, |line| steps::requests(patterns, line, &mut self.counts));
        let line = steps::apply(line, |line| self.private_keys(patterns, line));
        let redactor = self.redactor;
        let line = steps::apply(line, |line| {
            steps::known(redactor.known.as_ref()?, line, &mut self.counts)
        });
        let has_hint = steps::has_secret_name(patterns, &line);
        let awaited = self.awaited.take();
        self.awaited = has_hint.then(|| steps::awaited_after(patterns, &line)).flatten();
        let line = steps::apply(line, |line| {
            awaited_value(patterns, awaited?, line, &mut self.counts)
        });
        let mut line = line;
        // What is replaced may leave the name of a secret behind it, as in `hf_..._TOKEN=`.
        for _ in 0..MOST_PASSES {
            match self.by_form_and_name(patterns, &line) {
                Some(changed) => line = Cow::Owned(changed),
                None => break,
            }
        }
        steps::apply(line, |line| {
            steps::names(redactor.names.as_ref()?, &redactor.words, line, &mut self.counts)
        })
    }

    /// Replaces secrets that are known by their form or their name; returns `None` if there is none.
    fn by_form_and_name(&mut self, patterns: &Patterns, line: &str) -> Option<String> {
        let has_name = steps::has_secret_name(patterns, line);
        if !has_name && !patterns.signs.is_match(line) {
            return None;
        }
        let counts = &mut self.counts;
        let mut changed = steps::replace_certain(patterns, Cow::Borrowed(line), counts);
        if has_name {
            changed = steps::apply(changed, |line| steps::named_values(patterns, line, counts));
            changed = steps::apply(changed, |line| {
                steps::assignments(patterns, line, &sort_of_name, counts)
            });
            changed = steps::apply(changed, |line| steps::options(patterns, line, false, counts));
        }
        match changed {
            Cow::Borrowed(_) => None,
            Cow::Owned(changed) => Some(changed),
        }
    }

    /// Returns a text of several lines without secrets.
    pub fn redact_text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let content = line.strip_suffix('\n').unwrap_or(line);
            out += &self.redact_line(content);
            out += &line[content.len()..];
        }
        out
    }

    /// Returns true for a line inside of a private key whose first line was read.
    fn is_of_key(&mut self, line: &str) -> bool {
        if self.lines_of_key == 0 {
            return false;
        }
        let line = line.trim();
        let is_base64 = |word: &str| {
            word.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        };
        let last = line.rsplit(char::is_whitespace).next().unwrap_or_default();
        let is_body = is_base64(line) || (last.len() >= 40 && is_base64(last));
        let is_head = line.starts_with("Proc-Type:") || line.starts_with("DEK-Info:") || line == MARK;
        let is_end = line.contains("-----END ");
        self.lines_of_key += 1;
        let is_inside = (is_body || is_head || is_end) && self.lines_of_key <= LONGEST_KEY;
        if !is_inside || is_end {
            self.lines_of_key = 0;
        }
        is_inside
    }

    /// Replaces private keys, and notes one that goes on in the next line.
    fn private_keys(&mut self, patterns: &Patterns, line: &str) -> Option<String> {
        if !line.contains("PRIVATE KEY") {
            return None;
        }
        let whole = patterns.key_in_line.replace_all(line, MARK);
        let found = patterns.key_in_line.find_iter(line).count();
        for _ in 0..found {
            count(&mut self.counts, Sort::PrivateKey);
        }
        if let Some(begin) = patterns.key_begin.find(&whole) {
            count(&mut self.counts, Sort::PrivateKey);
            self.lines_of_key = 1;
            return Some(format!("{}{MARK}", &whole[..begin.start()]));
        }
        (found > 0).then(|| whole.into_owned())
    }
}

/// Replaces the value of the name that ended the line before.
fn awaited_value(patterns: &Patterns, awaited: Awaited, line: &str, counts: &mut Counts) -> Option<String> {
    match awaited {
        Awaited::Word(sort) => steps::first_word(line, sort, counts),
        Awaited::Field(sort) => {
            let field = patterns.field_of_value.find(line)?;
            let (head, rest) = line.split_at(field.end());
            Some(format!("{head}{}", steps::first_word(rest, sort, counts)?))
        }
    }
}
