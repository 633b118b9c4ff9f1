//! `dsr1 up`: everything, from a bare host to a measured endpoint.
//!
//! Not in this module: the chain of steps (`plan::up`).

use super::context::{Context, pull_options};
use crate::cli::UpArgs;
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::{self, Plan, UpRequest};
use crate::profile::Goal;

/// Runs the command.
pub(super) async fn run(context: &Context, args: UpArgs) -> Result<()> {
    let print = args.server.plan.dry_run || args.server.plan.facts.is_some();
    let (plan, _, _) = planned(context, args).await?;
    context.print_or_finish(&plan, print).await
}

/// The whole plan, with what it was made from.
pub(super) async fn planned(context: &Context, args: UpArgs) -> Result<(Plan, UpRequest, Facts)> {
    let (request, facts, notes) = request(context, &args).await?;
    let mut plan = plan::up(&request, &facts)?;
    plan.notes.splice(0..0, notes);
    Ok((plan, request, facts))
}

/// What is asked for, with facts and the choices that were made.
pub(super) async fn request(context: &Context, args: &UpArgs) -> Result<(UpRequest, Facts, Vec<String>)> {
    let endpoint = context.hub_to_ask(&args.hub)?;
    let (serve, facts, notes) = context.server_request(&args.server, false).await?;
    let keep = args.keep || serve.profile.goal != Goal::Rehearsal;
    let request = UpRequest {
        serve,
        endpoint,
        pull: pull_options(&args.hub)?,
        keep,
    };
    Ok((request, facts, notes))
}
