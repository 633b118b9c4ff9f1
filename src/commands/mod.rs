//! The commands, one file each: gather facts, plan, print the plan or carry it out, report.
//!
//! Not in this module tree: effects (`effects`), the form of the output (`ui`).

mod ask;
mod bench;
mod build;
mod bundle;
mod chat;
mod clean;
mod cluster;
mod context;
mod diagnose;
mod docs;
mod doctor;
mod eval;
mod events;
mod explain;
mod export;
mod expose;
mod flags;
mod hints;
mod image;
mod lock;
mod logs;
mod mirror;
mod monitoring;
mod place;
mod plan;
mod profiles;
mod pull;
mod repo;
mod restart;
mod serve;
mod stacks;
mod status;
mod stop;
mod tips;
mod top;
mod up;
mod up_request;
mod upgrade;
mod watch;
mod weights;

use std::ffi::OsString;

use clap::Parser;
use context::Context;

use crate::cli::{Cli, Command, Format, SHORT_HELP};
use crate::effects::env::Env;
use crate::error::{Error, Kind, Result};
use crate::ui;

/// The program: parses the command line, runs the command, and prints its error. Returns the exit code. A wrong command
/// line, `--help` and `--version` end the process.
pub fn main(args: impl IntoIterator<Item = OsString>, env: impl FnOnce() -> Env) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let (format, color, result) = match Cli::try_parse_from(&args) {
        Ok(cli) => {
            let env = env();
            let color = !env.no_color && !env.dumb_terminal;
            (cli.output.format, color, run(cli, env))
        }
        // In JSON a wrong command line is an error like any other; for people the text of clap is better.
        Err(error) if error.use_stderr() && wants_json(&args) => (
            Format::Json,
            false,
            Err(usage_error(&tips::improve(error, &args, usize::MAX))),
        ),
        // `dsr1` alone asks for an overview; the whole help would scroll it away.
        Err(error) if args.len() == 1 && error.use_stderr() => {
            ui::print_help(SHORT_HELP);
            return Kind::Usage.exit_code();
        }
        Err(error) => tips::improve(error, &args, ui::columns_of_errors()).exit(),
    };
    result.map_or_else(
        |error| {
            let error = hints::fit(error, &args);
            ui::print_error(&error, format, color);
            error.kind().exit_code()
        },
        |()| 0,
    )
}

/// Carries out a command line.
fn run(cli: Cli, env: Env) -> Result<()> {
    match cli.command {
        // These need no runtime, no network and no facts.
        Command::Help(args) => return docs::help(&args),
        Command::Completions(args) => return docs::completions(&args),
        Command::Man(args) => return docs::man(&args, &env),
        _ => {}
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Logs(_)) {
        // A daemon sends a log line by line: on one thread the connection and its reader do not wake each other up.
        runtime.worker_threads(1);
    }
    let runtime = runtime.enable_all().build().map_err(|error| {
        Error::new(Kind::Internal, "cannot start the async runtime").cause(error.to_string())
    })?;
    let done = runtime.block_on(async {
        let context = Context::new(cli.output, env);
        // Large futures go on the heap.
        match cli.command {
            Command::Up(args) => Box::pin(up::run(&context, *args)).await,
            Command::Plan(args) => Box::pin(plan::run(&context, args)).await,
            Command::Export(args) => Box::pin(export::run(&context, *args)).await,
            Command::Expose(args) => Box::pin(expose::run(&context, args)).await,
            Command::Monitoring(args) => Box::pin(monitoring::run(&context, args)).await,
            Command::Doctor(args) => Box::pin(doctor::run(&context, args)).await,
            Command::Build(args) => Box::pin(build::run(&context, args)).await,
            Command::Clean(args) => Box::pin(clean::run(&context, args)).await,
            Command::Image(args) => image::run(&context, args).await,
            Command::Pull(args) => Box::pin(pull::run(&context, args)).await,
            Command::Weights(args) => weights::run(&context, args).await,
            Command::Mirror(args) => mirror::run(&context, args).await,
            Command::Serve(args) => Box::pin(serve::run(&context, args)).await,
            Command::Status(args) => status::run(&context, args).await,
            Command::Top(args) => Box::pin(top::run(&context, args)).await,
            Command::Diagnose(args) => diagnose::run(&context, args).await,
            Command::Bundle(args) => Box::pin(bundle::run(&context, args)).await,
            Command::Events(args) => events::run(&context, args).await,
            Command::Logs(args) => logs::run(&context, args).await,
            Command::Restart(args) => Box::pin(restart::run(&context, args)).await,
            Command::Watch(args) => Box::pin(watch::run(&context, args)).await,
            Command::Upgrade(args) => Box::pin(upgrade::run(&context, args)).await,
            Command::Stop(args) => stop::run(&context, args).await,
            Command::Ask(args) => ask::run(&context, args).await,
            Command::Chat(args) => Box::pin(chat::run(&context, args)).await,
            Command::Bench(args) => Box::pin(bench::run(&context, &args)).await,
            Command::Eval(args) => eval::run(&context, args).await,
            Command::Profiles(args) => profiles::run(&context, args).await,
            Command::Stacks(args) => stacks::run(&context, args),
            Command::Explain(args) => explain::run(&context, &args),
            Command::Lock(args) => lock::lock(&context, args).await,
            Command::Check(args) => lock::check(&context, args).await,
            Command::Flags(args) => Box::pin(flags::run(&context, args)).await,
            Command::Help(_) | Command::Completions(_) | Command::Man(_) => Ok(()),
        }
    });
    // A worker may block in a system call whose result nobody needs (a name that does not resolve).
    runtime.shutdown_background();
    done
}

/// Returns true if the arguments, which are otherwise wrong, ask for JSON.
fn wants_json(args: &[OsString]) -> bool {
    let in_two_words = args
        .windows(2)
        .any(|pair| pair[0] == "--format" && pair[1] == "json");
    in_two_words || args.iter().any(|arg| arg == "--format=json")
}

/// Converts the error of clap about a wrong command line.
fn usage_error(error: &clap::Error) -> Error {
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
