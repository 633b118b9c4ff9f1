//! All effects: Docker, child processes, HTTP, files.
//!
//! Not in this module tree: printing (`ui`), command-line types (`cli`), choices (`plan`).

pub mod docker;
pub mod env;
pub mod http;
pub mod hub;
