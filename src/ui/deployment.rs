//! A server over several nodes for people: its engines, their nodes and ports, and their commands.

use std::fmt::Write;

use super::profiles::check_rows;
use super::safe;
use super::table::{aligned, row};
use crate::plan::cluster::{Addresses, Deployment, EngineGroup, PortUse, Worker, words_at};
use crate::profile::RouterKind;
use crate::quote::shell_word;
use crate::units::counted;

/// Most engines of a role in the table; the others differ in their nodes only.
const MOST: usize = 8;

/// Returns a server over several nodes.
#[must_use]
pub fn deployment(deployment: &Deployment) -> String {
    let mut text = head(deployment);
    text.push_str("\nengines\n");
    text.push_str(&engines(deployment));
    for group in &deployment.groups {
        let Some(first) = group.workers.first() else {
            continue;
        };
        let _ = writeln!(text, "\neach rank for {}", group.role);
        for (name, value) in &group.env {
            let _ = writeln!(text, "  {}={}", safe(name), safe(&shell_word(value)));
        }
        for (name, value) in &group.own_env {
            let value = words_at(std::slice::from_ref(value), &Spoken).concat();
            let _ = writeln!(text, "  {}={}", safe(name), safe(&value));
        }
        let words = words_at(&deployment.words(group, first), &Spoken);
        let _ = writeln!(text, "  {}", safe(&words.join(" ")));
        if let Some(memory) = &group.memory {
            text.push('\n');
            text.push_str(&super::memory(memory));
        }
    }
    if let Some(router) = &deployment.router {
        let words = words_at(&router.words, &Spoken);
        let _ = writeln!(text, "\nrouter\n  {}", safe(&words.join(" ")));
    }
    if !deployment.checks.is_empty() {
        text.push_str("\nchecks\n");
        text.push_str(&check_rows(&deployment.checks));
    }
    for note in &deployment.notes {
        let _ = writeln!(text, "note     {}", safe(note));
    }
    text
}

fn head(deployment: &Deployment) -> String {
    let Deployment {
        profile,
        stack,
        sglang,
        model,
        nodes,
        gpus_per_node,
        port,
        router,
        ..
    } = deployment;
    let each = match gpus_per_node {
        0 => "without GPUs".to_owned(),
        gpus => format!("{gpus} GPUs each"),
    };
    let kind = router.as_ref().map_or(RouterKind::None, |router| router.kind);
    let endpoint = match kind {
        RouterKind::None => "the engine itself",
        RouterKind::Smg => "the router SMG",
        RouterKind::SglangRouter => "the router of SGLang",
    };
    aligned(&[
        row(["profile", profile]),
        row(["stack", &format!("{stack}, SGLang {sglang}")]),
        row(["model", model]),
        row(["nodes", &format!("{nodes}, {each}")]),
        row(["ranks", &deployment.ranks().count().to_string()]),
        row(["endpoint", &format!("port {port} on node 0: {endpoint}")]),
    ])
}

fn engines(deployment: &Deployment) -> String {
    let mut rows = vec![row(["  engine", "nodes", "GPUs", "HTTP", "rendezvous"])];
    for group in &deployment.groups {
        for worker in group.workers.iter().take(MOST) {
            rows.push(engine(deployment, group, worker));
        }
        if group.workers.len() > MOST {
            let others = counted(group.workers.len() - MOST, "further engine");
            rows.push(row([format!("  {others} for {}", group.role).as_str()]));
        }
    }
    aligned(&rows)
}

fn engine(deployment: &Deployment, group: &EngineGroup, worker: &Worker) -> Vec<String> {
    let first = worker.first_node;
    let nodes = match group.nodes {
        1 => first.to_string(),
        nodes => format!("{first}-{}", first + nodes - 1),
    };
    let gpus = match group.gpus {
        0 => "-".to_owned(),
        gpus if gpus == deployment.gpus_per_node => format!("all {gpus} of each"),
        gpus => {
            let from = worker.position * gpus;
            format!("{from}-{}", from + gpus - 1)
        }
    };
    row([
        format!("  {}", worker.name(group)).as_str(),
        &nodes,
        &gpus,
        &deployment.http_port(worker).to_string(),
        &worker.ports.rendezvous.to_string(),
    ])
}

/// Words with names in place of what is known only on the nodes.
struct Spoken;

impl Addresses for Spoken {
    fn text(&self, text: &str) -> String {
        shell_word(text)
    }

    fn own(&self) -> String {
        "OWN_ADDRESS".to_owned()
    }

    fn node_rank(&self) -> String {
        "RANK".to_owned()
    }

    fn port(&self, _of: PortUse, port: u16) -> String {
        port.to_string()
    }

    fn leader(&self, port: u16) -> String {
        format!("FIRST_ADDRESS:{port}")
    }

    fn url(&self, node: u32, port: u16) -> String {
        format!("http://NODE_{node}:{port}")
    }
}
