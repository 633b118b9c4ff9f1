//! What SGLang's own command lines accept, version by version: tables made by running its parsers.
//!
//! `stacks/flags/{server,bench}.json` hold 27 versions each, an option that looks the same in neighbouring versions
//! stored once. So they say what one version accepts, and since and until when. A new version V is added with
//! `tests/support/sglang-wheels.sh V`, `stacks/flags/extract.py --root target/sglang-wheels/V server > t.json` under the
//! Python of `target/sglang-wheels/venv`, and `stacks/flags/fold.py stacks/flags/server.json t.json`; likewise `bench`.
//! Not in this module: what a flag means (`words`), and rules behind the parser (`lint`).

mod parse;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

pub use parse::{Parsed, Problem};

use crate::profile::Version;

/// Version of the JSON form of a table that `stacks/flags/extract.py` prints.
pub const TABLE_SCHEMA: &str = "dsr1.flags/1";

/// The program that makes a table: Python, standard library only, runs beside any SGLang.
pub const EXTRACTOR: &str = include_str!("../../../stacks/flags/extract.py");

/// One of SGLang's command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parser {
    /// `sglang.launch_server`.
    Server,
    /// The benchmark client.
    Bench,
}

/// One option of a parser, as it looks in some versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    /// Its spellings; the first is the one SGLang shows.
    pub names: Vec<String>,
    /// What it takes.
    pub kind: Kind,
    /// Name of the function that converts a value: `int`, `float`, `str`, `loads`, ...
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<String>,
    /// How many values: `+`, `*`, `?`; exactly one without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nargs: Option<String>,
    /// Values it accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<serde_json::Value>>,
    /// Value without the option, where it is known before the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Whether the parser insists on it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Whether SGLang calls it deprecated.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deprecated: bool,
    /// What SGLang names in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// Whether using it ends the start with an error although the parser knows it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rejects: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A value.
    Store,
    /// Nothing.
    Switch,
    /// Nothing, with a `--no-` twin.
    SwitchPair,
}

/// What the extractor prints: one parser of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// Always [`TABLE_SCHEMA`].
    pub schema: String,
    /// Version of SGLang.
    pub sglang: Version,
    /// Which parser.
    pub parser: Parser,
    /// Packages that were missing and replaced by stand-ins.
    pub stood_in: Vec<String>,
    /// The options, by name.
    pub options: Vec<OptionSpec>,
}

/// Every version's table of one parser.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    #[serde(rename = "schema")]
    _schema: String,
    parser: Parser,
    versions: Vec<Version>,
    options: Vec<(OptionSpec, Vec<(usize, usize)>)>,
}

/// What one version's parser accepts.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    /// The version the table was made from; not always the one asked for (see [`History::table`]).
    pub version: Version,
    names: BTreeMap<&'a str, &'a OptionSpec>,
}

/// Versions in which a spelling was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lifetime {
    /// First version with it; `None` when the oldest known version has it already.
    pub since: Option<Version>,
    /// Last version with it; `None` when the newest known version has it.
    pub until: Option<Version>,
    /// First version without it, after `until`.
    pub gone: Option<Version>,
}

const SERVER: &str = include_str!("../../../stacks/flags/server.json");
const BENCH: &str = include_str!("../../../stacks/flags/bench.json");

/// The history of a parser. Parsed at the first call.
#[must_use]
pub fn history(parser: Parser) -> &'static History {
    static SERVERS: LazyLock<History> = LazyLock::new(|| parsed(SERVER));
    static CLIENTS: LazyLock<History> = LazyLock::new(|| parsed(BENCH));
    match parser {
        Parser::Server => &SERVERS,
        Parser::Bench => &CLIENTS,
    }
}

/// A bundled file; a test reads both, so an empty history never ships.
fn parsed(text: &str) -> History {
    serde_json::from_str(text).unwrap_or(History {
        _schema: String::new(),
        parser: Parser::Server,
        versions: Vec::new(),
        options: Vec::new(),
    })
}

impl History {
    /// Every version known, oldest first.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Which parser it is of.
    #[must_use]
    pub const fn parser(&self) -> Parser {
        self.parser
    }

    /// The table of `version`; of the newest older one when that version is not known, and of the oldest when all
    /// are newer.
    #[must_use]
    pub fn table(&self, version: Version) -> Table<'_> {
        let at = self
            .versions
            .partition_point(|known| *known <= version)
            .saturating_sub(1);
        let mut names = BTreeMap::new();
        for (spec, _) in self.options.iter().filter(|(_, spans)| covers(spans, at)) {
            names.extend(spec.names.iter().map(|name| (name.as_str(), spec)));
        }
        Table {
            version: self.versions.get(at).copied().unwrap_or(version),
            names,
        }
    }

    /// Since and until when `name` was accepted; `None` when no known version has it.
    #[must_use]
    pub fn lifetime(&self, name: &str) -> Option<Lifetime> {
        self.life(|spec| spec.names.iter().any(|known| known == name) && !spec.rejects)
    }

    /// Since and until when `choice` was a choice of `name`.
    #[must_use]
    pub fn choice_lifetime(&self, name: &str, choice: &str) -> Option<Lifetime> {
        self.life(|spec| {
            spec.names.iter().any(|known| known == name)
                && spec.choices.iter().flatten().any(|known| known == choice)
        })
    }

    /// First version that calls `name` deprecated.
    #[must_use]
    pub fn deprecated_since(&self, name: &str) -> Option<Version> {
        let calls = |spec: &OptionSpec| spec.deprecated && spec.names.iter().any(|known| known == name);
        let first = self.indices(calls).min()?;
        self.versions.get(first).copied()
    }

    /// What the newest version that knew `name` named in its place.
    #[must_use]
    pub fn replacement(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .filter(|(spec, _)| spec.names.iter().any(|known| known == name))
            .max_by_key(|(_, spans)| spans.last().map(|span| span.1))
            .and_then(|(spec, _)| spec.replacement.as_deref())
    }

    /// How the newest version that accepts `name` has it; of those that only refuse it, the newest.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&OptionSpec> {
        self.options
            .iter()
            .filter(|(spec, _)| spec.names.iter().any(|known| known == name))
            .max_by_key(|(spec, spans)| (!spec.rejects, spans.last().map(|span| span.1)))
            .map(|(spec, _)| spec)
    }

    /// Every spelling that some version has.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.options
            .iter()
            .flat_map(|(spec, _)| spec.names.iter().map(String::as_str))
    }

    fn indices(&self, wanted: impl Fn(&OptionSpec) -> bool) -> impl Iterator<Item = usize> {
        self.options
            .iter()
            .filter(move |(spec, _)| wanted(spec))
            .flat_map(|(_, spans)| spans.iter().flat_map(|(first, last)| *first..=*last))
    }

    fn life(&self, wanted: impl Fn(&OptionSpec) -> bool) -> Option<Lifetime> {
        let mut known: Vec<usize> = self.indices(wanted).collect();
        known.sort_unstable();
        let (first, last) = (*known.first()?, *known.last()?);
        let newest = self.versions.len().saturating_sub(1);
        Some(Lifetime {
            since: (first > 0).then(|| self.versions[first]),
            until: (last < newest).then(|| self.versions[last]),
            gone: self.versions.get(last + 1).copied(),
        })
    }
}

fn covers(spans: &[(usize, usize)], at: usize) -> bool {
    spans.iter().any(|(first, last)| (*first..=*last).contains(&at))
}

impl<'a> Table<'a> {
    /// A table from what the extractor printed.
    #[must_use]
    pub fn from_extract(extract: &'a Extract) -> Self {
        let names = extract
            .options
            .iter()
            .flat_map(|spec| spec.names.iter().map(move |name| (name.as_str(), spec)));
        Self {
            version: extract.sglang,
            names: names.collect(),
        }
    }

    /// The option of that exact spelling.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a OptionSpec> {
        self.names.get(name).copied()
    }

    /// Every option once, by its first spelling.
    pub fn options(&self) -> impl Iterator<Item = &'a OptionSpec> {
        self.names
            .iter()
            .filter(|(name, spec)| spec.names.first().is_some_and(|first| first == *name))
            .map(|(_, spec)| *spec)
    }

    /// How `other` differs from this table, one line per option: added, removed, or changed and how.
    #[must_use]
    pub fn differences(&self, other: &Table<'_>) -> Vec<Difference> {
        let mut found = Vec::new();
        for spec in self.options() {
            let name = &spec.names[0];
            match other.get(name) {
                None => found.push(Difference::new(name, "removed", String::new())),
                Some(now) if now != spec => {
                    found.push(Difference::new(name, "changed", changes(spec, now).join("; ")));
                }
                Some(_) => {}
            }
        }
        for spec in other.options().filter(|spec| self.get(&spec.names[0]).is_none()) {
            found.push(Difference::new(&spec.names[0], "added", String::new()));
        }
        found
    }
}

/// One parser beside its bundled table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParserDrift {
    /// Which.
    pub parser: Parser,
    /// Version that was found.
    pub found: Version,
    /// Version of the bundled table.
    pub bundled: Version,
    /// Options it has.
    pub options: usize,
    /// Packages that were missing there, so that stand-ins were used.
    pub stood_in: Vec<String>,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// One option that two tables do not agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The option.
    pub option: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// What changed, in words.
    pub detail: String,
}

impl Difference {
    fn new(option: &str, change: &'static str, detail: String) -> Self {
        Self {
            option: option.to_owned(),
            change,
            detail,
        }
    }
}

fn changes(was: &OptionSpec, now: &OptionSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: &str, was: String, now: String| {
        if was != now {
            found.push(format!("{what} {was} -> {now}"));
        }
    };
    let text =
        |value: &Option<serde_json::Value>| value.as_ref().map_or("none".to_owned(), ToString::to_string);
    note("names", was.names.join(" "), now.names.join(" "));
    note("kind", format!("{:?}", was.kind), format!("{:?}", now.kind));
    note(
        "type",
        format!("{:?}", was.value_type),
        format!("{:?}", now.value_type),
    );
    note("nargs", format!("{:?}", was.nargs), format!("{:?}", now.nargs));
    note("default", text(&was.default), text(&now.default));
    note("required", was.required.to_string(), now.required.to_string());
    note(
        "deprecated",
        was.deprecated.to_string(),
        now.deprecated.to_string(),
    );
    note("rejects", was.rejects.to_string(), now.rejects.to_string());
    let missing = |from: &OptionSpec, other: &OptionSpec| {
        let other: Vec<_> = other.choices.iter().flatten().collect();
        let gone = from
            .choices
            .iter()
            .flatten()
            .filter(|choice| !other.contains(choice));
        gone.map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let (gone, new) = (missing(was, now), missing(now, was));
    if !gone.is_empty() {
        found.push(format!("choices gone: {gone}"));
    }
    if !new.is_empty() {
        found.push(format!("choices new: {new}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn both_histories_hold_every_version() {
        for parser in [Parser::Server, Parser::Bench] {
            let history = history(parser);
            assert_eq!(history.parser(), parser);
            assert_eq!(history.versions().len(), 27);
            assert!(history.versions().is_sorted());
        }
        // Counted by running the parsers (sglang.md 1).
        let count = |v: &str| history(Parser::Server).table(version(v)).options().count();
        assert_eq!(
            [count("0.4.10.post1"), count("0.5.9"), count("0.5.23")],
            [182, 331, 531]
        );
    }

    #[test]
    fn since_and_until_are_known() {
        let history = history(Parser::Server);
        let life = |name| history.lifetime(name).unwrap();
        assert_eq!(life("--moe-runner-backend").since, Some(version("0.5.1")));
        assert_eq!(life("--attn-dp-size").since, Some(version("0.5.22")));
        // Known and refused in 0.5.3 and 0.5.4: not a life.
        assert_eq!(life("--enable-ep-moe").until, Some(version("0.5.2")));
        assert_eq!(life("--enable-ep-moe").gone, Some(version("0.5.3")));
        assert_eq!(
            life("--tp-size"),
            Lifetime {
                since: None,
                until: None,
                gone: None
            }
        );
        let cutlass = history
            .choice_lifetime("--attention-backend", "cutlass_mla")
            .unwrap();
        assert_eq!(cutlass.gone, Some(version("0.5.20")));
        assert_eq!(
            history.deprecated_since("--enable-dp-attention"),
            Some(version("0.5.22"))
        );
        assert_eq!(
            history.replacement("--cuda-graph-max-bs"),
            Some("--cuda-graph-max-bs-decode")
        );
    }

    #[test]
    fn an_unknown_version_gets_the_newest_older_table() {
        let history = history(Parser::Server);
        assert_eq!(history.table(version("0.6.0")).version, version("0.5.23"));
        assert_eq!(history.table(version("0.5.1.post1")).version, version("0.5.1"));
        assert_eq!(history.table(version("0.1.0")).version, version("0.4.9.post6"));
    }
}
