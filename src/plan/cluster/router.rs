//! The command of the router.
//!
//! Both routers have the same options for this (`smg launch --help` of SMG 1.13.0; `sglang_router` 0.3.2).

use super::deployment::{EngineGroup, Router};
use super::word::Word;
use crate::profile::{Role, RouterKind, Topology};

/// Returns the router of a topology; `None` where users reach the only engine itself.
///
/// `python` runs the engine; SMG's program is beside it.
pub(super) fn router(topology: &Topology, groups: &[EngineGroup], python: &str, port: u16) -> Option<Router> {
    let engines: usize = groups.iter().map(|group| group.workers.len()).sum();
    let kind = topology.router.unwrap_or(if engines > 1 {
        RouterKind::Smg
    } else {
        RouterKind::None
    });
    let program: Vec<String> = match kind {
        RouterKind::None => return None,
        RouterKind::Smg => vec![beside(python, "smg"), "launch".to_owned()],
        RouterKind::SglangRouter => [python, "-m", "sglang_router.launch_router"]
            .map(str::to_owned)
            .into(),
    };
    let mut words: Vec<Word> = program.iter().map(Word::text).collect();
    let mut add = |name: &str, value: Word| words.extend([Word::text(name), value]);
    add("--host", Word::OwnAddress);
    add("--port", Word::text(port.to_string()));
    // The default is 29000 on all interfaces, for every router of a node, whatever `--host` is. The port above the endpoint's
    // is free: `Ports::at` starts further up.
    add("--prometheus-host", Word::OwnAddress);
    add(
        "--prometheus-port",
        Word::text(port.saturating_add(1).to_string()),
    );
    if let Some(policy) = topology.router_policy {
        add("--policy", Word::text(policy.name()));
    }
    let is_split = groups.iter().any(|group| group.role == Role::Prefill);
    if is_split {
        words.push(Word::text("--pd-disaggregation"));
    } else {
        words.push(Word::text("--worker-urls"));
    }
    for group in groups {
        for worker in &group.workers {
            let url = Word::Url {
                node: worker.first_node,
                port: worker.ports.http,
            };
            match group.role {
                Role::Aggregate => words.push(url),
                Role::Decode => words.extend([Word::text("--decode"), url]),
                Role::Prefill => {
                    let bootstrap = Word::text(worker.ports.bootstrap.to_string());
                    words.extend([Word::text("--prefill"), url, bootstrap]);
                }
            }
        }
    }
    Some(Router {
        kind,
        program,
        policy: topology.router_policy,
        words,
    })
}

/// Returns a program in the folder of a Python: absolute, or on PATH as it is.
fn beside(python: &str, program: &str) -> String {
    python
        .rsplit_once('/')
        .map_or_else(|| program.to_owned(), |(folder, _)| format!("{folder}/{program}"))
}
