//! The key `topology` of a profile: the engines of a server that runs on several nodes.

use serde::{Deserialize, Serialize};

use crate::profile::engine_settings::EngineSettings;
use crate::profile::knob::{Count, spelled};

/// The engines of a server, and the nodes that they run on.
///
/// The number of nodes of an engine is not a key: it follows from its ranks (tensor parallel times pipeline stages) and
/// [`Topology::gpus_per_node`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// GPUs of a node that the server uses; on a CPU the ranks of a node.
    pub gpus_per_node: Count,
    /// Engines that do prefill and decode. Without any role there is one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<RoleSettings>,
    /// Engines that do prefill only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<RoleSettings>,
    /// Engines that do decode only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<RoleSettings>,
    /// The program that passes requests on to the engines. Without it there is one where several engines need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterKind>,
    /// The rule by which the router chooses an engine; the router's default without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_policy: Option<RouterPolicy>,
    /// The library that moves the KV cache from prefill to decode; the engine's default without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// The nodes share one `NVLink` domain, as the trays of an NVL72 rack do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nvlink: bool,
    /// The network between the nodes.
    #[serde(default, skip_serializing_if = "NodeNetwork::is_default")]
    pub network: NodeNetwork,
}

/// The engines of one role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleSettings {
    /// Number of engines; 1 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<Count>,
    /// Settings of this role, over those of the profile.
    pub engine: EngineSettings,
}

impl RoleSettings {
    /// Returns the number of engines.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.workers.map_or(1, Count::get)
    }
}

/// Names of the network between the nodes. They belong to a site: dsr1 does not guess them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeNetwork {
    /// Network interface of every node that rendezvous and control traffic use, such as `eth0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// RDMA adapters of every node, such as `mlx5_0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hcas: Vec<String>,
}

impl NodeNetwork {
    /// Returns true if nothing is named.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

spelled! {
    /// The work of an engine.
    Role {
        /// Prefill and decode.
        Aggregate = "aggregate",
        /// Prefill only.
        Prefill = "prefill",
        /// Decode only.
        Decode = "decode",
    }
}

spelled! {
    /// A program that passes requests on to engines.
    RouterKind {
        /// None: users reach the only engine itself.
        None = "none",
        /// SMG, the router that SGLang's authors develop.
        Smg = "smg",
        /// The older router in SGLang's images, `sglang_router`.
        SglangRouter = "sglang_router",
    }
}

spelled! {
    /// The rule by which a router chooses an engine; those that both routers know.
    RouterPolicy {
        /// The engine that has the longest prefix of the request in its cache, unless the load is uneven.
        CacheAware = "cache_aware",
        /// The less loaded one of two random engines.
        PowerOfTwo = "power_of_two",
        /// A random engine.
        Random = "random",
        /// One after the other.
        RoundRobin = "round_robin",
    }
}

spelled! {
    /// A library that moves the KV cache from prefill to decode (`--disaggregation-transfer-backend`).
    Transfer {
        /// None: the engines exchange nothing, for tests of the engine.
        Fake = "fake",
        /// Mooncake, over RDMA or `NVLink`.
        Mooncake = "mooncake",
        /// Mooncake, over TCP.
        MooncakeTcp = "mooncake_tcp",
        /// NIXL.
        Nixl = "nixl",
    }
}

impl Topology {
    /// Returns the roles with their settings, in the order in which their engines are placed on nodes. Without any role in
    /// the file it is one aggregate engine.
    #[must_use]
    pub fn roles(&self) -> Vec<(Role, RoleSettings)> {
        let named: Vec<(Role, RoleSettings)> = [
            (Role::Aggregate, &self.aggregate),
            (Role::Prefill, &self.prefill),
            (Role::Decode, &self.decode),
        ]
        .into_iter()
        .filter_map(|(role, settings)| Some((role, settings.clone()?)))
        .collect();
        if named.is_empty() {
            vec![(Role::Aggregate, RoleSettings::default())]
        } else {
            named
        }
    }

    /// Returns the role of a topology that has only one.
    #[must_use]
    pub fn only_role(&self) -> Option<Role> {
        match self.roles().as_slice() {
            [(role, _)] => Some(*role),
            _ => None,
        }
    }

    /// Returns the number of nodes of an engine with that many ranks.
    #[must_use]
    pub const fn nodes_of(&self, ranks: u32) -> u32 {
        ranks.div_ceil(self.gpus_per_node.get())
    }
}
