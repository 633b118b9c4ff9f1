//! One server in a container or as a process: its log, its life, commands beside it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use crate::effects::docker::Docker;
use crate::effects::env::Env;
use crate::effects::lines::{LogEnd, LogFile, LogPart, LogStream};
use crate::effects::process::server::Signs;
use crate::effects::process::{command, server as process};
use crate::effects::serve::history;
use crate::effects::{files, host, slurm};
use crate::error::{At, Error, Kind, Result};

/// Beginning of the reason for the end of a server that the kernel ended, or of which it ended a process.
pub(in crate::effects) const MEMORY_RAN_OUT: &str =
    "the kernel killed a process of it because memory ran out";

/// A server and the means to reach it.
pub(in crate::effects) enum Runtime<'a> {
    /// A container.
    Docker {
        /// The daemon.
        docker: &'a Docker,
        /// Container name.
        name: String,
        /// File for its log when its container is removed.
        kept_log: PathBuf,
        /// The time in UTC at which this command began.
        begun: &'a str,
    },
    /// A process group.
    Process {
        /// Environment for commands beside it.
        env: &'a Env,
        /// Server name.
        name: String,
        /// Its log.
        log: PathBuf,
        /// Its leader, if this dsr1 started it and may read its exit status.
        child: Option<Pid>,
        /// The time in UTC at which this command began.
        begun: &'a str,
    },
    /// A job of Slurm.
    Slurm {
        /// Environment for the commands of Slurm.
        env: &'a Env,
        /// Name of the job.
        name: String,
        /// Folder with the logs of jobs.
        folder: PathBuf,
        /// The time in UTC at which this command began.
        begun: &'a str,
    },
}

/// The life of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::effects) enum Life {
    /// The server runs.
    Running,
    /// The server ended, for this reason.
    Ended(String),
}

impl Runtime<'_> {
    /// Server name.
    pub(in crate::effects) fn name(&self) -> &str {
        match self {
            Self::Docker { name, .. } | Self::Process { name, .. } | Self::Slurm { name, .. } => name,
        }
    }

    /// Returns a part of its log.
    pub(in crate::effects) async fn log(&self, part: LogPart) -> Result<LogStream> {
        match self {
            Self::Docker { docker, name, .. } => docker.log_part(name, part).await,
            Self::Process { log, .. } => {
                let is_written = if part.follow {
                    process::is_running
                } else {
                    |_: &Path| false
                };
                let file = LogFile::new(log, is_written);
                let file = match part.tail {
                    Some(count) => file.skip_to_last(count),
                    None => file,
                };
                Ok(LogStream::of_file(match part.since_s {
                    Some(seconds) => file.skip_to_recent(seconds),
                    None => file,
                }))
            }
            Self::Slurm {
                env, name, folder, ..
            } => {
                let job = slurm::known_job(env, name).await?;
                Ok(slurm::log_of_job(env, folder, &job, part))
            }
        }
    }

    /// Returns true if another command stopped the server since this one began, as its history or its log says.
    pub(in crate::effects) fn was_stopped(&self) -> bool {
        // The folder of the state holds a folder of logs of servers, and one of jobs.
        let (state, begun) = match self {
            Self::Docker {
                kept_log: log, begun, ..
            }
            | Self::Process { log, begun, .. } => (log.ancestors().nth(2), begun),
            Self::Slurm { folder, begun, .. } => (folder.parent(), begun),
        };
        let state = state.unwrap_or(Path::new("/"));
        history::was_asked_to_stop(state, self.name(), begun)
            || matches!(self, Self::Process { log, .. } if process::is_stopped(log))
    }

    /// Keeps the log of a server that ended in a file; returns its path.
    pub(in crate::effects) async fn keep_log(&self) -> PathBuf {
        match self {
            Self::Docker {
                docker,
                name,
                kept_log,
                ..
            } => {
                if let Ok(mut lines) = docker.logs(name, None, false).await {
                    let mut text = lines.rest(Duration::from_secs(10)).await.join("\n");
                    if let Some(LogEnd::Broken(reason)) = lines.end() {
                        let _ = write!(text, "\n# dsr1: the daemon's log stream broke here: {reason}");
                    }
                    text.push('\n');
                    let _ = files::write_atomic(kept_log, text.as_bytes());
                }
                kept_log.clone()
            }
            Self::Process { log, .. } => log.clone(),
            Self::Slurm {
                env, name, folder, ..
            } => match slurm::job_of(env, name).await {
                Ok(Some(job)) => job.folder(folder),
                _ => folder.clone(),
            },
        }
    }

    /// Returns whether the server runs or ended.
    pub(in crate::effects) async fn life(&self) -> Result<Life> {
        match self {
            Self::Docker { docker, name, .. } => Ok(match docker.state(name).await? {
                Some(state) if state.running => Life::Running,
                // Docker sets it also for a child, once the container has ended.
                Some(state) if state.oom_killed => Life::Ended(format!("{MEMORY_RAN_OUT}, that of the host or that of its container")),
                Some(state) => Life::Ended(match state.exit_code {
                    Some(137) => {
                        "exit code 137 (SIGKILL): it killed itself after a crash, or another process killed it".to_owned()
                    }
                    Some(code) => format!("exit code {code}"),
                    None => "an unknown reason".to_owned(),
                }),
                None => Life::Ended("its container was removed, by dsr1 stop or another program".to_owned()),
            }),
            Self::Process { log, child, .. } => {
                if let Some(reason) = child.and_then(process::reap) {
                    return Ok(Life::Ended(reason));
                }
                if process::find(log).is_some() {
                    return Ok(Life::Running);
                }
                // It may have ended after the first `reap`.
                let reason = child.and_then(process::reap);
                Ok(Life::Ended(
                    reason.unwrap_or_else(|| "its process is gone".to_owned()),
                ))
            }
            Self::Slurm {
                env, name, folder, ..
            } => match slurm::job_of(env, name).await? {
                Some(job) if job.is_alive() => Ok(Life::Running),
                Some(job) => Ok(Life::Ended(slurm::reason_of_end(env, folder, &job).await)),
                None => Ok(Life::Ended("Slurm knows its job no more".to_owned())),
            },
        }
    }

    /// Returns true if this server listens on `port`; `None` if the listener cannot be seen.
    pub(in crate::effects) async fn owns(&self, port: u16) -> Option<bool> {
        if matches!(self, Self::Slurm { .. }) {
            // It listens on another host.
            return None;
        }
        let listener = host::listener(port)?;
        match self {
            Self::Docker { docker, name, .. } => {
                let id = docker.state(name).await.ok().flatten()?.id;
                // The path of a container's cgroup holds its id, in version 1 and 2.
                let cgroup = std::fs::read_to_string(format!("/proc/{listener}/cgroup")).ok()?;
                Some(cgroup.contains(&id))
            }
            Self::Process { log, .. } => Some(process::members(log, process::find(log)).contains(&listener)),
            Self::Slurm { .. } => None,
        }
    }

    /// Returns signs of life: its activity changes while it computes or reads; `None` if it is unknown.
    pub(in crate::effects) async fn signs(&self) -> Option<Signs> {
        match self {
            Self::Docker { docker, name, .. } => {
                let (activity, signs) = tokio::join!(docker.activity(name), self.signs_of_processes());
                Some(Signs {
                    activity: activity.ok()?,
                    ..signs?
                })
            }
            Self::Process { .. } | Self::Slurm { .. } => self.signs_of_processes().await,
        }
    }

    /// Returns the signs of life without the activity, which Docker takes long to count.
    pub(in crate::effects) async fn signs_of_processes(&self) -> Option<Signs> {
        match self {
            Self::Docker { docker, name, .. } => {
                let processes = docker.processes(name).await.unwrap_or_default();
                Some(Signs {
                    activity: 0,
                    compiles: processes
                        .iter()
                        .any(|(_, _, command)| process::COMPILERS.contains(&command.as_str())),
                    stopped: processes
                        .iter()
                        .find(|(_, state, _)| *state == 'T')
                        .map(|(pid, ..)| *pid),
                })
            }
            Self::Process { log, .. } => process::find(log).map(|leader| process::signs(log, leader)),
            // Its processes are on other hosts; the job itself looks after them.
            Self::Slurm { .. } => None,
        }
    }

    /// Runs a command beside the engine; returns its exit code. Dropping the future ends it.
    ///
    /// Its working directory is inside the container, or `dir`: files that it writes never end up in the user's directory.
    pub(in crate::effects) async fn exec(
        &self,
        argv: &[String],
        dir: &str,
        extra: &BTreeMap<String, String>,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<i64> {
        match self {
            Self::Docker { docker, name, .. } => docker.exec(name, argv, extra, on_line).await,
            Self::Process { env, .. } => {
                let within = ["env", "--chdir", dir];
                let argv: Vec<&str> = within
                    .into_iter()
                    .chain(argv.iter().map(String::as_str))
                    .collect();
                let finished = command::run(env, &argv, extra, None, on_line).await?;
                Ok(i64::from(finished.status.code().unwrap_or(137)))
            }
            Self::Slurm { name, .. } => Err(Error::new(
                Kind::Usage,
                format!("the engine's own client cannot run beside {name}"),
            )
            .cause("its engines are on the nodes of a job")
            .hint("leave out --engine-client: dsr1's own client measures it from here")),
        }
    }

    /// Makes a file readable for commands beside the engine; returns its path for them.
    pub(in crate::effects) async fn share_file(&self, local: &Path, name: &str) -> Result<String> {
        match self {
            Self::Docker {
                docker,
                name: container,
                ..
            } => {
                let bytes =
                    std::fs::read(local).at(Kind::Host, || format!("cannot read `{}`", local.display()))?;
                docker.upload(container, "/tmp", name, &bytes).await?;
                Ok(format!("/tmp/{name}"))
            }
            Self::Process { .. } | Self::Slurm { .. } => Ok(local.to_string_lossy().into_owned()),
        }
    }

    /// Reads a file that a command beside the engine wrote.
    pub(in crate::effects) async fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        const MAX: u64 = 64 << 20;
        match self {
            Self::Docker { docker, name, .. } => docker.read_file(name, path, MAX).await,
            // The weights of a job are on storage that this host shares with the nodes.
            Self::Process { .. } | Self::Slurm { .. } => {
                let size = std::fs::metadata(path)
                    .at(Kind::Server, || format!("`{path}` is missing"))?
                    .len();
                if size > MAX {
                    return Err(Error::new(Kind::Server, format!("`{path}` is too large")));
                }
                std::fs::read(path).at(Kind::Host, || format!("cannot read `{path}`"))
            }
        }
    }

    /// Reads a file where the engine sees it, through links: those of a hub cache have the files of a model behind them, and an
    /// archive of a container has the link itself.
    pub(in crate::effects) async fn read_linked(&self, path: &str) -> Result<Vec<u8>> {
        let Self::Docker { docker, name, .. } = self else {
            return self.read_file(path).await;
        };
        let argv = ["readlink", "-f", "--", path].map(str::to_owned);
        let mut last = String::new();
        let mut keep = |line: &str| line.clone_into(&mut last);
        match docker.exec(name, &argv, &BTreeMap::new(), &mut keep).await? {
            0 => self.read_file(&last).await,
            code => Err(
                Error::new(Kind::Docker, format!("cannot read `{path}` in {name}"))
                    .cause(format!("readlink ended with {code}: {last}")),
            ),
        }
    }

    /// Removes a file that a command beside the engine wrote.
    pub(in crate::effects) async fn remove_file(&self, path: &str) {
        match self {
            Self::Docker { docker, name, .. } => {
                let argv = ["rm", "-f", "--", path].map(str::to_owned);
                let _ = docker.exec(name, &argv, &BTreeMap::new(), &mut |_| ()).await;
            }
            Self::Process { .. } | Self::Slurm { .. } => {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Stops the server and removes its container or processes; returns true if it had to be killed.
    pub(in crate::effects) async fn stop(&self, drain_s: u32) -> Result<bool> {
        match self {
            Self::Docker { docker, name, .. } => {
                let killed = docker.end(name, drain_s).await?;
                // Docker removes the log with the container.
                if docker.state(name).await?.is_some() {
                    self.keep_log().await;
                    docker.remove(name).await?;
                }
                Ok(killed)
            }
            Self::Process { log, .. } => {
                Ok(process::stop(log, Duration::from_secs(u64::from(drain_s))).await)
            }
            Self::Slurm { env, name, .. } => {
                slurm::stop(env, name, Duration::from_secs(u64::from(drain_s))).await
            }
        }
    }
}
