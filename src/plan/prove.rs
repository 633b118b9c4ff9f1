//! Plans the question to the installed engine: what it makes of the arguments before it loads the model.

use crate::error::Result;
use crate::facts::Facts;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::request::ServeRequest;
use crate::plan::{EngineSource, Plan, ProveArguments, Step, arguments};
use crate::profile::Accelerator;
use crate::sglang::resolve::{Machine, TorchGpu};

/// Folder of the engine's answers below the cache.
pub const PROOFS: &str = "proofs";

/// Returns the question about the arguments of a plan. `endpoint` is the hub that has the model's configuration, if it may
/// not be here yet.
///
/// # Errors
/// [`crate::error::Kind::Host`] without a Python or a base image to plan with.
pub fn question(
    request: &ServeRequest,
    plan: &Plan,
    endpoint: Option<&str>,
    facts: &Facts,
) -> Result<ProveArguments> {
    let installation = Installation::new(&BuildRequest::for_server(request), facts)?;
    let model = &request.profile.model;
    Ok(ProveArguments {
        sglang: request.stack.pins.sglang.to_string(),
        source: source(&installation, request),
        environment: match &installation {
            Installation::Environment(environment) => Some(environment.sha256.clone()),
            _ => None,
        },
        endpoint: endpoint.map(str::to_owned),
        folder: model.path.clone(),
        repo: model.repo.clone(),
        revision: model.revision.clone(),
        hub_cache: facts.paths.hub_cache.clone(),
        gpu: gpu(request, facts),
        words: arguments::words_for_any_model(request, facts),
        planned: plan
            .memory
            .as_ref()
            .map(|memory| Box::new(memory.resolved.clone())),
        cache_dir: format!("{}/{PROOFS}", facts.paths.cache),
    })
}

/// Adds the question to a plan that starts an engine on GPUs: before the weights are fetched, or else before the engine
/// loads them. A CPU's engine has refused its arguments itself before the question would be answered.
pub(super) fn add(
    plan: &mut Plan,
    request: &ServeRequest,
    endpoint: Option<&str>,
    facts: &Facts,
) -> Result<()> {
    let at = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted);
    let start = at(|step| matches!(step, Step::StartContainer(_) | Step::StartProcess(_)));
    let pull = at(|step| matches!(step, Step::PullSnapshot(_)));
    if let Some(start) = start
        && request.stack.accelerator == Accelerator::Cuda
    {
        let question = question(request, plan, endpoint, facts)?;
        let at = pull.unwrap_or(start);
        plan.steps.insert(at, Step::ProveArguments(Box::new(question)));
    }
    Ok(())
}

/// Returns the place of the SGLang that an installation makes.
fn source(installation: &Installation, request: &ServeRequest) -> EngineSource {
    let python = installation.python(&request.stack);
    match installation {
        Installation::Image(image) => EngineSource::Image {
            image: image.tag.clone(),
            python,
        },
        Installation::Venv(_) | Installation::Environment(_) => EngineSource::Venv {
            python,
            variables: request.all_variables(),
        },
    }
}

/// Returns the GPU that the arguments are resolved for: the host's, or the one that the profile is for.
fn gpu(request: &ServeRequest, facts: &Facts) -> Option<TorchGpu> {
    let profile = &request.profile;
    if request.stack.accelerator == Accelerator::Cpu {
        return None;
    }
    let nominal = Machine::nominal(*profile.architectures.first()?);
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let first = gpus.first();
    let capability = first.map_or_else(
        || nominal.capability().to_owned(),
        |gpu| gpu.compute_capability.clone(),
    );
    let (major, minor) = capability.split_once('.')?;
    let smallest = gpus.iter().map(|gpu| gpu.memory_bytes >> 20).min();
    Some(TorchGpu {
        name: first.map_or_else(|| nominal.name().to_owned(), |gpu| gpu.name.clone()),
        capability: (major.parse().ok()?, minor.parse().ok()?),
        memory_mib: smallest.unwrap_or(nominal.memory_mib),
        count: u32::try_from(gpus.len()).unwrap_or(0).max(profile.gpus),
    })
}
