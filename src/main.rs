//! The `dsr1` program: parse, run, show the error, exit code.

use std::process::ExitCode;

use clap::Parser;
use dsr1::cli::Cli;
use dsr1::engine::env::Env;
use dsr1::{commands, ui};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.output.format;
    let env = Env::read();
    let color = !env.no_color && !env.dumb_terminal;
    match commands::run(cli, env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::print_error(&error, format, color);
            ExitCode::from(error.kind().exit_code())
        }
    }
}
