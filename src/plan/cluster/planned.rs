//! The deployment of a profile.

use std::collections::BTreeMap;

use super::checks;
use super::deployment::{Deployment, EngineGroup, SCHEMA, Worker};
use super::launches::{RoleLaunch, no_topology, role_launches};
use super::place::{BLOCKS, Ports};
use super::router::router;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::request::ServeRequest;
use crate::plan::{arguments, environment, serve};
use crate::profile::{Accelerator, Count, NodeNetwork, Topology};
use crate::sglang::memory;

/// Plans a server over the nodes that its profile asks for. A profile without a topology is one engine on one node.
///
/// # Errors
/// [`Kind::Usage`] for arguments that dsr1 sets itself, that this version refuses, or that do not fit between roles;
/// [`Kind::Host`] without a Python to plan with.
pub fn deployment(request: &ServeRequest, facts: &Facts) -> Result<Deployment> {
    serve::check_server_name(request.name.as_deref())?;
    let request = with_topology(request);
    let topology = request.profile.topology.as_ref().ok_or_else(no_topology)?;
    let installation = Installation::new(&BuildRequest::for_server(&request), facts)?;
    let python = installation.python(&request.stack);
    let roles = role_launches(&request, topology)?;
    let on_cpu = request.stack.accelerator == Accelerator::Cpu;
    let mut groups = Vec::new();
    let (mut next, mut placed_engines) = (0, 0);
    for RoleLaunch {
        role,
        request,
        launch,
    } in &roles
    {
        let count = topology
            .roles()
            .iter()
            .find(|(one, _)| one == role)
            .map_or(1, |(_, one)| one.count());
        let ranks = request.profile.engine.ranks();
        let nodes = topology.nodes_of(ranks);
        let (workers, used) = placed(topology, ranks, count, (next, placed_engines), request.port)?;
        (next, placed_engines) = (used, placed_engines + count);
        let root = serve::cache_root(request, facts);
        let gpus = if on_cpu { 0 } else { ranks / nodes };
        groups.push(EngineGroup {
            role: *role,
            nodes,
            gpus,
            command: arguments::arguments_at(Vec::new(), &python, request, launch, facts)
                .into_iter()
                .flat_map(|argument| argument.words)
                .collect(),
            env: without_proxies(environment::with_path(serve::env(request, launch, root), facts)),
            memory: memory::plan(&request.profile, &request.stack, &launch.settings, facts),
            workers,
        });
    }
    let checks = checks::of_roles(&roles);
    crate::sglang::rules::refuse(&checks, &request.profile.name, &request.stack)?;
    let model = roles
        .first()
        .and_then(|role| role.launch.settings.served_model_name.clone())
        .unwrap_or_else(|| request.profile.model.repo.clone());
    Ok(Deployment {
        schema: SCHEMA.to_owned(),
        name: serve::server_name(&request),
        profile: request.profile.name.clone(),
        stack: request.stack.name.clone(),
        sglang: request.stack.pins.sglang.to_string(),
        model,
        nodes: next,
        gpus_per_node: if on_cpu { 0 } else { topology.gpus_per_node.get() },
        port: request.port,
        probe: request.stack.probe.clone(),
        router: router(topology, &groups, &python, request.port),
        groups,
        verify: request.profile.verify,
        nvlink: topology.nvlink,
        interface: topology.network.interface.clone(),
        hcas: topology.network.hcas.clone(),
        checks,
        notes: Vec::new(),
    })
}

/// Returns the request with a topology: one engine on one node, if the profile has none.
fn with_topology(request: &ServeRequest) -> ServeRequest {
    let mut request = request.clone();
    if request.profile.topology.is_none() {
        let ranks = request.profile.gpus.max(request.profile.engine.ranks());
        request.profile.topology = Count::new(ranks).map(|gpus_per_node| Topology {
            gpus_per_node,
            aggregate: None,
            prefill: None,
            decode: None,
            router: None,
            router_policy: None,
            transfer: None,
            nvlink: false,
            network: NodeNetwork::default(),
        });
    }
    request
}

/// Returns the variables without those that name the hosts which no proxy serves: the nodes are among them, and their
/// addresses are known only where the server runs.
fn without_proxies(mut env: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for name in ["NO_PROXY", "no_proxy"] {
        env.remove(name);
    }
    env
}

/// Places the engines of one role from node `next` on, behind `before` engines of other roles, and returns them with the first
/// node behind them. An engine that needs less than a node shares it with others of its role.
///
/// Engines on different nodes have different ports, too, as far as there are blocks: PyTorch's rendezvous listens on all
/// addresses of a host, and a rehearsal has several nodes on one host.
fn placed(
    topology: &Topology,
    ranks: u32,
    count: u32,
    (next, before): (u32, u32),
    port: u16,
) -> Result<(Vec<Worker>, u32)> {
    let each = topology.gpus_per_node.get();
    let on_node = (each / ranks).max(1);
    let nodes = topology.nodes_of(ranks);
    let mut workers = Vec::new();
    for index in 0..count {
        let position = index % on_node;
        let ports = Ports::at(port, before.saturating_add(index) % BLOCKS).ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!("port {port} leaves no room for the ports of the engines above it"),
            )
            .hint("use a lower --port, such as 30000")
        })?;
        let first_node = index
            .checked_div(on_node)
            .and_then(|group| group.checked_mul(nodes))
            .and_then(|first| first.checked_add(next))
            .ok_or_else(|| Error::new(Kind::Usage, format!("{count} engines are too many")))?;
        workers.push(Worker {
            index,
            first_node,
            position,
            ports,
        });
    }
    let used = next.saturating_add(count.div_ceil(on_node).saturating_mul(nodes));
    Ok((workers, used))
}
