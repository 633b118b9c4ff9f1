//! Stacks and profiles: data files, parsed into types and checked.
//!
//! A *stack* is the pinned software inside an image or a venv. A *profile* names the model to serve and its settings, as
//! knobs that are spelled the same for every SGLang version.
//!
//! | module | subject |
//! |---|---|
//! | `schema`, `engine_settings`, `topology`, `stack` | the keys of a profile file, of its `engine`, of a server over several nodes, and of a stack file |
//! | `role`, `topology_rules` | one role of a profile for several nodes; the refusal of a topology that cannot be placed |
//! | `knob`, `version`, `requirement` | types of single values |
//! | `gpu` | the known GPUs, and the family of any GPU |
//! | `catalog` | the built-in files and the user's, found by name |
//! | `merge` | `extends`, and settings for single stacks |
//! | `choose` | the choice by goal and GPUs |
//! | `names`, `spelling` | the rules for names; the nearest name to a misspelt one |
//! | `foreign` | names and values of other programs with their equals |
//! | `yaml`, `origin` | reading and writing YAML; the file and line of a setting |
//! | `diff`, `template` | the differences of two profiles; a profile to start from |
//!
//! Not in this module tree: reading files (`effects::user_files`), SGLang's flags for the knobs (`sglang`).

mod catalog;
mod choose;
mod diff;
mod engine_settings;
pub(crate) mod foreign;
pub(crate) mod gpu;
mod knob;
mod merge;
mod names;
mod origin;
mod requirement;
mod role;
mod schema;
pub(crate) mod spelling;
mod stack;
mod template;
mod topology;
mod topology_rules;
mod version;
pub(crate) mod yaml;

pub use catalog::{Catalog, UnreadFile, UserFile, UserFiles, built_in_profiles, built_in_stacks};
pub use choose::{Criteria, Selection};
pub use diff::{Change, StackChange, differences, stack_differences};
pub use engine_settings::{Device, EngineSettings, Speculative};
pub use gpu::{Architecture, KNOWN_GPUS, KnownGpu, cuda_min, known_gpu};
pub use knob::{
    AttentionBackend, Chunk, Count, DeepepMode, ExpertDispatch, Fp4Gemm, Fp8Gemm, Fraction, KvCache,
    MoeAllToAll, MoeRunner, Positive,
};
pub use names::{NAME_RULE, is_mountable, is_name, is_repo, is_revision};
pub use origin::{Origins, Place};
pub use requirement::Requirement;
pub use schema::{Bench, Goal, Model, Precision, Profile, Verify};
pub use stack::{
    Accelerator, EntryPoint, FlashinferPackages, Harness, Install, Network, Pins, Prebuilt, Repository,
    SourceBuild, Stack, UNKNOWN_PIN, hint_without_registry, is_plain_path,
};
pub use template::{check_profile_name, template};
pub use topology::{NodeNetwork, Role, RoleSettings, RouterKind, RouterPolicy, Topology, Transfer};
pub use version::Version;
pub use yaml::{MAX_BYTES, to_text};
