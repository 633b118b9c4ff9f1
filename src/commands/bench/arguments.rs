//! The arguments of a measured server beside those that a plan of this host has.

use std::collections::BTreeMap;

use crate::measure::compare::NOT_ARGUMENTS;
use crate::plan::{Plan, Step};
use crate::profile::Version;
use crate::report::Shortfall;
use crate::sglang::flags::{Parser, history};

/// Returns the command line of the engine in a plan; `None` if it starts none.
pub(super) fn argv_of(plan: &Plan) -> Option<&[String]> {
    plan.steps.iter().find_map(|step| match step {
        Step::StartContainer(step) => Some(step.argv.as_slice()),
        Step::StartProcess(step) => Some(step.argv.as_slice()),
        _ => None,
    })
}

/// Returns the arguments that a measured server had otherwise than a planned one, and the words that set them.
pub(super) fn compare_arguments(
    argv: &[String],
    version: Version,
    told: &BTreeMap<String, String>,
) -> (Vec<Shortfall>, Vec<String>) {
    let table = history(Parser::Server).table(version);
    let start = argv
        .iter()
        .position(|word| word.starts_with("--"))
        .unwrap_or(argv.len());
    let parsed = table.parse(&argv[start..]);
    let (mut found, mut words) = (Vec::new(), Vec::new());
    let mut planned: Vec<String> = Vec::new();
    for setting in &parsed.settings {
        let keys: Vec<String> = setting.names.iter().map(|name| key_of(name)).collect();
        planned.extend(keys.iter().cloned());
        let Some(there) = keys.iter().find_map(|key| told.get(key)) else {
            continue;
        };
        let here = value_of(&setting.values);
        if is_option(&keys) && !is_same(there, &here) {
            let option = setting.names.first().map_or(setting.typed, String::as_str);
            let extra = words_of(option, there);
            found.push(Shortfall {
                what: format!("argument {option}"),
                wanted: there.clone(),
                here,
                fix: if extra.is_empty() {
                    format!("write a profile without {option}: dsr1 profiles new NAME")
                } else {
                    "the command above sets it".to_owned()
                },
            });
            words.extend(extra);
        }
    }
    for (key, there) in told {
        let option = format!("--{}", key.replace('_', "-"));
        let default = table.get(&option).and_then(|spec| spec.default.as_ref());
        let is_known = planned.contains(key) || NOT_ARGUMENTS.contains(&key.as_str());
        let (Some(default), false) = (default.filter(|value| !value.is_null()), is_known) else {
            continue;
        };
        let here = match default {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if !is_same(there, &here) {
            found.push(Shortfall {
                what: format!("argument {option}"),
                wanted: there.clone(),
                here: format!("{here}, the default"),
                fix: format!(
                    "SGLang may have chosen it by itself; if it does not here, add {}",
                    words_of(&option, there).join(" ")
                ),
            });
        }
    }
    (found, words)
}

/// Returns the name under which a server tells an option.
fn key_of(option: &str) -> String {
    option.trim_start_matches('-').replace('-', "_")
}

fn is_option(keys: &[String]) -> bool {
    !keys.iter().any(|key| NOT_ARGUMENTS.contains(&key.as_str()))
}

/// Returns the value of a setting as a server tells it.
fn value_of(values: &[&str]) -> String {
    if values.is_empty() {
        "true".to_owned()
    } else {
        values.join(" ")
    }
}

/// Returns true for one value in two spellings: `0.90` and `0.9`, `True` and `true`.
fn is_same(one: &str, other: &str) -> bool {
    let numbers = one.parse::<f64>().ok().zip(other.parse::<f64>().ok());
    numbers.map_or_else(
        || one.eq_ignore_ascii_case(other),
        |(one, other)| (one - other).abs() < 1e-9,
    )
}

/// Returns the words that give an option its value; none for a switch that is off.
fn words_of(option: &str, value: &str) -> Vec<String> {
    match value.to_ascii_lowercase().as_str() {
        "true" => vec![option.to_owned()],
        "false" => Vec::new(),
        _ => vec![option.to_owned(), value.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(argv: &str, told: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let argv: Vec<String> = argv.split(' ').map(str::to_owned).collect();
        let told = told
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let (found, words) = compare_arguments(&argv, "0.5.23".parse().unwrap(), &told);
        let shown = found
            .into_iter()
            .map(|one| format!("{}: {} there, {} here", one.what, one.wanted, one.here));
        (shown.collect(), words)
    }

    #[test]
    fn another_value_is_named_with_the_words_that_set_it() {
        let line = "python3 -m sglang.launch_server --tp 8 --mem-fraction-static 0.90 --disable-radix-cache";
        let same = [
            ("tp_size", "8"),
            ("mem_fraction_static", "0.9"),
            ("disable_radix_cache", "true"),
            ("random_seed", "7"),
        ];
        assert_eq!(compare(line, &same), (Vec::new(), Vec::new()));
        let (found, words) = compare(line, &[("tp_size", "4"), ("disable_radix_cache", "false")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with(": 4 there, 8 here"), "{found:?}");
        assert_eq!(words.last().map(String::as_str), Some("4"));
    }

    #[test]
    fn a_value_that_is_no_default_may_be_sglangs_own() {
        let (found, words) = compare("python3 --tp 1", &[("stream_interval", "10"), ("page_size", "1")]);
        assert!(words.is_empty());
        assert_eq!(
            found,
            ["argument --stream-interval: 10 there, 1, the default here"]
        );
    }
}
