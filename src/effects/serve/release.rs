//! The proof that nothing of a stopped server is left before the next one starts. A start beside the rest of a killed server can
//! answer its probe and then hang (sglang#22779).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::effects::docker::Docker;
use crate::effects::execute::Effects;
use crate::effects::process::server as process;
use crate::effects::serve::holdings::Holdings;
use crate::effects::{host, shared_memory};
use crate::error::{Error, Kind, Result};
use crate::plan::Server;

/// Longest wait for what a stopped server holds: a GPU frees its memory in a few seconds.
const RELEASE: Duration = Duration::from_mins(2);
/// Time between two looks at the rest.
const LOOK: Duration = Duration::from_millis(200);

impl Effects {
    /// Returns what a server holds: to be asked before it is stopped.
    pub async fn holdings(&self, server: &Server, port: u16) -> Holdings {
        let is_elsewhere = match server {
            Server::Docker { .. } => !Docker::is_on_this_host(self.env()),
            Server::Process { .. } => false,
            // Slurm ends all processes of a job.
            Server::Slurm { .. } => true,
        };
        if is_elsewhere {
            // Nothing of a server on another host can be seen here.
            return Holdings::default();
        }
        let processes = match server {
            Server::Process { log, .. } => {
                let log = Path::new(log);
                process::members(log, process::find(log))
            }
            Server::Docker { name } => match self.docker().await {
                Ok(docker) => {
                    let listed = docker.processes(name).await.unwrap_or_default();
                    listed.into_iter().map(|(pid, ..)| pid).collect()
                }
                Err(_) => Vec::new(),
            },
            Server::Slurm { .. } => Vec::new(),
        };
        let segments = match server {
            Server::Process { .. } => shared_memory::segments_of(&processes),
            // A container has its own /dev/shm.
            Server::Docker { .. } | Server::Slurm { .. } => BTreeSet::new(),
        };
        Holdings {
            port,
            processes,
            segments,
        }
    }

    /// Waits until nothing of a stopped server is left: its processes, its port, its memory on the GPUs. Segments in /dev/shm that
    /// nobody uses any more are removed; returns their number.
    ///
    /// # Errors
    /// [`Kind::Host`] with what is left after two minutes.
    pub async fn await_release(&self, held: &Holdings) -> Result<usize> {
        let begun = Instant::now();
        loop {
            let left = self.left_of(held).await;
            let Some(left) = left else { break };
            if begun.elapsed() >= RELEASE {
                return Err(Error::new(Kind::Host, "the stopped server is not gone")
                    .cause(format!("after {} s, {left}", RELEASE.as_secs()))
                    .hint("dsr1 doctor names who holds a port or the memory of a GPU"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(shared_memory::remove_unused(&held.segments))
    }

    /// Returns in words what is left of a server that was stopped; `None` if nothing is.
    async fn left_of(&self, held: &Holdings) -> Option<String> {
        if let Some(pid) = held.processes.iter().find(|pid| process::is_alive(**pid)) {
            return Some(format!("its process {pid} still runs"));
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, held.port)).is_err() {
            return Some(format!("port {} is taken", held.port));
        }
        let gpus = host::read_gpus(self.env()).await;
        let mut holders = gpus
            .iter()
            .filter_map(|gpu| gpu.health.as_ref())
            .flat_map(|gpu| &gpu.processes);
        let is_its_own = |pid: u32| held.processes.iter().any(|own| u32::try_from(*own) == Ok(pid));
        let holder = holders.find(|process| is_its_own(process.pid))?;
        Some(format!("its process {} holds memory of a GPU", holder.pid))
    }
}
