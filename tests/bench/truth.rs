//! The server of known times (`tests/support/truth`) as a process, for other programs to measure. Run `cargo bench --bench
//! truth -- --port 0 --ttft-ms 200 --itl-ms 20 --report FILE`; it prints its URL, and ends at SIGTERM.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and reports a failure with a panic"
)]

#[path = "../support/mod.rs"]
mod support;

fn main() {
    support::truth::program::main(std::env::args());
}
