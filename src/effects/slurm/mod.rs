//! Jobs of Slurm: what its commands say, and a server that runs in one.
//!
//! | module | subject |
//! |---|---|
//! | `queue` | the commands of Slurm: submit, list, cancel |
//! | `logs` | the logs of all ranks of a job as one stream |
//! | `follow` | a job from its submission until its server takes requests |
//! | `found` | the servers that run in jobs of this user |
//!
//! Not in this module tree: the script of a job (`render::cluster`), the meaning of its lines (`plan::cluster`).

mod follow;
mod found;
mod logs;
mod queue;

pub(in crate::effects) use follow::await_job;
pub(in crate::effects) use follow::{own_verdict, reason_of_end};
pub(in crate::effects) use logs::log_of_job;
pub(in crate::effects) use queue::{job_of, known_job, stop, submit, url_of};
