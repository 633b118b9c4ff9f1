//! Plans a server in a job of Slurm, from the installation to its measurement.

use std::collections::BTreeMap;

use super::deployment::Deployment;
use crate::error::Result;
use crate::facts::Facts;
use crate::measure::PromptForm;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::measure::load_at_url;
use crate::plan::request::Target;
use crate::plan::up::weights;
use crate::plan::{
    AwaitJob, DRAIN_S, LABEL_INPUTS, LABEL_MODEL, LABEL_NAME, LABEL_PORT, LABEL_PROFILE, LABEL_PYTHON,
    LABEL_ROLE, LABEL_STACK, Plan, Server, Step, StopServer, SubmitJob, UpRequest, VerifyAnswers, arguments,
    digest,
};

/// The request of `dsr1 up --target slurm`.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRequest {
    /// The server, its weights, and whether it is kept.
    pub up: UpRequest,
    /// The server over its nodes.
    pub deployment: Deployment,
    /// The job as a script.
    pub script: String,
}

/// Plans every step from a login node to a verified and measured server in a job.
///
/// # Errors
/// [`crate::error::Kind::Host`] without Python or a free port to plan with.
pub fn up_in_job(request: &JobRequest, facts: &Facts) -> Result<Plan> {
    let JobRequest {
        up,
        deployment,
        script,
    } = request;
    let serve = &up.serve;
    let build = BuildRequest::for_server(serve);
    let installation = Installation::new(&build, facts)?;
    let mut steps = Vec::new();
    // The nodes run an image of their own.
    if serve.target == Target::Process {
        steps.push(installation.clone().into_step());
    }
    let pull = weights(up, facts, &mut steps)?;
    let name = deployment.name.clone();
    let folder = jobs_folder(&facts.paths.state);
    let server = Server::Slurm {
        name: name.clone(),
        folder: folder.clone(),
    };
    // A name that no host has: the address of node 0 takes its place.
    let base_url = format!("http://node-0.{name}.job:{}", deployment.port);
    let inputs = digest::digest(&[("script", script)]);
    steps.push(Step::SubmitJob(Box::new(SubmitJob {
        name: name.clone(),
        folder,
        script: script.clone(),
        labels: [
            (LABEL_ROLE, "server".to_owned()),
            (LABEL_NAME, name),
            (LABEL_PROFILE, deployment.profile.clone()),
            (LABEL_STACK, deployment.stack.clone()),
            (LABEL_PORT, deployment.port.to_string()),
            (LABEL_MODEL, arguments::model_path(serve, facts)),
            (LABEL_PYTHON, installation.python(&serve.stack)),
            (LABEL_INPUTS, inputs),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
    })));
    steps.push(Step::AwaitJob(AwaitJob {
        server: server.clone(),
        base_url: base_url.clone(),
        model: deployment.model.clone(),
        ranks: deployment
            .ranks()
            .map(|rank| (rank.name(), log_of(&rank)))
            .collect::<BTreeMap<_, _>>(),
    }));
    steps.push(Step::VerifyAnswers(VerifyAnswers {
        server: server.clone(),
        base_url: base_url.clone(),
        checks: deployment.verify,
    }));
    if let Some(mut step) = load_at_url(&serve.profile.bench, &base_url, &deployment.model, facts) {
        step.server = Some(server.clone());
        step.profile = Some(deployment.profile.clone());
        step.stack = Some(deployment.stack.clone());
        if deployment.router.is_some() {
            // SMG 1.13.0 passes on text alone: it refuses the ids of tokens in `prompt`.
            step.source.form = PromptForm::Text;
        }
        if serve.target == Target::Process {
            step.model_path = Some(arguments::model_path(serve, facts));
        }
        steps.push(Step::MeasureLoad(Box::new(step)));
    }
    if !up.keep {
        steps.push(Step::StopServer(StopServer {
            server,
            drain_s: DRAIN_S,
        }));
    }
    let mut plan = Plan::new("up", steps);
    plan.checks.clone_from(&deployment.checks);
    plan.notes.clone_from(&deployment.notes);
    if serve.target == Target::Process {
        plan.blockers.extend(installation.blocker(&build, facts));
    }
    plan.blockers.extend(pull);
    Ok(plan)
}

/// Returns the folder with the scripts and logs of jobs, in the folder of dsr1's state.
#[must_use]
pub fn jobs_folder(state: &str) -> String {
    format!("{state}/jobs")
}

/// Returns the file with the log of a rank, in the folder of its job.
fn log_of(rank: &super::Rank<'_>) -> String {
    format!("{}.{}.log", rank.worker.name(rank.group), rank.rank)
}
