//! The commands, one file each: gather facts, plan, print the plan or carry it out, report.
//!
//! Not in this module tree: effects (`effects`), the form of the output (`ui`).

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
/// The error of the command; the caller prints it and takes the exit code from its kind.
pub fn run(cli: Cli, env: Env) -> Result<()> {
    match cli.command {
        // These need no runtime, no network and no facts.
        Command::Help(args) => return docs::help(&args),
        Command::Completions(args) => return docs::completions(&args),
        Command::Man(args) => return docs::man(&args),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Error::new(Kind::Internal, "cannot start the async runtime").cause(error.to_string())
    })?;
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
            // A larger future than the others: it holds an attached server.
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
    // A worker may block in a system call whose result nobody needs (a name that does not resolve).
    runtime.shutdown_background();
    done
}

/// Returns true if the arguments, which are otherwise wrong, ask for JSON.
pub fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.collect();
    let in_two_words = args
        .windows(2)
        .any(|pair| pair[0] == "--format" && pair[1] == "json");
    in_two_words || args.iter().any(|arg| arg == "--format=json")
}

/// Converts the error of clap about a wrong command line.
#[must_use]
pub fn usage_error(error: &clap::Error) -> Error {
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
