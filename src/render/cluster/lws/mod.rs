//! Objects of Kubernetes for a server on one or more nodes: the form `lws`.
//!
//! The controller of LWS (`LeaderWorkerSet`) starts the pods of an engine together, numbers them, and names the leader to each.
//! Engines of one role are a `LeaderWorkerSet`; prefill and decode are one `DisaggregatedSet`, which makes such a set of each
//! role. Nothing is chosen here that only a node knows: Kubernetes puts it into the words of a command.
//!
//! | module | subject |
//! |---|---|
//! | `object`, `pod`, `kinds` | the fields of objects, of pods, and of each kind |
//! | `names` | checks of names and values |
//! | `words` | words of a command in a pod |
//! | `site` | the checked choices of the site, and what all objects have in common |
//! | `ranks` | the pods of the engines |
//! | `router` | the router, with its rights |
//!
//! Not in this module tree: which ranks there are, and their commands (`plan::cluster`).

mod kinds;
mod names;
mod object;
mod pod;
mod ranks;
mod router;
mod site;
mod words;

use super::form::ClusterForm;
use super::options::ClusterOptions;
use crate::error::Result;
use crate::plan::cluster::Deployment;
use crate::profile::Role;
use crate::render::form::comment_lines;
use kinds::{Channel, ComputeDomain, DisaggregatedSet, PlacementPolicy, Service, ServicePort, SetRole};
use object::{Named, Spec};
use pod::HTTP;
use site::Site;

/// The form `lws`.
pub const LWS: &dyn ClusterForm = &Lws;

/// The annotation by which LWS keeps each group in a domain of its own.
const EXCLUSIVE: &str = "leaderworkerset.sigs.k8s.io/exclusive-topology";
/// The component of an object that belongs to all engines.
const ENGINES: &str = "engines";

#[derive(Debug)]
struct Lws;

impl ClusterForm for Lws {
    fn name(&self) -> &'static str {
        "lws"
    }

    fn about(&self) -> &'static str {
        "Objects of Kubernetes for the LeaderWorkerSet controller, over one or more nodes"
    }

    fn noun(&self) -> &'static str {
        "objects of Kubernetes"
    }

    fn file_name(&self, server: &str) -> String {
        format!("{server}.yaml")
    }

    fn start_commands(&self, file: &str) -> Vec<String> {
        vec![format!("kubectl apply --filename {file}")]
    }

    fn needs_image(&self) -> bool {
        true
    }

    fn notes(&self, deployment: &Deployment, options: &ClusterOptions) -> Vec<String> {
        let kubernetes = &options.kubernetes;
        let mut notes = Vec::new();
        let engine_image = options.container.iter().map(|container| &container.image);
        for image in engine_image.chain(&kubernetes.router_image) {
            if !image.contains("@sha256:") {
                notes.push(format!(
                    "{image} has no digest: a pod that starts later may run another image"
                ));
            }
        }
        if deployment.router.is_some() && kubernetes.router_image.is_none() {
            notes.push(
                "the router runs in the image of the engines, which must hold it: --router-image names another"
                    .to_owned(),
            );
        }
        let has_rdma = kubernetes.rdma.is_some();
        if !has_rdma && !deployment.hcas.is_empty() {
            notes.push("the profile names RDMA adapters, and no pod gets one without --rdma".to_owned());
        } else if !has_rdma && !deployment.nvlink && deployment.nodes > 1 {
            notes.push("without --rdma the engines exchange their data over TCP, which is slow".to_owned());
        }
        let spans_alone = deployment.groups.len() == 1
            && site::has_domain(deployment)
            && deployment.groups.iter().any(|group| group.workers.len() > 1);
        if spans_alone {
            notes.push("each engine takes an NVLink domain of its own".to_owned());
        }
        notes
    }

    fn text(&self, deployment: &Deployment, options: &ClusterOptions, head: &[String]) -> Result<String> {
        let site = Site::new(deployment, options)?;
        let mut text = comment_lines(head);
        if site.has_domain {
            text += &domain(&site)?;
        }
        text += &engines(&site)?;
        let selector = match &deployment.router {
            None => deployment
                .groups
                .first()
                .map(|group| router::leaders(&site, group.role))
                .unwrap_or_default(),
            Some(router) => {
                text.extend(router::documents(&site, router)?);
                site.selector(router::ROUTER)
            }
        };
        let service = Spec {
            spec: Service {
                selector,
                ports: [ServicePort {
                    name: HTTP,
                    port: deployment.port,
                    target_port: HTTP,
                }],
            },
        };
        let component = if deployment.router.is_some() {
            router::ROUTER
        } else {
            ENGINES
        };
        text += &site
            .object(("v1", "Service"), &site.service(), component, service)
            .document("The endpoint, inside the cluster.")?;
        Ok(text)
    }
}

/// Returns the domain of all roles: two of them on one tray would disturb each other (dra-driver-nvidia-gpu#892).
fn domain(site: &Site<'_>) -> Result<String> {
    let spec = ComputeDomain {
        // The driver waits for no number of nodes (dra-driver-nvidia-gpu 0.4).
        num_nodes: 0,
        channel: Channel {
            resource_claim_template: Named {
                name: site.claim_template(),
            },
        },
    };
    site.object(
        ("resource.nvidia.com/v1beta1", "ComputeDomain"),
        &site.deployment.name,
        ENGINES,
        Spec { spec },
    )
    .document("The right to map the memory of GPUs of other nodes over NVLink. Every pod of an engine claims a channel of it.")
}

/// Returns the engines of all roles.
fn engines(site: &Site<'_>) -> Result<String> {
    let Site {
        deployment, options, ..
    } = site;
    if let [group] = deployment.groups.as_slice()
        && group.role == Role::Aggregate
    {
        let spec = ranks::engines(site, group)?;
        let kind = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet");
        let mut object = site.object(kind, &deployment.name, group.role.name(), Spec { spec });
        if site.has_domain {
            let annotations = &mut object.metadata.annotations;
            annotations.insert(EXCLUSIVE.to_owned(), options.nvlink_label.clone());
        }
        return object.document("The engines: a replica is an engine, and each of its pods a node.");
    }
    let roles = deployment
        .groups
        .iter()
        .map(|group| {
            Ok(SetRole {
                name: group.role.name().to_owned(),
                spec: ranks::engines(site, group)?,
            })
        })
        .collect::<Result<Vec<SetRole>>>()?;
    let spec = DisaggregatedSet {
        slices: 1,
        placement_policy: site.has_domain.then(|| PlacementPolicy {
            kind: "ExclusiveTopology",
            topology: options.nvlink_label.clone(),
        }),
        roles,
    };
    let kind = ("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet");
    site.object(kind, &deployment.name, ENGINES, Spec { spec })
        .document("The engines of both roles: a replica is an engine, and each of its pods a node.")
}
