//! The choices of a site for a server over several nodes.

/// The choices of a site for a server over several nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterOptions {
    /// The container of the engines; none runs them as processes of the nodes.
    pub container: Option<Container>,
    /// Options of the job.
    pub slurm: SlurmOptions,
}

/// The container of the engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// An image, or a file with one.
    pub image: String,
    /// Folders of the nodes with their paths in the container.
    pub mounts: Vec<(String, String)>,
}

/// Options of the job that a site decides. Each is an option of `sbatch`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlurmOptions {
    /// Partition.
    pub partition: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Time limit, such as `4:00:00`.
    pub time: Option<String>,
    /// Nodes that must be in one block of the network (`--segment`), for Slurm 23.11 or newer.
    pub segment: Option<u32>,
    /// Further options, such as `--qos=high`.
    pub further: Vec<String>,
    /// The tool that runs the container on the nodes.
    pub tool: ContainerTool,
}

/// A tool that runs a container in a step of Slurm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerTool {
    /// The plugin pyxis with enroot.
    #[default]
    Pyxis,
    /// Apptainer.
    Apptainer,
}
