//! The parts that the commands for several nodes share: the request of a server on them, and the choices of the site.

use super::context::Context;
use super::up_request::make_request;
use crate::cli::{ClusterArgs, ContainerToolArg, Runtime, UpArgs};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{MODELS, ServeRequest, UpRequest};
use crate::render::cluster::{ClusterOptions, Container, ContainerTool, SlurmOptions};

/// Returns the request of a server on the nodes of a scheduler, with facts and notes about the choices of dsr1.
pub(super) async fn request(
    context: &Context,
    args: &mut UpArgs,
    cluster: &ClusterArgs,
) -> Result<(ServeRequest, Facts, Vec<String>)> {
    let (up, facts, notes) = up_request(context, args, cluster).await?;
    Ok((up.serve, facts, notes))
}

/// Returns the same with the weights, and whether the server is kept.
pub(super) async fn up_request(
    context: &Context,
    args: &mut UpArgs,
    cluster: &ClusterArgs,
) -> Result<(UpRequest, Facts, Vec<String>)> {
    let runtime = &mut args.server.runtime.runtime;
    *runtime = if cluster.container_image.is_some() {
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
/// [`Kind::Usage`] for a mount that is none.
pub(super) fn options(args: &ClusterArgs, facts: &Facts) -> Result<ClusterOptions> {
    let container = match &args.container_image {
        None => None,
        Some(image) => {
            let mut mounts = vec![(facts.paths.hub_cache.clone(), MODELS.to_owned())];
            for text in &args.mounts {
                let (from, to) = text.split_once(':').ok_or_else(|| {
                    Error::new(Kind::Usage, format!("`{}` is not a mount", text.escape_debug()))
                        .hint("write it as --mount /folder/on/the/node:/folder/in/the/container")
                })?;
                mounts.push((from.to_owned(), to.to_owned()));
            }
            Some(Container {
                image: image.clone(),
                mounts,
            })
        }
    };
    Ok(ClusterOptions {
        container,
        slurm: SlurmOptions {
            partition: args.partition.clone(),
            account: args.account.clone(),
            time: args.time.clone(),
            segment: args.segment,
            further: args.sbatch.clone(),
            tool: match args.container_tool {
                ContainerToolArg::Pyxis => ContainerTool::Pyxis,
                ContainerToolArg::Apptainer => ContainerTool::Apptainer,
            },
        },
    })
}

/// Refuses options about nodes for a tool that starts a server on one host.
///
/// # Errors
/// [`Kind::Usage`] that names the option.
pub(super) fn refuse_for_one_host(args: &ClusterArgs, tool: &str) -> Result<()> {
    let given = [
        ("--container-image", args.container_image.is_some()),
        ("--partition", args.partition.is_some()),
        ("--account", args.account.is_some()),
        ("--time", args.time.is_some()),
        ("--segment", args.segment.is_some()),
        ("--sbatch", !args.sbatch.is_empty()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => Err(Error::new(
            Kind::Usage,
            format!("{option} says nothing to {tool}, which starts a server on one host"),
        )
        .hint(format!("leave {option} out, or export slurm"))),
    }
}
