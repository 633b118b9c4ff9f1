//! `dsr1 plan`: the steps of `dsr1 up` for people, the origin of each decision, and the engine's own word on the arguments.

use serde::Serialize;

use super::context::Context;
use super::flags::installed;
use super::up::make_plan;
use super::up_request::make_request;
use crate::cli::PlanCommandArgs;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{self, BuildRequest, Origin, Plan, UpRequest, origins};
use crate::report::Proof;
use crate::ui;

#[derive(Debug, Serialize)]
struct Planned {
    #[serde(flatten)]
    plan: Plan,
    origins: Vec<Origin>,
    /// Numbers, from 1, of the steps whose result is on the host already.
    done: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: PlanCommandArgs) -> Result<()> {
    let with_origin = args.origin;
    let (request, facts, notes) = make_request(context, &args.up).await?;
    if request.serve.profile.is_for_several_nodes() {
        let mut deployment = plan::cluster::deployment(&request.serve, &facts)?;
        deployment.notes = notes;
        return context.print(&deployment.without_secrets(), ui::deployment);
    }
    let plan = make_plan(&request, &facts, notes)?;
    let proof = if args.prove {
        Some(prove(context, &plan, &request, &facts).await?)
    } else {
        None
    };
    let planned = Planned {
        origins: origins(&request.serve, &facts),
        done: plan::done(&plan, &facts),
        plan: plan::without_secrets(&plan),
        proof,
    };
    context.print(&planned, |planned| {
        let shown = ui::ShownPlan {
            origins: &planned.origins,
            with_origin,
            done: &planned.done,
            columns: ui::columns(),
        };
        let text = ui::plan(&planned.plan, &request.serve, &shown);
        text + &planned.proof.as_ref().map_or_else(String::new, ui::proof)
    })?;
    if let Some(failed) = planned.proof.as_ref().and_then(|proof| proof.failed.as_ref()) {
        return Err(
            Error::new(Kind::Internal, "SGLang could not be asked about the arguments")
                .cause(failed.clone())
                .hint("the plan holds without it; start the server to see what the engine does")
                .reported_if(context.is_json()),
        );
    }
    if let Some(refused) = planned.proof.as_ref().and_then(|proof| proof.refused.as_ref()) {
        return Err(Error::new(
            Kind::Usage,
            format!("SGLang {} refuses the arguments", request.serve.stack.pins.sglang),
        )
        .cause(refused.clone())
        .hint("change the setting that it names, and plan again")
        .reported_if(context.is_json()));
    }
    // The plan lists what blocks it; the exit code says it to a script.
    match planned.plan.blockers.first() {
        Some(blocker) => Err(Error::from(blocker.clone())
            .with_kind(Kind::Host)
            .reported_if(true)),
        None => Ok(()),
    }
}

/// Asks the installed SGLang for its resolution of the plan's arguments.
async fn prove(context: &Context, plan: &Plan, request: &UpRequest, facts: &Facts) -> Result<Proof> {
    let serve = &request.serve;
    let (_, shown) = installed(&BuildRequest::for_server(serve), facts)?;
    let question = plan::question(serve, plan, Some(&request.endpoint), facts)?;
    let title = format!("ask SGLang in {shown}");
    context
        .one_step(&title, "asked", async |events| {
            context.effects.prove(&question, events).await
        })
        .await
}
