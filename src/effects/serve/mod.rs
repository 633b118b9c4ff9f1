//! Servers: their runtime, their start up to READY, their answers and measurements, and finding them again.
//!
//! Not in this module tree: the meaning of the engine's log lines (`sglang::log`), containers (`docker`), child processes
//! (`process`).

pub(in crate::effects) mod cause;
mod chat;
mod ended;
pub(in crate::effects) mod engine_client;
pub(in crate::effects) mod evaluate;
mod gpu_watch;
mod guard;
pub(in crate::effects) mod health;
pub(in crate::effects) mod history;
mod holdings;
pub(in crate::effects) mod keep;
pub(in crate::effects) mod measure;
mod metrics;
mod pick;
mod prefetch;
mod prompts;
mod questions;
pub(in crate::effects) mod record;
mod release;
mod results;
pub(in crate::effects) mod runtime;
pub(in crate::effects) mod servers;
pub(in crate::effects) mod start;
pub(in crate::effects) mod verify;
mod watched;
mod witness;

pub use chat::{Endpoint, OnPiece, Reply, ServedModel};
pub use ended::FoundLog;
pub use guard::{ServerLock, ServerTask};
pub use holdings::Holdings;
pub use measure::{KeptSweep, kept_points};
pub use record::measured_starts;
pub use servers::{Found, Sought};
pub use watched::Watched;
