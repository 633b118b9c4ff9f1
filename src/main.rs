//! The `dsr1` program: parse, run, show the error, exit code. Not in this module: any command (`commands`).

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
        // In JSON a wrong command line is an error like any other; clap tells people better.
        Err(error) if error.use_stderr() && commands::wants_json(std::env::args()) => {
            (Format::Json, false, Err(commands::usage(&error)))
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
