//! `dsr1 bench`: measurements of a running server, and work with their results.
//!
//! | module | subject |
//! |---|---|
//! | `load` | a measurement |
//!
//! Not in this module tree: the meaning of the figures (`measure`), how they look (`ui`).

mod load;

use super::context::Context;
use crate::cli::BenchArgs;
use crate::error::Result;

pub(super) use load::{client_env, plan_bench, profile_of_server};

/// Runs the command.
pub(super) async fn run(context: &Context, args: BenchArgs) -> Result<()> {
    load::run(context, &args).await
}
