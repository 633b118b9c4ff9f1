//! Plans a sweep over servers: each is started, verified, measured at several loads, and stopped.

use crate::doctor::Blocker;
use crate::error::{Kind, Result};
use crate::facts::Facts;
use crate::plan::digest::digest;
use crate::plan::eval::results_dir;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::request::{ServeRequest, Target};
use crate::plan::{
    DRAIN_S, LABEL_TEMPORARY, MeasureCourse, MeasuredEndpoint, Plan, StartContainer, StartProcess, Step,
    StopServer, serve, up,
};

/// A server of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Combination {
    /// Its name, as in `fp8-low-latency on current`.
    pub name: String,
    /// Its profile.
    pub profile: String,
    /// Its stack.
    pub stack: String,
    /// All steps from its start to its end.
    pub plan: Plan,
}

impl Combination {
    /// Returns the measurement in its steps.
    #[must_use]
    pub fn course(&self) -> Option<&MeasureCourse> {
        self.plan.steps.iter().find_map(|step| match step {
            Step::MeasureCourse(course) => Some(&**course),
            _ => None,
        })
    }
}

/// Returns a server that is planned as one for a measurement.
///
/// # Errors
/// As [`serve::serve`].
pub fn measured_endpoint(request: &ServeRequest, facts: &Facts) -> Result<MeasuredEndpoint> {
    let launch = request.accepted_launch()?;
    let installation = Installation::new(&BuildRequest::for_server(request), facts)?;
    let start = serve::inputs(request, &launch, &installation, facts);
    Ok(MeasuredEndpoint::Own {
        client: Box::new(up::bench_request(request, &launch, &installation, facts)),
        profile: request.profile.name.clone(),
        origin: [("start".to_owned(), start)].into(),
    })
}

/// Plans a server of a sweep: the steps of `dsr1 serve`, those of `measuring`, and its end. Nothing is installed and nothing is
/// pulled: a sweep is refused at once if something is missing, and not after hours.
///
/// # Errors
/// As [`serve::serve`].
pub fn combination(request: &ServeRequest, measuring: Plan, facts: &Facts) -> Result<Combination> {
    let mut plan = serve::serve(request, facts)?;
    plan.command.clone_from(&measuring.command);
    for step in &mut plan.steps {
        if let Step::StartContainer(StartContainer { labels, .. })
        | Step::StartProcess(StartProcess { labels, .. }) = step
        {
            labels.insert(LABEL_TEMPORARY.to_owned(), "true".to_owned());
        }
    }
    plan.steps.extend(measuring.steps);
    plan.steps.push(Step::StopServer(StopServer {
        server: serve::server(request, facts),
        drain_s: DRAIN_S,
    }));
    plan.blockers.extend(missing_software(request, facts)?);
    let (profile, stack) = (request.profile.name.clone(), request.stack.name.clone());
    Ok(Combination {
        name: format!("{profile} on {stack}"),
        profile,
        stack,
        plan,
    })
}

/// Returns the reason why a server cannot start: its software is not on the host.
fn missing_software(request: &ServeRequest, facts: &Facts) -> Result<Option<Blocker>> {
    let installation = Installation::new(&BuildRequest::for_server(request), facts)?;
    if installation.is_present(facts) {
        return Ok(None);
    }
    let stack = &request.stack.name;
    let what = match request.target {
        Target::Docker => "image",
        Target::Process => "venv",
    };
    Ok(Some(Blocker {
        kind: Kind::Host,
        message: format!("the {what} of stack {stack} is not on this host"),
        cause: "a sweep over servers installs nothing".to_owned(),
        hint: format!("dsr1 build --stack {stack} --runtime {}", request.target.name()),
    }))
}

/// Returns all steps of a sweep over servers as one plan, for people and scripts.
#[must_use]
pub fn all_combinations(all: &[Combination]) -> Plan {
    let command = all.first().map_or("", |first| first.plan.command.as_str());
    let mut whole = Plan::new(command, Vec::new());
    for one in all {
        let plan = &one.plan;
        whole.notes.push(format!("server: {}", one.name));
        whole.notes.extend(plan.notes.iter().cloned());
        whole.checks.extend(plan.checks.iter().cloned());
        whole.blockers.extend(plan.blockers.iter().cloned());
        whole.steps.extend(plan.steps.iter().cloned());
    }
    whole
}

/// The file of a sweep over servers, until it is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSweepFile {
    /// Digest of the servers, the loads and their points.
    pub key: String,
    /// The file.
    pub partial: String,
    /// The files of its courses, each of which is there until its course is complete.
    pub courses: Vec<String>,
    /// Directory of the results.
    pub results_dir: String,
}

/// Returns the file of a sweep over servers.
#[must_use]
pub fn kept_sweep_file(all: &[Combination], facts: &Facts) -> KeptSweepFile {
    let keys: Vec<(&str, &String)> = all
        .iter()
        .filter_map(|one| Some((one.name.as_str(), &one.course()?.key)))
        .collect();
    let key = digest(&keys);
    let results_dir = results_dir(facts);
    KeptSweepFile {
        partial: format!("{results_dir}/profiles-sweep-{}.partial.json", &key[..12]),
        courses: all
            .iter()
            .filter_map(|one| Some(one.course()?.partial.clone()))
            .collect(),
        key,
        results_dir,
    }
}
