//! Hints of an error, made to fit the command that failed: the code that met the failure serves several commands, and an
//! option that it names is not one of each.

use std::ffi::OsString;

use clap::{Command, CommandFactory};

use crate::cli::Cli;
use crate::error::Error;

/// Returns the error with hints that name only options of the command in `args`.
pub(super) fn fit(error: Error, args: &[OsString]) -> Error {
    let root = Cli::command();
    let command = command_of(&root, args);
    let hints = error
        .hints()
        .iter()
        .map(|hint| fitted(hint, &root, command))
        .collect();
    error.with_hints(hints)
}

/// Returns the command that the arguments name.
fn command_of<'a>(root: &'a Command, args: &[OsString]) -> &'a Command {
    let words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    let mut command = root;
    for word in words.take_while(|word| *word != "--") {
        if let Some(found) = command.find_subcommand(word) {
            command = found;
        }
    }
    command
}

/// Returns a hint without the alternatives that the command does not have. If it has none of them, each option is named with
/// the command that has it.
fn fitted(hint: &str, root: &Command, command: &Command) -> String {
    let is_foreign = |option: &&str| !has(command, option) && owner(root, option).is_some();
    let fits = |part: &&str| !options(part).any(|option| is_foreign(&option));
    if fits(&hint) {
        return hint.to_owned();
    }
    let fitting: Vec<&str> = hint.split(", or ").filter(fits).collect();
    if !fitting.is_empty() {
        return fitting.join(", or ");
    }
    let mut text = hint.to_owned();
    let foreign: Vec<&str> = options(hint).filter(is_foreign).collect();
    for option in foreign {
        if let Some(owner) = owner(root, option) {
            text = text.replacen(option, &format!("{option} (of {owner})"), 1);
        }
    }
    text
}

/// Returns the options that a text names for the command at hand, and not in a line for another program.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split([',', ';', ':', '(', ')']);
    let of_this = parts.filter(|part| {
        let mut words = part.split_whitespace();
        !words.any(|word| {
            matches!(
                word.trim_start_matches('`'),
                "dsr1" | "docker" | "sudo" | "nvidia-ctk" | "pip"
            )
        })
    });
    of_this
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches(['`', '\'', '.', '?']))
        .map(|word| word.split('=').next().unwrap_or(word))
        .filter(|word| word.len() > 2 && word.starts_with("--"))
}

fn has(command: &Command, option: &str) -> bool {
    let name = option.trim_start_matches("--");
    let is_its = |arg: &clap::Arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
    };
    matches!(name, "help" | "version" | "format" | "progress") || command.get_arguments().any(is_its)
}

/// Returns the name of the first command that has an option; `None` if it is not one of dsr1.
fn owner(root: &Command, option: &str) -> Option<String> {
    fn search(command: &Command, line: &str, option: &str) -> Option<String> {
        if has(command, option) {
            return Some(line.to_owned());
        }
        command
            .get_subcommands()
            .find_map(|below| search(below, &format!("{line} {}", below.get_name()), option))
    }
    // Most are about downloads, which `pull` is for.
    let pull = root.find_subcommand("pull").filter(|pull| has(pull, option));
    pull.map(|_| "dsr1 pull".to_owned())
        .or_else(|| search(root, "dsr1", option))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(line: &str, text: &str) -> String {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let root = Cli::command();
        fitted(text, &root, command_of(&root, &args))
    }

    #[test]
    fn an_option_of_another_command_is_not_named_as_one_of_this() {
        let text = "add yourself to its group (sudo usermod -aG docker $USER, then log in again), or use --runtime process";
        let first = "add yourself to its group (sudo usermod -aG docker $USER, then log in again)";
        assert_eq!(hint("dsr1 image list", text), first);
        assert_eq!(hint("dsr1 --format json up rehearsal", text), text);
        let text = "point HF_HOME or --local-dir at a larger disk";
        assert_eq!(hint("dsr1 pull a/b", text), text);
        assert_eq!(
            hint("dsr1 up fp8", text),
            "point HF_HOME or --local-dir (of dsr1 pull) at a larger disk"
        );
        for text in [
            "dsr1 weights verify finds corrupt files, and --repair fetches them again",
            "leave out --tp-size, or use --mem-fraction-static 0.8",
            "install it, then: sudo nvidia-ctk runtime configure --runtime=docker",
            "set HF_TOKEN",
        ] {
            let line = if text.contains("--repair") {
                "dsr1 weights verify x"
            } else {
                "dsr1 serve x"
            };
            assert_eq!(hint(line, text), text);
        }
    }
}
