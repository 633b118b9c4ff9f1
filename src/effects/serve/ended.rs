//! Servers that ended: the logs that they left, and what their plans and histories say of them.

use std::path::{Path, PathBuf};

use crate::effects::ended_logs;
use crate::effects::execute::Effects;
use crate::effects::process::server as process;
use crate::effects::serve::history;
use crate::effects::serve::servers::describe;
use crate::error::{Error, Kind, Result};
use crate::plan::{LABEL_NAME, Server, container_name, labels_of, server_of};
use crate::report::{Happening, ServerState, ServerStatus};
use crate::units::counted;

/// A log of a server.
#[derive(Debug, Clone)]
pub struct FoundLog {
    /// The server as [`Effects::logs`] takes it; of a log that is in a file, a process with that log.
    pub server: Server,
    /// The server itself, if it is there and this is the log of its last start.
    pub status: Option<ServerStatus>,
    /// The file, if the start that wrote it has ended.
    pub file: Option<PathBuf>,
}

impl FoundLog {
    fn of_file(name: &str, file: PathBuf) -> Self {
        let log = file.to_string_lossy().into_owned();
        Self {
            server: Server::Process {
                name: name.to_owned(),
                log,
            },
            status: None,
            file: Some(file),
        }
    }
}

impl Effects {
    /// Returns the log of the last start but `back` of the server that `name` names, as [`Self::find_server`] does, also of one that
    /// ended and is not there any more.
    ///
    /// # Errors
    /// [`Kind::Usage`] when there is no such server, or several and no name, or no such log.
    pub async fn find_log(
        &self,
        name: Option<&str>,
        back: usize,
        probe: &dyn Fn(&str) -> String,
    ) -> Result<FoundLog> {
        let error = match self.find_server(name, probe, ServerState::ANY).await {
            Ok(found) if back == 0 => {
                return Ok(FoundLog {
                    server: found.server,
                    status: Some(found.status),
                    file: None,
                });
            }
            Ok(found) => {
                let name = found.status.name;
                return earlier(&name, back, ended_logs::logs_of(&self.servers_folder(), &name), 1);
            }
            Err(error) => error,
        };
        let Some(name) = name else {
            return Err(self.last_log().into_iter().fold(error, |error, last| {
                error.hint(format!(
                    "dsr1 logs {} prints the log of the last server that ended",
                    last.server.name()
                ))
            }));
        };
        for name in [name, &container_name(name)] {
            // Names come from the command line, and are parts of paths here.
            let logs = if name.contains('/') {
                Vec::new()
            } else {
                self.logs_left(name)
            };
            if !logs.is_empty() {
                return earlier(name, back, logs, 0);
            }
        }
        Err(error)
    }

    /// Returns the log of the server that ended last and is not there any more.
    #[must_use]
    pub fn last_log(&self) -> Option<FoundLog> {
        let state = &self.env().paths.state;
        let stopped = process::list(state)
            .into_iter()
            .filter(|known| known.stopped && known.running.is_none())
            .filter_map(|known| Some((known.labels.get(LABEL_NAME)?.clone(), known.log)));
        let entries = std::fs::read_dir(self.servers_folder())
            .into_iter()
            .flatten()
            .flatten();
        let ended = entries.filter_map(|entry| {
            let path = entry.path();
            let name = ended_logs::server_of(path.file_name()?.to_str()?)?.to_owned();
            path.is_file().then_some((name, path))
        });
        let last = stopped.chain(ended).max_by_key(|(_, log)| changed(log));
        last.map(|(name, log)| FoundLog::of_file(&name, log))
    }

    /// Returns the logs that the starts of a server left which is not there any more, the newest first.
    pub(super) fn logs_left(&self, name: &str) -> Vec<PathBuf> {
        let of_process = process::list(&self.env().paths.state)
            .into_iter()
            .filter(|known| known.running.is_none())
            .filter(|known| known.labels.get(LABEL_NAME).is_some_and(|known| known == name))
            .map(|known| known.log);
        let ended = ended_logs::logs_of(&self.servers_folder(), name);
        let mut logs: Vec<PathBuf> = of_process.chain(ended).collect();
        logs.sort_by_key(|log| std::cmp::Reverse(changed(log)));
        logs
    }

    /// Returns the server of a name, with or without `dsr1-`, that ended and is not there any more, by the plan that is kept for its
    /// next start and by its history; `None` if no plan is kept.
    #[must_use]
    pub fn ended_server(&self, name: &str) -> Option<ServerStatus> {
        let names = [name.to_owned(), container_name(name)];
        let name = self.kept_plans().into_iter().find(|kept| names.contains(kept))?;
        let plan = self.kept_plan(&name).ok()?;
        let (labels, (server, _)) = (labels_of(&plan)?, server_of(&plan)?);
        let runtime = match server {
            Server::Docker { .. } => "docker",
            Server::Process { .. } => "process",
            Server::Slurm { .. } => "slurm",
        };
        let events = history::read(Path::new(&self.env().paths.state), &name);
        let last = events.last();
        let (state, cause) = match last.map(|event| event.what) {
            Some(Happening::Stopped | Happening::Stopping) => (
                ServerState::Stopped,
                last.map(|event| format!("a command of dsr1 stopped it at {}", event.at)),
            ),
            Some(Happening::Started | Happening::Ready | Happening::Recovered) | None => (
                ServerState::Crashed,
                Some("it is gone: a program other than dsr1 ended or removed it".to_owned()),
            ),
            Some(Happening::Failed) => (
                ServerState::Crashed,
                last.map(|event| format!("its start failed at {}", event.at)),
            ),
            Some(Happening::Crashed | Happening::Hung | Happening::Restarting | Happening::GaveUp) => {
                let crash = events.iter().rfind(|event| event.what == Happening::Crashed);
                (ServerState::Crashed, crash.map(|event| event.text.clone()))
            }
        };
        let mut status = describe(labels, server.clone(), runtime, state, "-".to_owned())?.status;
        status.cause = cause;
        Some(status)
    }

    /// Returns the servers that ended and are not there any more, and whose plan is kept for their next start.
    #[must_use]
    pub fn ended_servers(&self) -> Vec<ServerStatus> {
        let names = self.kept_plans();
        names.iter().filter_map(|name| self.ended_server(name)).collect()
    }
}

/// Returns the log that is `back` starts before the last one; the newest of `logs` is `first` starts before it.
fn earlier(name: &str, back: usize, mut logs: Vec<PathBuf>, first: usize) -> Result<FoundLog> {
    let index = back - first;
    if index < logs.len() {
        return Ok(FoundLog::of_file(name, logs.swap_remove(index)));
    }
    let asked = counted(back, "start");
    let kept = counted(logs.len() + first, "log");
    Err(Error::new(
        Kind::Usage,
        format!("there is no log of {name} from {asked} before the last one"),
    )
    .cause(format!("dsr1 has {kept} of {name}"))
    .hint(format!(
        "dsr1 logs {name} prints the last one; dsr1 events {name} lists the starts"
    )))
}

fn changed(log: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(log).and_then(|meta| meta.modified()).ok()
}
