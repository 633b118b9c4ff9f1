//! Arguments of a server over several nodes.

use clap::{Args, ValueEnum};

use crate::cli::shared::number;

/// The choices of a site for a server on the nodes of a scheduler.
#[derive(Debug, Clone, Args, Default)]
#[command(next_help_heading = "Nodes")]
pub struct ClusterArgs {
    /// Image of the engines on the nodes: a reference with its digest, or a file that the nodes can read (`.sqsh`, `.sif`).
    /// Without it they are processes of --python.
    #[arg(long, value_name = "IMAGE", conflicts_with = "python")]
    pub container_image: Option<String>,
    /// Tool that runs the image in a job of Slurm.
    #[arg(
        long,
        value_enum,
        default_value = "pyxis",
        value_name = "TOOL",
        requires = "container_image"
    )]
    pub container_tool: ContainerToolArg,
    /// Further folder of the nodes in the containers; can be given several times.
    #[arg(long = "mount", value_name = "FROM:TO", requires = "container_image")]
    pub mounts: Vec<String>,
    /// Partition of Slurm.
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Account of Slurm.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Time limit of the job, such as 4:00:00.
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Nodes that must be in one block of the network (Slurm 23.11 or newer); 18 keeps a job in one NVL72 rack.
    #[arg(long, value_name = "NODES", value_parser = number::<u32>(1..))]
    pub segment: Option<u32>,
    /// Further option of sbatch, such as --sbatch=--qos=high; can be given several times.
    #[arg(long = "sbatch", value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
}

/// The place of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetArg {
    /// This host.
    Host,
    /// A job of Slurm, submitted from here and followed.
    Slurm,
}

/// A tool that runs an image in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ContainerToolArg {
    /// The plugin pyxis with enroot.
    #[default]
    Pyxis,
    /// Apptainer.
    Apptainer,
}
