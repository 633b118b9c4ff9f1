//! All effects: Docker, child processes, HTTP, files. [`Effects`] carries out a plan.
//!
//! | module | subject |
//! |---|---|
//! | `execute` | a plan, step by step |
//! | `docker` | the daemon: builds, images, containers, logs |
//! | `process` | child processes: the engine without Docker, venvs, short commands |
//! | `serve` | a server in Docker or as a process: its start up to READY, its answers, its measurements |
//! | `slurm` | a server in a job of Slurm, over one or more nodes |
//! | `lines`, `ended_logs` | log lines, from a daemon or from a file; the files with the logs of earlier starts |
//! | `weights` | the pull, the check and the list of weights, which use the three modules below |
//! | `hub` | the protocol of a hub: listings, and streams of bytes |
//! | `transfer` | a file under way: workers, chunks, partial files and their journals |
//! | `store` | verified files at rest: names, fingerprints, proofs, manifests |
//! | `mirror` | a hub that serves what the store has |
//! | `expose` | a server for other hosts: keys, TLS, and the paths of the API |
//! | `load` | the client of a measurement: a load on a server, and the times of its answers |
//! | `data` | prompts and traces in files of the user |
//! | `tokenizer` | the tokenizer of a model |
//! | `results` | kept results of measurements, read again |
//! | `listener` | a listener on an address that a user names |
//! | `http` | the HTTP client |
//! | `addresses` | the addresses of a host's name |
//! | `env`, `hub_settings` | the process environment, and the hub's settings in it |
//! | `host`, `nvidia_smi` | facts about this host, and about its GPUs |
//! | `shared_memory` | segments that a server leaves in /dev/shm |
//! | `bundle` | an archive for a person who helps, without secrets |
//! | `belongings` | what dsr1 made on this host's disk |
//! | `flag_tables` | the parsers of an installed SGLang, asked for their options |
//! | `prove` | what an installed SGLang makes of the arguments of a plan, kept |
//! | `user_files`, `user_folder`, `files` | the user's own files; a folder that a command writes; files that are complete or absent, and locks |
//! | `stdin` | messages on standard input |
//! | `signal`, `blocking` | signals that end dsr1; work on threads where blocking is allowed |
//!
//! Not in this module tree: printing (`ui`), command-line types (`cli`), decisions (`plan`).

mod addresses;
pub mod belongings;
mod blocking;
pub mod bundle;
mod data;
pub mod docker;
mod ended_logs;
pub mod env;
mod execute;
pub mod expose;
mod files;
mod flag_tables;
pub mod host;
pub mod http;
pub mod hub;
mod hub_settings;
mod lines;
pub mod listener;
pub mod load;
pub mod mirror;
mod nvidia_smi;
pub mod process;
mod prove;
pub mod results;
mod serve;
mod shared_memory;
pub mod signal;
mod slurm;
pub mod stdin;
pub mod store;
mod tokenizer;
mod transfer;
pub mod user_files;
pub mod user_folder;
pub mod weights;

pub use blocking::blocking;
pub use execute::{Effects, Removed};
pub use files::has_unread_input;
pub use flag_tables::{Accepts, Resolutions, ResolveRequest};
pub use lines::{LogEnd, LogPart, LogStream};
pub use serve::{
    Endpoint, Found, FoundLog, Holdings, KeptSweep, OnPiece, Reply, ServedModel, ServerLock, ServerTask,
    Sought, Watched, kept_points, measured_starts,
};
