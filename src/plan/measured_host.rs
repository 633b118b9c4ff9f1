//! The facts about a host that a measurement carries, so that nobody has to ask for them by hand.

use std::collections::BTreeMap;

use crate::facts::{Facts, Gpu};
use crate::measure::compare::commit_of_path;
use crate::plan::Server;
use crate::profile::{Accelerator, Stack};
use crate::units::Bytes;

/// Returns the facts about the host of a server and its model: a server of a daemon on another host has none of the former.
pub(super) fn host_of_server(
    server: &Server,
    stack: &Stack,
    model: &str,
    facts: &Facts,
) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    if let Some(commit) = commit_of_path(model) {
        told.insert("weights".to_owned(), commit.to_owned());
    }
    if matches!(server, Server::Docker { .. }) && facts.docker.is_remote() {
        return told;
    }
    told.extend(system(facts));
    let host = &facts.host;
    if stack.accelerator == Accelerator::Cpu {
        told.insert(
            "gpus".to_owned(),
            "none: the engine runs on the processor".to_owned(),
        );
        return told;
    }
    if let Some(gpus) = &host.gpus {
        told.insert("gpus".to_owned(), list_gpus(gpus));
    }
    if let Some(driver) = &host.driver {
        told.insert("driver".to_owned(), driver.clone());
    }
    if let (Server::Process { .. }, Some(environment)) = (server, &host.environment) {
        told.insert("environment".to_owned(), environment.sha256.clone());
    }
    told
}

/// Returns the facts about the client's host, for a server of which only the URL is known.
pub(super) fn host_of_client(facts: &Facts) -> BTreeMap<String, String> {
    system(facts)
        .map(|(name, value)| (format!("client_{name}"), value))
        .collect()
}

fn system(facts: &Facts) -> impl Iterator<Item = (String, String)> {
    let host = &facts.host;
    [
        ("os", host.os.clone()),
        ("kernel", host.kernel.clone()),
        ("cpus", host.cpus.map(|cpus| cpus.to_string())),
        ("memory", host.memory_bytes.map(|bytes| Bytes(bytes).to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

/// Returns GPUs as `8 x NVIDIA H200`, each model once.
#[must_use]
pub fn list_gpus(gpus: &[Gpu]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for gpu in gpus {
        *counts.entry(&gpu.name).or_default() += 1;
    }
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} x {name}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;

    fn gpu(name: &str) -> Gpu {
        Gpu {
            index: 0,
            name: name.to_owned(),
            memory_bytes: 1 << 40,
            memory_used_bytes: None,
            compute_capability: "9.0".to_owned(),
            mig: None,
            health: None,
        }
    }

    #[test]
    fn gpus_are_counted_by_model() {
        assert_eq!(list_gpus(&[]), "none");
        assert_eq!(
            list_gpus(&[gpu("NVIDIA H200"), gpu("NVIDIA B200"), gpu("NVIDIA H200")]),
            "1 x NVIDIA B200, 2 x NVIDIA H200"
        );
    }

    #[test]
    fn a_server_has_the_facts_of_its_host_unless_its_daemon_is_elsewhere() {
        let catalog = Catalog::load(None).unwrap();
        let selection = catalog.resolve("h200-fp8-high-throughput", None).unwrap();
        let commit = "4236a6af538feda4548eca9ab308586007567f52";
        let model = format!("/models/models--a--b/snapshots/{commit}");
        let told_of =
            |server: &Server, facts: &Facts| host_of_server(server, &selection.stack, &model, facts);
        let docker = Server::Docker {
            name: "dsr1-a".to_owned(),
        };
        let mut facts = Facts::default();
        facts.host.gpus = Some(vec![gpu("NVIDIA H200"), gpu("NVIDIA H200")]);
        facts.host.driver = Some("575.57.08".to_owned());
        facts.host.memory_bytes = Some(2 << 40);
        let told = told_of(&docker, &facts);
        let told: Vec<(&str, &str)> = told.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(
            told,
            [
                ("driver", "575.57.08"),
                ("gpus", "2 x NVIDIA H200"),
                ("memory", "2.1 TB"),
                ("weights", commit),
            ]
        );
        facts.docker.endpoint = Some("tcp://10.0.0.7:2375".to_owned());
        let told = told_of(&docker, &facts);
        assert_eq!(told.into_keys().collect::<Vec<_>>(), ["weights"]);
        let process = Server::Process {
            name: "dsr1-a".to_owned(),
            log: "/x".to_owned(),
        };
        assert!(told_of(&process, &facts).contains_key("driver"));
    }

    #[test]
    fn a_url_has_facts_about_the_client_only() {
        let mut facts = Facts::default();
        facts.host.cpus = Some(8);
        facts.host.driver = Some("575.57.08".to_owned());
        let told = host_of_client(&facts);
        assert_eq!(
            told.into_iter().collect::<Vec<_>>(),
            [("client_cpus".to_owned(), "8".to_owned())]
        );
    }
}
