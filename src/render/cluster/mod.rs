//! A server over several nodes as text for a scheduler.
//!
//! | module | subject |
//! |---|---|
//! | `form`, `options` | the trait of these forms; the choices of a site |
//! | `export` | the file with its head |
//! | `slurm` | a job for Slurm, one file that needs nothing else |
//! | `lws` | objects of Kubernetes, for the controller of `LeaderWorkerSet`s |
//!
//! Not in this module tree: which ranks there are, and their commands (`plan::cluster`).

mod export;
mod form;
mod lws;
mod options;
mod slurm;

pub use export::{ClusterExport, export};
pub use form::ClusterForm;
pub use lws::LWS;
pub use options::{
    ClusterOptions, Container, ContainerTool, KubernetesOptions, NAMESPACE, NVLINK_LABEL, RdmaDevices,
    SlurmOptions, WeightsVolume,
};
pub use slurm::SLURM;

/// Every form, in the order in which the help lists them.
pub const CLUSTER_FORMS: [&dyn ClusterForm; 2] = [SLURM, LWS];
