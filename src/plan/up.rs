//! Plans the whole chain: install, weights, serve, verify, benchmark.

use crate::doctor::Blocker;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::eval::BenchRequest;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::pull::{self, PullOptions, PullRequest};
use crate::plan::request::ServeRequest;
use crate::plan::{
    CodeFiles, FilePatterns, LABEL_TEMPORARY, Plan, ServeMirror, StartContainer, StartProcess, Step,
    StopServer, WriteModel, arguments, environment, measure, prove, serve,
};
use crate::profile::{Goal, Stack};
use crate::rehearsal;
use crate::sglang::Launch;
use crate::units::{Bytes, counted};

/// First port that is tried for the rehearsal's own hub.
pub(super) const MIRROR_PORT: u16 = 8490;
/// Number of ports that are tried for the rehearsal's own hub.
pub(super) const MIRROR_PORTS: u16 = 10;

/// The request of `dsr1 up`.
#[derive(Debug, Clone, PartialEq)]
pub struct UpRequest {
    /// The server.
    pub serve: ServeRequest,
    /// Base URL of the hub; the rehearsal starts its own hub.
    pub endpoint: String,
    /// Options of the pull of the weights.
    pub pull: PullOptions,
    /// True if the server keeps running after the command ends.
    pub keep: bool,
}

/// Plans every step from a bare host to a verified and measured endpoint.
///
/// # Errors
/// [`Kind::Usage`] for arguments that dsr1 owns; [`Kind::Host`] without Python or a free port to plan with.
pub fn up(request: &UpRequest, facts: &Facts) -> Result<Plan> {
    serve::check_one_node(&request.serve)?;
    let ServeRequest { stack, .. } = &request.serve;
    let launch = request.serve.accepted_launch()?;
    let build = BuildRequest::for_server(&request.serve);
    let installation = Installation::new(&build, facts)?;
    let mut steps = vec![installation.clone().into_step()];
    let of_weights = weights(request, facts, &mut steps)?;
    serve::check_server_name(request.serve.name.as_deref())?;
    let runs = serve::runs_already(&request.serve, &launch, &installation, facts);
    let is_temporary = !request.keep && !runs;
    for mut step in serve::steps(&request.serve, &launch, &installation, facts) {
        match &mut step {
            Step::StartContainer(_) | Step::StartProcess(_) if runs => continue,
            Step::AwaitReady(step) => step.runs_already = runs,
            Step::StartContainer(StartContainer { labels, .. })
            | Step::StartProcess(StartProcess { labels, .. })
                if is_temporary =>
            {
                labels.insert(LABEL_TEMPORARY.to_owned(), "true".to_owned());
            }
            _ => {}
        }
        steps.push(step);
    }
    steps.push(measure::bench_step(
        bench_request(&request.serve, &launch, &installation, facts),
        &request.serve.profile.name,
        facts,
    ));
    if is_temporary {
        steps.push(Step::StopServer(StopServer {
            server: serve::server(&request.serve, facts),
            drain_s: 30,
        }));
    }
    let mut plan = Plan::new("up", steps);
    plan.notes = serve::notes(&request.serve, facts);
    serve::add_measured(&mut plan, &request.serve, &installation, facts);
    serve::add_findings(&mut plan, &request.serve, launch, facts);
    prove::add(&mut plan, &request.serve, Some(&request.endpoint), facts)?;
    if runs {
        let name = serve::server_name(&request.serve);
        plan.notes.push(format!(
            "{name} runs already, from the same plan: it is verified and measured, and goes on running"
        ));
    } else {
        let found = serve::blockers(&request.serve, plan.memory.as_ref(), facts);
        plan.blockers.extend(found);
    }
    plan.blockers.extend(installation.blocker(&build, facts));
    plan.blockers.extend(of_weights);
    if !installation.is_present(facts) {
        plan.notes.insert(0, install_note(stack));
    }
    Ok(plan)
}

/// Adds the steps that bring the weights to this host, and returns what prevents them. The rehearsal makes its model and pulls
/// it from a hub of its own.
///
/// # Errors
/// [`Kind::Host`] without a free port for the rehearsal's hub.
pub(super) fn weights(request: &UpRequest, facts: &Facts, steps: &mut Vec<Step>) -> Result<Vec<Blocker>> {
    let profile = &request.serve.profile;
    let endpoint = if profile.goal == Goal::Rehearsal {
        let listen = mirror_address(facts)?;
        let source = format!("{}/rehearsal", facts.paths.cache);
        steps.push(Step::WriteModel(WriteModel {
            repo: rehearsal::REPO.to_owned(),
            cache_dir: source.clone(),
        }));
        steps.push(Step::ServeMirror(ServeMirror {
            cache_dir: source,
            listen: listen.clone(),
        }));
        format!("http://{listen}")
    } else {
        request.endpoint.clone()
    };
    let pull = PullRequest {
        repo: profile.model.repo.clone(),
        revision: profile.model.revision.clone(),
        endpoint,
        license: profile.model.license.clone(),
        size_bytes: (profile.model.size_bytes > 0).then_some(profile.model.size_bytes),
        options: request.pull.clone(),
        local_dir: None,
        selection: FilePatterns::default(),
        code: CodeFiles::Named(profile.model.code_files.clone()),
        locked: None,
    };
    let is_folder = profile.model.path.is_some();
    if !is_folder {
        steps.push(pull::step(&pull, facts)?);
    }
    let blockers = pull::blockers(&pull, facts).into_iter();
    Ok(blockers.filter(|_| !is_folder).collect())
}

/// Returns a note about what is going to be installed.
fn install_note(stack: &Stack) -> String {
    let (packages, size) = (stack.install.packages().count(), Bytes(stack.install_bytes));
    match packages {
        0 => format!("install: the image of stack {}, about {size} on disk", stack.name),
        _ => format!(
            "install: {} of stack {}, about {size} on disk",
            counted(packages, "package"),
            stack.name
        ),
    }
}

/// Returns the request of the engine's own client beside a server that is planned.
pub(super) fn bench_request(
    request: &ServeRequest,
    launch: &Launch,
    installation: &Installation,
    facts: &Facts,
) -> BenchRequest {
    BenchRequest {
        server: serve::server(request, facts),
        python: installation.python(&request.stack),
        stack: request.stack.clone(),
        port: request.port,
        base_url: serve::base_url(request.port),
        model: arguments::model_path(request, facts),
        env: environment::with_path(
            serve::env(request, launch, serve::cache_root(request, facts)),
            facts,
        ),
        bench: request.profile.bench.clone(),
    }
}

/// Returns the ports that are tried for the rehearsal's own hub. The plan needs facts about them.
pub fn mirror_ports() -> impl Iterator<Item = u16> {
    MIRROR_PORT..MIRROR_PORT + MIRROR_PORTS
}

fn mirror_address(facts: &Facts) -> Result<String> {
    mirror_ports()
        .find(|port| !facts.host.ports_taken.contains_key(port))
        .map(|port| format!("127.0.0.1:{port}"))
        .ok_or_else(|| {
            Error::new(Kind::Host, "no free port for the rehearsal's hub")
                .cause(format!(
                    "ports {MIRROR_PORT} to {} on 127.0.0.1 are all taken",
                    MIRROR_PORT + MIRROR_PORTS - 1
                ))
                .hint("ss -ltnp lists the processes that listen: stop one of these")
        })
}
