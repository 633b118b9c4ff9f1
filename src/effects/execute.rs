//! Carries out a plan step by step, and removes the servers it started when it fails or is interrupted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::Pid;
use tokio::sync::OnceCell;

use crate::effects::blocking::blocking;
use crate::effects::docker::Docker;
use crate::effects::ended_logs;
use crate::effects::env::{self, Env};
use crate::effects::files::{self, SharedLock};
use crate::effects::http::Http;
use crate::effects::hub::HubOptions;
use crate::effects::listener;
use crate::effects::mirror::{self, Mirror, MirrorOptions};
use crate::effects::process::{preflight, server as process, venv};
use crate::effects::serve::Holdings;
use crate::effects::serve::runtime::Runtime;
use crate::effects::serve::{engine_client, evaluate, health, history, keep, measure, record, start, verify};
use crate::effects::signal::Interrupt;
use crate::effects::{slurm, store, weights};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Reporter, StepEvents};
use crate::plan::{
    self, AwaitJob, CheckEnvironment, CreateVenv, EvaluateModel, LABEL_STACK, MeasureCourse, MeasureLoad,
    Plan, PullSnapshot, ServeMirror, Server, StartContainer, StartProcess, Step, StopServer, SubmitJob,
    VerifyAnswers,
};
use crate::report::{self, EnvironmentChecked, Happening, Outcome, Proof, Pulled, Report, StepReport};
use crate::secret::Secret;
use crate::units::{Bytes, counted};

/// All effects of a command.
pub struct Effects {
    pub(super) env: Env,
    pub(super) http: Http,
    docker: OnceCell<Docker>,
    /// Servers that a running plan started and has not handed over: they are stopped if the plan fails.
    started: Mutex<Vec<Started>>,
    /// Things that servers held when a failed plan stopped them: they may need some seconds until they are free.
    left: Mutex<Vec<Holdings>>,
    /// The time in UTC at which this command began.
    begun: String,
    /// The mirror of a running plan.
    mirror: Mutex<Option<PlannedMirror>>,
    /// URLs of servers in jobs, by the URL that the plan names.
    located: Mutex<BTreeMap<String, String>>,
    /// Locks on what the running plan uses, which `dsr1 clean` must not remove.
    kept: Mutex<Vec<SharedLock>>,
    /// Index of the step that a plan carries out.
    step: AtomicUsize,
    /// The user's wish to end a plan.
    interrupt: Interrupt,
}

/// A server that a plan started.
struct Started {
    server: Server,
    /// Its port on 127.0.0.1, if the plan waits for it.
    port: Option<u16>,
    pid: Option<Pid>,
    is_ready: bool,
}

/// A server that an interrupted plan had started, and that is stopped and removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its name.
    pub name: String,
    /// True if it was READY.
    pub was_ready: bool,
}

/// A mirror that runs, and the URL that its plan names for it.
struct PlannedMirror {
    planned: String,
    mirror: Mirror,
}

impl Effects {
    /// Returns the effects of this environment; connections are opened on first use.
    #[must_use]
    pub fn new(env: Env) -> Self {
        let http = Http::new(env.paths.ca_bundle.as_deref(), &env.inherited);
        Self {
            env,
            http,
            docker: OnceCell::new(),
            started: Mutex::default(),
            left: Mutex::default(),
            begun: files::utc_now(),
            mirror: Mutex::default(),
            located: Mutex::default(),
            kept: Mutex::default(),
            step: AtomicUsize::new(0),
            interrupt: Interrupt::default(),
        }
    }

    /// Returns the HTTP client.
    #[must_use]
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// Returns the environment.
    #[must_use]
    pub const fn env(&self) -> &Env {
        &self.env
    }

    /// Returns the Docker daemon, connected on first use.
    ///
    /// # Errors
    /// [`Kind::Docker`] when none answers.
    pub async fn docker(&self) -> Result<&Docker> {
        self.docker.get_or_try_init(|| Docker::connect(&self.env)).await
    }

    /// Writes a result of a command into a file, completely or not at all.
    ///
    /// # Errors
    /// [`Kind::Host`] when it cannot be written.
    pub fn write_result(&self, path: &std::path::Path, bytes: &[u8]) -> Result<()> {
        crate::effects::files::write_atomic(path, bytes)
    }

    /// Carries out a plan. When a step fails, the servers that the plan started and did not hand over are removed first; after
    /// [`Self::interrupt`] the caller does that.
    ///
    /// # Errors
    /// The error of the step that failed.
    pub async fn execute(&self, plan: &Plan, reporter: &dyn Reporter) -> Result<Report> {
        let begun = Instant::now();
        // An earlier plan may have been interrupted, such as that of a server that is replaced.
        self.interrupt.lower();
        for text in plan.remarks() {
            reporter.event(&Event::Note { text });
        }
        let mut steps = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let number = index + 1;
            self.step.store(index, Ordering::Relaxed);
            let title = step.title();
            reporter.event(&Event::StepStarted {
                step: number,
                of: plan.steps.len(),
                title: title.clone(),
            });
            let started = Instant::now();
            let outcome = match self.step(step, plan, &StepEvents::new(reporter, number)).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    // Who interrupts a step cleans up, and says what is gone.
                    if !self.interrupt.is_raised() {
                        self.clean_up().await;
                    }
                    return Err(error);
                }
            };
            let elapsed_ms = millis(started);
            let (summary, cached) = summary(&outcome);
            reporter.event(&Event::StepFinished {
                step: number,
                elapsed_ms,
                cached,
                summary,
            });
            steps.push(StepReport {
                title,
                elapsed_ms,
                outcome,
            });
        }
        self.shut_mirror();
        self.release();
        Ok(Report {
            schema: report::SCHEMA.to_owned(),
            command: plan.command.clone(),
            steps,
            elapsed_ms: millis(begun),
        })
    }

    /// Returns the step at which the last plan is, or was interrupted, and its position from 1.
    #[must_use]
    pub fn step_of<'a>(&self, plan: &'a Plan) -> Option<(usize, &'a Step)> {
        let index = self.step.load(Ordering::Relaxed);
        plan.steps.get(index).map(|step| (index + 1, step))
    }

    /// Tells the step at hand that the user wants it to end. Returns true if it ends by itself, soon, and keeps what it has; any
    /// other one is to be dropped.
    pub fn interrupt(&self, plan: &Plan) -> bool {
        let keeps = matches!(self.step_of(plan), Some((_, Step::MeasureLoad(_))));
        if keeps {
            self.interrupt.raise();
        }
        keeps
    }

    /// Returns true if the user interrupted the last plan, and it ended by itself all the same.
    #[must_use]
    pub fn was_interrupted(&self) -> bool {
        self.interrupt.is_raised()
    }

    /// Removes the servers that an interrupted plan started and did not hand over; returns those that are gone.
    pub async fn clean_up(&self) -> Vec<Removed> {
        self.shut_mirror();
        self.release();
        if let Some(docker) = self.docker.get() {
            docker.end_clients().await;
            docker.end_one_offs().await;
        }
        let started = self
            .started
            .lock()
            .map(|mut started| std::mem::take(&mut *started))
            .unwrap_or_default();
        let mut removed = Vec::new();
        for one in started {
            // Once it is stopped, nobody can tell which processes were its own.
            if let Some(port) = one.port {
                self.note_left(self.holdings(&one.server, port).await);
            }
            if let Ok(runtime) = self.runtime(&one.server).await
                // Nobody else has requests there yet, so it needs no drain.
                && runtime.stop(0).await.is_ok()
            {
                self.note_event(one.server.name(), Happening::Failed, "");
                removed.push(Removed {
                    name: one.server.name().to_owned(),
                    was_ready: one.is_ready,
                });
            }
        }
        removed
    }

    /// Returns the holdings of the servers that failed plans stopped: to be awaited before the next server starts.
    pub fn take_left(&self) -> Vec<Holdings> {
        let mut left = self.left.lock();
        left.as_mut()
            .map(|left| std::mem::take(&mut **left))
            .unwrap_or_default()
    }

    fn note_left(&self, held: Holdings) {
        if let Ok(mut left) = self.left.lock() {
            left.push(held);
        }
    }

    /// Returns true if another command stopped a server since this one began.
    pub async fn was_stopped(&self, server: &Server) -> bool {
        let runtime = self.runtime(server).await;
        runtime.is_ok_and(|runtime| runtime.was_stopped())
    }

    /// Keeps a lock until the plan ends.
    fn keep(&self, lock: Option<SharedLock>) {
        if let Ok(mut kept) = self.kept.lock() {
            kept.extend(lock);
        }
    }

    fn release(&self) {
        if let Ok(mut kept) = self.kept.lock() {
            kept.clear();
        }
    }

    fn shut_mirror(&self) {
        if let Some(mirror) = self.mirror.lock().ok().and_then(|mut mirror| mirror.take()) {
            mirror.mirror.shutdown();
        }
    }

    /// Starts the mirror of a plan. If its port was taken since the plan was made, the kernel chooses another one.
    fn start_mirror(&self, step: &ServeMirror) -> Result<String> {
        let listener = listener::listen(&step.listen).or_else(|error| {
            let host = step.listen.rsplit_once(':').map_or("", |(host, _)| host);
            listener::listen(&format!("{host}:0")).map_err(|_| error)
        })?;
        let mirror = mirror::mirror(listener, &step.cache_dir, MirrorOptions::default())?;
        let endpoint = mirror.endpoint();
        if let Ok(mut slot) = self.mirror.lock() {
            *slot = Some(PlannedMirror {
                planned: format!("http://{}", step.listen),
                mirror,
            });
        }
        Ok(endpoint)
    }

    /// Returns a pull that asks the mirror of the plan where it listens.
    fn at_mirror(&self, step: &PullSnapshot) -> PullSnapshot {
        let mut step = step.clone();
        if let Ok(slot) = self.mirror.lock()
            && let Some(running) = slot.as_ref().filter(|running| running.planned == step.endpoint)
        {
            step.endpoint = running.mirror.endpoint();
        }
        step
    }

    /// Returns the means to reach a server.
    pub(super) async fn runtime(&self, server: &Server) -> Result<Runtime<'_>> {
        Ok(match server {
            Server::Docker { name } => Runtime::Docker {
                docker: self.docker().await?,
                name: name.clone(),
                kept_log: ended_logs::newest(&self.servers_folder(), name),
                begun: &self.begun,
            },
            Server::Process { name, log } => Runtime::Process {
                env: &self.env,
                name: name.clone(),
                log: PathBuf::from(log),
                child: self.started.lock().ok().and_then(|started| {
                    let known = started.iter().find(|known| known.server == *server);
                    known.and_then(|known| known.pid)
                }),
                begun: &self.begun,
            },
            Server::Slurm { name, folder } => Runtime::Slurm {
                env: &self.env,
                name: name.clone(),
                folder: PathBuf::from(folder),
                begun: &self.begun,
            },
        })
    }

    /// Submits a job of Slurm.
    async fn submit_job(&self, step: &SubmitJob, plan: &Plan) -> Result<Outcome> {
        let server = Server::Slurm {
            name: step.name.clone(),
            folder: step.folder.clone(),
        };
        let job = slurm::submit(&self.env, step).await?;
        self.record_start(&step.name, plan);
        self.note_started(server, plan, None);
        Ok(Outcome::Submitted {
            name: step.name.clone(),
            job,
        })
    }

    /// Waits until the server of a job takes requests, and remembers where.
    async fn await_job(&self, step: &AwaitJob, plan: &Plan, events: &StepEvents<'_>) -> Result<Outcome> {
        let Server::Slurm { name, folder } = &step.server else {
            return Err(Error::new(Kind::Internal, "a job without a folder"));
        };
        let ready = slurm::await_job(step, &self.env, Path::new(folder), events).await?;
        if let Ok(mut located) = self.located.lock() {
            located.insert(step.base_url.clone(), ready.base_url.clone());
        }
        self.note_event(name, Happening::Ready, "");
        self.hand_over(&step.server, plan);
        Ok(Outcome::Ready(ready))
    }

    /// Returns the URL of a server of the plan: of one in a job, that which the job said.
    fn at_job(&self, planned: &str) -> String {
        let located = self.located.lock().ok();
        let known = located.as_ref().and_then(|located| located.get(planned));
        known.cloned().unwrap_or_else(|| planned.to_owned())
    }

    /// Returns the folder with the logs, histories and plans of servers.
    pub(super) fn servers_folder(&self) -> PathBuf {
        Path::new(&self.env.paths.state).join("servers")
    }

    /// Records the start of a server in its history, and keeps the plan for its next start.
    fn record_start(&self, name: &str, plan: &Plan) {
        let state = Path::new(&self.env.paths.state);
        history::note(state, name, Happening::Started, "");
        keep::keep_plan(state, plan);
    }

    fn note_started(&self, server: Server, plan: &Plan, pid: Option<Pid>) {
        let awaited = plan::server_of(plan).filter(|(awaited, _)| **awaited == server);
        let port = awaited.map(|(_, port)| port);
        if let Ok(mut started) = self.started.lock() {
            started.push(Started {
                server,
                port,
                pid,
                is_ready: false,
            });
        }
    }

    /// Leaves a ready server running even if a later step fails, unless the plan itself stops it.
    fn hand_over(&self, server: &Server, plan: &Plan) {
        if plan.left_running(plan.steps.len()) == Some(server) {
            self.forget(server);
        } else if let Ok(mut started) = self.started.lock() {
            for one in started.iter_mut().filter(|one| one.server == *server) {
                one.is_ready = true;
            }
        }
    }

    fn forget(&self, server: &Server) {
        if let Ok(mut started) = self.started.lock() {
            started.retain(|known| known.server != *server);
        }
    }

    /// Returns the settings for pulling and checking weights.
    pub(crate) fn hub_options(&self) -> HubOptions<'_> {
        HubOptions {
            http: &self.http,
            token: self.env.hub.token.as_ref(),
            token_from: &self.env.hub.token_from,
            offline: self.env.hub.offline,
            limits: &self.env.hub.limits,
            events: None,
        }
    }

    async fn install(&self, step: &CreateVenv, events: &StepEvents<'_>) -> Result<Outcome> {
        let installed = venv::create(step, &self.env, events).await?;
        // Hours of a pull may follow before the engine runs on it.
        self.keep(venv::keep(Path::new(&step.dir), &step.stack, events).await?);
        Ok(Outcome::Installed(installed))
    }

    /// Checks an environment of the user.
    ///
    /// # Errors
    /// [`Kind::Host`] if it is not the planned one, or cannot import the engine.
    pub async fn check_environment(
        &self,
        step: &CheckEnvironment,
        events: &StepEvents<'_>,
    ) -> Result<EnvironmentChecked> {
        preflight::check(step, &self.env, events).await
    }

    async fn start_process(
        &self,
        step: &StartProcess,
        plan: &Plan,
        events: &StepEvents<'_>,
    ) -> Result<Outcome> {
        if let Some(dir) = venv_of(step) {
            let stack = step.labels.get(LABEL_STACK).map_or("", String::as_str);
            self.keep(venv::keep(dir, stack, events).await?);
        }
        let pid = process::start(step, &self.env)?;
        self.record_start(&step.name, plan);
        self.note_started(
            Server::Process {
                name: step.name.clone(),
                log: step.log.clone(),
            },
            plan,
            Some(pid),
        );
        Ok(Outcome::Started {
            name: step.name.clone(),
        })
    }

    async fn start_container(
        &self,
        step: &StartContainer,
        plan: &Plan,
        events: &StepEvents<'_>,
    ) -> Result<Outcome> {
        let docker = self.docker().await?;
        if docker.state(&step.name).await?.is_some_and(|state| state.running) {
            return Err(Error::new(Kind::Server, format!("{} runs already", step.name))
                .hint(format!("dsr1 stop {}", step.name)));
        }
        // Noted before it exists: Ctrl-C between creation and answer must not leave a container.
        let server = Server::Docker {
            name: step.name.clone(),
        };
        self.note_started(server.clone(), plan, None);
        if let Err(error) = docker.start(step, events).await {
            self.forget(&server);
            return Err(error);
        }
        // Docker has the log of this start until its container goes.
        ended_logs::make_room(&self.servers_folder(), &step.name);
        self.record_start(&step.name, plan);
        Ok(Outcome::Started {
            name: step.name.clone(),
        })
    }

    async fn step(&self, step: &Step, plan: &Plan, events: &StepEvents<'_>) -> Result<Outcome> {
        match step {
            Step::CreateVenv(step) => self.install(step, events).await,
            Step::CheckEnvironment(step) => {
                let checked = self.check_environment(step, events).await?;
                Ok(Outcome::EnvironmentChecked(checked))
            }
            Step::BuildImage(step) => Box::pin(self.docker().await?.build(step, events))
                .await
                .map(Outcome::Built),
            Step::WriteModel(step) => {
                let lock = Path::new(&step.cache_dir).with_extension("lock");
                self.keep(
                    files::share(&lock, events, "another dsr1 removes the model of the rehearsal").await,
                );
                let (repo, step) = (step.repo.clone(), step.clone());
                let commit = blocking(move || weights::write_model(&step)).await?;
                Ok(Outcome::ModelWritten { repo, commit })
            }
            Step::ServeMirror(step) => {
                let endpoint = self.start_mirror(step)?;
                Ok(Outcome::Mirroring { endpoint })
            }
            Step::PullSnapshot(step) => weights::pull(&self.at_mirror(step), self.hub_options(), events)
                .await
                .map(Outcome::Pulled),
            Step::CheckSnapshot(step) => {
                let step = step.clone();
                blocking(move || store::check_snapshot(&step).map(Outcome::Checked)).await
            }
            Step::CheckFolder(step) => {
                let step = step.clone();
                blocking(move || store::check_folder(&step).map(Outcome::FolderChecked)).await
            }
            Step::ProveArguments(step) => self.prove_plan(step, events).await.map(Outcome::Proven),
            Step::StartContainer(step) => self.start_container(step, plan, events).await,
            Step::StartProcess(step) => self.start_process(step, plan, events).await,
            Step::AwaitReady(step) => {
                let runtime = self.runtime(&step.server).await?;
                let ready = start::await_ready(step, &runtime, &self.http, events).await?;
                if !self.was_ready(step.server.name()) {
                    self.note_event(step.server.name(), Happening::Ready, "");
                }
                self.hand_over(&step.server, plan);
                record::keep(Path::new(&self.env.paths.state), step, &ready);
                Ok(Outcome::Ready(ready))
            }
            Step::VerifyAnswers(step) => {
                let step = &VerifyAnswers {
                    base_url: self.at_job(&step.base_url),
                    ..step.clone()
                };
                let runtime = self.runtime(&step.server).await?;
                let work = Box::pin(verify::verify(step, &self.http));
                let during = "verification";
                let verification =
                    health::unless_hung(&runtime, &self.http, &step.base_url, during, work).await;
                // The end of the engine explains an answer that did not come.
                start::still_alive(&runtime, "verification").await?;
                Ok(Outcome::Verified(verification?))
            }
            Step::MeasureLoad(step) => {
                let located = MeasureLoad {
                    base_url: self.at_job(&step.base_url),
                    ..(**step).clone()
                };
                let work = Measured::Load(&located);
                Box::pin(self.measure(work, events)).await
            }
            Step::MeasureCourse(step) => {
                let work = Measured::Course(step);
                Box::pin(self.measure(work, events)).await
            }
            Step::EvaluateModel(step) => Box::pin(self.evaluate(step, events)).await,
            Step::RunBenchmark(step) => {
                let runtime = self.runtime(&step.server).await?;
                let work = Box::pin(engine_client::benchmark(step, &runtime, events));
                let during = "the benchmark";
                let result = health::unless_hung(&runtime, &self.http, &step.base_url, during, work).await;
                start::still_alive(&runtime, "the benchmark").await?;
                Ok(Outcome::Benchmarked(Box::new(result?)))
            }
            Step::RunGsm8k(step) => {
                let runtime = self.runtime(&step.server).await?;
                let work = Box::pin(engine_client::gsm8k(step, &runtime, &self.http, events));
                let during = "the evaluation";
                let result = health::unless_hung(&runtime, &self.http, &step.base_url, during, work).await;
                start::still_alive(&runtime, "the evaluation").await?;
                Ok(Outcome::Evaluated(result?))
            }
            Step::SubmitJob(step) => self.submit_job(step, plan).await,
            Step::AwaitJob(step) => self.await_job(step, plan, events).await,
            Step::StopServer(step) => self.stop_server(step, plan).await,
        }
    }

    /// Stops a server. If it is the server of the plan, nothing of it is left then.
    async fn stop_server(&self, step: &StopServer, plan: &Plan) -> Result<Outcome> {
        // The next server of this host begins where the one of this plan ends.
        let own = plan::server_of(plan).filter(|(server, _)| **server == step.server);
        let held = match own {
            Some((server, port)) => Some(self.holdings(server, port).await),
            None => None,
        };
        let killed = self.stop(&step.server, step.drain_s).await?;
        self.forget(&step.server);
        if let Some(held) = held
            && let Err(error) = self.await_release(&held).await
        {
            self.note_left(held);
            return Err(error);
        }
        Ok(Outcome::Stopped {
            name: step.server.name().to_owned(),
            killed,
        })
    }

    /// Evaluates a server, and ends early if it hangs or ends.
    async fn evaluate(&self, step: &EvaluateModel, events: &StepEvents<'_>) -> Result<Outcome> {
        let Some(server) = &step.server else {
            let key = env::variable(env::SERVER_KEY).map(|key| Secret::new(&key));
            let work = evaluate::evaluate_model(step, &self.http, key, events);
            return Ok(Outcome::AccuracyMeasured(Box::new(Box::pin(work).await?)));
        };
        let runtime = self.runtime(server).await?;
        let work = Box::pin(evaluate::evaluate_model(step, &self.http, None, events));
        let during = "the evaluation";
        let result = health::unless_hung(&runtime, &self.http, &step.base_url, during, work).await;
        start::still_alive(&runtime, during).await?;
        Ok(Outcome::AccuracyMeasured(Box::new(result?)))
    }

    /// Measures a server, and ends early if it hangs or ends.
    async fn measure(&self, measured: Measured<'_>, events: &StepEvents<'_>) -> Result<Outcome> {
        let step = measured.load();
        let place = measure::Place {
            env: &self.env,
            http: &self.http,
            runtime: None,
            events,
            interrupt: &self.interrupt,
        };
        let Some(server) = &step.server else {
            let key = env::variable(env::SERVER_KEY).map(|key| Secret::new(&key));
            return Box::pin(measured.carry_out(place, key)).await;
        };
        let runtime = self.runtime(server).await?;
        let place = measure::Place {
            runtime: Some(&runtime),
            ..place
        };
        let work = Box::pin(measured.carry_out(place, None));
        let during = "the measurement";
        let result = health::unless_hung(&runtime, &self.http, &step.base_url, during, work).await;
        start::still_alive(&runtime, during).await?;
        result
    }
}

/// A measurement of one load or of several.
#[derive(Clone, Copy)]
enum Measured<'a> {
    Load(&'a MeasureLoad),
    Course(&'a MeasureCourse),
}

impl<'a> Measured<'a> {
    const fn load(self) -> &'a MeasureLoad {
        match self {
            Self::Load(step) => step,
            Self::Course(step) => &step.measure,
        }
    }

    async fn carry_out(self, place: measure::Place<'_>, key: Option<Secret>) -> Result<Outcome> {
        Ok(match self {
            Self::Load(step) => {
                let work = measure::measure_load(step, place, key);
                Outcome::Measured(Box::new(Box::pin(work).await?))
            }
            Self::Course(step) => {
                let work = measure::measure_course(step, place, key);
                Outcome::Swept(Box::new(Box::pin(work).await?))
            }
        })
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Returns the outcome of a step in words, and true if there was nothing to do.
fn summary(outcome: &Outcome) -> (String, bool) {
    match outcome {
        Outcome::Installed(installed) => (
            format!("{} in {}", counted(installed.packages, "package"), installed.dir),
            installed.cached,
        ),
        Outcome::EnvironmentChecked(checked) => (
            format!(
                "SGLang {}, {}, {} imported",
                checked.sglang,
                counted(checked.packages, "package"),
                counted(checked.imports.len(), "module")
            ),
            checked.cached,
        ),
        Outcome::Built(built) => (Bytes(built.size_bytes).to_string(), built.cached),
        Outcome::ModelWritten { commit, .. } => (format!("commit {commit}"), false),
        Outcome::Mirroring { endpoint } => (endpoint.clone(), false),
        Outcome::Pulled(pulled) => {
            let how = if pulled.cached {
                "verified, nothing to fetch"
            } else {
                "every hash checked"
            };
            (format!("{}, {how}", snapshot(pulled)), pulled.cached)
        }
        Outcome::Checked(pulled) => (
            format!("{}, unchanged since it was verified", snapshot(pulled)),
            false,
        ),
        Outcome::FolderChecked(folder) => (
            format!(
                "{} of weights, {}, each with a header that fits",
                counted(folder.shards, "file"),
                Bytes(folder.size_bytes)
            ),
            false,
        ),
        Outcome::Proven(proof) => (proven(proof), proof.cached),
        // The title names the server.
        Outcome::Started { .. } => (String::new(), false),
        Outcome::Submitted { job, .. } => (format!("job {job}"), false),
        Outcome::Ready(ready) => (format!("READY on {}", ready.base_url), false),
        Outcome::Verified(verification) => {
            let what = if verification.scope == "wiring" {
                ", wiring only: the model is random"
            } else {
                ""
            };
            (
                format!("VERIFIED ({}{what})", counted(verification.checks.len(), "check")),
                false,
            )
        }
        Outcome::Measured(measurement) => (measured(measurement), false),
        Outcome::Swept(sweep) => (counted(sweep.points.len(), "point"), false),
        Outcome::Benchmarked(bench) => (
            format!(
                "{} requests, {:.0} output tokens/s",
                bench.completed, bench.output_throughput
            ),
            false,
        ),
        Outcome::AccuracyMeasured(result) => (accuracy_of(result), false),
        Outcome::Evaluated(gsm8k) => (
            format!(
                "accuracy {:.3} over {} questions",
                gsm8k.accuracy, gsm8k.questions
            ),
            false,
        ),
        Outcome::Stopped { killed, .. } => {
            let how = if *killed {
                ", killed after the drain time"
            } else {
                ""
            };
            (format!("stopped{how}"), false)
        }
    }
}

/// Returns an evaluation in one line.
fn accuracy_of(result: &report::Evaluation) -> String {
    let incomplete = if result.is_complete { "" } else { ", incomplete" };
    let answers = result.counts.answered();
    match result.accuracy {
        Some(accuracy) => format!("accuracy {accuracy:.3} over {answers} answers{incomplete}"),
        None => format!(
            "{:.1} tokens in the mean of {answers} answers{incomplete}",
            result.tokens.mean
        ),
    }
}

/// Returns a measurement in one line.
fn measured(measurement: &report::Measurement) -> String {
    let tokens = measurement
        .figures
        .as_ref()
        .map_or(0.0, |figures| figures.output_throughput);
    format!(
        "{} requests, {tokens:.0} output tokens/s, {}",
        measurement.requests.completed,
        measurement.trust.word()
    )
}

/// Returns the venv that a server runs on; `None` if its Python is in none of dsr1.
fn venv_of(step: &StartProcess) -> Option<&Path> {
    let python = Path::new(step.argv.first()?);
    let dir = python.parent()?.parent()?;
    (dir.parent()?.file_name()? == "venvs").then_some(dir)
}

fn proven(proof: &Proof) -> String {
    match (&proof.failed, proof.differences.len()) {
        (Some(_), _) => "not asked".to_owned(),
        (None, 0) if proof.compared == 0 => "accepted".to_owned(),
        (None, 0) => format!("accepted, as planned ({})", counted(proof.compared, "value")),
        (None, count) => format!("accepted, {} not as planned", counted(count, "value")),
    }
}

fn snapshot(pulled: &Pulled) -> String {
    let commit: String = pulled.commit.chars().take(12).collect();
    format!(
        "{}, {}, commit {commit}",
        counted(pulled.files, "file"),
        Bytes(pulled.total_bytes)
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the engine of this test is a process like any other"
    )]
    async fn the_processes_of_a_failed_server_are_known_after_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("dsr1-failed.log");
        let mut engine = std::process::Command::new("sleep")
            .arg("600")
            .stdout(std::fs::File::create(&log).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut env = Env::default();
        env.paths.state = dir.path().to_string_lossy().into_owned();
        let effects = Effects::new(env);
        effects.started.lock().unwrap().push(Started {
            server: Server::Process {
                name: "dsr1-failed".to_owned(),
                log: log.to_string_lossy().into_owned(),
            },
            port: Some(0),
            pid: None,
            is_ready: false,
        });
        let removed = effects.clean_up().await;
        // It may be reaped already.
        let _ = engine.wait();
        assert_eq!(removed.len(), 1);
        let held = effects.take_left();
        assert_eq!(held.len(), 1);
        let pid = engine.id().to_string();
        assert!(format!("{:?}", held[0]).contains(&pid), "{held:?} without {pid}");
        effects.await_release(&held[0]).await.unwrap();
        assert!(effects.take_left().is_empty());
    }
}
