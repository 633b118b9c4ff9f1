//! Child processes: the engine, which outlives dsr1, and commands that end by themselves.
//!
//! Not in this module tree: containers (`docker`), the start of a server (`serve`).

pub(in crate::effects) mod command;
pub mod environment;
pub mod index;
pub mod manual;
mod packages;
pub mod pip;
pub(in crate::effects) mod preflight;
pub(in crate::effects) mod server;
pub mod site;
pub(in crate::effects) mod uv;
pub mod venv;
