//! `dsr1 stop`: stops a server after its running requests, and sees that nothing of it is left.

use super::context::Context;
use super::restart::{await_release, tell_requests};
use super::status::probe;
use crate::cli::StopArgs;
use crate::effects::Sought;
use crate::error::Result;
use crate::event::Event;
use crate::plan::{DRAIN_S, Plan, Step, StopServer};
use crate::report::ServerState;

/// Seconds that running requests have in a server that hangs: it will not finish them.
const DRAIN_OF_HUNG_S: u32 = 5;

/// Runs the command.
pub(super) async fn run(context: &Context, args: StopArgs) -> Result<()> {
    let name = args.which.server.as_deref();
    let effects = &context.effects;
    let found = match effects
        .seek_server(name, &probe(context)?, ServerState::ANY)
        .await?
    {
        Sought::There(found) => found,
        Sought::Ended(ended) => {
            let cause = ended.cause.map_or_else(String::new, |cause| format!(": {cause}"));
            let text = format!("{} does not run{cause}", ended.name);
            context.display().event(&Event::Note { text });
            return context.finish(&Plan::new("stop", Vec::new())).await;
        }
    };
    let held = context.effects.holdings(&found.server, found.port).await;
    let drain_s = if found.status.state == ServerState::Hung {
        DRAIN_OF_HUNG_S
    } else {
        DRAIN_S
    };
    let drain_s = args.drain.unwrap_or(drain_s);
    tell_requests(context, &found.status, drain_s);
    let step = StopServer {
        server: found.server.clone(),
        drain_s,
    };
    context
        .finish(&Plan::new("stop", vec![Step::StopServer(step)]))
        .await?;
    await_release(context, &found.server, &held).await
}
