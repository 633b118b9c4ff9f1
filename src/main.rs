//! The `dsr1` program.
fn main() {}
