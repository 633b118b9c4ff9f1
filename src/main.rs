//! The `dsr1` program.

use std::process::ExitCode;

use dsr1::commands;
use dsr1::effects::env::Env;

fn main() -> ExitCode {
    ExitCode::from(commands::main(std::env::args_os(), Env::read))
}
