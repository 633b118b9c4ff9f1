//! The parts that the commands for several nodes share: the request of a server on them, and the choices of the site.

use super::context::Context;
use super::up_request::make_request;
use crate::cli::{ClusterArgs, ContainerToolArg, KubernetesArgs, Runtime, SlurmArgs, UpArgs};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{MODEL, MODELS, ServeRequest, UpRequest};
use crate::render::cluster::{
    ClusterForm, ClusterOptions, Container, ContainerTool, KubernetesOptions, LWS, NAMESPACE, NVLINK_LABEL,
    RdmaDevices, SLURM, SlurmOptions, WeightsVolume,
};

/// Returns the request of a server on the nodes of a scheduler, with facts and notes about the choices of dsr1.
pub(super) async fn request(
    context: &Context,
    args: &mut UpArgs,
    in_container: bool,
) -> Result<(ServeRequest, Facts, Vec<String>)> {
    let (up, facts, notes) = up_request(context, args, in_container).await?;
    Ok((up.serve, facts, notes))
}

/// Returns the same with the weights, and whether the server is kept.
pub(super) async fn up_request(
    context: &Context,
    args: &mut UpArgs,
    in_container: bool,
) -> Result<(UpRequest, Facts, Vec<String>)> {
    let runtime = &mut args.server.runtime.runtime;
    *runtime = if in_container {
        Runtime::Docker
    } else {
        Runtime::Process
    };
    let (up, mut facts, notes) = make_request(context, args).await?;
    // A server that runs on this host has nothing to do with the nodes.
    facts.servers.clear();
    Ok((up, facts, notes))
}

/// Returns the choices of the site.
///
/// # Errors
/// [`Kind::Usage`] for a mount that is none, and other texts of two parts.
pub(super) fn options(args: &ClusterArgs, serve: &ServeRequest, facts: &Facts) -> Result<ClusterOptions> {
    let container = match &args.container_image {
        None => None,
        Some(image) => {
            let (weights, weights_at) = match &serve.profile.model.path {
                Some(path) => (path, MODEL),
                None => (&facts.paths.hub_cache, MODELS),
            };
            let mut mounts = Vec::new();
            for text in &args.mounts {
                mounts.push(pair(
                    text,
                    ':',
                    "a mount",
                    "--mount /folder/on/the/node:/folder/in/the/container",
                )?);
            }
            Some(Container {
                image: image.clone(),
                weights: weights.clone(),
                weights_at: weights_at.to_owned(),
                mounts,
            })
        }
    };
    Ok(ClusterOptions {
        container,
        slurm: slurm(&args.slurm),
        kubernetes: kubernetes(&args.kubernetes)?,
    })
}

fn slurm(args: &SlurmArgs) -> SlurmOptions {
    SlurmOptions {
        partition: args.partition.clone(),
        account: args.account.clone(),
        time: args.time.clone(),
        segment: args.segment,
        further: args.sbatch.clone(),
        tool: match args.container_tool {
            None | Some(ContainerToolArg::Pyxis) => ContainerTool::Pyxis,
            Some(ContainerToolArg::Apptainer) => ContainerTool::Apptainer,
        },
    }
}

fn kubernetes(args: &KubernetesArgs) -> Result<KubernetesOptions> {
    let claim = args.weights_claim.clone().map(WeightsVolume::Claim);
    let mut node_labels = Vec::new();
    for text in &args.node_selectors {
        node_labels.push(pair(text, '=', "a label", "--node-selector KEY=VALUE")?);
    }
    let rdma = match &args.rdma {
        None => None,
        Some(text) => {
            let written = "--rdma RESOURCE=COUNT, such as rdma/ib=8";
            let (resource, count) = pair(text, '=', "a number of devices", written)?;
            let count = count.parse().ok().filter(|count| *count > 0);
            let count = count.ok_or_else(|| no_pair(text, "a number of devices", written))?;
            Some(RdmaDevices { resource, count })
        }
    };
    Ok(KubernetesOptions {
        namespace: args.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned()),
        weights: claim.or_else(|| args.weights_folder.clone().map(WeightsVolume::Folder)),
        pull_secrets: args.pull_secrets.clone(),
        node_labels,
        rdma,
        networks: args.pod_network.clone(),
        nvlink_label: args
            .nvlink_label
            .clone()
            .unwrap_or_else(|| NVLINK_LABEL.to_owned()),
        router_image: args.router_image.clone(),
    })
}

/// Splits a text at the first `sign`.
fn pair(text: &str, sign: char, what: &str, written: &str) -> Result<(String, String)> {
    let (left, right) = text
        .split_once(sign)
        .ok_or_else(|| no_pair(text, what, written))?;
    Ok((left.to_owned(), right.to_owned()))
}

fn no_pair(text: &str, what: &str, written: &str) -> Error {
    Error::new(Kind::Usage, format!("`{}` is not {what}", text.escape_debug()))
        .hint(format!("write it as {written}"))
}

/// Refuses options about nodes that a tool does not use. `form` is the tool if it is for several nodes.
///
/// # Errors
/// [`Kind::Usage`] that names the option.
pub(super) fn refuse_unused(
    args: &ClusterArgs,
    tool: &str,
    form: Option<&'static dyn ClusterForm>,
) -> Result<()> {
    let ClusterArgs {
        container_image,
        mounts,
        slurm,
        kubernetes,
    } = args;
    let both: &[&'static dyn ClusterForm] = &[SLURM, LWS];
    let (of_slurm, of_lws) = (&both[..1], &both[1..]);
    let given = [
        ("--container-image", container_image.is_some(), both),
        ("--mount", !mounts.is_empty(), both),
        ("--container-tool", slurm.container_tool.is_some(), of_slurm),
        ("--partition", slurm.partition.is_some(), of_slurm),
        ("--account", slurm.account.is_some(), of_slurm),
        ("--time", slurm.time.is_some(), of_slurm),
        ("--segment", slurm.segment.is_some(), of_slurm),
        ("--sbatch", !slurm.sbatch.is_empty(), of_slurm),
        ("--namespace", kubernetes.namespace.is_some(), of_lws),
        ("--weights-claim", kubernetes.weights_claim.is_some(), of_lws),
        ("--weights-folder", kubernetes.weights_folder.is_some(), of_lws),
        ("--pull-secret", !kubernetes.pull_secrets.is_empty(), of_lws),
        ("--node-selector", !kubernetes.node_selectors.is_empty(), of_lws),
        ("--rdma", kubernetes.rdma.is_some(), of_lws),
        ("--pod-network", kubernetes.pod_network.is_some(), of_lws),
        ("--nvlink-label", kubernetes.nvlink_label.is_some(), of_lws),
        ("--router-image", kubernetes.router_image.is_some(), of_lws),
    ];
    let is_used = |users: &[&'static dyn ClusterForm]| {
        form.is_some_and(|form| users.iter().any(|user| user.name() == form.name()))
    };
    match given
        .iter()
        .find(|(_, is_given, users)| *is_given && !is_used(users))
    {
        None => Ok(()),
        Some((option, _, users)) => {
            let why = if form.is_none() {
                ", which starts a server on one host"
            } else {
                ""
            };
            let names: Vec<&str> = users.iter().map(|user| user.name()).collect();
            let error = Error::new(Kind::Usage, format!("{option} says nothing to {tool}{why}"));
            Err(error.hint(format!("leave {option} out, or export {}", names.join(" or "))))
        }
    }
}
