//! `dsr1 up`: all steps from a bare host to a measured endpoint.

use super::cluster;
use super::context::Context;
use super::up_request::make_request;
use crate::cli::{ClusterArgs, TargetArg, UpArgs, UpCommandArgs};
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::cluster::{JobRequest, up_in_job};
use crate::plan::{self, Plan, UpRequest};
use crate::render::cluster::SLURM;
use crate::render::{self, ClusterExport};

/// Runs the command.
pub(super) async fn run(context: &Context, args: UpCommandArgs) -> Result<()> {
    let UpCommandArgs { up, target, cluster } = args;
    match target {
        TargetArg::Slurm => Box::pin(in_job(context, up, &cluster)).await,
        TargetArg::Host => {
            cluster::refuse_unused(&cluster, "up on this host", None)?;
            on_host(context, up).await
        }
    }
}

/// Carries out all steps on the nodes of a job of Slurm.
async fn in_job(context: &Context, mut args: UpArgs, cluster: &ClusterArgs) -> Result<()> {
    let print = args.server.plan.dry_run || args.server.plan.facts.is_some();
    cluster::refuse_unused(cluster, "up --target slurm", Some(SLURM))?;
    let in_container = cluster.container_image.is_some();
    let (request, facts, notes) = cluster::up_request(context, &mut args, in_container).await?;
    let mut deployment = plan::cluster::deployment(&request.serve, &facts)?;
    deployment.notes = notes;
    let export = ClusterExport {
        form: SLURM,
        serve: request.serve.clone(),
        options: cluster::options(cluster, &request.serve, &facts)?,
        notes: Vec::new(),
        output: None,
    };
    let script = render::export_cluster(&export, &facts)?.text;
    let request = JobRequest {
        up: request,
        deployment,
        script,
    };
    let plan = up_in_job(&request, &facts)?;
    context.print_or_finish(&plan, print).await
}

/// Carries out all steps on this host.
async fn on_host(context: &Context, args: UpArgs) -> Result<()> {
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
