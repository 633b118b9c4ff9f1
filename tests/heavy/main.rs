//! The heavy tests: they need the packages that `tests/run` installs, a Docker daemon, root and a package index.
//! `cargo test --test heavy engine::` runs the tests of one module.
#![allow(
    clippy::needless_pass_by_value,
    clippy::doc_markdown,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test reports a failure with a panic, and some print their counts"
)]

mod builders;
mod crash;
mod docker;
mod endpoint;
mod engine;
mod faults;
mod hub_oracles;
mod lifetime;
mod manifests;
mod monitoring;
mod operate;
mod page;
mod parsers;
mod resolution;
mod servers;
mod slurm;
mod stand_in;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
mod upgrade;
mod xet;
