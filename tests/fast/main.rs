//! The fast tests: they need the repository and a shell, no system package, no Docker and no package index.
//! `cargo test --test fast cli::` runs those of one module.
#![allow(
    clippy::needless_pass_by_value,
    clippy::doc_markdown,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking, and some say what they counted"
)]

mod architecture;
mod bench;
mod canary;
mod chat;
mod cli;
mod cluster;
mod combined;
mod diagnosis;
mod environment;
mod evaluate;
mod export;
mod expose;
mod first_hour;
mod fuzz;
mod gate;
mod hostile;
mod hub;
mod json;
mod manifests;
mod measure;
mod mirror;
mod monitoring;
mod page;
mod plan;
mod profiles;
mod prompts;
mod pull;
mod readme;
mod runners;
mod shape;
mod stages;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
mod tls;
mod top;
mod truth;
mod turns;
mod typed;
mod weights;
