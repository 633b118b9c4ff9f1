//! A server that a command looks after, found from the plan that started it.

use std::path::Path;

use crate::effects::execute::Effects;
use crate::effects::files;
use crate::effects::process::server as process;
use crate::effects::serve::health::{self, Subject};
use crate::effects::serve::runtime::Life;
use crate::effects::serve::{history, keep};
use crate::effects::slurm;
use crate::error::{At, Error, Kind, Result};
use crate::plan::{LABEL_STACK, Plan, Server, base_url, labels_of, server_of};
use crate::report::ServerState;

/// A server that is looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The server.
    pub server: Server,
    /// Its port on 127.0.0.1.
    pub port: u16,
    probe: String,
}

/// Most bytes of a kept plan.
const MOST_PLAN: u64 = 4 << 20;

impl Effects {
    /// Returns the plan that starts a server again.
    ///
    /// # Errors
    /// [`Kind::Usage`] when none is kept; [`Kind::Host`] when it cannot be read.
    pub fn kept_plan(&self, name: &str) -> Result<Plan> {
        self.read_plan(name, keep::EXTENSION)
    }

    /// Returns the plan that started a server before its last upgrade.
    ///
    /// # Errors
    /// As [`Self::kept_plan`].
    pub fn plan_before(&self, name: &str) -> Result<Plan> {
        self.read_plan(name, keep::BEFORE)
    }

    /// Keeps the plan of a server, which an upgrade is about to replace; returns the bytes of the plan that
    /// `--back` used until now; `None` without one.
    ///
    /// # Errors
    /// [`Kind::Host`] when it cannot be written.
    pub fn keep_plan_before(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = keep::path(Path::new(&self.env().paths.state), name);
        let failed = || format!("cannot keep the plan of {name}");
        let bytes = files::read(&path, MOST_PLAN).at(Kind::Host, failed)?;
        let before = path.with_extension(keep::BEFORE);
        let until_now = files::read(&before, MOST_PLAN).ok();
        write_before(&before, &bytes)?;
        Ok(until_now)
    }

    /// Restores the plan for `--back` after an upgrade that failed; `None` removes it.
    pub fn restore_plan_before(&self, name: &str, until_now: Option<&[u8]>) {
        let path = keep::path(Path::new(&self.env().paths.state), name).with_extension(keep::BEFORE);
        // Without it --back goes to the plan that runs.
        let _ = match until_now {
            Some(bytes) => write_before(&path, bytes),
            None => files::remove_if_there(&path)
                .map(drop)
                .at(Kind::Host, || format!("cannot remove `{}`", path.display())),
        };
    }

    fn read_plan(&self, name: &str, extension: &str) -> Result<Plan> {
        let path = keep::path(Path::new(&self.env().paths.state), name).with_extension(extension);
        let failed = || format!("cannot start {name} again");
        if !path.exists() && extension == keep::BEFORE {
            return Err(Error::new(Kind::Usage, format!("cannot go back with {name}"))
                .cause(format!("no plan from before an upgrade of {name} is kept"))
                .hint(format!(
                    "dsr1 upgrade PROFILE --name {name} replaces the server, and --back then goes back"
                )));
        }
        if !path.exists() {
            return Err(Error::new(Kind::Usage, failed())
                .cause("dsr1 has no plan of a server of this name")
                .hint("dsr1 serve --profile NAME starts one, and keeps its plan"));
        }
        let bytes = files::read(&path, MOST_PLAN).at(Kind::Host, failed)?;
        let plan: Plan = serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(Kind::Host, failed())
                .cause(format!(
                    "`{}` is not a plan of this dsr1: {error}",
                    path.display()
                ))
                .hint("dsr1 serve --profile NAME starts the server, and keeps its plan")
        })?;
        match server_of(&plan) {
            Some((server, _)) if server.name() == name => Ok(plan),
            _ => Err(Error::new(Kind::Host, failed())
                .cause(format!("`{}` belongs to another server", path.display()))),
        }
    }

    /// Returns the names of the servers whose plan is kept, the newest last.
    #[must_use]
    pub fn kept_plans(&self) -> Vec<String> {
        let folder = Path::new(&self.env().paths.state).join("servers");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<(std::time::SystemTime, String)> = entries
            .filter_map(|entry| {
                let path = entry.path();
                let is_plan = path.extension().is_some_and(|end| end == keep::EXTENSION);
                let name = path.file_stem()?.to_str()?.to_owned();
                let changed = entry.metadata().ok()?.modified().ok()?;
                is_plan.then_some((changed, name))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, name)| name).collect()
    }

    /// Returns the server of a plan; `probe` returns the readiness path of a stack.
    ///
    /// # Errors
    /// [`Kind::Internal`] for a plan without a server.
    pub fn watched(&self, plan: &Plan, probe: &dyn Fn(&str) -> String) -> Result<Watched> {
        let (server, port) = server_of(plan)
            .ok_or_else(|| Error::new(Kind::Internal, "the plan has no server to look after"))?;
        let stack = labels_of(plan).and_then(|labels| labels.get(LABEL_STACK));
        Ok(Watched {
            server: server.clone(),
            port,
            probe: probe(stack.map_or("", String::as_str)),
        })
    }

    /// Returns the state of a server, and the reason why it is held to hang. It takes ten seconds if the server does not answer.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn state_of(&self, watched: &Watched) -> Result<(ServerState, Option<String>)> {
        let name = watched.server.name();
        let runtime = self.runtime(&watched.server).await?;
        if let Server::Docker { name } = &watched.server
            && self
                .docker()
                .await?
                .state(name)
                .await?
                .is_some_and(|state| state.paused)
        {
            return Ok((ServerState::Hung, Some(health::cause_of_pause(name))));
        }
        if matches!(runtime.life().await?, Life::Ended(_)) {
            return Ok((self.state_of_ended(name), None));
        }
        let url = match &watched.server {
            Server::Slurm { name, folder } => slurm::url_of(self.env(), name, Path::new(folder)).await?,
            Server::Docker { .. } | Server::Process { .. } => base_url(watched.port),
        };
        let subject = Subject {
            runtime: &runtime,
            base_url: &url,
            probe: &watched.probe,
            was_ready: self.was_ready(name),
        };
        let look = health::look_at_server(&subject, self.http(), health::PATIENT).await;
        Ok((look.state, look.cause))
    }

    /// Returns whether a server that ended was stopped by a command of dsr1, by its history.
    fn state_of_ended(&self, name: &str) -> ServerState {
        if self.was_asked_to_stop(name) {
            ServerState::Stopped
        } else {
            ServerState::Crashed
        }
    }

    /// Returns true if a command of dsr1 stopped a server, or began to, since its last start.
    #[must_use]
    pub fn was_asked_to_stop(&self, name: &str) -> bool {
        history::was_asked_to_stop(Path::new(&self.env().paths.state), name, "")
    }

    /// Ends what is left of a server that failed, without a drain: its processes, and its container.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon refuses.
    pub async fn end_rest(&self, server: &Server) -> Result<()> {
        if self.exists(server).await? {
            self.runtime(server).await?.stop(0).await?;
        }
        Ok(())
    }

    /// Returns true if a server runs, or ended and left a container.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn exists(&self, server: &Server) -> Result<bool> {
        match server {
            Server::Docker { name } => Ok(self.docker().await?.state(name).await?.is_some()),
            Server::Process { log, .. } => {
                let log = Path::new(log);
                Ok(!process::members(log, process::find(log)).is_empty())
            }
            Server::Slurm { name, .. } => {
                let job = slurm::job_of(self.env(), name).await?;
                Ok(job.is_some_and(|job| job.is_alive()))
            }
        }
    }
}

fn write_before(path: &Path, bytes: &[u8]) -> Result<()> {
    files::write_through(&path.with_extension("before.new"), path, bytes, Some(0o600))
}
