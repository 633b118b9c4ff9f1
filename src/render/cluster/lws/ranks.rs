//! The pods of the engines.

use std::collections::BTreeMap;

use super::kinds::{LeaderWorkerSet, LeaderWorkerTemplate, RollingUpdate, RolloutStrategy};
use super::object::{Labels, Metadata, Named};
use super::pod::{
    Capabilities, Container, ContainerPort, ContainerSecurity, HTTP, Lifecycle, PodClaim, PodSecurity,
    PodSpec, PodTemplate, PreStop, Probe, RUNTIME_DEFAULT, Resources, Sleep, Toleration, Variable, Volume,
    VolumeMount, VolumeSource,
};
use super::site::{ARCHITECTURE, GPU, START_S, Site, pod_ip};
use super::words::{in_pod, literal};
use crate::error::Result;
use crate::plan::cluster::EngineGroup;
use crate::profile::Role;
use crate::render::cluster::options::{RdmaDevices, WeightsVolume};

/// Seconds between two probes.
const PERIOD_S: u32 = 10;
/// Seconds for the answer of a probe. `/health` generates a token, which takes 1 to 20 seconds (`http_server.py` of SGLang
/// 0.5.23).
const TIMEOUT_S: u32 = 25;
/// Seconds between two probes of an engine that was ready once, and failures of them after which it is ended: after ten
/// minutes, because its end costs a new load of the weights.
const LIVENESS: (u32, u32) = (30, 20);
/// Seconds in which a Service and a router stop to send requests to a pod that ends.
const LEAVE_S: u32 = 10;
/// Seconds in which an engine that ends finishes its requests.
const DRAIN_S: u32 = 60;
/// Seconds for the end of the processes.
const END_S: u32 = 20;
/// Processors of a rank beside one for each GPU: the tokenizer's and the detokenizer's.
const PROCESSORS: u32 = 2;

/// The path that every rank answers once its schedulers are ready: the first one as a server, the others for this alone
/// (`launch_dummy_health_check_server` in `utils/common.py` of SGLang, 0.5.3 to 0.5.23).
const HEALTH: &str = "/health";
/// Name of the claim of a channel of the `ComputeDomain` in a pod.
const CHANNEL: &str = "nvlink-channel";
/// The annotation by which both routers find the port of the rendezvous of prefill and decode (SMG 1.13.0, `sglang_router` 0.3.2).
const BOOTSTRAP: &str = "sglang.ai/bootstrap-port";
/// The annotation by which Multus attaches networks.
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// The place of a pod in its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The only pod of its engine.
    Alone,
    /// The first one, which has the API.
    Leader,
    /// Another one.
    Follower,
}

/// Returns the engines of a role.
///
/// # Errors
/// [`crate::error::Kind::Internal`] for a command with the address of a node.
pub(super) fn engines(site: &Site<'_>, group: &EngineGroup) -> Result<LeaderWorkerSet> {
    let (leader, worker) = if group.nodes > 1 {
        (
            Some(template(site, group, Place::Leader)?),
            template(site, group, Place::Follower)?,
        )
    } else {
        (None, template(site, group, Place::Alone)?)
    };
    Ok(LeaderWorkerSet {
        replicas: group.workers.len(),
        // LeaderReady would wait for ever: the leader is ready after the others have joined it.
        startup_policy: "LeaderCreated",
        // A new group beside the old one needs free nodes, which a full rack does not have.
        rollout_strategy: RolloutStrategy {
            kind: "RollingUpdate",
            rolling_update_configuration: RollingUpdate {
                max_surge: 0,
                max_unavailable: 1,
            },
        },
        leader_worker_template: LeaderWorkerTemplate {
            size: group.nodes,
            // A rank that ends takes its engine with it. Before all pods run, a slow pull is no reason to begin again.
            restart_policy: "RecreateGroupAfterStart",
            leader_template: leader,
            worker_template: worker,
        },
    })
}

fn template(site: &Site<'_>, group: &EngineGroup, place: Place) -> Result<PodTemplate> {
    let mut annotations = Labels::new();
    let is_bootstrap = group.role == Role::Prefill && place != Place::Follower;
    if let Some(worker) = group.workers.first().filter(|_| is_bootstrap) {
        annotations.insert(BOOTSTRAP.to_owned(), worker.ports.bootstrap.to_string());
    }
    if let Some(networks) = &site.options.networks {
        annotations.insert(NETWORKS.to_owned(), networks.clone());
    }
    let claims = if site.has_domain {
        vec![PodClaim {
            name: CHANNEL,
            resource_claim_template_name: site.claim_template(),
        }]
    } else {
        Vec::new()
    };
    Ok(PodTemplate {
        metadata: Metadata {
            labels: site.labels(group.role.name()),
            annotations,
            ..Metadata::default()
        },
        spec: PodSpec {
            service_account_name: None,
            automount_service_account_token: false,
            enable_service_links: false,
            termination_grace_period_seconds: LEAVE_S + DRAIN_S + END_S,
            image_pull_secrets: site.pull_secrets(),
            node_selector: site.node_selector(),
            tolerations: tolerations(site),
            resource_claims: claims,
            // SGLang's images run as root, with no capability here.
            security_context: PodSecurity {
                run_as_non_root: None,
                run_as_user: None,
                seccomp_profile: RUNTIME_DEFAULT,
            },
            containers: [container(site, group, place)?],
            volumes: volumes(site),
        },
    })
}

fn container(site: &Site<'_>, group: &EngineGroup, place: Place) -> Result<Container> {
    let mut words = match group.workers.first() {
        None => Vec::new(),
        Some(worker) => site
            .deployment
            .words(group, worker)
            .iter()
            .map(in_pod)
            .collect::<Result<Vec<String>>>()?,
    };
    let args = words.split_off(words.len().min(1));
    let mut env = vec![pod_ip()];
    env.extend(group.env.iter().map(|(name, value)| Variable {
        name: name.clone(),
        value: Some(literal(value)),
        value_from: None,
    }));
    for (name, word) in &group.own_env {
        env.push(Variable {
            name: name.clone(),
            value: Some(in_pod(word)?),
            value_from: None,
        });
    }
    let ready = match place {
        Place::Alone | Place::Leader => site.deployment.probe.as_str(),
        Place::Follower => HEALTH,
    };
    Ok(Container {
        name: "sglang",
        image: site.container.image.clone(),
        command: words,
        args,
        env,
        ports: ports(site, group, place),
        startup_probe: Probe::of(HEALTH, PERIOD_S, TIMEOUT_S, START_S / PERIOD_S),
        readiness_probe: Probe::of(ready, PERIOD_S, TIMEOUT_S, 3),
        liveness_probe: Probe::of(HEALTH, LIVENESS.0, TIMEOUT_S, LIVENESS.1),
        lifecycle: Some(Lifecycle {
            pre_stop: PreStop {
                sleep: Sleep {
                    // The followers outlive the requests of their leader, which needs them for each token.
                    seconds: match place {
                        Place::Alone | Place::Leader => LEAVE_S,
                        Place::Follower => LEAVE_S + DRAIN_S,
                    },
                },
            },
        }),
        resources: resources(site, group),
        security_context: ContainerSecurity {
            allow_privilege_escalation: false,
            // Kernels are compiled into the home of the image.
            read_only_root_filesystem: None,
            capabilities: Capabilities {
                drop: ["ALL"],
                // RDMA registers memory beyond the limit of locked memory, for which a pod has no other field.
                add: site.options.rdma.iter().map(|_| "IPC_LOCK").collect(),
            },
        },
        volume_mounts: mounts(site),
    })
}

fn ports(site: &Site<'_>, group: &EngineGroup, place: Place) -> Vec<ContainerPort> {
    let Some(worker) = group.workers.first() else {
        return Vec::new();
    };
    let mut found = vec![ContainerPort {
        name: HTTP,
        container_port: site.deployment.http_port(worker),
    }];
    if place == Place::Follower {
        return found;
    }
    found.push(ContainerPort {
        name: "rendezvous",
        container_port: worker.ports.rendezvous,
    });
    if group.role == Role::Prefill {
        found.push(ContainerPort {
            name: "bootstrap",
            container_port: worker.ports.bootstrap,
        });
    }
    found
}

fn resources(site: &Site<'_>, group: &EngineGroup) -> Resources {
    let mut requests = BTreeMap::from([("memory".to_owned(), quantity(site.deployment.memory_bytes))]);
    let mut limits = BTreeMap::new();
    if group.gpus > 0 {
        requests.insert("cpu".to_owned(), (group.gpus + PROCESSORS).to_string());
        limits.insert(GPU.to_owned(), group.gpus.to_string());
    }
    if let Some(RdmaDevices { resource, count }) = &site.options.rdma {
        limits.insert(resource.clone(), count.to_string());
    }
    let claims = if site.has_domain {
        vec![Named {
            name: CHANNEL.to_owned(),
        }]
    } else {
        Vec::new()
    };
    Resources {
        requests,
        limits,
        claims,
    }
}

fn tolerations(site: &Site<'_>) -> Vec<Toleration> {
    let mut found = Vec::new();
    if site.deployment.gpus_per_node > 0 {
        found.push(Toleration {
            key: GPU,
            operator: "Exists",
            value: None,
            effect: "NoSchedule",
        });
    }
    if site.architecture == "arm64" {
        found.push(Toleration {
            key: ARCHITECTURE,
            operator: "Equal",
            value: Some("arm64"),
            effect: "NoSchedule",
        });
    }
    found
}

/// Returns the volumes: shared memory, the weights, and the folders that the user names.
fn volumes(site: &Site<'_>) -> Vec<Volume> {
    let folder = |path: &str| VolumeSource::HostPath {
        path: path.to_owned(),
        // A folder that is missing is an error, and not an empty folder.
        kind: "Directory",
    };
    let mut found = vec![Volume {
        name: "shm".to_owned(),
        source: VolumeSource::EmptyDir {
            medium: "Memory",
            size_limit: quantity(site.deployment.shm_bytes),
        },
    }];
    found.push(Volume {
        name: "weights".to_owned(),
        source: match site.weights {
            WeightsVolume::Claim(name) => VolumeSource::PersistentVolumeClaim {
                claim_name: name.clone(),
                read_only: true,
            },
            WeightsVolume::Folder(path) => folder(path),
        },
    });
    found.extend(
        site.container
            .mounts
            .iter()
            .enumerate()
            .map(|(index, (from, _))| Volume {
                name: format!("folder-{index}"),
                source: folder(from),
            }),
    );
    found
}

fn mounts(site: &Site<'_>) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
    };
    let mut found = vec![
        mount("shm", "/dev/shm", false),
        mount("weights", &site.container.weights_at, true),
    ];
    let folders = site.container.mounts.iter().enumerate();
    found.extend(folders.map(|(index, (_, to))| mount(&format!("folder-{index}"), to, false)));
    found
}

/// Returns bytes as a quantity of Kubernetes.
fn quantity(bytes: u64) -> String {
    for (unit, shift) in [("Gi", 30), ("Mi", 20)] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_exact() {
        assert_eq!(quantity(32 << 30), "32Gi");
        assert_eq!(quantity(1536 << 20), "1536Mi");
        assert_eq!(quantity(1000), "1000");
        assert_eq!(quantity(0), "0");
    }
}
