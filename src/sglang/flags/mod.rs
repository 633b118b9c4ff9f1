//! The options of SGLang's own command lines, version by version: tables made by running its parsers.
//!
//! `stacks/flags/{server,bench}.json` hold 27 versions each. An option that looks the same in neighbouring versions is
//! stored once, so the tables also give the first and last version of an option. A new version V is added with
//! `tests/support/sglang-wheels.sh V`, `stacks/flags/extract.py --root target/sglang-wheels/V server > t.json` under the
//! Python of `target/sglang-wheels/venv`, and `stacks/flags/fold.py stacks/flags/server.json t.json`; likewise `bench`.
//! Not in this module tree: the meaning of a flag (`words`), rules that SGLang applies after parsing (`rules`).

mod parse;
mod variables;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

pub use parse::{Parsed, Problem};
pub use variables::{Reading, Variables, variables};

use crate::profile::Version;

/// Version of the JSON form of a table that `stacks/flags/extract.py` prints.
pub const TABLE_SCHEMA: &str = "dsr1.flags/1";

/// The program that makes a table: Python with the standard library only, so it runs beside any SGLang.
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

/// One option of a parser, in the form that some versions have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    /// Its spellings; the first is the one that SGLang shows.
    pub names: Vec<String>,
    /// The kind of its value.
    pub kind: Kind,
    /// Name of the function that converts a value: `int`, `float`, `str`, `loads`, ...
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<String>,
    /// Number of values: `+`, `*`, `?`; `None` for exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nargs: Option<String>,
    /// Values it accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<serde_json::Value>>,
    /// Default value, if it is known before the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// The parser requires it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// SGLang calls it deprecated.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deprecated: bool,
    /// The option that SGLang names in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// The parser knows it, but SGLang ends with an error if it is used.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rejects: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The kind of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A value.
    Store,
    /// No value.
    Switch,
    /// No value, with a `--no-` form beside it.
    SwitchPair,
}

/// The output of the extractor: one parser of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// Always [`TABLE_SCHEMA`].
    pub schema: String,
    /// Version of SGLang.
    pub sglang: Version,
    /// The parser.
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

/// The options of one version's parser.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    /// The version from which the table was made; not always the requested one (see [`History::table`]).
    pub version: Version,
    names: BTreeMap<&'a str, &'a OptionSpec>,
}

/// Versions in which a spelling was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lifetime {
    /// First version with it; `None` if the oldest known version has it.
    pub since: Option<Version>,
    /// Last version with it; `None` if the newest known version has it.
    pub until: Option<Version>,
    /// First version without it, after `until`.
    pub gone: Option<Version>,
}

const SERVER: &str = include_str!("../../../stacks/flags/server.json");
const BENCH: &str = include_str!("../../../stacks/flags/bench.json");

/// Returns the history of a parser, which is read at the first call.
#[must_use]
pub fn history(parser: Parser) -> &'static History {
    static SERVERS: LazyLock<History> = LazyLock::new(|| read_history(SERVER));
    static CLIENTS: LazyLock<History> = LazyLock::new(|| read_history(BENCH));
    match parser {
        Parser::Server => &SERVERS,
        Parser::Bench => &CLIENTS,
    }
}

/// Reads a bundled file. A test reads both, so an empty history is never released.
fn read_history(text: &str) -> History {
    serde_json::from_str(text).unwrap_or(History {
        _schema: String::new(),
        parser: Parser::Server,
        versions: Vec::new(),
        options: Vec::new(),
    })
}

impl History {
    /// Returns every known version, the oldest first.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Returns the parser.
    #[must_use]
    pub const fn parser(&self) -> Parser {
        self.parser
    }

    /// Returns the table of `version`. For an unknown version it is the table of the newest older one, or of the oldest if
    /// all are newer.
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

    /// Returns the full name of the option that `name` is, or abbreviates, in the newest version: argparse takes `--tp` for
    /// `--tp-size`.
    #[must_use]
    pub fn full_name(&self, name: &str) -> Option<String> {
        let args = [name.to_owned()];
        let parsed = self.table(*self.versions.last()?).parse(&args);
        parsed.settings.first()?.names.first().cloned()
    }

    /// Returns the versions that accept `name`; `None` if no known version does.
    #[must_use]
    pub fn lifetime(&self, name: &str) -> Option<Lifetime> {
        self.lifetime_of(|spec| spec.names.iter().any(|known| known == name) && !spec.rejects)
    }

    /// Returns the versions in which `choice` is a choice of `name`.
    #[must_use]
    pub fn choice_lifetime(&self, name: &str, choice: &str) -> Option<Lifetime> {
        self.lifetime_of(|spec| {
            spec.names.iter().any(|known| known == name)
                && spec.choices.iter().flatten().any(|known| known == choice)
        })
    }

    /// Returns the first version that calls `name` deprecated.
    #[must_use]
    pub fn deprecated_since(&self, name: &str) -> Option<Version> {
        let calls = |spec: &OptionSpec| spec.deprecated && spec.names.iter().any(|known| known == name);
        let first = self.indices(calls).min()?;
        self.versions.get(first).copied()
    }

    /// Returns the option that the newest version with `name` names in its place.
    #[must_use]
    pub fn replacement(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .filter(|(spec, _)| spec.names.iter().any(|known| known == name))
            .max_by_key(|(_, spans)| spans.last().map(|span| span.1))
            .and_then(|(spec, _)| spec.replacement.as_deref())
    }

    /// Returns `name` in the form of the newest version that accepts it, else of the newest that knows and refuses it.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&OptionSpec> {
        self.options
            .iter()
            .filter(|(spec, _)| spec.names.iter().any(|known| known == name))
            .max_by_key(|(spec, spans)| (!spec.rejects, spans.last().map(|span| span.1)))
            .map(|(spec, _)| spec)
    }

    /// Returns every spelling that some version has.
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

    fn lifetime_of(&self, wanted: impl Fn(&OptionSpec) -> bool) -> Option<Lifetime> {
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
    /// Makes a table from the output of the extractor.
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

    /// Returns the option of that exact spelling.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a OptionSpec> {
        self.names.get(name).copied()
    }

    /// Returns every option once, by its first spelling.
    pub fn options(&self) -> impl Iterator<Item = &'a OptionSpec> {
        self.names
            .iter()
            .filter(|(name, spec)| spec.names.first().is_some_and(|first| first == *name))
            .map(|(_, spec)| *spec)
    }

    /// Returns the options that `other` adds, removes and changes.
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

/// A comparison of one parser with its bundled table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParserDrift {
    /// The parser.
    pub parser: Parser,
    /// Version of the parser.
    pub found: Version,
    /// Version of the bundled table.
    pub bundled: Version,
    /// Number of its options.
    pub options: usize,
    /// Packages that were missing and replaced by stand-ins.
    pub stood_in: Vec<String>,
    /// The differences.
    pub differences: Vec<Difference>,
}

/// One option that differs between two tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The option.
    pub option: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// The change in words.
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
    fn the_first_and_last_version_of_an_option_are_known() {
        let history = history(Parser::Server);
        let life = |name| history.lifetime(name).unwrap();
        assert_eq!(life("--moe-runner-backend").since, Some(version("0.5.1")));
        assert_eq!(life("--attn-dp-size").since, Some(version("0.5.22")));
        // 0.5.3 and 0.5.4 know and refuse it, so they do not count.
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
