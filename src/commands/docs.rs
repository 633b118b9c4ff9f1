//! `dsr1 help`, `dsr1 completions` and `dsr1 man`, made from the definition of the command line.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs, HelpArgs, ManArgs};
use crate::effects::env::Env;
use crate::effects::process::manual;
use crate::error::{At, Error, Kind, Result};
use crate::ui;

/// Prints the help of a command, as its `--help` does.
pub(super) fn help(args: &HelpArgs) -> Result<()> {
    let mut whole = Cli::command();
    // Without this, a command does not know the names of its parents.
    whole.build();
    let mut command = &mut whole;
    for name in &args.command {
        let found = command.find_subcommand_mut(name).ok_or_else(|| {
            let line = args.command.join(" ");
            Error::new(
                Kind::Usage,
                format!("there is no command `{}`", line.escape_debug()),
            )
            .hint("dsr1 --help lists the commands")
        });
        command = found?;
    }
    ui::print(&command.render_long_help().to_string())
}

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dsr1", &mut script);
    ui::print(&String::from_utf8_lossy(&script))
}

/// Shows `dsr1(1)` on a terminal, prints its text elsewhere, or writes it and a page for each command to a directory.
pub(super) fn man(args: &ManArgs, env: &Env) -> Result<()> {
    let failed = || "cannot write the manual".to_owned();
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).at(Kind::Host, failed)?;
        return clap_mangen::generate_to(Cli::command(), dir).at(Kind::Host, failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .at(Kind::Internal, failed)?;
    let page = String::from_utf8_lossy(&page);
    if ui::is_live() {
        match manual::show(env, &page)? {}
    }
    ui::print(&page)
}
