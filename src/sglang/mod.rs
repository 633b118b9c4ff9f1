//! Everything that dsr1 knows of SGLang, by version: its flags, how settings become them, what it would refuse.
//!
//! Not in this module tree: reading files and asking an installed engine (`effects`), planning (`plan`).

pub(crate) mod api;
mod check;
pub(crate) mod client;
mod deepseek_r1;
mod dialect;
mod explain;
pub mod flags;
mod launch;
pub(crate) mod log;
pub mod memory;
mod migrate;
pub mod rules;
mod settings;
mod words;

pub use check::{Check, Level};
pub use dialect::{EngineFlags, Flag, Variable, render};
pub use explain::{Explanation, Subject, Use, explain};
pub use launch::Launch;
pub use migrate::{Migration, migrate};
pub use settings::EffectiveSettings;
pub use words::{Word, Words, words};
