//! Servers: their runtime, their start up to READY, their answers and measurements, and finding them again.
//!
//! Not in this module tree: what the engine's log lines mean (`sglang::log`), Docker's and the kernel's own ways (`docker`,
//! `process`).

pub(in crate::effects) mod measure;
pub(in crate::effects) mod runtime;
mod servers;
pub(in crate::effects) mod start;
pub(in crate::effects) mod verify;

pub use servers::Found;
