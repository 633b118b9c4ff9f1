//! Checks of names before they are written. Each error names the option or the field.

use std::collections::BTreeMap;

use super::words::{OF_LWS, POD_IP};
use crate::error::Result;
use crate::plan::cluster::{Deployment, EngineGroup};
use crate::render::checked::{self, refused};
use crate::render::cluster::options::{Container, KubernetesOptions, RdmaDevices, WeightsVolume};

/// Longest name of an object that becomes a label, in bytes (RFC 1123, as Kubernetes reads it).
const LABEL: usize = 63;
/// Bytes that a `StatefulSet` adds to its name in the label `controller-revision-hash`: a dash and ten digits.
const REVISION: usize = 11;
/// Bytes around the role in the name of the set that a `DisaggregatedSet` makes for it: slice, revision and three dashes.
const OF_SET: usize = 12;

/// Checks the server's name and all commands and variables.
pub(super) fn deployment(deployment: &Deployment) -> Result<()> {
    let name = &deployment.name;
    if !is_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let why = "is not the name of an object of Kubernetes: use lower-case letters, digits and dashes";
        return Err(refused("name", name, why));
    }
    let is_split = deployment.groups.len() > 1;
    for group in &deployment.groups {
        let room = longest(group, is_split);
        if name.len() > room {
            let why = format!("is too long: pods get names of it, which leaves {room} characters");
            return Err(refused("name", name, &why));
        }
        checked::command(&group.command)?;
        environment(&group.env)?;
    }
    checked::path("probe", &deployment.probe)
}

/// Returns the longest name whose pods and revisions have names of at most [`LABEL`] bytes. The pods of a group come from a
/// set that is named after its leader: NAME-GROUP; for one of several roles NAME is NAME-SLICE-REVISION-ROLE.
fn longest(group: &EngineGroup, is_split: bool) -> usize {
    let number = group.workers.len().saturating_sub(1).to_string().len();
    let role = if is_split {
        OF_SET + group.role.name().len()
    } else {
        0
    };
    LABEL - REVISION - 1 - number - role
}

/// Checks the variables: dsr1 and the controller have some of their own.
fn environment(env: &BTreeMap<String, String>) -> Result<()> {
    checked::environment(env)?;
    match env
        .keys()
        .find(|name| *name == POD_IP || OF_LWS.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => Err(refused("env", name, "is set in every pod, with another value")),
    }
}

/// Checks the image and the folders of the containers.
pub(super) fn container(container: &Container) -> Result<()> {
    checked::reference("--container-image", &container.image)?;
    for (from, to) in &container.mounts {
        checked::path("--mount", from)?;
        checked::path("--mount", to)?;
        // Kubernetes refuses both (validation.go: `must not contain ':'`, and `..` as a part of a path on the node).
        if to.contains(':') || from.split('/').any(|part| part == "..") {
            return Err(refused(
                "--mount",
                &format!("{from}:{to}"),
                "cannot be mounted into a pod",
            ));
        }
    }
    Ok(())
}

/// Checks the choices of the site.
pub(super) fn site(options: &KubernetesOptions) -> Result<()> {
    let KubernetesOptions {
        namespace,
        weights,
        pull_secrets,
        node_labels,
        rdma,
        networks,
        nvlink_label,
        router_image,
    } = options;
    if !is_label(namespace) {
        return Err(refused("--namespace", namespace, "is not a namespace"));
    }
    match weights {
        None => {}
        Some(WeightsVolume::Claim(name)) => object("--weights-claim", name)?,
        Some(WeightsVolume::Folder(path)) => {
            checked::path("--weights-folder", path)?;
            if path.split('/').any(|part| part == "..") {
                return Err(refused("--weights-folder", path, "leaves its folder"));
            }
        }
    }
    for name in pull_secrets {
        object("--pull-secret", name)?;
    }
    for (key, value) in node_labels {
        qualified("--node-selector", key)?;
        if !value.is_empty() && !is_value(value) {
            return Err(refused("--node-selector", value, "is not the value of a label"));
        }
    }
    if let Some(RdmaDevices { resource, count: _ }) = rdma {
        qualified("--rdma", resource)?;
        if !resource.contains('/') {
            return Err(refused(
                "--rdma",
                resource,
                "is not the resource of a device plugin",
            ));
        }
    }
    if let Some(networks) = networks {
        checked::text("--pod-network", networks)?;
    }
    qualified("--nvlink-label", nvlink_label)?;
    match router_image {
        None => Ok(()),
        Some(image) => checked::reference("--router-image", image),
    }
}

/// Returns true for a label of a host name: lower-case letters, digits and dashes inside.
fn is_label(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= LABEL
        && name.starts_with(is_inner)
        && name.ends_with(is_inner)
        && name.chars().all(|c| is_inner(c) || c == '-')
}

/// Returns true for the value of a label.
fn is_value(value: &str) -> bool {
    value.len() <= LABEL
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.ends_with(|c: char| c.is_ascii_alphanumeric())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Refuses what is not the name of an object: labels with dots between them.
fn object(option: &str, name: &str) -> Result<()> {
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(refused(
        option,
        name,
        "is not the name of an object of Kubernetes",
    ))
}

/// Refuses what is not the key of a label or the name of a resource: a name, with a domain and a slash before it or without.
fn qualified(option: &str, key: &str) -> Result<()> {
    let (domain, name) = key.split_once('/').unwrap_or(("x", key));
    if is_value(name) && domain.len() <= 253 && domain.split('.').all(is_label) {
        return Ok(());
    }
    Err(refused(option, key, "is not the key of a label"))
}
