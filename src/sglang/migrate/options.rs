//! Raw options of one version said in another: which words take the place of which.

use super::list::Replacement;
use crate::profile::{EngineSettings, Version};
use crate::sglang::flags::{Kind, Parser, Problem, Table, history};
use crate::sglang::rules::successor as value_successor;
use crate::sglang::words::words;

/// An option in a list of words.
pub(super) struct Group<'a> {
    /// The option as it is written.
    pub(super) typed: &'a str,
    /// Its full name: argparse takes a short form.
    pub(super) name: String,
    /// Its values: the one behind `=`, or the words that follow.
    pub(super) values: Vec<&'a str>,
    /// The value is attached with `=`.
    is_attached: bool,
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
    let groups = groups(words, &table);
    let mut all = Changes::default();
    let attention = attention(&groups, engine, &table);
    for (at, group) in groups.iter().enumerate() {
        let of_attention = attention
            .iter()
            .find(|(of, _)| *of == at)
            .map(|(_, by)| by.clone());
        let is_current = is_current(&table, &group.name);
        let by = of_attention.or_else(|| {
            let by = if is_current {
                new_value(group, &table)?
            } else {
                successor(group, &groups, engine, &table)?
            };
            is_accepted(&table, &by).then_some(by)
        });
        if let Some(by) = by {
            all.replace(group, &by, &table, version);
        }
    }
    all
}

/// The option for attention replicas of newer versions.
const ATTN_DP: &str = "--attn-dp-size";
/// The switch of older versions, which makes them of the copies of the model.
const SWITCH: &str = "--enable-dp-attention";

impl Changes {
    fn replace(&mut self, group: &Group<'_>, by: &[String], table: &Table<'_>, version: Version) {
        // Values that stay are not written again.
        let is_rename = !group.is_attached && by.len() == group.end - group.first && {
            by.iter().skip(1).eq(group.values.iter().copied())
        };
        self.replacements.push(Replacement {
            words: group.first..if is_rename { group.first + 1 } else { group.end },
            by: by[..if is_rename { 1 } else { by.len() }].to_vec(),
        });
        let state = match table.get(&group.name) {
            Some(_) if is_copies(group) => "reads as copies of the model",
            Some(spec) if spec.deprecated => "calls deprecated",
            _ => "does not have",
        };
        let is_of_attention = group.name == SWITCH || is_copies(group);
        self.said.push(if by.is_empty() && is_of_attention {
            format!("{} removed: {ATTN_DP} says it", group.typed)
        } else if by.is_empty() {
            format!("{} removed: the profile says it otherwise", group.typed)
        } else {
            let was = if is_current(table, &group.name) {
                format!("{} {}", group.typed, group.values.join(" "))
            } else {
                group.typed.to_owned()
            };
            format!("{} (was {was}, which SGLang {version} {state})", by.join(" "))
        });
    }
}

/// Splits a list into options. The words in front of the first option belong to none.
pub(super) fn groups<'a>(words: &[&'a str], table: &Table<'_>) -> Vec<Group<'a>> {
    let mut found: Vec<Group<'a>> = Vec::new();
    for (at, &word) in words.iter().enumerate() {
        match found.last_mut() {
            Some(last) if !word.starts_with("--") => {
                last.values.push(word);
                last.end = at + 1;
            }
            None if !word.starts_with("--") => {}
            _ => {
                let (typed, value) = word
                    .split_once('=')
                    .map_or((word, None), |(name, value)| (name, Some(value)));
                found.push(Group {
                    typed,
                    name: full_name(typed, table),
                    values: value.into_iter().collect(),
                    is_attached: value.is_some(),
                    first: at,
                    end: at + 1,
                });
            }
        }
    }
    found
}

/// Returns the option that a word names or is short for: in the version of the table, else in the newest that takes it.
fn full_name(typed: &str, table: &Table<'_>) -> String {
    let all = history(Parser::Server);
    if table.get(typed).is_some() || all.lifetime(typed).is_some() {
        return typed.to_owned();
    }
    let args = [typed.to_owned()];
    let full = |table: &Table<'_>| Some(table.parse(&args).settings.first()?.names.first()?.clone());
    let older = || {
        all.versions()
            .iter()
            .rev()
            .find_map(|version| full(&all.table(*version)))
    };
    full(table).or_else(older).unwrap_or_else(|| typed.to_owned())
}

/// Returns true if this version takes the option without calling it deprecated.
fn is_current(table: &Table<'_>, name: &str) -> bool {
    table
        .get(name)
        .is_some_and(|spec| !spec.deprecated && !spec.rejects)
}

/// Returns true if the version of the table takes these words; the model is passed elsewhere.
fn is_accepted(table: &Table<'_>, words: &[String]) -> bool {
    let parsed = table.parse(words);
    let is_fatal = |problem: &Problem<'_>| problem.is_fatal() && !matches!(problem, Problem::Required(_));
    !parsed.problems.iter().any(is_fatal)
}

/// Returns true for the option that sets the copies of the model, which old versions read as attention replicas beside the
/// switch.
fn is_copies(group: &Group<'_>) -> bool {
    matches!(group.name.as_str(), "--dp-size" | "--data-parallel-size" | "--dp")
}

/// Returns what becomes of the options for attention replicas, by their places in `groups`.
///
/// `--attn-dp-size N` took the place of `--dp-size N --enable-dp-attention`. Beside it the copies are copies of the whole
/// model, and SGLang refuses both above 1 (`parallel_hook.py` of 0.5.23).
fn attention(groups: &[Group<'_>], engine: &EngineSettings, table: &Table<'_>) -> Vec<(usize, Vec<String>)> {
    let places = |is_it: &dyn Fn(&Group<'_>) -> bool| -> Vec<usize> {
        let all = groups.iter().enumerate();
        all.filter(|(_, group)| is_it(group)).map(|(at, _)| at).collect()
    };
    let switches = places(&|group| group.name == SWITCH);
    let copies = places(&is_copies);
    let replicas = places(&|group| group.name == ATTN_DP);
    let last = |places: &[usize]| {
        let group = &groups[*places.last()?];
        group
            .values
            .last()
            .filter(|value| value.parse::<u32>().is_ok())
            .copied()
    };
    let removed = |places: &[usize]| places.iter().map(|at| (*at, Vec::new())).collect::<Vec<_>>();
    if !is_current(table, ATTN_DP) {
        // An older version has only the pair.
        let is_pair = is_current(table, SWITCH) && copies.is_empty() && switches.is_empty();
        let Some((value, at)) = last(&replicas).zip(replicas.first().copied()).filter(|_| is_pair) else {
            return Vec::new();
        };
        let by = ["--dp-size", value, SWITCH].map(str::to_owned).to_vec();
        return std::iter::once((at, by)).chain(removed(&replicas[1..])).collect();
    }
    let setting = engine.attention_data_parallel.map(|ranks| ranks.to_string());
    let old = [switches.as_slice(), copies.as_slice()].concat();
    if !replicas.is_empty() {
        return if switches.is_empty() {
            Vec::new()
        } else {
            removed(&old)
        };
    }
    if setting.is_none() && (switches.is_empty() || last(&copies).is_none()) {
        return Vec::new();
    }
    match last(&copies) {
        // The raw number is behind that of the setting, so it counts.
        Some(value) if setting.as_deref() != Some(value) => {
            let Some((first, others)) = old.split_first() else {
                return Vec::new();
            };
            let by = vec![ATTN_DP.to_owned(), value.to_owned()];
            std::iter::once((*first, by)).chain(removed(others)).collect()
        }
        Some(_) => removed(&old),
        None if copies.is_empty() => removed(&switches),
        None => Vec::new(),
    }
}

/// Returns the option with the value that took the place of the one that this version does not take any more.
fn new_value(group: &Group<'_>, table: &Table<'_>) -> Option<Vec<String>> {
    let [value] = group.values.as_slice() else {
        return None;
    };
    let takes = |value: &str| is_accepted(table, &[group.name.clone(), value.to_owned()]);
    let next = value_successor(&group.name, value).filter(|next| !takes(value) && takes(next))?;
    Some(vec![group.name.clone(), next.to_owned()])
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
    match group.name.as_str() {
        "--enable-ep-moe" if is_current(table, "--ep-size") => {
            let is_said = engine.expert_parallel.is_some()
                || said("--ep-size")
                || said("--expert-parallel-size")
                || said("--ep");
            let ranks = engine.tensor_parallel.map(|ranks| ranks.to_string());
            unless(is_said, ranks.and_then(|ranks| words("--ep-size", &ranks)))
        }
        "--enable-deepep-moe" if is_current(table, "--moe-a2a-backend") => {
            unless(said("--moe-a2a-backend"), words("--moe-a2a-backend", "deepep"))
        }
        // `server_args.py` of 0.5.3 names these values.
        "--enable-flashinfer-cutlass-moe" => runner("flashinfer_cutlass"),
        "--enable-flashinfer-trtllm-moe" => runner("flashinfer_trtllm"),
        "--enable-flashinfer-cutedsl-moe" => runner("flashinfer_cutedsl"),
        "--enable-flashinfer-mxfp4-moe" => runner("flashinfer_mxfp4"),
        "--enable-triton-kernel-moe" => runner("triton_kernel"),
        // The attention replicas are decided together.
        // The last became a part of the metrics, which are a setting.
        SWITCH | ATTN_DP | "--collect-tokens-histogram" => None,
        name => renamed(name, group, groups, table),
    }
}

/// Returns the option as this version says it: under its new name with its values, or as the options with values that
/// upstream names.
fn renamed(name: &str, group: &Group<'_>, groups: &[Group<'_>], table: &Table<'_>) -> Option<Vec<String>> {
    let all = history(Parser::Server);
    let old = all.newest(name)?;
    // A replacement may be replaced, too.
    // An older version has the option that this one replaced.
    let older = || {
        let mut names = all.names();
        names.find(|other| all.replacement(other) == Some(name) && is_current(table, other))
    };
    let mut next = all
        .replacement(name)
        .or_else(|| words().named(Parser::Server, name)?.instead.as_deref())
        .or_else(older)?;
    while !is_current(table, next.split(['=', ' ']).next()?) && !next.contains('{') {
        let later = all
            .replacement(next)
            .filter(|later| *later != next && *later != name)?;
        next = later;
    }
    if old.kind == Kind::Switch {
        let new = with_values(next)?;
        let is_free = new
            .iter()
            .filter(|word| word.starts_with("--"))
            .all(|word| groups.iter().all(|other| other.name != *word));
        return (is_free && group.values.is_empty()).then_some(new);
    }
    let new = table.get(next)?;
    let is_list = |nargs: Option<&str>| matches!(nargs, Some("+" | "*"));
    let is_same = old.kind == new.kind
        && is_list(old.nargs.as_deref()) == is_list(new.nargs.as_deref())
        && (group.values.len() == 1 || is_list(new.nargs.as_deref()));
    let is_free = groups.iter().all(|other| other.name != next);
    if !is_same || !is_free {
        return None;
    }
    if group.is_attached && group.values.len() == 1 {
        return Some(vec![format!("{next}={}", group.values[0])]);
    }
    let values = group.values.iter().map(|value| (*value).to_owned());
    Some(std::iter::once(next.to_owned()).chain(values).collect())
}

/// Returns a replacement as words: `--x-{a,b}=v` is two options with a value each.
fn with_values(text: &str) -> Option<Vec<String>> {
    let (name, value) = text
        .split_once(['=', ' '])
        .map_or((text, None), |(name, value)| (name, Some(value)));
    let names: Vec<String> = match name.split_once('{') {
        Some((begin, rest)) => {
            let (choices, end) = rest.split_once('}')?;
            choices
                .split(',')
                .map(|choice| format!("{begin}{choice}{end}"))
                .collect()
        }
        None => vec![name.to_owned()],
    };
    let is_plain = |word: &str| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if !names.iter().all(|name| name.starts_with("--") && is_plain(name)) || !value.is_none_or(is_plain) {
        return None;
    }
    let words = names
        .into_iter()
        .flat_map(|name| std::iter::once(name).chain(value.map(str::to_owned)));
    Some(words.collect())
}
