//! `dsr1` takes a GPU host from bare to a verified DeepSeek-R1 endpoint on SGLang and FlashInfer.
//!
//! # The map
//!
//! ```text
//! argv -> cli    profiles/*.yaml, stacks/*.yaml -> profile -> sglang      this host, Docker -> effects -> facts
//!           \           |                            |                      /
//!            commands:  a request + what SGLang makes of it + facts -> plan -> a Plan (a list of steps, plain data)
//!                                                                       |
//!             --dry-run, export: render makes a text of it | effects::Effects::execute carries it out -> event, report -> ui
//! ```
//!
//! Commands that change nothing (`doctor`, `status`, `logs`, `explain` and their like) have no plan: they ask `effects`,
//! `sglang` or `profile`, and `ui` prints the answer.
//!
//! | module | what it is | where new things go |
//! |---|---|---|
//! | [`cli`] | the command line, no behaviour | a command or a flag: its arguments |
//! | [`access`] | pure: the keys of an exposed server, and the paths that it takes | a path of the API: `access/routes.rs` |
//! | [`chat`] | a conversation: its turns, the next request, the lines that a user types | a command of `dsr1 chat`: `input` |
//! | [`choice`] | closed sets of values that a user names | |
//! | [`commands`] | a file for each command or its group: gather, plan, print or carry out, report; `context` is what they share | what a command does |
//! | [`profile`] | stacks and profiles as data: `schema` and `stack` are their keys, `catalog` finds them, `merge` joins them, `choose` picks one, `yaml` reads them | a knob: its key in `schema`, its word in `stacks/flags/words.yaml`; a version of SGLang: `stacks/` |
//! | [`sglang`] | all that is known of SGLang, by version: `dialect` turns knobs into flags, `flags` what its parser accepts, `settings` what a command line comes to, `resolve` what the engine makes of it before it loads a model, `rules` what fails later, `launch` these of one server, `memory` what fits on a GPU, `preflight` what an environment lacks, `log` what its log says, `client` what its benchmark prints, `words` what a flag means | a knob: its flag in `dialect`; a value that the engine chooses: `resolve`; a rule: `rules`; a stage of a start: a function in `log`; a fault of an import: `preflight`; a statistic: `client` |
//! | [`diagnose`] | the first cause of a failure, by the logs of all ranks: one pass (`scan`), then the choice (`verdict`) | a failure signature: an entry in `diagnose/signatures/` |
//! | [`supervise`] | pure: when the state of a server has changed, and whether a server that failed is started again | a rule of `dsr1 watch`; the consequence of a kind of failure: `diagnose/restart.rs` |
//! | [`top`] | pure: the screen of `dsr1 top` as data: looks over time, rates and quantiles of their differences, keys | a figure of the screen: `top` computes it, `ui::top` draws it |
//! | [`doctor`] | verdicts over facts: `findings` and `gpu` of a host, `blockers` of a plan | a check of a host |
//! | [`plan`] | pure: `request` + facts -> `step`s | a step; a field of the container, in `step` |
//! | [`render`] | a plan or a server as text: a script, Compose, systemd, Quadlet; over several nodes a job for Slurm, objects of Kubernetes | a form: a file, and its line in `FORMS` |
//! | [`effects`] | all input and output, a folder for each part of it (its own head lists them): Docker, processes, the hub, a pull, a start; `execute` has an arm for each step | how a step is done |
//! | [`measure`] | pure: a measurement: its load, the record of each request, figures, definitions of other tools, verdicts | a cause of wrong figures: a judge in `measure/verdicts`; a tool: `definitions` |
//! | [`evaluate`] | pure: an evaluation of accuracy: files of questions, prompts, the result in an answer, counts, published accuracies | an evaluation: its row in `task`, its format in `data`, its rule in `extract` |
//! | [`facts`] | what planning may know, as data | a new fact |
//! | [`event`], [`report`] | what happens, and the results, as data | a new figure or statistic: its field in `report` |
//! | [`ui`] | the only module that prints | how something looks |
//! | [`error`], [`units`], [`quote`], [`secret`] | kinds and exit codes, bytes and times, words of a shell, tokens that cannot print | |
//! | [`redact`] | pure: text without secrets, for logs that people see and for `dsr1 bundle`: `names` are the names of secret values, `patterns` their forms, `steps` replaces them | a form of a secret: its pattern, its sign, and a row in `tests` |
//! | [`rehearsal`] | the bytes of the tiny model | |
//!
//! A value's way: `mem_fraction` in a profile file -> `profile::EngineSettings` -> `sglang::Launch` (its flag by `dialect`, its
//! meaning by `settings`, findings by `rules`) -> the argv in `plan::StartContainer` -> Docker's API, or a form of `render`.
//!
//! A log line's way: Docker's stream or a file -> `effects::lines` -> `effects::serve::start`, which asks `sglang::log` for
//! its meaning -> an event; and `diagnose`, of which the error of a server that ended takes its cause and its remedies.
//!
//! A part of a bundle goes one way: `commands::bundle` gathers it -> `effects::bundle::Archive`, which redacts each text -> the file.
//!
//! A file's way: `effects::weights::pull` -> `hub` (listing, streams) -> `transfer` (workers, a partial file with its
//! journal) -> `store` (its name as a blob, the snapshot's links, the manifest).
//!
//! Layers (kept by `tests/fast/architecture.rs`, which names them): pure modules do no I/O, read no clock and no
//! environment; `effects` never prints; `ui` only prints; no two files import each other in a circle. A crate that does
//! input or output is used only in the modules that this test names.

pub mod access;
pub mod chat;
pub mod choice;
pub mod cli;
pub mod commands;
pub mod diagnose;
pub mod doctor;
pub mod effects;
pub mod error;
pub mod evaluate;
pub mod event;
pub mod facts;
pub mod measure;
pub mod plan;
pub mod profile;
pub mod quote;
pub mod redact;
pub mod rehearsal;
pub mod render;
pub mod report;
pub mod secret;
pub mod sglang;
pub mod supervise;
pub mod top;
pub mod ui;
pub mod units;
