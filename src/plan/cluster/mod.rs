//! A server over several nodes as data: its engines, their ranks, ports and commands, and the router before them.
//!
//! Nodes are numbered from 0. Their names and addresses are known only where the server runs, so that a command holds them as
//! a [`Word`]: a script of Slurm replaces it by a variable of the shell, Kubernetes by one of the pod, and `--target hosts` by
//! the address itself. The same [`Deployment`] is rendered for all of them.
//!
//! | module | subject |
//! |---|---|
//! | `deployment` | the types |
//! | `place` | the nodes, GPUs and ports of each engine |
//! | `word` | a word of a command that may hold an address |
//! | `router` | the command of the router |
//! | `launches` | the roles of a request, each with its flags and findings |
//! | `planned` | the deployment of a profile |
//! | `job` | the steps of a server in a job of Slurm |
//! | `job_line` | the lines that a job says about itself |
//! | `checks`, `pair` | the findings about all roles; those about prefill and decode that do not fit each other |
//!
//! Not in this module tree: the flags of a role (`sglang::role`), texts for a scheduler (`render`).

mod checks;
mod deployment;
mod job;
mod job_line;
mod launches;
mod pair;
mod place;
mod planned;
mod router;
mod word;

pub use checks::findings;
pub use deployment::{Deployment, EngineGroup, Rank, Router, SCHEMA, Worker};
pub use job::{JobRequest, jobs_folder, up_in_job};
pub use job_line::{JobFailure, JobLine, job_line};
pub use place::{BLOCK, Ports};
pub use planned::deployment;
pub use word::{Addresses, PortUse, Word, words_at};
