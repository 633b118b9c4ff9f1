//! Servers as containers: create, start, state, stop, list. Only containers with the label of dsr1 are ever changed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerSummaryStateEnum, DeviceRequest, HostConfig, HostConfigLogConfig,
    MountType, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StatsOptionsBuilder, StopContainerOptionsBuilder, TopOptionsBuilder,
};
use futures_util::StreamExt;

use crate::effects::docker::{Docker, errors};
use crate::effects::files;
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{LABEL_ROLE, Mount, StartContainer, Ulimit};

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    /// Id.
    pub id: String,
    /// True if it runs.
    pub running: bool,
    /// True if all its processes are paused.
    pub paused: bool,
    /// Exit code, if it ended.
    pub exit_code: Option<i64>,
    /// True if the kernel killed a process in it because memory ran out.
    pub oom_killed: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl ContainerState {
    fn is_ours(&self) -> bool {
        self.labels.get(LABEL_ROLE).is_some_and(|role| role == "server")
    }
}

/// One container of dsr1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Name.
    pub name: String,
    /// Id.
    pub id: String,
    /// Id of its image.
    pub image: Option<String>,
    /// True if it runs.
    pub running: bool,
    /// True if all its processes are paused.
    pub paused: bool,
    /// Seconds since it was created.
    pub age_s: Option<u64>,
    /// Exit code, if it ended.
    pub exit_code: Option<i64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Docker {
    /// Creates a container without starting it; returns its id. `render::shell` prints the same container as `docker run`,
    /// option by option.
    ///
    /// # Errors
    /// [`Kind::Docker`] or [`Kind::Host`] with the message of the daemon.
    pub async fn create(&self, step: &StartContainer) -> Result<String> {
        match self.try_create(step).await {
            Err(error) if errors::is_conflict(&error) => {
                self.free_name(&step.name).await?;
                self.try_create(step).await
            }
            created => created,
        }
        .map_err(|error| errors::failed(&format!("cannot create container {}", step.name), &error))
    }

    async fn try_create(&self, step: &StartContainer) -> std::result::Result<String, bollard::errors::Error> {
        let options = CreateContainerOptionsBuilder::default().name(&step.name).build();
        self.api
            .create_container(Some(options), body(step))
            .await
            .map(|created| created.id)
    }

    /// Removes an ended container of dsr1 that has the name; any other container with that name stays.
    async fn free_name(&self, name: &str) -> Result<()> {
        match self.state(name).await? {
            Some(state) if !state.is_ours() => Err(Error::new(
                Kind::Docker,
                format!("the name {name} is taken by a container that dsr1 did not start"),
            )
            .hint("choose another with --name, or remove that container")),
            Some(state) if state.running => {
                Err(Error::new(Kind::Server, format!("{name} runs already"))
                    .hint(format!("dsr1 stop {name}")))
            }
            Some(_) => self.remove(name).await,
            None => Ok(()),
        }
    }

    /// Creates and starts a container; returns its id. A container that does not start is removed.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    pub async fn start(&self, step: &StartContainer, events: &StepEvents<'_>) -> Result<String> {
        let mut step = step.clone();
        loop {
            let id = self.create(&step).await?;
            let Err(error) = self.api.start_container(&id, None).await else {
                return Ok(id);
            };
            // A failed start leaves the container in state Created.
            let _ = self.remove(&id).await;
            let refused = errors::refused_limit(&error);
            match step
                .ulimits
                .iter()
                .position(|limit| Some(limit.name.as_str()) == refused)
            {
                Some(index) => {
                    let limit = step.ulimits.remove(index);
                    events.warning(
                        format!(
                            "started without --ulimit {}: the daemon has no right to raise it",
                            limit.name
                        ),
                        "give dockerd CAP_SYS_RESOURCE; without it RDMA may fall back to TCP",
                    );
                }
                None => {
                    return Err(errors::failed(
                        &format!("cannot start container {}", step.name),
                        &error,
                    ));
                }
            }
        }
    }

    /// Returns the state of a container; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn state(&self, name: &str) -> Result<Option<ContainerState>> {
        let inspect = match self.api.inspect_container(name, None).await {
            Ok(inspect) => inspect,
            Err(error) if errors::is_missing(&error) => return Ok(None),
            Err(error) => {
                return Err(errors::failed(
                    &format!("cannot inspect container {name}"),
                    &error,
                ));
            }
        };
        let state = inspect.state.unwrap_or_default();
        let running = state.running.unwrap_or(false);
        Ok(Some(ContainerState {
            id: inspect.id.unwrap_or_default(),
            running,
            paused: state.paused.unwrap_or(false),
            exit_code: state.exit_code.filter(|_| !running),
            oom_killed: state.oom_killed.unwrap_or(false),
            labels: inspect
                .config
                .and_then(|config| config.labels)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        }))
    }

    /// Returns the daemon's description of a container, as `docker inspect` prints it; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn inspect_document(&self, name: &str) -> Result<Option<serde_json::Value>> {
        match self.api.inspect_container(name, None).await {
            Ok(inspect) => Ok(serde_json::to_value(inspect).ok()),
            Err(error) if errors::is_missing(&error) => Ok(None),
            Err(error) => Err(errors::failed(
                &format!("cannot inspect container {name}"),
                &error,
            )),
        }
    }

    /// Returns its processes, each with its ID on the daemon's host, its state in one letter as in `proc_pid_stat(5)`, and its name.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon's host has no `ps`.
    pub async fn processes(&self, name: &str) -> Result<Vec<(i32, char, String)>> {
        let options = TopOptionsBuilder::default().ps_args("-o pid,stat,comm").build();
        let listed = self
            .api
            .top_processes(name, Some(options))
            .await
            .map_err(|error| errors::failed(&format!("cannot list the processes of {name}"), &error))?;
        let rows = listed.processes.unwrap_or_default();
        let read = |row: Vec<String>| {
            let [pid, state, command] = <[String; 3]>::try_from(row).ok()?;
            Some((pid.trim().parse().ok()?, state.chars().next()?, command))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Returns a figure that changes while the container computes or reads: processor time and bytes of block I/O.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon has no statistics.
    pub async fn activity(&self, name: &str) -> Result<u64> {
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(true)
            .build();
        let mut stream = Box::pin(self.api.stats(name, Some(options)));
        let stats = match stream.next().await {
            Some(Ok(stats)) => stats,
            Some(Err(error)) => {
                return Err(errors::failed(
                    &format!("cannot inspect container {name}"),
                    &error,
                ));
            }
            None => {
                return Err(Error::new(
                    Kind::Docker,
                    format!("no statistics of container {name}"),
                ));
            }
        };
        let cpu = stats
            .cpu_stats
            .and_then(|cpu| cpu.cpu_usage)
            .and_then(|usage| usage.total_usage)
            .unwrap_or(0);
        let io = stats
            .blkio_stats
            .and_then(|io| io.io_service_bytes_recursive)
            .unwrap_or_default();
        Ok(io
            .into_iter()
            .filter_map(|entry| entry.value)
            .fold(cpu, u64::wrapping_add))
    }

    /// Stops a server within `drain_s` seconds and removes it; returns true if it had to be killed. A container that does
    /// not exist counts as stopped.
    ///
    /// # Errors
    /// [`Kind::Docker`] when dsr1 did not start it, or the daemon refuses.
    pub async fn stop(&self, name: &str, drain_s: u32) -> Result<bool> {
        let killed = self.end(name, drain_s).await?;
        self.remove(name).await?;
        Ok(killed)
    }

    /// Stops a server within `drain_s` seconds, and leaves its container with the log; returns true if it had to be killed.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub async fn end(&self, name: &str, drain_s: u32) -> Result<bool> {
        let Some(state) = self.state(name).await? else {
            return Ok(false);
        };
        if !state.is_ours() {
            return Err(
                Error::new(Kind::Docker, format!("dsr1 did not start container {name}"))
                    .hint(format!("docker stop {name} stops it")),
            );
        }
        let mut killed = false;
        if state.paused {
            // A paused process takes no signal.
            let resumed = self.api.unpause_container(name).await;
            resumed.map_err(|error| errors::failed(&format!("cannot resume container {name}"), &error))?;
        }
        if state.running {
            let begun = std::time::Instant::now();
            let seconds = i32::try_from(drain_s).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::default().t(seconds).build();
            let limit = Duration::from_secs(u64::from(drain_s) + 30);
            match tokio::time::timeout(limit, self.patient.stop_container(name, Some(options))).await {
                Ok(Err(error)) if !errors::is_missing(&error) => {
                    return Err(errors::failed(&format!("cannot stop container {name}"), &error));
                }
                Err(_) => return Err(errors::hung(self.dial.endpoint(), limit)),
                Ok(_) => {}
            }
            // SGLang kills itself with SIGKILL, too: the signal was Docker's only if the drain time was over.
            let sigkill = self
                .state(name)
                .await?
                .is_some_and(|state| state.exit_code == Some(137));
            killed = sigkill && begun.elapsed() >= Duration::from_secs(u64::from(drain_s));
        }
        Ok(killed)
    }

    pub(in crate::effects) async fn remove(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        match self.api.remove_container(name, Some(options)).await {
            Err(error) if !errors::is_missing(&error) && !errors::is_conflict(&error) => {
                Err(errors::failed(&format!("cannot remove container {name}"), &error))
            }
            _ => Ok(()),
        }
    }

    /// Returns every server of dsr1, also those that ended, with one call to the daemon.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn list(&self) -> Result<Vec<ContainerSummary>> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_ROLE}=server")])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self
            .api
            .list_containers(Some(options))
            .await
            .map_err(|error| errors::failed("cannot list containers", &error))?;
        let mut found: Vec<ContainerSummary> = listed
            .into_iter()
            .map(|container| {
                let running = container.state == Some(ContainerSummaryStateEnum::RUNNING);
                ContainerSummary {
                    name: container
                        .names
                        .and_then(|names| names.into_iter().next())
                        .map(|name| name.trim_start_matches('/').to_owned())
                        .unwrap_or_default(),
                    id: container.id.unwrap_or_default(),
                    image: container.image_id,
                    running,
                    paused: container.state == Some(ContainerSummaryStateEnum::PAUSED),
                    age_s: container.created.and_then(files::seconds_since),
                    exit_code: container
                        .status
                        .as_deref()
                        .filter(|_| !running)
                        .and_then(exit_code),
                    labels: container.labels.unwrap_or_default().into_iter().collect(),
                }
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

/// Returns the code in a text such as `Exited (137) 2 minutes ago`.
fn exit_code(status: &str) -> Option<i64> {
    status.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

/// Returns the request of a step. The pattern has no `..`, so that a new field does not compile until it is here too.
fn body(step: &StartContainer) -> ContainerCreateBody {
    let StartContainer {
        name: _, // a query parameter
        image,
        argv,
        env,
        labels,
        network,
        gpus,
        shm_bytes,
        ulimits,
        mounts,
        init,
        cap_drop,
        security_opt,
        stop_timeout_s,
        log_driver,
        log_opts,
    } = step;
    ContainerCreateBody {
        image: Some(image.clone()),
        cmd: Some(argv.clone()),
        env: Some(env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        labels: Some(labels.clone().into_iter().collect()),
        stop_timeout: Some(i64::from(*stop_timeout_s)),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        host_config: Some(HostConfig {
            network_mode: Some(network.clone()),
            device_requests: gpus.then(|| {
                vec![DeviceRequest {
                    driver: Some(String::new()),
                    count: Some(-1),
                    capabilities: Some(vec![vec!["gpu".to_owned()]]),
                    options: Some(HashMap::new()),
                    device_ids: None,
                }]
            }),
            shm_size: i64::try_from(*shm_bytes).ok(),
            ulimits: Some(ulimits.iter().map(ulimit).collect()),
            mounts: Some(mounts.iter().map(mount).collect()),
            init: Some(*init),
            // A start takes many minutes: Docker's restart loop would hide a crash behind the next start.
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            cap_drop: Some(cap_drop.clone()),
            security_opt: Some(security_opt.clone()),
            log_config: Some(HostConfigLogConfig {
                typ: Some(log_driver.clone()),
                config: Some(log_opts.clone().into_iter().collect()),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn ulimit(limit: &Ulimit) -> ResourcesUlimits {
    let Ulimit { name, soft, hard } = limit;
    ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(*soft),
        hard: Some(*hard),
    }
}

fn mount(mount: &Mount) -> bollard::models::Mount {
    let (typ, source, target, read_only) = match mount {
        Mount::Bind { source, target } => (MountType::BIND, source, target, true),
        Mount::Volume { name, target } => (MountType::VOLUME, name, target, false),
    };
    bollard::models::Mount {
        typ: Some(typ),
        source: Some(source.clone()),
        target: Some(target.clone()),
        read_only: read_only.then_some(true),
        ..bollard::models::Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read_from_the_listing() {
        assert_eq!(exit_code("Exited (137) 2 minutes ago"), Some(137));
        assert_eq!(exit_code("Created"), None);
    }
}
