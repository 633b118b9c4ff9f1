//! All effects: Docker, child processes, HTTP, files. [`Effects`] carries out a plan.
//!
//! Not in this module tree: printing (`ui`), command-line types (`cli`), decisions (`plan`).

mod blocking;
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
pub mod mirror;
pub mod process;
mod serve;
pub mod signal;
pub mod store;
mod transfer;
pub mod user_files;
pub mod weights;

pub use execute::Effects;
pub use flag_tables::{Accepts, FlagSource};
pub use lines::{LogEnd, LogStream};
pub use serve::Found;
