//! Plans a server: one engine on one port of 127.0.0.1.

use std::collections::BTreeMap;

use crate::doctor::{self, Blocker, blockers};
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, MeasuredStart};
use crate::plan::arguments::{MODELS, argv, model_path};
use crate::plan::digest::digest;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::pull::repo_folder;
use crate::plan::request::{ServeRequest, Target};
use crate::plan::{
    AwaitReady, LABEL_GPUS, LABEL_INPUTS, LABEL_MODEL, LABEL_NAME, LABEL_PORT, LABEL_PROFILE, LABEL_PYTHON,
    LABEL_ROLE, LABEL_STACK, LABEL_VARIABLES, Mount, Plan, PlannedMemory, Server, StartContainer,
    StartProcess, Step, Ulimit, VerifyAnswers, environment, folder, joined, prove,
};
use crate::profile::{Accelerator, NAME_RULE, Stack, is_name};
use crate::sglang::memory::MemoryPlan;
use crate::sglang::{Check, Launch, Level, memory, rules};

/// Seconds without a log line after which a stage of the startup counts as stalled. Loading 689 GB from a slow disk
/// logs a line per shard; DeepGEMM warm-up is the longest silence seen (facts: sglang#9590, #4773).
const STALL_S: u64 = 600;

/// Seconds that a stop waits for running requests; SGLang checks them every 5 s while it drains.
const STOP_S: u32 = 30;

/// Plans the steps from the weights to verified answers.
///
/// # Errors
/// [`Kind::Usage`] for arguments that dsr1 sets itself or that this version refuses; [`Kind::Host`] without a Python to
/// plan with.
pub fn serve(request: &ServeRequest, facts: &Facts) -> Result<Plan> {
    check_one_node(request)?;
    let launch = request.accepted_launch()?;
    check_server_name(request.name.as_deref())?;
    let installation = Installation::new(&BuildRequest::for_server(request), facts)?;
    let mut plan = Plan::new("serve", steps(request, &launch, &installation, facts));
    if let Installation::Environment(environment) = &installation {
        plan.steps.insert(0, Step::CheckEnvironment(environment.clone()));
    }
    plan.notes = notes(request, facts);
    add_measured(&mut plan, request, &installation, facts);
    add_findings(&mut plan, request, launch, facts);
    prove::add(&mut plan, request, None, facts)?;
    let found = blockers(request, plan.memory.as_ref(), facts);
    plan.blockers.extend(found);
    Ok(plan)
}

/// Adds the findings about the flags, and the memory plan with its findings. Weights or a pool that a known GPU cannot
/// hold are a blocker; on a nominal GPU they are a warning.
pub(super) fn add_findings(plan: &mut Plan, request: &ServeRequest, launch: Launch, facts: &Facts) {
    let found = memory::plan(&request.profile, &request.stack, &launch.settings, facts);
    plan.checks = launch.checks;
    plan.checks.extend(rules::of_port(&request.stack));
    for check in rules::of_files(&request.profile, &request.stack, &launch.settings, facts) {
        let is_said = |other: &Check| (&other.id, &other.text) == (&check.id, &check.text);
        if plan.checks.iter().any(is_said) {
            continue;
        }
        if check.level == Level::Error {
            plan.blockers.push(Blocker {
                kind: Kind::Usage,
                message: format!(
                    "profile `{}` does not fit {}",
                    request.profile.name, request.profile.model.repo
                ),
                cause: check.text.clone(),
                hint: check.fix.clone().unwrap_or_default(),
            });
        }
        plan.checks.push(check);
    }
    let Some(mut found) = found else {
        if request.stack.accelerator == Accelerator::Cuda {
            plan.notes.push(format!(
                "no memory plan: the shape of {} is not known",
                request.profile.model.repo
            ));
        }
        return;
    };
    if let Some(tokens) = plan.measured.as_ref().and_then(|start| start.pool_tokens) {
        found.take_tokens(tokens);
    }
    for mut check in memory::check(&found, request.profile.bench.max_concurrency.get()) {
        check.place = request
            .origins
            .place_of(&check.subject)
            .map(|place| place.to_string());
        if check.level == Level::Error {
            if found.gpu_known {
                plan.blockers.push(Blocker {
                    kind: Kind::Host,
                    message: format!("profile `{}` does not fit into the GPUs", request.profile.name),
                    cause: check.text.clone(),
                    hint: check.fix.clone().unwrap_or_default(),
                });
            }
            check.level = Level::Warn;
        }
        plan.checks.push(check);
    }
    for step in &mut plan.steps {
        if let Step::AwaitReady(step) = step {
            step.planned = Some(PlannedMemory {
                usable_bytes: found.usable_bytes,
                weights_bytes: found.weights_bytes,
                pool_tokens: found.pool_tokens,
            });
        }
    }
    plan.memory = Some(found);
}

pub(super) fn notes(request: &ServeRequest, facts: &Facts) -> Vec<String> {
    let mut notes = doctor::remarks(&request.profile, &request.stack, facts);
    let model = &request.profile.model;
    notes.extend(folder::note(request));
    if model.path.is_none() && facts.resolved_commit(&model.repo, &model.revision).is_none() {
        notes.push(format!(
            "revision `{}` of {} is not resolved yet: the engine resolves it in the cache",
            model.revision, model.repo
        ));
    }
    notes
}

/// Returns the conditions of this host that prevent the start. `memory` is the memory plan, if there is one.
pub(super) fn blockers(request: &ServeRequest, memory: Option<&MemoryPlan>, facts: &Facts) -> Vec<Blocker> {
    let ServeRequest {
        profile,
        stack,
        port,
        target,
        ..
    } = request;
    // A server of dsr1 on the port is said once, by its name.
    let is_ours = facts.servers.values().any(|running| running.port == *port);
    let needs_docker = matches!(target, Target::Docker);
    let checks = [
        blockers::docker(facts).filter(|_| needs_docker),
        blockers::remote_docker(facts).filter(|_| needs_docker),
        blockers::hardware(profile, stack, facts),
        doctor::site::blocker(facts, profile.gpus).filter(|_| request.target == Target::Process),
        blockers::memory_blocker(stack, facts),
        memory.and_then(|memory| blockers::gpu_memory(memory, facts)),
        blockers::server(facts, &server_name(request), *port),
        blockers::port(facts, *port).filter(|_| !is_ours),
        blockers::chosen_gpus(facts, &server_name(request), &request.gpus),
        folder::blocker(request, facts),
    ];
    checks.into_iter().flatten().collect()
}

pub(super) fn steps(
    request: &ServeRequest,
    launch: &Launch,
    installation: &Installation,
    facts: &Facts,
) -> Vec<Step> {
    let ServeRequest {
        profile, stack, port, ..
    } = request;
    let python = installation.python(stack);
    let mut labels = labels(&python, request, facts);
    let inputs = inputs(request, launch, installation, facts);
    labels.insert(LABEL_INPUTS.to_owned(), inputs.clone());
    if !request.gpus.is_empty() {
        labels.insert(LABEL_GPUS.to_owned(), joined(&request.gpus));
    }
    if let Installation::Environment(environment) = installation {
        let variables = serde_json::json!(environment.variables).to_string();
        labels.insert(LABEL_VARIABLES.to_owned(), variables);
    }
    let start = match installation {
        Installation::Image(image) => {
            Step::StartContainer(container(request, launch, &image.tag, &python, labels, facts))
        }
        Installation::Venv(_) | Installation::Environment(_) => {
            Step::StartProcess(process(request, launch, &python, labels, facts))
        }
    };
    vec![
        folder::check_step(request, facts),
        start,
        Step::AwaitReady(AwaitReady {
            server: server(request, facts),
            base_url: base_url(*port),
            model: served_model(&profile.model.repo, launch),
            probe: stack.probe.clone(),
            stall_s: STALL_S,
            prefetch: prefetch(request, facts),
            planned: None,
            runs_already: false,
            last_ms: measured(&inputs, facts).map(|start| start.ready_ms),
            gpus: gpus(facts),
            inputs,
        }),
        Step::VerifyAnswers(VerifyAnswers {
            server: server(request, facts),
            base_url: base_url(*port),
            checks: profile.verify,
        }),
    ]
}

/// Returns the folder of the weights on this host, to be read ahead of an engine on GPUs; `None` without the user's wish, and for
/// a branch that is not resolved yet.
fn prefetch(request: &ServeRequest, facts: &Facts) -> Option<String> {
    if request.no_prefetch || request.stack.accelerator == Accelerator::Cpu {
        return None;
    }
    let model = &request.profile.model;
    if let Some(path) = &model.path {
        return Some(path.clone());
    }
    let commit = facts.resolved_commit(&model.repo, &model.revision)?;
    let folder = repo_folder(&model.repo);
    Some(format!("{}/{folder}/snapshots/{commit}", facts.paths.hub_cache))
}

/// Returns the runtime of the running server that has the name of the requested one.
#[must_use]
pub fn runtime_of_running(request: &ServeRequest, facts: &Facts) -> Option<Target> {
    let running = facts.servers.get(&server_name(request))?;
    [Target::Docker, Target::Process]
        .into_iter()
        .find(|target| target.name() == running.runtime)
}

/// Returns true if the requested server runs already, started from a plan with the same inputs.
pub(super) fn runs_already(
    request: &ServeRequest,
    launch: &Launch,
    installation: &Installation,
    facts: &Facts,
) -> bool {
    let model = &request.profile.model.repo;
    facts.servers.get(&server_name(request)).is_some_and(|running| {
        !running.temporary
            && running.runtime == request.target.name()
            && running.inputs == inputs(request, launch, installation, facts)
            // Before the first pull, the engine was given the name of the repository.
            && (running.model == *model || running.model == model_path(request, facts))
    })
}

/// Returns the GPUs of the host as the records of starts name them.
fn gpus(facts: &Facts) -> String {
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    gpus.first()
        .map_or_else(String::new, |first| format!("{} x {}", gpus.len(), first.name))
}

/// Returns what this host measured when it started the same server on the same GPUs.
fn measured<'a>(inputs: &str, facts: &'a Facts) -> Option<&'a MeasuredStart> {
    facts.starts.get(inputs).filter(|start| start.gpus == gpus(facts))
}

/// Adds what this host measured at an earlier start of the same server. It comes before the findings: the tokens of its
/// pool replace those that are computed.
pub(super) fn add_measured(
    plan: &mut Plan,
    request: &ServeRequest,
    installation: &Installation,
    facts: &Facts,
) {
    let inputs = inputs(request, &request.launch(), installation, facts);
    let Some(start) = measured(&inputs, facts) else {
        return;
    };
    plan.measured = Some(start.clone());
}

/// Returns the digest of the inputs of a server, without the path of the model: it is another one before the first pull.
pub(super) fn inputs(
    request: &ServeRequest,
    launch: &Launch,
    installation: &Installation,
    facts: &Facts,
) -> String {
    let program = match installation {
        Installation::Image(image) => &image.tag,
        Installation::Venv(venv) => &venv.dir,
        Installation::Environment(environment) => &environment.sha256,
    };
    let model = &request.profile.model;
    let flags: Vec<&String> = launch.flags.args.iter().flat_map(|flag| &flag.words).collect();
    let json = |value: serde_json::Value| value.to_string();
    digest(&[
        ("program", program),
        (
            "model",
            &match &model.path {
                Some(path) => path.clone(),
                None => format!("{}@{}", model.repo, model.revision),
            },
        ),
        ("port", &request.port.to_string()),
        ("flags", &json(serde_json::json!(flags))),
        (
            "env",
            &json(serde_json::json!(env(
                request,
                launch,
                cache_root(request, facts)
            ))),
        ),
    ])
}

/// Returns `http://127.0.0.1:PORT`.
#[must_use]
pub fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Returns the name of the container or process of a server: with `dsr1-` in front, unless it begins so already.
#[must_use]
pub fn container_name(server: &str) -> String {
    if server.starts_with("dsr1-") {
        server.to_owned()
    } else {
        format!("dsr1-{server}")
    }
}

pub(super) fn server_name(request: &ServeRequest) -> String {
    container_name(request.name.as_deref().unwrap_or(&request.profile.name))
}

pub(super) fn server(request: &ServeRequest, facts: &Facts) -> Server {
    let name = server_name(request);
    match request.target {
        Target::Docker => Server::Docker { name },
        Target::Process => Server::Process {
            log: log_path(&name, facts),
            name,
        },
    }
}

fn log_path(name: &str, facts: &Facts) -> String {
    format!("{}/servers/{name}.log", facts.paths.state)
}

/// Returns the name of the model in the API.
fn served_model(repo: &str, launch: &Launch) -> String {
    launch
        .settings
        .served_model_name
        .as_deref()
        .unwrap_or(repo)
        .to_owned()
}

/// Returns the environment of the engine: the variables that the user named, those of its flags, and [`offline_env`].
pub(super) fn env(request: &ServeRequest, launch: &Launch, hub_cache: &str) -> BTreeMap<String, String> {
    let mut env = request.variables.clone();
    env.extend(launch.flags.environment());
    env.extend(offline_env(hub_cache));
    env
}

/// Returns the environment of the engine's clients. It is offline: the weights are present, and nothing may be fetched
/// without the user's knowledge.
#[must_use]
pub fn offline_env(hub_cache: &str) -> BTreeMap<String, String> {
    [
        ("HF_HUB_OFFLINE", "1"),
        ("HF_HUB_CACHE", hub_cache),
        ("PYTHONUNBUFFERED", "1"),
        // SGLang warms up by sending itself a request; a proxy in between responds with 403 (sglang#9155).
        ("NO_PROXY", "127.0.0.1,localhost"),
        ("no_proxy", "127.0.0.1,localhost"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Returns the hub cache root as the runtime sees it.
pub(super) fn cache_root<'a>(request: &ServeRequest, facts: &'a Facts) -> &'a str {
    match request.target {
        Target::Docker => MODELS,
        Target::Process => &facts.paths.hub_cache,
    }
}

fn labels(python: &str, request: &ServeRequest, facts: &Facts) -> BTreeMap<String, String> {
    [
        (LABEL_ROLE, "server".to_owned()),
        (LABEL_NAME, server_name(request)),
        (LABEL_PROFILE, request.profile.name.clone()),
        (LABEL_STACK, request.stack.name.clone()),
        (LABEL_PORT, request.port.to_string()),
        (LABEL_MODEL, model_path(request, facts)),
        (LABEL_PYTHON, python.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn container(
    request: &ServeRequest,
    launch: &Launch,
    image: &str,
    python: &str,
    labels: BTreeMap<String, String>,
    facts: &Facts,
) -> StartContainer {
    let stack = &request.stack;
    let gpus = stack.accelerator == Accelerator::Cuda;
    let mut mounts = vec![Mount::Bind {
        source: facts.paths.hub_cache.clone(),
        target: MODELS.to_owned(),
    }];
    mounts.extend(folder::mount(request));
    mounts.extend(
        volumes(stack)
            .into_iter()
            .zip(&stack.cache_paths)
            .map(|(name, path)| Mount::Volume {
                name,
                target: path.clone(),
            }),
    );
    StartContainer {
        name: server_name(request),
        image: image.to_owned(),
        argv: argv(python, request, launch, facts),
        env: env(request, launch, MODELS),
        labels,
        network: stack.network.name().to_owned(),
        gpus,
        shm_bytes: stack.shm_bytes,
        // NCCL pins memory, and DeepGEMM's compiler recurses deeply; a CPU engine needs neither limit.
        ulimits: if gpus {
            vec![
                Ulimit {
                    name: "memlock".to_owned(),
                    soft: -1,
                    hard: -1,
                },
                Ulimit {
                    name: "stack".to_owned(),
                    soft: 67_108_864,
                    hard: 67_108_864,
                },
            ]
        } else {
            Vec::new()
        },
        mounts,
        init: true,
        cap_drop: vec!["ALL".to_owned()],
        security_opt: vec!["no-new-privileges".to_owned()],
        stop_timeout_s: STOP_S,
        // Not `local`: the one of Docker 20.10 joins a line of over 16 KiB to the next line.
        log_driver: "json-file".to_owned(),
        log_opts: [("max-size", "50m"), ("max-file", "3")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    }
}

/// Returns the beginning of the names of a stack's volumes; the version of SGLang follows.
#[must_use]
pub fn volume_prefix(stack: &Stack) -> String {
    format!("dsr1-{}-", stack.name)
}

/// Returns the names of the volumes that keep compiled kernels, one for each of the stack's cache paths. A name holds the
/// version, because a volume keeps the kernels of its first image.
#[must_use]
pub fn volumes(stack: &Stack) -> Vec<String> {
    let start = format!("{}{}", volume_prefix(stack), stack.pins.sglang);
    let name = |path: &String| {
        let path = path.trim_start_matches("/root/").replace(['/', '.'], "-");
        format!("{start}-{}", path.trim_start_matches('-'))
    };
    stack.cache_paths.iter().map(name).collect()
}

fn process(
    request: &ServeRequest,
    launch: &Launch,
    python: &str,
    labels: BTreeMap<String, String>,
    facts: &Facts,
) -> StartProcess {
    let name = server_name(request);
    StartProcess {
        argv: argv(python, request, launch, facts),
        env: environment::with_path(env(request, launch, &facts.paths.hub_cache), facts),
        labels,
        log: log_path(&name, facts),
        workdir: facts.paths.state.clone(),
        name,
    }
}

/// Refuses a profile whose engines do not fit on one node.
pub(super) fn check_one_node(request: &ServeRequest) -> Result<()> {
    let profile = &request.profile;
    if !profile.is_for_several_nodes() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!("profile `{}` is for several nodes", profile.name),
    )
    .cause("this command starts a server on this host")
    .hint(format!(
        "dsr1 export slurm --profile {} writes a job that starts it on the nodes of Slurm",
        profile.name
    )))
}

/// Refuses a server name that cannot become a container name, a file name and a label.
pub(super) fn check_server_name(name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if !is_name(name) => Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a server name", name.escape_debug()),
        )
        .hint(NAME_RULE)),
        _ => Ok(()),
    }
}
