//! `dsr1 stop`: stops a server after its running requests, and sees that nothing of it is left.

use super::context::Context;
use super::restart::await_release;
use super::status::probe;
use crate::cli::StopArgs;
use crate::error::Result;
use crate::plan::{DRAIN_S, Plan, Step, StopServer};
use crate::report::ServerState;

/// Seconds that running requests have in a server that hangs: it will not finish them.
const DRAIN_OF_HUNG_S: u32 = 5;

/// Runs the command.
pub(super) async fn run(context: &Context, args: StopArgs) -> Result<()> {
    let found = context
        .effects
        .find_server(args.which.server.as_deref(), &probe(context)?, ServerState::ANY)
        .await?;
    let held = context.effects.holdings(&found.server, found.port).await;
    let drain_s = if found.status.state == ServerState::Hung {
        DRAIN_OF_HUNG_S
    } else {
        DRAIN_S
    };
    let step = StopServer {
        server: found.server.clone(),
        drain_s: args.drain.unwrap_or(drain_s),
    };
    context
        .finish(&Plan::new("stop", vec![Step::StopServer(step)]))
        .await?;
    await_release(context, &found.server, &held).await
}
