//! Stacks and profiles: data files, parsed into types, checked, and rendered into one engine version's flags.
//!
//! A *stack* is what is inside the image or the venv; a *profile* is what to serve and how, in neutral knobs.
//! Not in this module: reading files (`effects::host`), deciding what to do with them (`plan`).

mod catalog;
mod choose;
mod diff;
mod knob;
mod merge;
mod names;
mod origin;
mod requirement;
mod schema;
pub(crate) mod spelling;
mod stack;
mod template;
mod version;
pub(crate) mod yaml;

pub use catalog::{Catalog, UserFile, UserFiles};
pub use choose::{Criteria, Selection};
pub use diff::{Change, StackChange, differences, stack_differences};
pub use knob::{AttentionBackend, Count, Fp8Gemm, Fraction, KvCache, MoeRunner, Positive};
pub use names::{NAME_RULE, is_name, is_repo, is_revision};
pub use origin::{Origins, Place};
pub use requirement::Requirement;
pub use schema::{Bench, Device, EngineSettings, Goal, Model, Precision, Profile, Speculative, Verify};
pub use stack::{
    Accelerator, Architecture, EntryPoint, FlashinferPackages, Harness, Install, Network, Pins, Prebuilt,
    Repository, SourceBuild, Stack, is_plain_path,
};
pub use template::template;
pub use version::Version;
pub use yaml::{MAX_BYTES, to_text};
