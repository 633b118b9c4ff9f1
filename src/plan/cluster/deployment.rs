//! The types of a server over several nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::place::Ports;
use super::word::{PortUse, Word};
use crate::profile::{Role, RouterKind, RouterPolicy, Verify};
use crate::redact::shown_value;
use crate::sglang::Check;
use crate::sglang::memory::MemoryPlan;

/// Version of the JSON form of [`Deployment`].
pub const SCHEMA: &str = "dsr1.deployment/1";

/// A server over several nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Name of the server.
    pub name: String,
    /// Name of the profile.
    pub profile: String,
    /// Name of the stack.
    pub stack: String,
    /// Version of SGLang.
    pub sglang: String,
    /// Name of the model in the API.
    pub model: String,
    /// Number of nodes.
    pub nodes: u32,
    /// GPUs of each node that the server uses; 0 on a CPU.
    pub gpus_per_node: u32,
    /// Port of the endpoint, on node 0.
    pub port: u16,
    /// Path of the readiness probe of an engine.
    pub probe: String,
    /// Size of `/dev/shm` in the container of a rank, in bytes.
    pub shm_bytes: u64,
    /// Host memory that a rank needs to start, in bytes.
    pub memory_bytes: u64,
    /// The engines, by role, in the order of their nodes.
    pub groups: Vec<EngineGroup>,
    /// The program that passes requests on to the engines, on node 0.
    pub router: Option<Router>,
    /// The checks that this model's answers can pass.
    pub verify: Verify,
    /// True if the nodes share one `NVLink` domain.
    pub nvlink: bool,
    /// The network interface between the nodes, if it is named.
    pub interface: Option<String>,
    /// The RDMA adapters of the nodes, if they are named.
    pub hcas: Vec<String>,
    /// Findings about the flags of each role, and about roles that do not fit each other.
    pub checks: Vec<Check>,
    /// Choices that dsr1 made.
    pub notes: Vec<String>,
}

/// The engines of one role. They differ in their nodes and ports only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineGroup {
    /// The role.
    pub role: Role,
    /// Nodes of one engine; its ranks, as SGLang counts nodes.
    pub nodes: u32,
    /// GPUs of one engine on each of its nodes; 0 on a CPU.
    pub gpus: u32,
    /// The command that all ranks have in common.
    pub command: Vec<String>,
    /// Environment of all ranks.
    pub env: BTreeMap<String, String>,
    /// Further variables of each rank, whose values are known only on its node.
    pub own_env: BTreeMap<String, Word>,
    /// Memory plan of one GPU; `None` on a CPU and for an unknown model.
    pub memory: Option<MemoryPlan>,
    /// The engines.
    pub workers: Vec<Worker>,
}

/// One engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Number among the engines of its role, from 0.
    pub index: u32,
    /// Its first node; the others follow.
    pub first_node: u32,
    /// Position among the engines of the same node, from 0; always 0 for one that fills its nodes.
    pub position: u32,
    /// The ports of each of its ranks.
    pub ports: Ports,
}

/// The program that passes requests on to the engines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// The program.
    pub kind: RouterKind,
    /// The words that start the program, without its options.
    pub program: Vec<String>,
    /// The rule by which it chooses an engine; its own default without it.
    pub policy: Option<RouterPolicy>,
    /// Its whole command, for engines whose addresses are known before it starts.
    pub words: Vec<Word>,
}

/// One rank: a process on one node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rank<'a> {
    /// The engines of its role.
    pub group: &'a EngineGroup,
    /// Its engine.
    pub worker: &'a Worker,
    /// Its number in its engine, from 0.
    pub rank: u32,
}

impl Deployment {
    /// Returns the deployment for people and for files that others read: the values of secret variables are `***`.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        for group in &mut shown.groups {
            for (name, value) in &mut group.env {
                *value = shown_value(name, value).into_owned();
            }
        }
        shown
    }

    /// Returns all ranks, in the order of the engines.
    pub fn ranks(&self) -> impl Iterator<Item = Rank<'_>> {
        self.groups.iter().flat_map(|group| {
            group
                .workers
                .iter()
                .flat_map(move |worker| (0..group.nodes).map(move |rank| Rank { group, worker, rank }))
        })
    }

    /// Returns the port of the API of an engine. The only engine, without a router, is the endpoint itself.
    #[must_use]
    pub fn http_port(&self, worker: &Worker) -> u16 {
        if self.router.is_none() {
            self.port
        } else {
            worker.ports.http
        }
    }

    /// Returns the words of a rank's command behind those that all ranks have in common.
    #[must_use]
    pub fn words(&self, group: &EngineGroup, worker: &Worker) -> Vec<Word> {
        let mut words: Vec<Word> = group.command.iter().map(Word::text).collect();
        let mut add = |name: &str, value: Word| words.extend([Word::text(name), value]);
        let Ports {
            nccl,
            bootstrap,
            rendezvous,
            ..
        } = worker.ports;
        add("--host", Word::OwnAddress);
        let port = |of, port| Word::Port { of, port };
        add("--port", port(PortUse::Http, self.http_port(worker)));
        add("--nccl-port", port(PortUse::Nccl, nccl));
        add("--dist-init-addr", Word::Leader { port: rendezvous });
        if group.nodes > 1 {
            add("--node-rank", Word::NodeRank);
        }
        if group.role == Role::Prefill {
            add(
                "--disaggregation-bootstrap-port",
                port(PortUse::Bootstrap, bootstrap),
            );
        }
        words
    }
}

impl Worker {
    /// Returns the name of the engine, such as `decode-0`.
    #[must_use]
    pub fn name(&self, group: &EngineGroup) -> String {
        format!("{}-{}", group.role, self.index)
    }
}

impl Rank<'_> {
    /// Returns the name of the rank: that of its engine, with the number of the rank if there are several, as in
    /// `decode-0.3`.
    #[must_use]
    pub fn name(&self) -> String {
        let engine = self.worker.name(self.group);
        if self.group.nodes > 1 {
            format!("{engine}.{}", self.rank)
        } else {
            engine
        }
    }
}
