//! Raw options of one version said in another: which words take the place of which.

use super::list::Replacement;
use crate::profile::{EngineSettings, Version};
use crate::sglang::flags::{Kind, Parser, Table, history};

/// An option in a list of words.
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    /// The value after `=` or as a word of its own.
    pub(super) value: Option<&'a str>,
    pub(super) first: usize,
    pub(super) end: usize,
}

/// The options of a list that change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// New words.
    pub(super) replacements: Vec<Replacement>,
    /// A line for each replacement.
    pub(super) said: Vec<String>,
}

/// Returns what changes in `words` for `version`. `engine` are the settings of the profile beside them.
pub(super) fn changes(words: &[&str], engine: &EngineSettings, version: Version) -> Changes {
    let table = history(Parser::Server).table(version);
    let groups = groups(words);
    let mut all = Changes::default();
    for group in &groups {
        if is_current(&table, group.name) {
            continue;
        }
        if let Some(by) = successor(group, &groups, engine, &table) {
            all.replace(group, &by, version);
        }
    }
    // The number of attention replicas moves to the option that took the place of the switch.
    let is_switch_gone = all
        .replacements
        .iter()
        .any(|one| one.by.first().is_some_and(|word| word == ATTN_DP));
    if let Some(copies) = copies(&groups).filter(|_| is_switch_gone) {
        all.replacements.push(Replacement {
            words: copies.first..copies.end,
            by: Vec::new(),
        });
    }
    all
}

/// The option for attention replicas of newer versions.
const ATTN_DP: &str = "--attn-dp-size";

impl Changes {
    fn replace(&mut self, group: &Group<'_>, by: &[String], version: Version) {
        self.replacements.push(Replacement {
            words: group.first..group.end,
            by: by.to_vec(),
        });
        self.said.push(if by.is_empty() {
            format!("{} removed: the profile says it otherwise", group.name)
        } else {
            format!(
                "{} (was {}, which SGLang {version} does not have)",
                by.join(" "),
                group.name
            )
        });
    }
}

/// Returns the options in a list of words.
pub(super) fn groups<'a>(words: &[&'a str]) -> Vec<Group<'a>> {
    let mut found: Vec<Group<'a>> = Vec::new();
    for (at, &word) in words.iter().enumerate() {
        match found.last_mut() {
            Some(last) if !word.starts_with("--") => {
                last.value = last.value.or(Some(word));
                last.end = at + 1;
            }
            _ => {
                let (name, value) = word
                    .split_once('=')
                    .map_or((word, None), |(name, value)| (name, Some(value)));
                found.push(Group {
                    name,
                    value,
                    first: at,
                    end: at + 1,
                });
            }
        }
    }
    found
}

/// Returns true if this version takes the option without calling it deprecated.
fn is_current(table: &Table<'_>, name: &str) -> bool {
    table
        .get(name)
        .is_some_and(|spec| !spec.deprecated && !spec.rejects)
}

/// Returns the option that sets the copies of the model, which old versions read as attention replicas beside the switch.
fn copies<'a, 'b>(groups: &'b [Group<'a>]) -> Option<&'b Group<'a>> {
    groups
        .iter()
        .find(|group| matches!(group.name, "--dp-size" | "--data-parallel-size" | "--dp"))
}

/// Returns the words that say the same in the version of the table; `None` if there are none, or the option may stay.
fn successor(
    group: &Group<'_>,
    groups: &[Group<'_>],
    engine: &EngineSettings,
    table: &Table<'_>,
) -> Option<Vec<String>> {
    let said = |name: &str| groups.iter().any(|other| other.name == name);
    let words = |name: &str, value: &str| Some(vec![name.to_owned(), value.to_owned()]);
    let unless = |is_said: bool, new: Option<Vec<String>>| if is_said { Some(Vec::new()) } else { new };
    let runner = |name: &str| {
        let new = is_current(table, "--moe-runner-backend").then(|| words("--moe-runner-backend", name));
        unless(
            engine.moe_runner.is_some() || said("--moe-runner-backend"),
            new.flatten(),
        )
    };
    match group.name {
        "--enable-ep-moe" if is_current(table, "--ep-size") => {
            let is_said =
                engine.expert_parallel.is_some() || said("--ep-size") || said("--expert-parallel-size");
            let ranks = engine.tensor_parallel.map(|ranks| ranks.to_string());
            unless(is_said, ranks.and_then(|ranks| words("--ep-size", &ranks)))
        }
        "--enable-deepep-moe" if is_current(table, "--moe-a2a-backend") => {
            unless(said("--moe-a2a-backend"), words("--moe-a2a-backend", "deepep"))
        }
        "--enable-flashinfer-cutlass-moe" => runner("flashinfer_cutlass"),
        "--enable-flashinfer-trtllm-moe" => runner("flashinfer_trtllm"),
        "--enable-dp-attention" if is_current(table, ATTN_DP) => {
            if engine.attention_data_parallel.is_some() || said(ATTN_DP) {
                return None;
            }
            words(ATTN_DP, copies(groups)?.value?)
        }
        name => renamed(name, group, groups, table),
    }
}

/// Returns the option under its new name, if it takes the same kind of value.
fn renamed(name: &str, group: &Group<'_>, groups: &[Group<'_>], table: &Table<'_>) -> Option<Vec<String>> {
    let all = history(Parser::Server);
    let next = all.replacement(name)?;
    let old = all.newest(name)?;
    let new = table.get(next).filter(|spec| !spec.deprecated && !spec.rejects)?;
    let is_same = old.kind == new.kind && matches!(old.kind, Kind::Store) && old.nargs == new.nargs;
    let is_free = groups.iter().all(|other| other.name != next);
    let value = group.value.filter(|_| group.end - group.first <= 2)?;
    (is_same && is_free).then(|| vec![next.to_owned(), value.to_owned()])
}
