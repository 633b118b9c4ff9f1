//! The explanation of an option, a variable or a setting: its meaning, the versions that have it, and the profiles that
//! use it.

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::profile::{Catalog, Version, foreign, spelling};
use crate::sglang::dialect::render;
use crate::sglang::flags::{Lifetime, OptionSpec, Parser, history, variables};
use crate::sglang::words::{Word, words};

/// The explanation of a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The name that the user asked for.
    pub name: String,
    /// The options and variables of that name.
    pub subjects: Vec<Subject>,
}

/// One option or variable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    /// `server option`, `client option` or `variable`.
    pub kind: &'static str,
    /// Its spellings in the newest version that has it; the first is the one that SGLang shows.
    pub names: Vec<String>,
    /// Its meaning; `None` for an option that no built-in profile uses.
    pub word: Option<Word>,
    /// The versions that accept it; `None` if no known version of SGLang does.
    pub lifetime: Option<Lifetime>,
    /// First version that calls it deprecated.
    pub deprecated: Option<Version>,
    /// Its form on each stack; `None` where SGLang's version does not accept it.
    pub stacks: Vec<(String, Option<OptionSpec>)>,
    /// The profiles that use it, each on its own stack.
    pub used_by: Vec<Use>,
}

/// The use of an option or a variable by one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Name of the profile.
    pub profile: String,
    /// Name of the profile's stack.
    pub stack: String,
    /// The value; empty for a switch.
    pub value: String,
}

/// Explains `name`: an option, a variable, or a setting of a profile's `engine`.
///
/// # Errors
/// [`Kind::Usage`] for an unknown name, with the nearest known one.
pub fn explain(catalog: &Catalog, name: &str) -> Result<Explanation> {
    let asked = name.strip_prefix("engine.").unwrap_or(name);
    if asked.is_empty() {
        return Err(Error::new(Kind::Usage, "nothing is named").hint("dsr1 explain --mem-fraction-static"));
    }
    let mut subjects = Vec::new();
    for parser in [Parser::Server, Parser::Bench] {
        for option in options(parser, asked) {
            subjects.push(option_subject(catalog, parser, &option)?);
        }
    }
    for (variable, word) in &words().environment {
        if variable == asked || word.knob.as_deref() == Some(asked) {
            subjects.push(variable_subject(catalog, variable, word)?);
        }
    }
    if subjects.is_empty()
        && let Some(lifetime) = variables().lifetime(asked)
    {
        subjects.push(Subject {
            kind: "variable",
            names: vec![asked.to_owned()],
            word: None,
            lifetime: Some(lifetime),
            deprecated: None,
            stacks: Vec::new(),
            used_by: Vec::new(),
        });
    }
    if subjects.is_empty() {
        return Err(unknown(name, asked));
    }
    // An option of the client that only has the name of one that is explained was not asked for.
    if subjects.iter().any(|subject| subject.word.is_some()) {
        subjects.retain(|subject| subject.word.is_some());
    }
    Ok(Explanation {
        name: name.to_owned(),
        subjects,
    })
}

/// Returns the error for a name that is none of SGLang's, with its meaning or the nearest name.
fn unknown(name: &str, asked: &str) -> Error {
    let shown = name.escape_debug();
    if let Some(section) = foreign::section_of(asked) {
        return Error::new(
            Kind::Usage,
            format!("`{shown}` is a key of {section} in a profile, not an option of the engine"),
        )
        .hint("dsr1 profiles new NAME prints every key; docs/stacks-and-profiles.md says what they mean");
    }
    let error = Error::new(
        Kind::Usage,
        format!("`{shown}` is not a known option, variable or setting"),
    );
    if let Some(hint) = foreign::explained(asked) {
        return error.hint(hint);
    }
    if let Some(hint) = foreign::explained_value(asked) {
        return error.hint(hint);
    }
    if let Some(library) = is_variable(asked).then(|| asked.split('_').next().unwrap_or(asked)) {
        return error.hint(if library == "DSR1" {
            format!("{asked} is read by dsr1 itself, from the environment: dsr1 help")
        } else if matches!(library, "XDG" | "DOCKER" | "HTTP" | "HTTPS") {
            format!("{asked} is read by dsr1 and other programs, from the environment, not by SGLang")
        } else if matches!(library, "SGLANG" | "SGL") {
            let near = spelling::nearest(asked, variables().names());
            near.map_or_else(
                || "no known version of SGLang reads this variable".to_owned(),
                |near| format!("did you mean `{near}`?"),
            )
        } else {
            format!("a variable of {library}, not of SGLang: a profile sets it below engine.env")
        });
    }
    let options = [Parser::Server, Parser::Bench]
        .into_iter()
        .flat_map(|parser| history(parser).names());
    let known = options
        .chain(words().environment.keys().map(String::as_str))
        .chain(words().knobs());
    let near = spelling::nearest_option(asked, known).map(|name| format!("did you mean `{name}`?"));
    error.hint(near.unwrap_or_else(|| "dsr1 profiles new NAME lists the settings of profiles".to_owned()))
}

/// Returns true for a name that is spelt as a variable: capitals with `_`.
fn is_variable(name: &str) -> bool {
    name.contains('_')
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Returns the options that `asked` names: the option of that name, or the options that a setting becomes.
fn options(parser: Parser, asked: &str) -> Vec<String> {
    let known = history(parser).lifetime(asked).is_some() || words().named(parser, asked).is_some();
    if known || history(parser).names().any(|name| name == asked) {
        return vec![asked.to_owned()];
    }
    let of_knob = |word: &Word| {
        let knob = word.knob.as_deref().unwrap_or_default();
        knob == asked || knob.strip_prefix(asked).is_some_and(|rest| rest.starts_with('.'))
    };
    let of_setting: Vec<String> = words()
        .names(parser)
        .filter(|name| words().named(parser, name).is_some_and(of_knob))
        .map(str::to_owned)
        .collect();
    if !of_setting.is_empty() {
        return of_setting;
    }
    // `tp_size` and `tp` mean `--tp-size`.
    let as_option = format!("--{}", foreign::plain(asked).replace('_', "-"));
    if history(parser).names().any(|name| name == as_option) {
        return vec![as_option];
    }
    let full = history(parser).full_name(&as_option);
    let meant = foreign::equal_of(asked).map(|equal| equal.option);
    let is_meant = |full: &String| match meant {
        Some(option) => option.split(' ').next() == Some(full),
        // argparse takes a short form of an option; a bare word is none.
        None => asked.starts_with("--"),
    };
    full.filter(is_meant).into_iter().collect()
}

fn option_subject(catalog: &Catalog, parser: Parser, name: &str) -> Result<Subject> {
    let history = history(parser);
    let spec = history.newest(name);
    let names = spec.map_or_else(|| vec![name.to_owned()], |spec| spec.names.clone());
    let mut stacks = Vec::new();
    for stack in catalog.stacks() {
        let table = history.table(stack.pins.sglang);
        stacks.push((
            stack.name.clone(),
            table.get(name).filter(|spec| !spec.rejects).cloned(),
        ));
    }
    let mut used_by = Vec::new();
    for profile in catalog.profiles()?.iter().filter(|_| parser == Parser::Server) {
        let stack = catalog.stack(&profile.stack)?;
        for engine in profile.engines() {
            for flag in render(&engine, stack.pins.sglang).args {
                let used = Use {
                    profile: profile.name.clone(),
                    stack: stack.name.clone(),
                    value: flag.words.iter().skip(1).cloned().collect::<Vec<_>>().join(" "),
                };
                let is_named = flag.words.first().is_some_and(|word| names.contains(word));
                if is_named && !used_by.contains(&used) {
                    used_by.push(used);
                }
            }
        }
    }
    Ok(Subject {
        kind: match parser {
            Parser::Server => "server option",
            Parser::Bench => "client option",
        },
        word: words()
            .option(parser, &names)
            .or_else(|| words().named(parser, name))
            .cloned(),
        lifetime: names.iter().find_map(|name| history.lifetime(name)),
        deprecated: history.deprecated_since(name),
        names,
        stacks,
        used_by,
    })
}

fn variable_subject(catalog: &Catalog, name: &str, word: &Word) -> Result<Subject> {
    let mut used_by = Vec::new();
    for profile in catalog.profiles()? {
        let stack = catalog.stack(&profile.stack)?;
        for engine in profile.engines() {
            let Some(variable) = render(&engine, stack.pins.sglang).env.remove(name) else {
                continue;
            };
            let used = Use {
                profile: profile.name.clone(),
                stack: stack.name.clone(),
                value: variable.value,
            };
            if !used_by.contains(&used) {
                used_by.push(used);
            }
        }
    }
    Ok(Subject {
        kind: "variable",
        names: vec![name.to_owned()],
        lifetime: Some(Lifetime {
            since: word.since,
            until: None,
            gone: word.gone,
        }),
        deprecated: word.deprecated,
        word: Some(word.clone()),
        stacks: Vec::new(),
        used_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_an_option_and_a_variable_are_explained() {
        let catalog = Catalog::load(None).unwrap();
        let by = |name| explain(&catalog, name).unwrap().subjects;
        let option = by("--mem-fraction-static");
        assert_eq!(by("mem_fraction"), option);
        assert!(
            option[0]
                .used_by
                .iter()
                .any(|one| one.profile == "fp8-high-throughput" && one.value == "0.89")
        );
        let runner = by("moe_runner");
        let names: Vec<&str> = runner.iter().map(|subject| subject.names[0].as_str()).collect();
        assert!(
            names.contains(&"--moe-runner-backend") && names.contains(&"SGLANG_CUTLASS_MOE"),
            "{names:?}"
        );
        assert_eq!(by("--tp-size")[0].word.as_ref().unwrap().unit, "GPUs");
        let error = explain(&catalog, "--mem-fraction-statik").unwrap_err();
        assert_eq!(error.hints(), ["did you mean `--mem-fraction-static`?"]);
    }

    #[test]
    fn an_option_of_another_engine_names_the_right_one() {
        let catalog = Catalog::load(None).unwrap();
        let foreign = explain(&catalog, "--save-result").unwrap();
        assert_eq!(foreign.subjects[0].lifetime, None);
        assert_eq!(
            foreign.subjects[0].word.as_ref().unwrap().instead.as_deref(),
            Some("--output-file FILE")
        );
    }
}
