//! `dsr1 plan`: the steps of `dsr1 up` for people, and the origin of each decision.

use serde::Serialize;

use super::context::Context;
use super::up::make_plan;
use crate::cli::PlanCommandArgs;
use crate::error::{Error, Kind, Result};
use crate::plan::{Origin, Plan, origins};
use crate::ui;

#[derive(Debug, Serialize)]
struct Planned {
    #[serde(flatten)]
    plan: Plan,
    origins: Vec<Origin>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: PlanCommandArgs) -> Result<()> {
    let with_origin = args.origin;
    let (plan, request, facts) = make_plan(context, args.up).await?;
    let planned = Planned {
        origins: origins(&request.serve, &facts),
        plan,
    };
    context.print(&planned, |planned| {
        ui::plan(&planned.plan, &request.serve, &planned.origins, with_origin)
    })?;
    // The plan lists what blocks it; the exit code says it to a script.
    match planned.plan.blockers.first() {
        Some(blocker) => Err(Error::from(blocker.clone())
            .with_kind(Kind::Host)
            .reported_if(true)),
        None => Ok(()),
    }
}
