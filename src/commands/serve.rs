//! `dsr1 serve`: starts one server and verifies it.

use super::context::Context;
use super::lock;
use crate::cli::ServeArgs;
use crate::effects::{LogPart, signal};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::plan::{self, DRAIN_S, Server, Step};
use crate::ui;

/// Runs the command.
pub(super) async fn run(context: &Context, args: ServeArgs) -> Result<()> {
    let read = |path| lock::read(path, "--locked FILE");
    let locked = args.locked.as_deref().map(read).transpose()?;
    let server = match &locked {
        Some(locked) => lock::as_locked(args.server, locked),
        None => args.server,
    };
    let (request, facts, notes) = Box::pin(context.server_request(&server, locked.is_some(), None)).await?;
    if let Some(locked) = &locked {
        lock::refuse(context, locked, &request, &facts)?;
    }
    let mut plan = plan::serve(&request, &facts)?;
    plan.notes.splice(0..0, notes);
    let print = server.plan.dry_run || server.plan.facts.is_some();
    context.print_or_finish(&plan, print).await?;
    let started = plan.steps.iter().find_map(|step| match step {
        Step::AwaitReady(step) => Some(&step.server),
        _ => None,
    });
    match started {
        Some(server) if args.foreground && !print => attach(context, server).await,
        _ => Ok(()),
    }
}

/// Prints the log until the server ends or the user interrupts, which stops the server.
async fn attach(context: &Context, server: &Server) -> Result<()> {
    let format = context.output.format;
    let mut on_lines =
        |lines: &[String]| ui::print_log_lines(server.name(), lines.iter().map(String::as_str), format);
    let part = LogPart {
        follow: true,
        ..LogPart::last(0)
    };
    let log = context.effects.logs(server, part, &mut on_lines);
    tokio::select! {
        ended = log => {
            ended?;
            Err(if context.effects.was_stopped(server).await {
                Error::new(Kind::Server, format!("{} was stopped", server.name()))
                    .cause("dsr1 stop stopped it, from another terminal or a script")
            } else {
                Error::new(Kind::Server, format!("{} ended", server.name())).cause("it ended by itself")
            })
        }
        name = signal::wait() => {
            let name = name?;
            tokio::select! {
                stopped = context.effects.stop(server, DRAIN_S) => { stopped?; }
                // A second signal does not wait for running requests.
                _ = signal::wait() => { context.effects.stop(server, 0).await?; }
            }
            let text = format!("{} stopped by {name}", server.name());
            if context.is_json() {
                return Err(Error::new(Kind::Interrupted, text));
            }
            // Who ends an attached server wants to end it.
            context.display().event(&Event::Note { text: text.clone() });
            Err(Error::new(Kind::Interrupted, text).reported_if(true))
        }
    }
}
