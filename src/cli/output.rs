//! The forms of results and progress.

use clap::{Args, ValueEnum};

/// The forms of output.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Form of the result on stdout.
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    pub format: Format,
    /// Form of the progress on stderr; auto is tty on a terminal and plain elsewhere.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "FORM")]
    pub progress: Progress,
}

/// Form of a result on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document with a `schema` field.
    Json,
}

/// Form of the progress on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Live on a terminal, plain elsewhere.
    Auto,
    /// Live lines and bars.
    Tty,
    /// One line per event, with everything that children print.
    Plain,
    /// Warnings only.
    Quiet,
    /// One JSON object per event.
    Json,
}
