//! A server that is replaced by another plan: what can be done beside the old one, and what needs its place.

use crate::facts::Facts;
use crate::plan::{Plan, Server, Step, StopServer};

/// A plan in two parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// The steps that need nothing of the old server: installation and weights.
    pub beside: Plan,
    /// The steps that take its place: start, READY, verification.
    pub in_place: Plan,
}

/// Returns the plan of `up` in two parts, without its benchmark. The conditions that prevent the start are those of the first part: an
/// old server that runs must not be stopped for a new one that cannot start.
#[must_use]
pub fn part(plan: Plan) -> Parts {
    let starts = |step: &Step| matches!(step, Step::StartContainer(_) | Step::StartProcess(_));
    let of_server = |step: &Step| matches!(step, Step::CheckSnapshot(_) | Step::CheckFolder(_));
    let first = plan.steps.iter().position(|step| starts(step) || of_server(step));
    let mut beside = Plan {
        command: "upgrade".to_owned(),
        ..plan
    };
    let steps = beside.steps.split_off(first.unwrap_or(beside.steps.len()));
    let is_kept = |step: &Step| {
        !matches!(
            step,
            Step::MeasureLoad(_) | Step::MeasureCourse(_) | Step::RunBenchmark(_) | Step::StopServer(_)
        )
    };
    Parts {
        beside,
        in_place: Plan::new("upgrade", steps.into_iter().filter(is_kept).collect()),
    }
}

/// Returns both parts with the end of the old server between them.
#[must_use]
pub fn whole(parts: &Parts, old: &Server, drain_s: u32) -> Plan {
    let mut plan = parts.beside.clone();
    plan.steps.push(Step::StopServer(StopServer {
        server: old.clone(),
        drain_s,
    }));
    plan.steps.extend(parts.in_place.steps.iter().cloned());
    plan
}

/// Changes the facts to those without a server: its name, its port and the memory of its GPUs are free then.
pub fn leave_out_server(facts: &mut Facts, name: &str, port: u16) {
    facts.servers.remove(name);
    facts.host.ports_taken.remove(&port);
    for gpu in facts.host.gpus.iter_mut().flatten() {
        // How much of it is the server's is not known; what is left is seen before the new one starts.
        gpu.memory_used_bytes = None;
        if let Some(health) = &mut gpu.health {
            health.processes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::{ServeMirror, StartProcess, VerifyAnswers};
    use crate::profile::Verify;

    #[test]
    fn the_old_server_ends_after_what_can_be_done_beside_it() {
        let server = Server::Process {
            name: "dsr1-a".to_owned(),
            log: "/l".to_owned(),
        };
        let steps = vec![
            Step::ServeMirror(ServeMirror {
                cache_dir: "/c".to_owned(),
                listen: String::new(),
            }),
            Step::StartProcess(StartProcess {
                name: "dsr1-a".to_owned(),
                argv: Vec::new(),
                env: BTreeMap::new(),
                labels: BTreeMap::new(),
                log: "/l".to_owned(),
                workdir: "/".to_owned(),
            }),
            Step::VerifyAnswers(VerifyAnswers {
                server: server.clone(),
                base_url: String::new(),
                checks: Verify::Wiring,
            }),
            // The rehearsal stops its server.
            Step::StopServer(StopServer {
                server: server.clone(),
                drain_s: 30,
            }),
        ];
        let parts = part(Plan::new("up", steps));
        assert_eq!((parts.beside.steps.len(), parts.in_place.steps.len()), (1, 2));
        let all = whole(&parts, &server, 7);
        let words: Vec<&str> = all
            .steps
            .iter()
            .map(|step| match step {
                Step::ServeMirror(_) => "beside",
                Step::StopServer(stop) if stop.drain_s == 7 => "stop",
                Step::StartProcess(_) => "start",
                _ => "verify",
            })
            .collect();
        assert_eq!(words, ["beside", "stop", "start", "verify"]);
    }
}
