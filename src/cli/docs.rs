//! Arguments of `help`, `completions` and `man`.

use std::ffi::OsString;

use clap::Args;

/// Arguments of `help`.
#[derive(Debug, Clone, Args)]
pub struct HelpArgs {
    /// The command and its subcommand.
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Shell.
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// A command, whose page is shown on a terminal and printed elsewhere; or a directory for all pages, named with a slash
    /// unless it exists.
    #[arg(value_name = "COMMAND|DIR")]
    pub page: Vec<OsString>,
}
