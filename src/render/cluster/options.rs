//! The choices of a site for a server over several nodes.

/// The choices of a site for a server over several nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterOptions {
    /// The container of the engines; none runs them as processes of the nodes.
    pub container: Option<Container>,
    /// Options of the job.
    pub slurm: SlurmOptions,
    /// Options of the objects of Kubernetes.
    pub kubernetes: KubernetesOptions,
}

/// The container of the engines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// An image, or a file with one.
    pub image: String,
    /// Folder of the nodes with the weights.
    pub weights: String,
    /// Path of the weights in the container.
    pub weights_at: String,
    /// Further folders of the nodes with their paths in the container.
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

/// Options of the objects of Kubernetes that a site decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// Namespace of all objects.
    pub namespace: String,
    /// The volume of the weights.
    pub weights: Option<WeightsVolume>,
    /// Secrets with which the kubelet pulls the images.
    pub pull_secrets: Vec<String>,
    /// Labels that a node of the engines must have, beside that of its architecture.
    pub node_labels: Vec<(String, String)>,
    /// The RDMA devices of a pod.
    pub rdma: Option<RdmaDevices>,
    /// Further networks of a pod, as the annotation `k8s.v1.cni.cncf.io/networks` names them.
    pub networks: Option<String>,
    /// Label of a node that names its `NVLink` domain.
    pub nvlink_label: String,
    /// Image of the router; that of the engines without it.
    pub router_image: Option<String>,
}

/// Label by which the driver of `NVIDIA` names the `NVLink` domain of a node (`dra-driver-nvidia-gpu` 0.4, `gpu-feature-discovery`).
pub const NVLINK_LABEL: &str = "nvidia.com/gpu.clique";
/// The namespace of objects that name none.
pub const NAMESPACE: &str = "default";

impl Default for KubernetesOptions {
    fn default() -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            weights: None,
            pull_secrets: Vec::new(),
            node_labels: Vec::new(),
            rdma: None,
            networks: None,
            nvlink_label: NVLINK_LABEL.to_owned(),
            router_image: None,
        }
    }
}

/// A volume of the weights, which pods read only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsVolume {
    /// A claim (`PersistentVolumeClaim`) of the namespace.
    Claim(String),
    /// A folder of every node.
    Folder(String),
}

/// RDMA devices of a device plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdmaDevices {
    /// The resource's name, such as `rdma/ib`.
    pub resource: String,
    /// Devices of a pod.
    pub count: u32,
}
