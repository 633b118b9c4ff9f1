//! Findings about the problems that a version's parser has with a command line, and the version that made the change.

use crate::profile::{Version, foreign, spelling};
use crate::sglang::check::{Check, Level};
use crate::sglang::flags::{Lifetime, Parsed, Parser, Problem, Table, history};
use crate::sglang::words::words;

/// Returns a finding for each problem of `parsed`, which was read with the table of `version`.
///
/// A missing required option is not one of them: that is the model path, and the plan sets it.
pub(super) fn check(parsed: &Parsed<'_>, parser: Parser, version: Version) -> Vec<Check> {
    parsed
        .problems
        .iter()
        .filter(|problem| !matches!(problem, Problem::Required(_)))
        .map(|problem| finding(problem, parser, version))
        .collect()
}

fn finding(problem: &Problem<'_>, parser: Parser, version: Version) -> Check {
    let error = |id: &str, subject: &str, text: String| Check::new(id, Level::Error, subject, text);
    let subject = problem.subject();
    match problem {
        Problem::Unknown(name) => absent(name, parser, version, ""),
        Problem::Ambiguous(name, candidates) => {
            let note = format!("; its parser calls it ambiguous: {}", candidates.join(" or "));
            if history(parser).lifetime(name).is_some() {
                return absent(name, parser, version, &note);
            }
            error(
                "flag.ambiguous",
                name,
                format!("{name} is short for several options of SGLang {version}"),
            )
            .fix(format!(
                "write the full name of one of them: {}",
                candidates.join(", ")
            ))
        }
        Problem::Stray(word) => error(
            "flag.stray",
            word,
            format!("`{}` belongs to no option", word.escape_debug()),
        )
        .fix(stray(word, &history(parser).table(version))),
        Problem::MissingValue(name) => error("flag.value", name, format!("{name} needs a value")),
        Problem::UnexpectedValue(name) => error(
            "flag.value",
            name,
            format!("{name} is a switch and takes no value"),
        )
        .fix(format!("write {name} alone")),
        Problem::WrongType(name, value, kind) => {
            let text = format!(
                "`{}` is not a {} for {name}",
                value.escape_debug(),
                type_name(kind)
            );
            let check = error("flag.value", name, text);
            let number = match type_name(kind) {
                "whole number" => foreign::number_of(value, true),
                "number" => foreign::number_of(value, false),
                _ => None,
            };
            match number {
                Some(number) => check.fix(format!("write {number}")),
                None => check,
            }
        }
        Problem::WrongChoice(name, value, spec) => wrong_choice(name, value, &spec.names, parser, version),
        Problem::Rejected(name, spec) => {
            let gone = history(parser).lifetime(name).and_then(|life| life.gone);
            let since = gone.map_or_else(String::new, |gone| format!(" since {gone}"));
            let check = error(
                "flag.rejected",
                name,
                format!("SGLang {version} knows {name} but ends with an error if it is used{since}"),
            );
            with_instead(check, parser, &spec.names, spec.replacement.as_deref())
        }
        Problem::Required(name) => error("flag.required", name, format!("{name} is missing")),
        Problem::Abbreviated(name, full) => Check::new(
            "flag.abbreviated",
            Level::Warn,
            name,
            format!("{name} works as a short form of {full} until another option begins with these letters"),
        )
        .fix(format!("write {full}")),
        Problem::Deprecated(name, spec) => {
            let since = history(parser).deprecated_since(name);
            let since = since.map_or_else(String::new, |since| format!(" since {since}"));
            let word = words().option(parser, &spec.names);
            let end = word
                .and_then(|word| word.removal.as_ref())
                .map_or_else(String::new, |removal| format!("; {removal}"));
            let check = Check::new(
                "flag.deprecated",
                Level::Note,
                name,
                format!("{name} is deprecated{since}{end}"),
            );
            with_instead(check, parser, &spec.names, spec.replacement.as_deref())
        }
    }
    .about(subject)
}

impl Check {
    fn about(mut self, subject: &str) -> Self {
        subject.clone_into(&mut self.subject);
        self
    }
}

/// Returns the finding for an option that this version does not have: not yet, not any more, or never.
fn absent(name: &str, parser: Parser, version: Version, note: &str) -> Check {
    let history = history(parser);
    let names = [name.to_owned()];
    match history.lifetime(name) {
        Some(Lifetime {
            since: Some(since), ..
        }) if since > version => {
            let text = format!("{name} exists since SGLang {since}, the stack has {version}{note}");
            with_instead(
                Check::new("flag.too_new", Level::Error, name, text),
                parser,
                &names,
                None,
            )
        }
        Some(Lifetime {
            until: Some(until),
            gone,
            ..
        }) if until < version => {
            let gone = gone.unwrap_or(version);
            let text = format!("{name} was removed in SGLang {gone}, the stack has {version}{note}");
            let check = Check::new("flag.removed", Level::Error, name, text);
            with_instead(check, parser, &names, history.replacement(name))
        }
        _ => {
            let text = format!("SGLang {version} has no option {}", name.escape_debug());
            let check = Check::new("flag.unknown", Level::Error, name, text);
            if words().named(parser, name).is_some() {
                return with_instead(check, parser, &names, None);
            }
            let table = history.table(version);
            let known = table
                .options()
                .flat_map(|spec| spec.names.iter().map(String::as_str));
            let kebab = format!("--{}", foreign::plain(name).replace('_', "-"));
            let spelt = table.get(&kebab).map(|_| format!("did you mean {kebab}?"));
            let of_dsr1 = || {
                OF_DSR1
                    .contains(&kebab.as_str())
                    .then(|| format!("an option of dsr1 is written before `--`: {kebab}"))
            };
            let near = || spelling::nearest_option(name, known).map(|near| format!("did you mean {near}?"));
            let fix = spelt
                .or_else(|| other_name(name, &table))
                .or_else(of_dsr1)
                .or_else(near);
            let otherwise = || {
                "dsr1 explain NAME explains an option or a setting; dsr1 profiles new NAME lists the settings"
                    .to_owned()
            };
            check.fix(fix.unwrap_or_else(otherwise))
        }
    }
}

/// Options of dsr1 that people write behind `--`.
const OF_DSR1: [&str; 12] = [
    "--base-image",
    "--dry-run",
    "--facts",
    "--format",
    "--fp4",
    "--fp8",
    "--image",
    "--name",
    "--profile",
    "--profile-file",
    "--runtime",
    "--stack",
];

/// Returns the equal of an option of another engine, in the options of this version.
fn other_name(name: &str, table: &Table<'_>) -> Option<String> {
    let equal = foreign::option_of(name)?;
    let Some(text) = equal.strip_prefix("none: ") else {
        if !equal.starts_with("--") {
            return Some(equal.to_owned());
        }
        let words: Option<Vec<&str>> = equal.split(' ').map(|word| in_version(word, table)).collect();
        return Some(format!("in SGLang: {}", words?.join(" ")));
    };
    Some(format!("SGLang has no such option: {text}"))
}

/// Returns a word as this version has it: an option that it does not have is replaced by its equal.
fn in_version<'a>(word: &'a str, table: &Table<'_>) -> Option<&'a str> {
    let option = word.trim_end_matches(',');
    if !option.starts_with("--") || table.get(option).is_some() {
        return Some(word);
    }
    words().named(Parser::Server, option)?.instead.as_deref()
}

/// Returns the remedy for a word that belongs to no option.
fn stray(word: &str, table: &Table<'_>) -> String {
    let name = word.split('=').next().unwrap_or(word);
    let option = format!("--{}", foreign::plain(name).replace('_', "-"));
    if word.starts_with(['\u{2013}', '\u{2014}']) || (word.contains('=') && table.get(&option).is_some()) {
        let value = word.strip_prefix(name).unwrap_or_default();
        return format!("write it with two hyphens: {option}{value}");
    }
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => "a switch stands alone: leave this word out".to_owned(),
        "false" | "no" | "off" => "a switch has no such value: leave out the option, too".to_owned(),
        _ => "write a flag and its value as two arguments, or as one with `=`".to_owned(),
    }
}

fn wrong_choice(name: &str, value: &str, names: &[String], parser: Parser, version: Version) -> Check {
    let history = history(parser);
    let shown = value.escape_debug();
    let life = names.iter().find_map(|name| history.choice_lifetime(name, value));
    let text = match life {
        Some(Lifetime {
            since: Some(since), ..
        }) if since > version => {
            format!("{name} takes {shown} since SGLang {since}, the stack has {version}")
        }
        Some(Lifetime { gone: Some(gone), .. }) if gone <= version => {
            format!(
                "{name} no longer takes {shown}: it was removed in SGLang {gone}, the stack has {version}"
            )
        }
        _ => format!("{name} does not take `{shown}` in SGLang {version}"),
    };
    let check = Check::new("flag.choice", Level::Error, name, text);
    let table = history.table(version);
    let choices: Vec<&str> = table
        .get(&names[0])
        .and_then(|spec| spec.choices.as_ref())
        .map(|choices| choices.iter().filter_map(|choice| choice.as_str()).collect())
        .unwrap_or_default();
    if let Some(replacement) = successor(name, value).filter(|choice| choices.contains(choice)) {
        return check.fix(format!("use {replacement}"));
    }
    let setting = match names[0].as_str() {
        "--kv-cache-dtype" => "kv_cache",
        "--quantization" => "quantization",
        "--moe-runner-backend" => "moe_runner",
        "--fp8-gemm-backend" => "fp8_gemm",
        option if option.ends_with("attention-backend") => "attention_backend",
        _ => "",
    };
    let is_open = setting == "kv_cache" && value == "fp8";
    let meant = foreign::value_of(setting, value, &choices).filter(|_| life.is_none() && !is_open);
    if let Some(meant) = meant {
        return check.fix(format!("did you mean {meant}?"));
    }
    // `fp8` leaves open which of fp8_e4m3 and fp8_e5m2 it is.
    let longer: Vec<&str> = choices
        .iter()
        .copied()
        .filter(|choice| {
            choice
                .strip_prefix(value)
                .is_some_and(|rest| rest.starts_with(['_', '-']))
        })
        .collect();
    if !longer.is_empty() && life.is_none() {
        return check.fix(format!("write it out: {}", longer.join(" or ")));
    }
    match spelling::nearest(value, choices.iter().copied()) {
        Some(nearest) if life.is_none() => check.fix(format!("did you mean {nearest}?")),
        _ => check.fix(format!("it takes: {}", choices.join(", "))),
    }
}

/// Returns the value with which upstream replaces one that it removed.
pub(crate) fn successor(option: &str, value: &str) -> Option<&'static str> {
    match (option, value) {
        // sgl-project/sglang#32111: its replacements are faster.
        ("--attention-backend", "cutlass_mla") => Some("trtllm_mla"),
        ("--kv-cache-dtype", "fp4_e2m1") => Some("nvfp4"),
        _ => None,
    }
}

fn with_instead(check: Check, parser: Parser, names: &[String], replacement: Option<&str>) -> Check {
    let known = words()
        .option(parser, names)
        .and_then(|word| word.instead.as_deref());
    match known.or(replacement) {
        Some(instead) => check.fix(format!("use {instead}")),
        None => check,
    }
}

fn type_name(kind: &str) -> &str {
    match kind {
        "int" | "human_readable_int" => "whole number",
        "float" => "number",
        "loads" | "json_list_type" => "JSON value",
        other => other,
    }
}
