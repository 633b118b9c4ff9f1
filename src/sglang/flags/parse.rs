//! Reads a command line as Python's argparse does with the table of one version.
//!
//! The rules are those of Python 3.11's `argparse.ArgumentParser` with `allow_abbrev`, which SGLang leaves on: an
//! exact name wins, else the prefix of exactly one name. The tests give the same lines to SGLang's real parsers.

use crate::sglang::flags::{Kind, OptionSpec, Table};

/// One option of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The option as it was typed, without its value.
    pub typed: &'a str,
    /// Its spellings in this version.
    pub names: &'a [String],
    /// Its values.
    pub values: Vec<&'a str>,
}

/// A command line that was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed<'a> {
    /// The options, in order.
    pub settings: Vec<Setting<'a>>,
    /// Errors, and spellings that work but should not be relied on.
    pub problems: Vec<Problem<'a>>,
}

/// A problem with one argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem<'a> {
    /// No option of that name.
    Unknown(&'a str),
    /// The prefix of several options.
    Ambiguous(&'a str, Vec<&'a str>),
    /// A value that belongs to no option.
    Stray(&'a str),
    /// No value follows.
    MissingValue(&'a str),
    /// A value for a switch.
    UnexpectedValue(&'a str),
    /// The value cannot be converted.
    WrongType(&'a str, &'a str, &'a str),
    /// The value is not one of the choices.
    WrongChoice(&'a str, &'a str, &'a OptionSpec),
    /// An option that SGLang knows and refuses.
    Rejected(&'a str, &'a OptionSpec),
    /// A required option is missing.
    Required(&'a str),
    /// The prefix of one option: accepted, but the next version may not accept it.
    Abbreviated(&'a str, &'a str),
    /// A deprecated option, which is accepted.
    Deprecated(&'a str, &'a OptionSpec),
}

impl Problem<'_> {
    /// Returns true if SGLang would not start.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::Abbreviated(..) | Self::Deprecated(..))
    }

    /// Returns the option or argument that it is about, as typed.
    #[must_use]
    pub const fn subject(&self) -> &str {
        match self {
            Self::Unknown(name)
            | Self::Ambiguous(name, _)
            | Self::Stray(name)
            | Self::MissingValue(name)
            | Self::UnexpectedValue(name)
            | Self::WrongType(name, ..)
            | Self::WrongChoice(name, ..)
            | Self::Rejected(name, _)
            | Self::Required(name)
            | Self::Abbreviated(name, _)
            | Self::Deprecated(name, _) => name,
        }
    }
}

impl Parsed<'_> {
    /// Returns the last setting of the option that has this spelling.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting<'_>> {
        self.settings
            .iter()
            .rev()
            .find(|setting| setting.names.iter().any(|known| known == name))
    }

    /// Returns the first value of an option.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.get(name)?.values.first().copied()
    }

    /// Returns true if an option is set.
    #[must_use]
    pub fn has_option(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns true if SGLang would accept the line.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        !self.problems.iter().any(Problem::is_fatal)
    }
}

impl<'a> Table<'a> {
    /// Reads `args`, which are without the program's name.
    #[must_use]
    pub fn parse(&self, args: &'a [String]) -> Parsed<'a> {
        let mut parsed = Parsed::default();
        let mut rest = args.iter().map(String::as_str).peekable();
        while let Some(arg) = rest.next() {
            let Some((name, attached)) = split_option(arg) else {
                parsed.problems.push(Problem::Stray(arg));
                continue;
            };
            let spec = match self.find(arg, name, attached.is_some()) {
                Ok((spec, None)) => spec,
                Ok((spec, Some(full))) => {
                    parsed.problems.push(Problem::Abbreviated(name, full));
                    spec
                }
                Err(problem) => {
                    parsed.problems.push(problem);
                    while rest.next_if(|value| split_option(value).is_none()).is_some() {}
                    continue;
                }
            };
            let mut values: Vec<&str> = attached.into_iter().collect();
            if attached.is_none() {
                let most = match (spec.kind, spec.nargs.as_deref()) {
                    (Kind::Switch | Kind::SwitchPair, _) => 0,
                    (Kind::Store, Some("+" | "*")) => usize::MAX,
                    (Kind::Store, _) => 1,
                };
                while values.len() < most
                    && let Some(value) = rest.next_if(|value| split_option(value).is_none())
                {
                    values.push(value);
                }
            }
            check(name, &values, spec, &mut parsed.problems);
            parsed.settings.push(Setting {
                typed: name,
                names: &spec.names,
                values,
            });
        }
        for spec in self.options().filter(|spec| spec.required) {
            if !parsed.has_option(&spec.names[0]) {
                parsed.problems.push(Problem::Required(&spec.names[0]));
            }
        }
        parsed
    }

    /// Returns the option that `name` means, and its full name if it was abbreviated.
    fn find(
        &self,
        arg: &'a str,
        name: &'a str,
        attached: bool,
    ) -> Result<(&'a OptionSpec, Option<&'a str>), Problem<'a>> {
        // argparse tries the whole argument first, although no name holds `=`.
        if let Some(spec) = self.get(arg).or_else(|| self.get(name)) {
            return Ok((spec, None));
        }
        let shown = if attached { name } else { arg };
        if !name.starts_with("--") {
            return Err(Problem::Unknown(shown));
        }
        let candidates: Vec<(&str, &OptionSpec)> = self
            .names
            .range(name..)
            .take_while(|(known, _)| known.starts_with(name))
            .map(|(known, spec)| (*known, *spec))
            .collect();
        match candidates.as_slice() {
            [] => Err(Problem::Unknown(shown)),
            [(full, spec)] => Ok((spec, Some(full))),
            many => Err(Problem::Ambiguous(
                shown,
                many.iter().map(|(full, _)| *full).collect(),
            )),
        }
    }
}

/// Splits an option into its name and the attached value; `None` for a value.
fn split_option(arg: &str) -> Option<(&str, Option<&str>)> {
    let looks_like = arg.starts_with('-') && arg.len() > 1 && !is_negative_number(arg);
    if !looks_like {
        return None;
    }
    let (name, value) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    };
    // argparse takes an argument with a blank for a value, unless it names an option.
    (!name.contains(' ')).then_some((name, value))
}

/// Matches `^-\d+$|^-\d*\.\d+$`, argparse's own pattern.
fn is_negative_number(arg: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = arg.strip_prefix('-') else {
        return false;
    };
    match number.split_once('.') {
        None => !number.is_empty() && digits(number),
        Some((whole, part)) => digits(whole) && !part.is_empty() && digits(part),
    }
}

fn check<'a>(name: &'a str, values: &[&'a str], spec: &'a OptionSpec, problems: &mut Vec<Problem<'a>>) {
    if spec.rejects {
        return problems.push(Problem::Rejected(name, spec));
    }
    if spec.deprecated {
        problems.push(Problem::Deprecated(name, spec));
    }
    match spec.kind {
        Kind::Switch | Kind::SwitchPair if !values.is_empty() => {
            problems.push(Problem::UnexpectedValue(name));
        }
        Kind::Store if values.is_empty() && !matches!(spec.nargs.as_deref(), Some("*" | "?")) => {
            problems.push(Problem::MissingValue(name));
        }
        _ => {}
    }
    let kind = spec.value_type.as_deref().unwrap_or("str");
    for value in values.iter().filter(|_| spec.kind == Kind::Store) {
        if !converts(value, kind) {
            problems.push(Problem::WrongType(name, value, kind));
        } else if let Some(choices) = &spec.choices
            && !choices.iter().any(|choice| is_choice(value, choice))
        {
            problems.push(Problem::WrongChoice(name, value, spec));
        }
    }
}

/// Returns true if Python's converter accepts `value`. Unknown converters accept everything.
fn converts(value: &str, kind: &str) -> bool {
    match kind {
        // int() accepts blanks around the digits and underscores between them.
        "int" => {
            let text = value.trim();
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            !digits.is_empty()
                && digits
                    .split('_')
                    .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        }
        "float" => {
            let text = value.trim();
            let plain = text.replace('_', "");
            plain.parse::<f64>().is_ok() && !text.starts_with('_') && !text.ends_with('_')
        }
        // 25.6k, 1Mi (sglang.srt.utils.common.human_readable_int): a decimal point only without the `i`.
        "human_readable_int" => {
            let text = value.trim();
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.trim_end_matches(['k', 'M', 'G', 'T']);
            let decimal = number
                .split_once('.')
                .is_some_and(|(whole, part)| digits(whole) && digits(part));
            match text
                .strip_suffix("Ki")
                .or_else(|| text.strip_suffix("Mi"))
                .or_else(|| text.strip_suffix("Gi"))
            {
                Some(number) => digits(number),
                None if text.len() - number.len() == 1 => digits(number) || decimal,
                None => converts(text, "int"),
            }
        }
        "loads" | "json_list_type" => serde_json::from_str::<serde_json::Value>(value).is_ok(),
        _ => true,
    }
}

fn is_choice(value: &str, choice: &serde_json::Value) -> bool {
    match choice {
        serde_json::Value::String(text) => text == value,
        serde_json::Value::Number(number) => value
            .trim()
            .parse::<f64>()
            .ok()
            .is_some_and(|value| number.as_f64() == Some(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parser, history};
    use super::*;

    fn problems(version: &str, line: &str) -> Vec<String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let table = history(Parser::Server).table(version.parse().unwrap());
        let mut found: Vec<String> = table
            .parse(&args)
            .problems
            .iter()
            .filter(|problem| !matches!(problem, Problem::Required(_)))
            .map(|problem| {
                let name = format!("{problem:?}");
                let kind = name.split('(').next().unwrap();
                format!("{kind} {}", problem.subject())
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn lines_that_argparse_refuses_are_refused() {
        let none: [&str; 0] = [];
        assert_eq!(
            problems("0.5.23", "--tp-size 8 --ep=8 --disable-radix-cache"),
            none
        );
        assert_eq!(problems("0.5.23", "--tp 8"), ["Abbreviated --tp"]);
        assert_eq!(
            problems("0.5.23", "--cuda-graph-max-bs 8"),
            ["Ambiguous --cuda-graph-max-bs"]
        );
        assert_eq!(
            problems("0.5.23", "--attention-backend cutlass_mla"),
            ["WrongChoice --attention-backend"]
        );
        assert_eq!(problems("0.5.19", "--attention-backend cutlass_mla"), none);
        assert_eq!(problems("0.5.3", "--enable-ep-moe"), ["Rejected --enable-ep-moe"]);
        assert_eq!(problems("0.5.5", "--enable-ep-moe"), ["Unknown --enable-ep-moe"]);
        assert_eq!(
            problems("0.5.22", "--enable-dp-attention"),
            ["Deprecated --enable-dp-attention"]
        );
        assert_eq!(problems("0.5.23", "--tp-size"), ["MissingValue --tp-size"]);
        assert_eq!(problems("0.5.23", "--tp-size x"), ["WrongType --tp-size"]);
        assert_eq!(
            problems("0.5.23", "--disable-radix-cache=1"),
            ["UnexpectedValue --disable-radix-cache"]
        );
        assert_eq!(problems("0.5.23", "eight"), ["Stray eight"]);
        assert_eq!(problems("0.5.23", "--chunked-prefill-size -1"), none);
        assert_eq!(
            problems("0.5.23", "--cuda-graph-bs-decode 1 2 4 --tp-size 8"),
            none
        );
    }

    #[test]
    fn the_last_setting_wins_under_any_spelling() {
        let args: Vec<String> = ["--tensor-parallel-size", "4", "--tp-size=8"]
            .map(str::to_owned)
            .into();
        let table = history(Parser::Server).table("0.5.23".parse().unwrap());
        assert_eq!(table.parse(&args).value("--tensor-parallel-size"), Some("8"));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_without_panic(args in proptest::collection::vec("(--?[a-z=-]{0,12}|\\PC{0,8})", 0..8)) {
            let table = history(Parser::Server).table("0.5.23".parse().unwrap());
            let _ = table.parse(&args);
        }
    }
}
