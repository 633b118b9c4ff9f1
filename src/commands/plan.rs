//! `dsr1 plan`: the steps of `dsr1 up` for people, the origin of each decision, and the engine's own word on the arguments.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::context::Context;
use super::flags::installed;
use super::up::make_plan;
use crate::cli::PlanCommandArgs;
use crate::effects::{ResolveGpu, ResolveRequest, store, weights};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{self, BuildRequest, Origin, Plan, UpRequest, origins};
use crate::profile::Accelerator;
use crate::rehearsal;
use crate::sglang::resolve::{self, Answer, Proof};
use crate::ui;

#[derive(Debug, Serialize)]
struct Planned {
    #[serde(flatten)]
    plan: Plan,
    origins: Vec<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: PlanCommandArgs) -> Result<()> {
    let with_origin = args.origin;
    let (plan, request, facts) = make_plan(context, args.up).await?;
    let proof = if args.prove {
        Some(prove(context, &plan, &request, &facts).await?)
    } else {
        None
    };
    let planned = Planned {
        origins: origins(&request.serve, &facts),
        plan,
        proof,
    };
    context.print(&planned, |planned| {
        let text = ui::plan(&planned.plan, &request.serve, &planned.origins, with_origin);
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
    let (source, shown) = installed(&BuildRequest::for_server(serve), facts)?;
    let files = configuration(context, request, facts).await?;
    let asked = ResolveRequest {
        gpu: gpu(request, facts),
        files: files
            .into_iter()
            .map(|(name, text)| (name, without_long_lists(&text)))
            .collect(),
        lines: vec![plan::words_for_any_model(serve, facts)],
    };
    let title = format!("ask SGLang in {shown}");
    let mut answer = context
        .one_step(&title, "asked", async |_| {
            context.effects.resolve_command_lines(&source, &asked).await
        })
        .await?;
    let mut proof = Proof {
        sglang: answer.sglang,
        source: shown,
        stood_in: answer.stood_in,
        refused: None,
        failed: None,
        compared: 0,
        differences: Vec::new(),
    };
    match (answer.answers.pop(), &plan.memory) {
        (Some(Answer::Refused(why)), _) => proof.refused = Some(why),
        (Some(Answer::Failed(why)), _) => proof.failed = Some(why),
        (Some(Answer::Resolved(theirs)), Some(memory)) => {
            let version = proof.sglang.parse().unwrap_or(serve.stack.pins.sglang);
            proof.compared = resolve::compared(version, &memory.resolved, &theirs);
            proof.differences = resolve::differences(version, &memory.resolved, &theirs);
        }
        _ => {}
    }
    Ok(proof)
}

/// Returns the GPU that the arguments are resolved for: the host's, or the one that the profile is for.
fn gpu(request: &UpRequest, facts: &Facts) -> Option<ResolveGpu> {
    let profile = &request.serve.profile;
    if request.serve.stack.accelerator == Accelerator::Cpu {
        return None;
    }
    let nominal = resolve::Machine::nominal(*profile.architectures.first()?);
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let first = gpus.first();
    let capability = first.map_or_else(
        || nominal.capability().to_owned(),
        |gpu| gpu.compute_capability.clone(),
    );
    let (major, minor) = capability.split_once('.')?;
    let smallest = gpus.iter().map(|gpu| gpu.memory_bytes >> 20).min();
    Some(ResolveGpu {
        name: first.map_or_else(|| nominal.name().to_owned(), |gpu| gpu.name.clone()),
        capability: (major.parse().ok()?, minor.parse().ok()?),
        memory_mib: smallest.unwrap_or(nominal.memory_mib),
        count: u32::try_from(gpus.len()).unwrap_or(0).max(profile.gpus),
    })
}

/// Returns the files of the model that decide arguments, from the pulled snapshot or from the hub.
async fn configuration(
    context: &Context,
    request: &UpRequest,
    facts: &Facts,
) -> Result<BTreeMap<String, String>> {
    let model = &request.serve.profile.model;
    let cache = Path::new(&facts.paths.hub_cache);
    if let Some(commit) = facts.resolved_commit(&model.repo, &model.revision)
        && let Some(files) = store::configuration(cache, &model.repo, commit)
    {
        return Ok(files);
    }
    if model.repo == rehearsal::REPO {
        let config = rehearsal::files()
            .into_iter()
            .find(|file| file.path == "config.json");
        let text = config.and_then(|file| String::from_utf8(file.bytes).ok());
        return Ok(text
            .map(|text| ("config.json".to_owned(), text))
            .into_iter()
            .collect());
    }
    if context.env().hub.offline {
        return Err(Error::new(
            Kind::Hub,
            format!("the configuration of {} is not here", model.repo),
        )
        .cause("HF_HUB_OFFLINE forbids to ask the hub")
        .hint(format!("dsr1 pull {}", model.repo)));
    }
    let options = context.effects.hub_options();
    let asked = weights::configuration(&request.endpoint, &model.repo, &model.revision, options);
    context.until_interrupted(asked).await
}

/// Longest list that is kept in a configuration: no argument depends on the names of modules, which are thousands in
/// quantized checkpoints, and an argument of a process has at most 128 KiB.
const LONGEST_LIST: usize = 64;

/// Returns a configuration without its long lists.
fn without_long_lists(text: &str) -> String {
    fn cut(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.truncate(LONGEST_LIST);
                items.iter_mut().for_each(cut);
            }
            Value::Object(map) => map.values_mut().for_each(cut),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    cut(&mut value);
    value.to_string()
}
