//! `dsr1 up`: all steps from a bare host to a measured endpoint.

use super::context::{Context, pull_options};
use crate::cli::UpArgs;
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::{self, Plan, UpRequest};
use crate::profile::Goal;

/// Runs the command.
pub(super) async fn run(context: &Context, args: UpArgs) -> Result<()> {
    let print = args.server.plan.dry_run || args.server.plan.facts.is_some();
    let (request, facts, notes) = make_request(context, &args).await?;
    let plan = make_plan(&request, &facts, notes)?;
    context.print_or_finish(&plan, print).await
}

/// Returns the whole plan, with notes about the choices of dsr1 before its own.
pub(super) fn make_plan(request: &UpRequest, facts: &Facts, notes: Vec<String>) -> Result<Plan> {
    let mut plan = plan::up(request, facts)?;
    plan.notes.splice(0..0, notes);
    Ok(plan)
}

/// Returns the request, with facts and notes about the choices of dsr1.
pub(super) async fn make_request(
    context: &Context,
    args: &UpArgs,
) -> Result<(UpRequest, Facts, Vec<String>)> {
    let endpoint = context.hub_to_ask(&args.hub)?;
    let (serve, facts, notes) =
        Box::pin(context.server_request(&args.server, false, Some(endpoint.clone()))).await?;
    let keep = args.keep || serve.profile.goal != Goal::Rehearsal;
    let request = UpRequest {
        serve,
        endpoint,
        pull: pull_options(&args.hub)?,
        keep,
    };
    Ok((request, facts, notes))
}
