//! Stacks and profiles: data files, parsed into types, checked, and rendered into one engine version's flags.
//!
//! A *stack* is what is inside the image or the venv; a *profile* is what to serve and how, in neutral knobs.
//! Not in this module: reading files (`engine::host`), deciding what to do with them (`plan`).

mod catalog;
mod dialect;
mod schema;
mod stack;
mod yaml;

pub use catalog::{Catalog, Precision, Selection};
pub use dialect::{EngineFlags, render};
pub use schema::{AttentionBackend, Bench, Engine, Goal, Model, MoeRunner, Profile, Verify};
pub use stack::{Accelerator, Install, Network, Pins, Stack, Version};
pub use yaml::{MAX_BYTES, to_text};
