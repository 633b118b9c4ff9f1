//! The heavy tests: they need what `tests/run` installs, a Docker daemon, root and a package index.
//! `cargo test --test heavy engine::` runs those of one module.
#![allow(
    clippy::needless_pass_by_value,
    clippy::doc_markdown,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking, and some say what they counted"
)]

mod builders;
mod crash;
mod docker;
mod engine;
mod faults;
mod hub_oracles;
mod parsers;
mod servers;
mod stand_in;
#[path = "../support/mod.rs"]
mod support;
mod xet;
