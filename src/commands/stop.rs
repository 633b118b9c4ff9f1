//! `dsr1 stop`: stops a server after its running requests.

use super::context::Context;
use super::status::probe;
use crate::cli::StopArgs;
use crate::error::Result;
use crate::plan::{Plan, Step, StopServer};
use crate::report::ServerState;

/// Runs the command.
pub(super) async fn run(context: &Context, args: StopArgs) -> Result<()> {
    let found = context
        .effects
        .find_server(args.which.server.as_deref(), &probe(context)?, ServerState::ANY)
        .await?;
    let step = StopServer {
        server: found.server,
        drain_s: args.drain,
    };
    context
        .finish(&Plan::new("stop", vec![Step::StopServer(step)]))
        .await
}
