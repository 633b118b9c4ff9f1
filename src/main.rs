//! The `dsr1` program: parses the command line, runs the command, shows its error and returns the exit code.

use std::process::ExitCode;

use clap::Parser;
use dsr1::cli::{Cli, Format};
use dsr1::effects::env::Env;
use dsr1::{commands, ui};

fn main() -> ExitCode {
    let (format, color, result) = match Cli::try_parse() {
        Ok(cli) => {
            let env = Env::read();
            let color = !env.no_color && !env.dumb_terminal;
            (cli.output.format, color, commands::run(cli, env))
        }
        // In JSON a wrong command line is an error like any other; for people the text of clap is better.
        Err(error) if error.use_stderr() && commands::wants_json(std::env::args()) => {
            (Format::Json, false, Err(commands::usage_error(&error)))
        }
        Err(error) => error.exit(),
    };
    result.map_or_else(
        |error| {
            ui::print_error(&error, format, color);
            ExitCode::from(error.kind().exit_code())
        },
        |()| ExitCode::SUCCESS,
    )
}
