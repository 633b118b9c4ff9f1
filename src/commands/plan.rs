//! `dsr1 plan`: what would run, for people, and who decided each part of it.
//!
//! Not in this module: the script (`up --dry-run`, `export bash`).

use serde::Serialize;

use super::context::Context;
use super::up::planned;
use crate::cli::PlanCommandArgs;
use crate::error::Result;
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
    let (plan, request, facts) = planned(context, args.up).await?;
    let planned = Planned {
        origins: origins(&request.serve, &facts),
        plan,
    };
    context.print(&planned, |planned| {
        ui::plan(&planned.plan, &request.serve, &planned.origins, with_origin)
    })
}
