//! Everything that dsr1 knows of SGLang, by version.
//!
//! | module | subject |
//! |---|---|
//! | `flags` | the options of SGLang's parsers, and reading a command line as they do |
//! | `dialect` | the flags and variables for the knobs of a profile |
//! | `settings`, `graphs`, `distributed` | the settings that result from a command line and an environment; those of CUDA graphs; those of nodes and roles |
//! | `resolve` | what the engine makes of its arguments for a GPU and a checkpoint, before it loads the model |
//! | `rules`, `check` | findings about flags that SGLang would refuse, ignore or reinterpret, and their type |
//! | `launch`, `role` | flags, settings and findings of one server, made once; the flags of an engine that is one of several |
//! | `preflight` | whether the packages of an environment fit, and what an import that failed says |
//! | `checkpoint` | the shape and sizes of a checkpoint, from its configuration and its tensors |
//! | `memory`, `deepseek_r1` | the memory that weights and KV pool take on a GPU; the constants of the model |
//! | `words`, `explain` | the meaning of options, variables and settings |
//! | `advisories` | published vulnerabilities by version, each with its condition |
//! | `metrics` | the metrics that a server exports, and what a dashboard and alerts ask of them |
//! | `migrate` | a profile file rewritten for another version |
//! | `api`, `client`, `log` | SGLang's HTTP API, the output of its clients, its log |
//! | `witness` | what a server says of itself while it is measured |
//! | `load`, `activity`, `exposition` | the load that its metrics state; its counters and latencies; Prometheus' text format |
//!
//! Not in this module tree: reading files and asking an installed engine (`effects`), planning (`plan`).

mod activity;
pub mod advisories;
pub(crate) mod api;
mod check;
pub(crate) mod checkpoint;
pub(crate) mod client;
mod deepseek_r1;
mod dialect;
mod distributed;
mod explain;
mod exposition;
pub mod flags;
mod graphs;
mod launch;
mod load;
pub(crate) mod log;
pub mod memory;
pub mod metrics;
mod migrate;
pub mod preflight;
pub mod resolve;
mod role;
pub mod rules;
mod settings;
pub(crate) mod witness;
mod words;

pub use activity::{Activity, Histogram, RankLoad, activity};
pub use check::{Check, Level};
pub(crate) use deepseek_r1::CONTEXT;
pub use dialect::{EngineFlags, Flag, Variable, render};
pub use distributed::Distributed;
pub use explain::{Explanation, Subject, Use, explain};
pub use launch::Launch;
pub(crate) use load::load;
pub use migrate::{Migration, migrate};
pub use settings::EffectiveSettings;
pub use words::{Word, Words, words};
