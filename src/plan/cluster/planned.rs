//! The deployment of a profile.

use std::collections::BTreeMap;

use super::checks;
use super::deployment::{Deployment, EngineGroup, SCHEMA, Worker};
use super::launches::{RoleLaunch, no_topology, role_launches};
use super::place::{BLOCKS, Ports};
use super::router::router;
use super::word::Word;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::request::ServeRequest;
use crate::plan::{arguments, environment, serve};
use crate::profile::{Accelerator, Count, NodeNetwork, Role, Topology};
use crate::sglang::{Check, Level, memory};

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
    let roles = role_launches(&request, topology, ServeRequest::accepted_launch)?;
    let on_cpu = request.stack.accelerator == Accelerator::Cpu;
    let mut groups = Vec::new();
    let (mut next, mut placed_engines) = (0, 0);
    for RoleLaunch {
        role,
        workers: count,
        request,
        launch,
    } in &roles
    {
        let ranks = request.profile.engine.ranks();
        let nodes = topology.nodes_of(ranks);
        let (workers, used) = placed(topology, ranks, *count, (next, placed_engines), request.port)?;
        (next, placed_engines) = (used, placed_engines + *count);
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
            own_env: own_env(*role, nodes),
            memory: memory::plan(&request.profile, &request.stack, &launch.settings, facts),
            workers,
        });
    }
    let mut checks = checks::of_roles(&roles);
    crate::sglang::rules::refuse(&checks, &request.profile.name, &request.stack)?;
    checks.extend(groups.iter().flat_map(|group| of_memory(group, &request)));
    checks.sort_by_key(|check| std::cmp::Reverse(check.level));
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
        shm_bytes: request.stack.shm_bytes,
        memory_bytes: request.stack.memory_bytes,
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

/// Returns the findings about the memory of a GPU of one role. The GPUs of the nodes are not known here, so that none is an error.
fn of_memory(group: &EngineGroup, request: &ServeRequest) -> Vec<Check> {
    let Some(plan) = &group.memory else {
        return Vec::new();
    };
    let engines = u32::try_from(group.workers.len()).unwrap_or(u32::MAX).max(1);
    let concurrency = request.profile.bench.max_concurrency.get().div_ceil(engines);
    let mut found = memory::check(plan, concurrency);
    // Requests do not stay on an engine for prefill.
    found.retain(|check| group.role != Role::Prefill || check.id != "memory.concurrency");
    for check in &mut found {
        check.text = format!("{}: {}", group.role, check.text);
        check.level = check.level.min(Level::Warn);
        let origins = request.origins.of_role(group.role);
        check.place = origins.place_of(&check.subject).map(|place| place.to_string());
    }
    found
}

/// Returns the variables of a rank whose values are known only on its node.
///
/// Engines tell each other the address in `SGLANG_HOST_IP`. Without it SGLang takes the one by which it would reach the internet
/// (`get_local_ip_auto` in `utils/network.py`, 0.5.23; 0.5.8 as well), which on a node with several networks is not the one of the job
/// (sglang#3516, #4766).
fn own_env(role: Role, nodes: u32) -> BTreeMap<String, Word> {
    let is_asked = role != Role::Aggregate || nodes > 1;
    let name = is_asked.then(|| "SGLANG_HOST_IP".to_owned());
    name.into_iter().map(|name| (name, Word::OwnAddress)).collect()
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
