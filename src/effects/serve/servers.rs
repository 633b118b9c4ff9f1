//! Servers of dsr1 on this host, found from Docker's labels and from logs.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::diagnose::{Diagnoser, Diagnosis, Verdict};
use crate::effects::docker::Docker;
use crate::effects::execute::Effects;
use crate::effects::host;
use crate::effects::lines::{LogEnd, LogPart};
use crate::effects::process::server as process;
use crate::effects::serve::guard::ServerTask;
use crate::effects::serve::health::Subject;
use crate::effects::serve::pick::{gone, pick};
use crate::effects::serve::runtime::{Life, MEMORY_RAN_OUT};
use crate::effects::serve::{health, history, start, verify};
use crate::effects::slurm;
use crate::effects::user_files;
use crate::error::{Error, Kind, Result};
use crate::facts::RunningServer;
use crate::plan::{
    LABEL_BASE_DIGEST, LABEL_GPUS, LABEL_INPUTS, LABEL_MODEL, LABEL_NAME, LABEL_PORT, LABEL_PROFILE,
    LABEL_PYTHON, LABEL_STACK, LABEL_TEMPORARY, LABEL_VARIABLES, Server, base_url,
};
use crate::report::{Answer, AnswerPiece, Happening, ServerEvent, ServerState, ServerStatus};
use crate::sglang::Activity;

/// Longest wait for the list of containers before a plan.
const CONTAINERS: Duration = Duration::from_secs(5);

/// A server that was found, described by its labels.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its state and its labels.
    pub status: ServerStatus,
    /// The server as a plan names it.
    pub server: Server,
    /// Python of its runtime.
    pub python: String,
    /// Variables that this Python needs to find its packages.
    pub variables: BTreeMap<String, String>,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its counters and latencies, with the time of their answer; `None` if it has no metrics, or they did not answer.
    pub activity: Option<(Instant, Activity)>,
    /// Digest of the inputs of its plan; empty for a server of an earlier dsr1.
    inputs: String,
    /// True if the command that started it stops it.
    temporary: bool,
    /// The GPUs that were chosen for it, as indices of nvidia-smi.
    pub gpus: Vec<u32>,
    /// The id of its image; `None` for a process.
    pub image: Option<String>,
    /// Digest of the base of that image, if its build labelled it.
    pub base_image: Option<String>,
}

impl Found {
    /// Returns the facts about its start that its labels have: `image`, `base_image`, `start`.
    #[must_use]
    pub fn origin(&self) -> BTreeMap<String, String> {
        let known = [
            ("image", self.image.as_ref()),
            ("base_image", self.base_image.as_ref()),
            ("start", Some(&self.inputs).filter(|inputs| !inputs.is_empty())),
        ];
        known
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
            .collect()
    }
}

/// A server that a user names.
#[derive(Debug, Clone)]
pub enum Sought {
    /// It is there.
    There(Box<Found>),
    /// It ended and is not there any more.
    Ended(Box<ServerStatus>),
}

/// Lines of a log in which the cause of a server's end is looked for: tracebacks of all ranks.
const LINES_OF_END: u64 = 5000;
/// Longest time for that.
const TIME_OF_END: Duration = Duration::from_millis(400);
/// Free bytes below which a disk is full: the last lines of a log are lost.
const LEAST_FREE: u64 = 1 << 20;
/// Most servers that ended whose cause is looked for.
const MOST_ENDED: usize = 8;

impl Effects {
    /// Returns every server of dsr1, and the error of a daemon that does not answer, whose servers are missing. A host without
    /// Docker has none of these.
    ///
    /// `probe` returns the readiness path of a stack. A server that does not answer takes a second at most; a Docker daemon that does
    /// not answer takes longer.
    pub async fn servers(&self, probe: &dyn Fn(&str) -> String) -> (Vec<Found>, Option<Error>) {
        let mut found = Vec::new();
        let mut trouble = None;
        match self.containers().await {
            Ok(containers) => found.extend(containers),
            Err(_) if Docker::is_absent(self.env()) => {}
            Err(error) => trouble = Some(error),
        }
        found.extend(self.processes());
        match self.servers_in_jobs().await {
            Ok(jobs) => found.extend(jobs),
            Err(error) => trouble = trouble.or(Some(error)),
        }
        let paths: Vec<String> = found.iter().map(|server| probe(&server.status.stack)).collect();
        let mut ended = 0;
        let looks = found.iter_mut().zip(&paths).map(|(server, path)| {
            ended += usize::from(server.status.state.has_ended());
            self.look_at(server, path, ended <= MOST_ENDED)
        });
        futures_util::future::join_all(looks).await;
        (found, trouble)
    }

    /// Finds the state of a server, and the cause of its end if `explain` is set.
    async fn look_at(&self, server: &mut Found, probe: &str, explain: bool) {
        if server.status.state == ServerState::Starting
            && let Ok(runtime) = self.runtime(&server.server).await
        {
            let subject = Subject {
                runtime: &runtime,
                base_url: &server.status.base_url,
                probe,
                was_ready: self.was_ready(server.server.name()),
            };
            let found = health::look_at_server(&subject, self.http(), health::BRIEF).await;
            server.status.state = found.state;
            server.status.cause = found.cause;
            server.status.stage = found.stage;
            server.status.load = found.load;
            server.activity = found.activity;
        }
        if server.status.state == ServerState::Crashed && explain {
            let reason = self.reason_of_end(&server.server).await;
            let known = history::cause_of_crash(Path::new(&self.env().paths.state), &server.status.name);
            let is_job = matches!(server.server, Server::Slurm { .. });
            // The log of a server that lost a process does not say who killed it; a job says which rank ended first.
            let (cause, was_asked) = if is_job || reason.contains(MEMORY_RAN_OUT) {
                (Some(reason), false)
            } else if known.is_some() {
                (known, false)
            } else {
                match self.cause_of_end(&server.server).await {
                    (None, false) => (Some(format!("{reason}; its log shows no cause")), false),
                    found => found,
                }
            };
            server.status.cause = cause;
            if was_asked {
                server.status.state = ServerState::Stopped;
            } else {
                self.note_crash(&server.status);
            }
        }
    }

    /// Notes a crash in the history, once. A command that watches the server notes it itself.
    fn note_crash(&self, status: &ServerStatus) {
        let state = Path::new(&self.env().paths.state);
        if history::is_running(state, &status.name)
            && !self.is_done_elsewhere(&status.name, ServerTask::Watch)
        {
            let cause = status.cause.as_deref().unwrap_or("its log shows no cause");
            history::note(state, &status.name, Happening::Crashed, cause);
        }
    }

    /// Returns true if a server was ready since its last start, as far as its history says.
    pub(in crate::effects) fn was_ready(&self, name: &str) -> bool {
        history::was_ready(Path::new(&self.env().paths.state), name)
    }

    /// Returns the events of a server, or those of all servers, the oldest first.
    #[must_use]
    pub fn events(&self, name: Option<&str>) -> Vec<ServerEvent> {
        let state = Path::new(&self.env().paths.state);
        name.map_or_else(|| history::read_all(state), |name| history::read(state, name))
    }

    /// Notes an event in the history of a server.
    pub fn note_event(&self, name: &str, what: Happening, text: &str) {
        history::note(Path::new(&self.env().paths.state), name, what, text);
    }

    /// Returns the servers that start or run on this host, by name. Containers of a daemon on another host are not among
    /// them, and a daemon that does not answer has none.
    pub async fn running_servers(&self) -> BTreeMap<String, RunningServer> {
        let mut found = self.processes();
        if Docker::is_on_this_host(self.env())
            && let Ok(Ok(containers)) = tokio::time::timeout(CONTAINERS, self.containers()).await
        {
            found.extend(containers);
        }
        let alive = found
            .into_iter()
            .filter(|server| !server.status.state.has_ended());
        alive
            .map(|server| {
                let running = RunningServer {
                    port: server.port,
                    runtime: server.status.runtime,
                    model: server.status.model,
                    inputs: server.inputs,
                    temporary: server.temporary,
                    gpus: server.gpus,
                };
                (server.status.name, running)
            })
            .collect()
    }

    /// Returns the server that `name` names by name or ID, or without a name the only one in a state of `fits`.
    ///
    /// # Errors
    /// [`Kind::Usage`] when there is none, it was stopped, or there are several and no name; [`Kind::Server`] when it is in another
    /// state or has ended.
    pub async fn find_server(
        &self,
        name: Option<&str>,
        probe: &dyn Fn(&str) -> String,
        fits: &[ServerState],
    ) -> Result<Found> {
        match self.seek_server(name, probe, fits).await? {
            Sought::There(found) => Ok(*found),
            Sought::Ended(status) => Err(gone(&status)),
        }
    }

    /// Returns the server that `name` names, as [`Self::find_server`] does, or one of that name which ended and is not there any
    /// more.
    ///
    /// # Errors
    /// Those of [`Self::find_server`].
    pub async fn seek_server(
        &self,
        name: Option<&str>,
        probe: &dyn Fn(&str) -> String,
        fits: &[ServerState],
    ) -> Result<Sought> {
        let (mut found, trouble) = self.servers(probe).await;
        let listed: Vec<ServerStatus> = found.iter().map(|server| server.status.clone()).collect();
        let error = match pick(&listed, name, fits) {
            Ok(index) => return Ok(Sought::There(Box::new(found.swap_remove(index)))),
            Err(error) => error,
        };
        // The server was found, in another state: no daemon has to be asked.
        if error.kind() == Kind::Server || (name.is_none() && listed.len() == 1) {
            return Err(error);
        }
        let ended = name.and_then(|name| self.ended_server(name));
        match (ended, trouble) {
            // A container may run that the daemon does not list.
            (Some(ended), trouble) if trouble.is_none() || ended.runtime == "process" => {
                Ok(Sought::Ended(Box::new(ended)))
            }
            (_, Some(trouble)) => Err(not_looked_at(error, &trouble)),
            (_, None) => Err(error),
        }
    }

    async fn containers(&self) -> Result<Vec<Found>> {
        let containers = self.docker().await?.list().await?;
        Ok(containers
            .into_iter()
            .filter_map(|container| {
                let server = Server::Docker {
                    name: container.name.clone(),
                };
                let state = match (container.running, container.paused) {
                    (_, true) => ServerState::Hung,
                    (true, false) => ServerState::Starting,
                    (false, false) => ServerState::Crashed,
                };
                let mut found = describe(&container.labels, server, "docker", state, container.id)?;
                found.image = container.image;
                found.status.exit_code = container.exit_code;
                found.status.age_s = container.age_s.filter(|_| !state.has_ended());
                if container.paused {
                    found.status.cause = Some(health::cause_of_pause(&container.name));
                }
                Some(found)
            })
            .collect())
    }

    fn processes(&self) -> Vec<Found> {
        process::list(&self.env().paths.state)
            .into_iter()
            .filter(|known| !known.stopped || known.running.is_some())
            .filter_map(|known| {
                let name = known.labels.get(LABEL_NAME)?.clone();
                let server = Server::Process {
                    name,
                    log: known.log.to_string_lossy().into_owned(),
                };
                let state = if known.running.is_some() {
                    ServerState::Starting
                } else {
                    ServerState::Crashed
                };
                let id = known
                    .running
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
                let mut found = describe(&known.labels, server, "process", state, id)?;
                found.status.age_s = known.running.and_then(process::age_s);
                Some(found)
            })
            .collect()
    }

    /// Hands on the lines of a part of a server's log, as many at a time as have arrived.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not give the log.
    pub async fn logs(
        &self,
        server: &Server,
        part: LogPart,
        on_lines: &mut (dyn FnMut(&[String]) -> Result<()> + Send),
    ) -> Result<()> {
        let mut log = self.runtime(server).await?.log(part).await?;
        loop {
            on_lines(&log.wait(None).await)?;
            // A file is read without a wait: signals and limits of time are heard in between.
            tokio::task::yield_now().await;
            match log.end() {
                None => {}
                Some(LogEnd::Complete) => return Ok(()),
                Some(LogEnd::Broken(reason)) => {
                    let name = server.name();
                    return Err(Error::new(Kind::Docker, format!("the log of {name} broke off"))
                        .cause(reason.clone())
                        .hint(format!("dsr1 logs {name} shows it from the beginning")));
                }
            }
        }
    }

    /// Awaits the work of a client of a server, and ends it when the server hangs.
    ///
    /// # Errors
    /// Those of the work; [`Kind::Server`] when the server hangs.
    pub async fn unless_hung<T>(
        &self,
        server: &Server,
        base_url: &str,
        during: &str,
        work: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>,
    ) -> Result<T> {
        let runtime = self.runtime(server).await?;
        health::unless_hung(&runtime, self.http(), base_url, during, work).await
    }

    /// Returns the error of a server that ended, with its cause; `None` for one that runs.
    pub async fn end_of(&self, server: &Server, during: &str) -> Option<Error> {
        let runtime = self.runtime(server).await.ok()?;
        start::still_alive(&runtime, during).await.err()
    }

    /// Feeds a part of a server's log to a diagnosis; returns the number of lines.
    ///
    /// # Errors
    /// Those of [`Self::logs`].
    pub async fn feed_log(&self, server: &Server, part: LogPart, diagnoser: &mut Diagnoser) -> Result<u64> {
        diagnoser.begin(server.name());
        if let Server::Slurm { name, folder } = server
            && let Some(lines) = slurm::own_verdict(self.env(), name, Path::new(folder)).await
        {
            for line in &lines {
                diagnoser.feed_line(line);
            }
            return Ok(lines.len() as u64);
        }
        let mut lines = 0;
        let mut on_lines = |some: &[String]| {
            lines += some.len() as u64;
            for line in some {
                diagnoser.feed_line(line);
            }
            Ok(())
        };
        self.logs(server, part, &mut on_lines).await?;
        Ok(lines)
    }

    /// Returns the diagnosis of a server's log, or of the log that a container left when its start failed; of an empty log if
    /// neither can be read.
    pub async fn diagnose_end(&self, server: &Server) -> Diagnosis {
        let mut diagnoser = Diagnoser::default();
        let read = self.feed_log(server, LogPart::default(), &mut diagnoser).await;
        if matches!(read, Err(_) | Ok(0))
            && let Some(log) = self.logs_left(server.name()).into_iter().next()
        {
            let _ = user_files::read_log(&log, &mut |bytes| diagnoser.feed(bytes));
        }
        diagnoser.finish()
    }

    /// Returns the cause of a server's end in a few words, by the last lines of its log, and true if its log shows that it was
    /// asked to end; `None` if they show no cause.
    async fn cause_of_end(&self, server: &Server) -> (Option<String>, bool) {
        let mut diagnoser = Diagnoser::default();
        let read = self.feed_log(server, LogPart::last(LINES_OF_END), &mut diagnoser);
        if !matches!(tokio::time::timeout(TIME_OF_END, read).await, Ok(Ok(_))) {
            return (None, false);
        }
        let found = diagnoser.finish();
        match found.verdict {
            Verdict::Failure | Verdict::Consequence => (Some(found.title), false),
            Verdict::Stopped => (None, true),
            Verdict::NoFailure => (None, false),
        }
    }

    /// Returns the reason for the end of a server, as far as its runtime knows it.
    async fn reason_of_end(&self, server: &Server) -> String {
        if let Server::Process { log, .. } = server
            && host::free_bytes(log).is_some_and(|free| free < LEAST_FREE)
        {
            return format!("its process is gone, and the disk of its log `{log}` is full");
        }
        let life = match self.runtime(server).await {
            Ok(runtime) => runtime.life().await.ok(),
            Err(_) => None,
        };
        match life {
            Some(Life::Ended(reason)) => reason,
            Some(Life::Running) | None => "it is ending".to_owned(),
        }
    }

    /// Returns the most tokens that prompt and answer of a request may have together; `None` if the server does not say.
    pub async fn context_length(&self, base_url: &str) -> Option<u64> {
        verify::context_length(self.http(), base_url).await
    }

    /// Returns the name of the model in requests; `None` if the server does not say it.
    pub async fn served_model(&self, base_url: &str) -> Option<String> {
        verify::served_model(self.http(), base_url).await
    }

    /// Sends one question to a server.
    ///
    /// # Errors
    /// [`Kind::Server`] when it does not answer.
    pub async fn ask(
        &self,
        base_url: &str,
        question: &str,
        max_tokens: u32,
        temperature: f64,
    ) -> Result<Answer> {
        verify::ask(self.http(), base_url, question, max_tokens, temperature).await
    }

    /// Asks a question, and passes the pieces of the answer to `on_piece` as they arrive.
    ///
    /// # Errors
    /// [`Kind::Server`] when the server does not answer, or its stream ends before the answer does.
    pub async fn ask_stream(
        &self,
        base_url: &str,
        question: &str,
        max_tokens: u32,
        temperature: f64,
        on_piece: &mut (dyn FnMut(&AnswerPiece) + Send),
    ) -> Result<Answer> {
        verify::ask_stream(self.http(), base_url, question, max_tokens, temperature, on_piece).await
    }

    /// Stops a server: running requests have `drain_s` seconds. Returns true if it had to be killed.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon refuses.
    pub async fn stop(&self, server: &Server, drain_s: u32) -> Result<bool> {
        self.note_event(server.name(), Happening::Stopping, "");
        let killed = self.runtime(server).await?.stop(drain_s).await?;
        let how = if killed { "killed after the drain time" } else { "" };
        self.note_event(server.name(), Happening::Stopped, how);
        Ok(killed)
    }
}

/// Adds to the error about a server that was not found that containers were not looked at, and why.
fn not_looked_at(error: Error, trouble: &Error) -> Error {
    error.also(format!(
        "the containers were not looked at: {}",
        trouble.innermost()
    ))
}

/// Reads the labels of a server; `None` if one is missing.
pub(in crate::effects) fn describe(
    labels: &BTreeMap<String, String>,
    server: Server,
    runtime: &str,
    state: ServerState,
    id: String,
) -> Option<Found> {
    let label = |key: &str| labels.get(key).cloned();
    let port: u16 = label(LABEL_PORT)?.parse().ok()?;
    Some(Found {
        status: ServerStatus {
            name: label(LABEL_NAME)?,
            runtime: runtime.to_owned(),
            state,
            id,
            profile: label(LABEL_PROFILE)?,
            stack: label(LABEL_STACK)?,
            base_url: base_url(port),
            model: label(LABEL_MODEL)?,
            served_model: None,
            exit_code: None,
            cause: None,
            age_s: None,
            stage: None,
            load: None,
        },
        server,
        python: label(LABEL_PYTHON)?,
        variables: labels
            .get(LABEL_VARIABLES)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default(),
        port,
        activity: None,
        inputs: label(LABEL_INPUTS).unwrap_or_default(),
        temporary: labels.contains_key(LABEL_TEMPORARY),
        gpus: label(LABEL_GPUS)
            .and_then(|text| text.split(',').map(|index| index.parse().ok()).collect())
            .unwrap_or_default(),
        image: None,
        base_image: label(LABEL_BASE_DIGEST),
    })
}
