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
    /// Further folder of the nodes in the containers; can be given several times.
    #[arg(long = "mount", value_name = "FROM:TO", requires = "container_image")]
    pub mounts: Vec<String>,
    /// Options of a job of Slurm.
    #[command(flatten)]
    pub slurm: SlurmArgs,
    /// Options of objects of Kubernetes.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

/// The choices of a site for a job of Slurm.
#[derive(Debug, Clone, Args, Default)]
#[command(next_help_heading = "Slurm")]
pub struct SlurmArgs {
    /// Tool that runs the image in a job; pyxis without it.
    #[arg(long, value_enum, value_name = "TOOL", requires = "container_image")]
    pub container_tool: Option<ContainerToolArg>,
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

/// The choices of a site for objects of Kubernetes.
#[derive(Debug, Clone, Args, Default)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesArgs {
    /// Namespace of all objects; `default` without it.
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Claim of the volume with the weights, in the layout of the hub cache; pods only read it.
    #[arg(long, value_name = "NAME", conflicts_with = "weights_folder")]
    pub weights_claim: Option<String>,
    /// Folder of every node with the weights, in the layout of the hub cache; pods only read it.
    #[arg(long, value_name = "PATH")]
    pub weights_folder: Option<String>,
    /// Secret with which the images are pulled; can be given several times.
    #[arg(long = "pull-secret", value_name = "NAME")]
    pub pull_secrets: Vec<String>,
    /// Label of the nodes for the engines, such as nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3; can be given several times.
    #[arg(long = "node-selector", value_name = "KEY=VALUE")]
    pub node_selectors: Vec<String>,
    /// RDMA devices of a pod, as the device plugin of the site names them, such as rdma/ib=8.
    #[arg(long, value_name = "RESOURCE=COUNT")]
    pub rdma: Option<String>,
    /// Further networks of a pod, as Multus reads them.
    #[arg(long, value_name = "NETWORKS")]
    pub pod_network: Option<String>,
    /// Label of a node that names its `NVLink` domain; nvidia.com/gpu.clique without it.
    #[arg(long, value_name = "KEY")]
    pub nvlink_label: Option<String>,
    /// Image of the router: a reference with its digest. Without it the router runs in the image of the engines.
    #[arg(long, value_name = "IMAGE")]
    pub router_image: Option<String>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ContainerToolArg {
    /// The plugin pyxis with enroot.
    Pyxis,
    /// Apptainer.
    Apptainer,
}
