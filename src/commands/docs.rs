//! `dsr1 help`, `dsr1 completions` and `dsr1 man`, made from the definition of the command line.

use std::ffi::OsStr;
use std::path::Path;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory};

use super::tips;

use crate::cli::{Cli, CompletionsArgs, HelpArgs, ManArgs};
use crate::effects::env::Env;
use crate::effects::process::manual;
use crate::effects::user_files;
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
            let mut all = Cli::command();
            all.build();
            write_pages(&all, Path::new(dir))?;
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
    let page = page(command)?;
    if ui::is_live() {
        match manual::show(env, &page)? {}
    }
    ui::print(&page)
}

/// Writes the page of a command and those of its subcommands: `dsr1-image-prune.1`.
fn write_pages(command: &Command, dir: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = dir.join(format!("{name}.1"));
    user_files::write(&file, &page(command.clone())?, true)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, dir)?;
    }
    Ok(())
}

/// Returns the manual page of a command. Its synopsis is the usage line of the help, because the one of `clap_mangen` has
/// neither the values of options nor the `--` before the arguments of the engine.
fn page(mut command: Command) -> Result<String> {
    const SYNOPSIS: &str = ".SH SYNOPSIS\n";
    let usage = command.render_usage().to_string();
    let usage = usage
        .trim_start_matches("Usage:")
        .trim()
        .replace('\\', "\\e")
        .replace('-', "\\-");
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .at(Kind::Internal, || "cannot write the manual".to_owned())?;
    let page = String::from_utf8_lossy(&page).into_owned();
    let Some((before, rest)) = page.split_once(SYNOPSIS) else {
        return Ok(page);
    };
    let after = rest.find("\n.SH ").map_or("", |at| &rest[at + 1..]);
    Ok(format!("{before}{SYNOPSIS}{usage}\n{after}"))
}

/// Returns true for a word that means a directory: it has a slash, or the directory exists.
fn is_directory(word: &OsStr) -> bool {
    word.as_encoded_bytes().contains(&b'/') || Path::new(word).is_dir()
}
