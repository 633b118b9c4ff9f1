//! Arguments of `help`, `completions` and `man`.

use std::path::PathBuf;

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
    /// Directory for the pages; without it `dsr1(1)` is shown on a terminal, and printed elsewhere.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
