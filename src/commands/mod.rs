//! The commands, one file each: gather facts, plan, print the plan or carry it out, report.
//!
//! Not in this module tree: how anything is done (`effects`) or shown (`ui`).

mod ask;
mod bench;
mod build;
mod context;
mod docs;
mod doctor;
mod eval;
mod explain;
mod export;
mod flags;
mod image;
mod lock;
mod logs;
mod mirror;
mod plan;
mod profiles;
mod pull;
mod serve;
mod stacks;
mod status;
mod stop;
mod up;
mod weights;

use context::Context;

use crate::cli::{Cli, Command};
use crate::effects::env::Env;
use crate::error::{Error, Kind, Result};

/// Carries out a command line.
///
/// # Errors
/// Whatever the command fails with; the caller prints it and takes the exit code from its kind.
pub fn run(cli: Cli, env: Env) -> Result<()> {
    match cli.command {
        // These need no runtime, no network and no facts.
        Command::Help(args) => return docs::help(&args),
        Command::Completions(args) => return docs::completions(&args),
        Command::Man(args) => return docs::man(&args),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Error::new(Kind::Internal, "cannot start").cause(error.to_string()))?;
    let done = runtime.block_on(async {
        let context = Context::new(cli.output, env);
        match cli.command {
            Command::Up(args) => up::run(&context, args).await,
            Command::Plan(args) => plan::run(&context, args).await,
            Command::Export(args) => export::run(&context, args).await,
            Command::Doctor(args) => doctor::run(&context, args).await,
            Command::Build(args) => Box::pin(build::run(&context, args)).await,
            Command::Image(args) => image::run(&context, args).await,
            Command::Pull(args) => Box::pin(pull::run(&context, args)).await,
            Command::Weights(args) => weights::run(&context, args).await,
            Command::Mirror(args) => mirror::run(&context, args).await,
            // Larger than the others: it holds an attached server.
            Command::Serve(args) => Box::pin(serve::run(&context, args)).await,
            Command::Status => status::run(&context).await,
            Command::Logs(args) => logs::run(&context, args).await,
            Command::Stop(args) => stop::run(&context, args).await,
            Command::Ask(args) => ask::run(&context, args).await,
            Command::Bench(args) => bench::run(&context, args).await,
            Command::Eval(args) => eval::run(&context, args).await,
            Command::Profiles(args) => profiles::run(&context, args).await,
            Command::Stacks(args) => stacks::run(&context, args),
            Command::Explain(args) => explain::run(&context, &args),
            Command::Lock(args) => lock::lock(&context, args).await,
            Command::Check(args) => lock::check(&context, args).await,
            Command::Flags(args) => flags::run(&context, args).await,
            Command::Help(_) | Command::Completions(_) | Command::Man(_) => Ok(()),
        }
    });
    // A worker may sit in a system call that nobody waits for any more (a name that does not resolve).
    runtime.shutdown_background();
    done
}

/// Whether the arguments ask for JSON, when they are otherwise wrong.
pub fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.collect();
    let apart = args
        .windows(2)
        .any(|pair| pair[0] == "--format" && pair[1] == "json");
    apart || args.iter().any(|arg| arg == "--format=json")
}

/// What clap says of a wrong command line, as an error of ours.
#[must_use]
pub fn usage(error: &clap::Error) -> Error {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    let tip = lines.find_map(|line| line.strip_prefix("tip: "));
    Error::new(Kind::Usage, message).hint(tip.unwrap_or("dsr1 --help").to_owned())
}
