//! `dsr1` takes a GPU host from bare to a verified DeepSeek-R1 endpoint on SGLang and FlashInfer.
//!
//! # The map
//!
//! ```text
//! argv, env -> cli        profiles/*.yaml, stacks/*.yaml -> profile        host, Docker, hub -> engine -> facts
//!                 \               |                                        /
//!                  commands:  a request + facts -> plan -> a Plan (a list of steps, plain data)
//!                                                   |
//!                  --dry-run: plan::shell prints it | effects::Effects::execute carries it out -> event ... -> ui
//!                                                   |                                        -> report    -> ui
//! ```
//!
//! | module | what it is | where new things go |
//! |---|---|---|
//! | [`cli`] | the command line, no behaviour | a command or a flag |
//! | [`commands`] | one file per command: gather, plan, print or carry out, report | what a command does |
//! | [`profile`] | stacks and profiles: `schema` what they say, `catalog` finds and merges them, `dialect` turns knobs into one version's flags, `flags` what versions accept, `lint` what is wrong, `words` what a flag means | a knob: `schema` and `dialect`; a version: `stacks/`; a check: `lint` |
//! | [`plan`] | pure: request + facts -> steps; `shell` prints steps; `export` writes a server for other tools; `checks` are doctor's rules; `memory` what fits on a GPU; `lock` | a step, a rule, a form |
//! | [`effects`] | effects: Docker, processes, the hub, HTTP | how a step is done |
//! | [`facts`] | what planning may know, as data | a new fact |
//! | [`event`], [`report`] | what happens, what came of it, as data | a new figure |
//! | [`ui`] | the only module that prints | how something looks |
//! | [`error`], [`units`], [`secret`] | kinds and exit codes, bytes and times, tokens that cannot print | |
//! | [`rehearsal`] | the bytes of the tiny model | |
//!
//! A value's way: `mem_fraction` in a profile file -> `profile::EngineSettings` -> `profile::render` -> `profile::lint`, the argv in
//! `plan::StartContainer` -> Docker's API, or `plan::shell`.
//!
//! Layers (kept by `tests/architecture.rs`): pure modules do no I/O, read no clock and no environment; `effects`
//! never prints; `ui` never acts. Each third-party crate that touches the world has one home.

pub mod cli;
pub mod commands;
pub mod effects;
pub mod error;
pub mod event;
pub mod facts;
pub mod plan;
pub mod profile;
pub mod rehearsal;
pub mod report;
pub mod secret;
pub mod ui;
pub mod units;
