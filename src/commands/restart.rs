//! `dsr1 restart`: starts a server again with the plan that started it.

use super::context::Context;
use super::status::probe;
use crate::cli::RestartArgs;
use crate::effects::{Holdings, ServerTask};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::plan::{self, Plan, Server, Step, StopServer};
use crate::report::{ServerState, ServerStatus};
use crate::units::counted;

/// Runs the command.
pub(super) async fn run(context: &Context, args: RestartArgs) -> Result<()> {
    let (name, status) = find_plan(context, args.which.server.as_deref()).await?;
    let plan = context.effects.kept_plan(&name)?;
    if args.dry_run {
        return context.print_or_finish(&plan, true).await;
    }
    let _alone = context.effects.lock_server(&name, ServerTask::Restart)?;
    if let Some(status) = status {
        tell_requests(context, &status, args.drain);
    }
    if let Some((server, port)) = plan::server_of(&plan) {
        stop_all(context, server, port, args.drain).await?;
    }
    context.finish(&plan).await
}

/// Stops a server if it is there, and waits until nothing of it is left.
///
/// # Errors
/// [`Kind::Host`] when something is left.
pub(super) async fn stop_all(context: &Context, server: &Server, port: u16, drain_s: u32) -> Result<()> {
    let held = context.effects.holdings(server, port).await;
    if context.effects.exists(server).await? {
        let end = Step::StopServer(StopServer {
            server: server.clone(),
            drain_s,
        });
        context.carry_out(&Plan::new("stop", vec![end])).await?;
    }
    await_release(context, server, &held).await
}

/// Waits until nothing of a server that ended is left.
///
/// # Errors
/// [`Kind::Host`] when something is left.
pub(super) async fn await_release(context: &Context, server: &Server, held: &Holdings) -> Result<()> {
    let release = Box::pin(context.effects.await_release(held));
    let removed = context.until_interrupted(release).await?;
    if removed > 0 {
        let of = counted(removed, "segment");
        let text = format!(
            "removed {of} of shared memory that {} left in /dev/shm",
            server.name()
        );
        context.display().event(&Event::Note { text });
    }
    Ok(())
}

/// Returns the name of the server to start again: of one that is there in any state, with what it does, or of one that ended and
/// whose plan is kept.
pub(super) async fn find_plan(
    context: &Context,
    asked: Option<&str>,
) -> Result<(String, Option<ServerStatus>)> {
    let found = context
        .effects
        .find_server(asked, &probe(context)?, ServerState::ANY)
        .await;
    let error = match found {
        Ok(found) => return Ok((found.status.name.clone(), Some(found.status))),
        Err(error) => error,
    };
    let kept = context.effects.kept_plans();
    match asked {
        Some(name) => {
            let name = plan::container_name(name);
            if kept.contains(&name) {
                Ok((name, None))
            } else {
                Err(error)
            }
        }
        None if error.message() == "there is more than one server" => Err(error),
        None => match kept.as_slice() {
            [only] => Ok((only.clone(), None)),
            [] => Err(error),
            several => Err(Error::new(
                Kind::Usage,
                "no server is there, and several can be started again",
            )
            .hint(format!("name one of: {}", several.join(", ")))),
        },
    }
}

/// Says how many requests a server has that is about to be stopped, and how long they may take.
pub(super) fn tell_requests(context: &Context, server: &ServerStatus, drain_s: u32) {
    let unfinished = server.load.map_or(0, |load| load.unfinished());
    if unfinished > 0 {
        let requests = counted(usize::try_from(unfinished).unwrap_or(usize::MAX), "request");
        let text = match drain_s {
            0 => format!("{} stops now, and does not finish {requests}", server.name),
            _ => format!(
                "{} has {requests}, which may take {drain_s} s to finish",
                server.name
            ),
        };
        context.display().event(&Event::Note { text });
    }
}
