//! A container as a Compose file.
//!
//! Compose replaces `$NAME` in every value, so a dollar is doubled.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::plan::{Mount, StartContainer, Ulimit};
use crate::profile::to_text;
use crate::render::checked;
use crate::render::form::{ExportFile, Form, StartStep, comment_lines};

#[derive(Serialize)]
struct File {
    services: BTreeMap<String, Service>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, NamedVolume>,
}

#[derive(Serialize)]
struct Service {
    container_name: String,
    image: String,
    pull_policy: &'static str,
    command: Vec<String>,
    environment: Vec<String>,
    labels: Vec<String>,
    network_mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy: Option<Deploy>,
    shm_size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ulimits: BTreeMap<String, Limit>,
    volumes: Vec<Volume>,
    init: bool,
    cap_drop: Vec<String>,
    security_opt: Vec<String>,
    stop_grace_period: String,
    logging: Logging,
}

#[derive(Serialize)]
struct NamedVolume {
    name: String,
}

#[derive(Serialize)]
struct Deploy {
    resources: Resources,
}

#[derive(Serialize)]
struct Resources {
    reservations: Reservations,
}

#[derive(Serialize)]
struct Reservations {
    devices: [Device; 1],
}

#[derive(Serialize)]
struct Device {
    driver: &'static str,
    count: &'static str,
    capabilities: [&'static str; 1],
}

#[derive(Serialize)]
struct Limit {
    soft: i64,
    hard: i64,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Volume {
    Bind {
        source: String,
        target: String,
        read_only: bool,
        bind: BindOptions,
    },
    Volume {
        source: String,
        target: String,
    },
}

#[derive(Serialize)]
struct BindOptions {
    create_host_path: bool,
}

#[derive(Serialize)]
struct Logging {
    driver: String,
    options: BTreeMap<String, String>,
}

/// The form `compose`.
#[derive(Debug)]
pub(super) struct Compose;

impl Form for Compose {
    fn name(&self) -> &'static str {
        "compose"
    }

    fn about(&self) -> &'static str {
        "A Compose file"
    }

    fn noun(&self) -> &'static str {
        "a Compose file"
    }

    fn file_name(&self, _server: &str) -> String {
        "compose.yaml".to_owned()
    }

    fn start_commands(&self, _start: &StartStep, file: &ExportFile) -> Vec<String> {
        vec![format!("docker compose --file {} up --detach", file.word)]
    }

    fn container(&self, step: &StartContainer, head: &[String]) -> Result<String> {
        render(step, head)
    }
}

/// Writes a container as a Compose file.
fn render(step: &StartContainer, head: &[String]) -> Result<String> {
    let StartContainer {
        name,
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
    if let Some(Ulimit { name, .. }) = ulimits
        .iter()
        .find(|limit| ulimits.iter().filter(|other| other.name == limit.name).count() > 1)
    {
        return Err(checked::refused("ulimits", name, "is given twice"));
    }
    let service = Service {
        container_name: name.clone(),
        image: image.clone(),
        // The image is built on this host. An image of the same name in a registry is another image.
        pull_policy: "never",
        command: argv.iter().map(|word| escape_dollars(word)).collect(),
        environment: pairs(env),
        labels: pairs(labels),
        network_mode: network.clone(),
        deploy: gpus.then_some(Deploy {
            resources: Resources {
                reservations: Reservations {
                    devices: [Device {
                        driver: "nvidia",
                        count: "all",
                        capabilities: ["gpu"],
                    }],
                },
            },
        }),
        shm_size: *shm_bytes,
        ulimits: ulimits
            .iter()
            .map(|Ulimit { name, soft, hard }| {
                (
                    name.clone(),
                    Limit {
                        soft: *soft,
                        hard: *hard,
                    },
                )
            })
            .collect(),
        volumes: mounts.iter().map(volume).collect(),
        init: *init,
        cap_drop: cap_drop.clone(),
        security_opt: security_opt.iter().map(|option| escape_dollars(option)).collect(),
        stop_grace_period: format!("{stop_timeout_s}s"),
        logging: Logging {
            driver: log_driver.clone(),
            options: log_opts
                .iter()
                .map(|(key, value)| (key.clone(), escape_dollars(value)))
                .collect(),
        },
    };
    let file = File {
        services: BTreeMap::from([(name.clone(), service)]),
        // Without an explicit name Compose adds a prefix, and the volumes would not be those that dsr1 uses.
        volumes: mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Bind { source: _, target: _ } => None,
                Mount::Volume { name, target: _ } => Some((name.clone(), NamedVolume { name: name.clone() })),
            })
            .collect(),
    };
    Ok(format!("{}\n{}", comment_lines(head), to_text(&file)?))
}

fn volume(mount: &Mount) -> Volume {
    match mount {
        Mount::Bind { source, target } => Volume::Bind {
            source: escape_dollars(source),
            target: escape_dollars(target),
            read_only: true,
            bind: BindOptions {
                create_host_path: false,
            },
        },
        Mount::Volume { name, target } => Volume::Volume {
            source: name.clone(),
            target: escape_dollars(target),
        },
    }
}

/// Returns `KEY=value` lines. Unlike the values of a mapping, none of them can be read as a number or a boolean.
fn pairs(map: &BTreeMap<String, String>) -> Vec<String> {
    map.iter()
        .map(|(key, value)| format!("{key}={}", escape_dollars(value)))
        .collect()
}

/// Doubles every dollar.
fn escape_dollars(text: &str) -> String {
    text.replace('$', "$$")
}
