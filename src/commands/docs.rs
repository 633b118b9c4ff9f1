//! `dsr1 help`, `dsr1 completions` and `dsr1 man`, made from the definition of the command line.

use std::ffi::OsStr;
use std::path::Path;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory};

use super::tips;

use crate::cli::{Cli, CompletionsArgs, HelpArgs, ManArgs};
use crate::effects::env::Env;
use crate::effects::process::manual;
use crate::error::{At, Error, Kind, Result};
use crate::profile::{built_in_profiles, built_in_stacks};
use crate::ui;

/// Prints the help of a command, as its `--help` does.
pub(super) fn help(args: &HelpArgs) -> Result<()> {
    let text = command_of(&args.command)?.render_long_help();
    ui::print(&text.to_string())
}

/// Returns the definition of the command of these names; that of dsr1 without any.
///
/// # Errors
/// [`Kind::Usage`] when there is none.
fn command_of(names: &[String]) -> Result<Command> {
    let mut command = Cli::command();
    // Without this, a command does not know the names of its parents.
    command.build();
    for (index, name) in names.iter().enumerate() {
        let found = command.find_subcommand(name).cloned().ok_or_else(|| {
            let error = Error::new(
                Kind::Usage,
                format!("there is no command `{}`", names.join(" ").escape_debug()),
            );
            error.hint(tips::for_command(name, &names[..index]).unwrap_or_else(|| {
                let parents: Vec<&str> = names[..index].iter().map(String::as_str).collect();
                let path = [&["dsr1"], &parents[..]].concat().join(" ");
                format!("{path} --help lists the commands")
            }))
        });
        command = found?;
    }
    Ok(command)
}

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    let mut command = with_names(Cli::command());
    clap_complete::generate(args.shell, &mut command, "dsr1", &mut script);
    ui::print(&String::from_utf8_lossy(&script))
}

/// Returns a command whose arguments offer the built-in names of profiles and stacks. Only a script for completion gets it: the
/// command itself takes other names, too.
fn with_names(command: Command) -> Command {
    let command = command.mut_args(|arg| match offered(&arg) {
        Some(names) => arg.value_parser(PossibleValuesParser::new(names)),
        None => arg,
    });
    command.mut_subcommands(with_names)
}

/// Returns the names that an argument takes, by the name of its value; `None` if it takes something else.
fn offered(arg: &Arg) -> Option<Vec<&'static str>> {
    let value = arg.get_value_names()?.first()?.as_str();
    match (value, arg.get_id().as_str()) {
        // A server has the name of its profile, unless the user gives it another one.
        ("PROFILE" | "SERVER", _) | (_, "profile" | "server") => Some(built_in_profiles().collect()),
        ("STACK", _) => Some(built_in_stacks().collect()),
        _ => None,
    }
}

/// Shows the page of a command on a terminal, prints its text elsewhere, or writes all pages to a directory.
pub(super) fn man(args: &ManArgs, env: &Env) -> Result<()> {
    let failed = || "cannot write the manual".to_owned();
    let names: Vec<String> = args
        .page
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let command = match (&args.page[..], command_of(&names)) {
        (_, Ok(command)) => command,
        ([dir], Err(_)) if is_directory(dir) => {
            std::fs::create_dir_all(dir).at(Kind::Host, failed)?;
            clap_mangen::generate_to(Cli::command(), dir).at(Kind::Host, failed)?;
            let dir = Path::new(dir).display();
            return ui::print(&format!(
                "the manual pages are in `{dir}`: man -l {dir}/dsr1.1 shows the first\n"
            ));
        }
        ([_], Err(error)) => {
            let hint = format!(
                "dsr1 man ./{} writes all pages to a folder of that name",
                names[0]
            );
            return Err(error.hint(hint));
        }
        (_, Err(error)) => return Err(error),
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .at(Kind::Internal, failed)?;
    let page = String::from_utf8_lossy(&page);
    if ui::is_live() {
        match manual::show(env, &page)? {}
    }
    ui::print(&page)
}

/// Returns true for a word that means a directory: it has a slash, or the directory exists.
fn is_directory(word: &OsStr) -> bool {
    word.as_encoded_bytes().contains(&b'/') || Path::new(word).is_dir()
}
