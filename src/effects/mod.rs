//! All effects: Docker, child processes, HTTP, files. [`Effects`] carries out a plan.
//!
//! Not in this module tree: printing (`ui`), command-line types (`cli`), choices (`plan`).

mod blocking;
mod command;
pub mod docker;
pub mod env;
mod execute;
mod files;
mod flag_tables;
pub mod host;
pub mod http;
pub mod hub;
mod hub_settings;
mod lines;
mod measure;
pub mod mirror;
mod process;
mod proxy;
mod runtime;
mod server;
mod servers;
pub mod signal;
mod sse;
mod startup;
pub mod store;
mod transfer;
pub mod user_files;
pub mod venv;
mod verify;
pub mod weights;

pub use execute::Effects;
pub use flag_tables::{Accepts, FlagSource};
pub use servers::Found;
