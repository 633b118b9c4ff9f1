//! The request of `dsr1 up`, which `plan`, `export` and `upgrade` take, too.

use super::context::{Context, pull_options};
use crate::cli::UpArgs;
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::UpRequest;
use crate::profile::Goal;

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
