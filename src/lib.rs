//! `dsr1` takes a GPU host from bare to a verified DeepSeek-R1 endpoint on SGLang and FlashInfer.
//!
//! # The map
//!
//! ```text
//! argv, env -> cli    profiles/*.yaml, stacks/*.yaml -> profile -> sglang      host, Docker, hub -> effects -> facts
//!                \           |                            |                      /
//!                 commands:  a request + what SGLang makes of it + facts -> plan -> a Plan (a list of steps, plain data)
//!                                                                            |
//!                  --dry-run, export: render prints it | effects::Effects::execute carries it out -> event ... -> ui
//!                                                                                                 -> report    -> ui
//! ```
//!
//! | module | what it is | where new things go |
//! |---|---|---|
//! | [`cli`] | the command line, no behaviour | a command or a flag |
//! | [`choice`] | closed sets of values that a user names | |
//! | [`commands`] | one file per command: gather, plan, print or carry out, report | what a command does |
//! | [`profile`] | stacks and profiles as data: `schema` what they say, `catalog` finds and merges them, `yaml` reads them | a knob: its key in `schema`; a version: `stacks/` |
//! | [`sglang`] | all that is known of SGLang, by version: `dialect` turns knobs into flags, `flags` what its parser accepts, `settings` what a command line comes to, `rules` what it would refuse, `memory` what fits on a GPU, `log` what its log says, `words` what a flag means | a knob: its flag in `dialect`; a rule: `rules`; a failure signature: beside `log` |
//! | [`doctor`] | verdicts over facts: `findings` of a host, `blockers` of a plan | a check of a host |
//! | [`plan`] | pure: `request` + facts -> `step`s, a file per command that plans | a step, a container's field |
//! | [`render`] | a plan or a server as text: a script, Compose, systemd, Quadlet | a form: a file and a line in `FORMS` |
//! | [`effects`] | everything that touches the world: `execute` has an arm for each step | how a step is done |
//! | [`facts`] | what planning may know, as data | a new fact |
//! | [`event`], [`report`] | what happens, and the results, as data | a new figure |
//! | [`ui`] | the only module that prints | how something looks |
//! | [`error`], [`units`], [`quote`], [`secret`] | kinds and exit codes, bytes and times, words of a shell, tokens that cannot print | |
//! | [`rehearsal`] | the bytes of the tiny model | |
//!
//! A value's way: `mem_fraction` in a profile file -> `profile::EngineSettings` -> `sglang::Launch` (its flag by `dialect`, its
//! meaning by `settings`, findings by `rules`) -> the argv in `plan::StartContainer` -> Docker's API, or `render::shell`.
//!
//! Layers (kept by the tests of the architecture): pure modules do no I/O, read no clock and no environment; `effects`
//! never prints; `ui` never acts; no two files import each other in a circle. Each third-party crate that touches the
//! world has one home.

pub mod choice;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod effects;
pub mod error;
pub mod event;
pub mod facts;
pub mod plan;
pub mod profile;
pub mod quote;
pub mod rehearsal;
pub mod render;
pub mod report;
pub mod secret;
pub mod sglang;
pub mod ui;
pub mod units;
