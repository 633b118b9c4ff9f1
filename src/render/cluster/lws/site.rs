//! A deployment with the checked choices of the site, and what all of its objects have in common.

use std::collections::BTreeMap;

use super::names;
use super::object::{Labels, Metadata, Named, Object};
use super::pod::{FieldRef, ValueFrom, Variable};
use super::words::POD_IP;
use crate::error::{Error, Kind, Result};
use crate::plan::cluster::Deployment;
use crate::render::cluster::options::{ClusterOptions, Container, KubernetesOptions, WeightsVolume};

/// Seconds until a start that is not over is ended. Slow starts that a probe kills start again for ever (aibrix#772,
/// aibrix#1054); 689 GB from a shared filesystem at 100 MB/s take two hours.
pub(super) const START_S: u32 = 4 * 3600;
/// The resource of the GPUs (`NVIDIA`'s device plugin).
pub(super) const GPU: &str = "nvidia.com/gpu";
/// The label of a node's architecture.
pub(super) const ARCHITECTURE: &str = "kubernetes.io/arch";

/// A deployment with the choices of the site.
pub(super) struct Site<'a> {
    /// The deployment.
    pub(super) deployment: &'a Deployment,
    /// The container of the engines.
    pub(super) container: &'a Container,
    /// The volume of the weights.
    pub(super) weights: &'a WeightsVolume,
    /// The other choices.
    pub(super) options: &'a KubernetesOptions,
    /// True if pods get a channel of a `ComputeDomain`: engines that span trays, or exchange the KV cache, over `NVLink`.
    pub(super) has_domain: bool,
    /// Architecture of the nodes, as Kubernetes spells it.
    pub(super) architecture: &'static str,
}

impl<'a> Site<'a> {
    /// Checks a deployment and the choices of the site.
    ///
    /// # Errors
    /// [`Kind::Usage`] that names an option that is missing, or a value that an object cannot hold.
    pub(super) fn new(deployment: &'a Deployment, options: &'a ClusterOptions) -> Result<Self> {
        let Some(container) = &options.container else {
            let error = Error::new(Kind::Usage, "a pod runs an image, and none is named");
            return Err(error.hint("name it with --container-image, by its digest"));
        };
        let options = &options.kubernetes;
        let Some(weights) = &options.weights else {
            let error = Error::new(Kind::Usage, "the volume of the weights is not named");
            return Err(error.hint("--weights-claim NAME or --weights-folder /folder/of/each/node"));
        };
        names::deployment(deployment)?;
        names::container(container)?;
        names::site(options)?;
        let has_domain = has_domain(deployment);
        if has_domain {
            check_trays(deployment)?;
        }
        Ok(Self {
            deployment,
            container,
            weights,
            options,
            has_domain,
            // The processors of the racks are Grace: GB200 and GB300.
            architecture: if deployment.nvlink { "arm64" } else { "amd64" },
        })
    }

    /// Returns the labels of an object. None is `app`, which the controller of a `DisaggregatedSet` overwrites.
    pub(super) fn labels(&self, component: &str) -> Labels {
        [
            ("app.kubernetes.io/name", "sglang"),
            ("app.kubernetes.io/instance", &self.deployment.name),
            ("app.kubernetes.io/component", component),
            ("app.kubernetes.io/managed-by", "dsr1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Returns the labels by which the pods of the router are found.
    pub(super) fn selector(&self, component: &str) -> Labels {
        let mut labels = self.labels(component);
        labels.retain(|key, _| !key.ends_with("managed-by"));
        labels
    }

    /// Returns an object with a name.
    pub(super) fn object<B>(
        &self,
        (api_version, kind): (&'static str, &'static str),
        name: &str,
        component: &str,
        body: B,
    ) -> Object<B> {
        Object {
            api_version,
            kind,
            metadata: Metadata {
                name: name.to_owned(),
                namespace: self.options.namespace.clone(),
                labels: self.labels(component),
                annotations: Labels::new(),
            },
            body,
        }
    }

    /// Returns the name of the template of claims that the `ComputeDomain` makes.
    pub(super) fn claim_template(&self) -> String {
        format!("{}-channel", self.deployment.name)
    }

    /// Returns the name of the Service. That of the server itself belongs to LWS, which makes a headless Service of it.
    pub(super) fn service(&self) -> String {
        format!("{}-http", self.deployment.name)
    }

    /// Returns the secrets with which the images are pulled.
    pub(super) fn pull_secrets(&self) -> Vec<Named> {
        let secrets = self.options.pull_secrets.iter();
        secrets.map(|name| Named { name: name.clone() }).collect()
    }

    /// Returns the labels that the nodes of the engines must have.
    pub(super) fn node_selector(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([(ARCHITECTURE.to_owned(), self.architecture.to_owned())]);
        labels.extend(self.options.node_labels.iter().cloned());
        labels
    }
}

/// Returns true if the pods of a deployment need a `ComputeDomain`.
pub(super) fn has_domain(deployment: &Deployment) -> bool {
    let groups = &deployment.groups;
    deployment.nvlink && (groups.len() > 1 || groups.iter().any(|group| group.nodes > 1))
}

/// Refuses engines that share a tray: a node has one channel, so that one pod takes all of its GPUs.
fn check_trays(deployment: &Deployment) -> Result<()> {
    let all = deployment.gpus_per_node;
    match deployment.groups.iter().find(|group| group.gpus != all) {
        None => Ok(()),
        Some(group) => Err(Error::new(
            Kind::Usage,
            format!(
                "an engine for {} takes {} of the {all} GPUs of a node",
                group.role, group.gpus
            ),
        )
        .cause("a node has one channel of a ComputeDomain, which one pod takes")
        .hint(format!(
            "make the ranks of an engine a multiple of gpus_per_node ({all})"
        ))),
    }
}

/// Returns the variable with the address of the pod.
pub(super) fn pod_ip() -> Variable {
    Variable {
        name: POD_IP.to_owned(),
        value: None,
        value_from: Some(ValueFrom {
            field_ref: FieldRef {
                field_path: "status.podIP",
            },
        }),
    }
}
