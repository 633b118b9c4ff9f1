//! `dsr1 bench`: measurements of a running server, and work with their results.
//!
//! | module | subject |
//! |---|---|
//! | `load` | a measurement |
//! | `sweep` | several loads, one after the other |
//! | `combined` | several loads on several servers, which it starts and stops |
//! | `slo` | the largest load that keeps limits |
//! | `course` | the common part of both |
//! | `arguments` | the arguments of a measured server beside those of a plan |
//! | `compare` | two sides of kept results beside each other |
//! | `gate` | a regression from a baseline, by kept results or by measurements of now |
//! | `reproduce` | the plan to get a result again on this host |
//! | `report` | kept results again: as text, as a page, as a table |
//!
//! Not in this module tree: the meaning of the figures (`measure`), how they look (`ui`).

mod arguments;
mod combined;
mod compare;
mod course;
mod gate;
mod load;
mod report;
mod reproduce;
mod slo;
mod sweep;

use super::context::Context;
use crate::cli::{BenchArgs, BenchPart};
use crate::error::Result;

pub(super) use load::{client_env, facts_about, measure_profile, serving_server};

/// Runs the command.
pub(super) async fn run(context: &Context, args: &BenchArgs) -> Result<()> {
    match &args.what {
        None => load::run(context, args).await,
        Some(BenchPart::Sweep(args)) if !args.servers.profiles.is_empty() => {
            Box::pin(combined::run(context, args)).await
        }
        Some(BenchPart::Sweep(args)) => Box::pin(sweep::run(context, args)).await,
        Some(BenchPart::Slo(args)) => Box::pin(slo::run(context, args)).await,
        Some(BenchPart::Compare(args)) => compare::run(context, args),
        Some(BenchPart::Gate(args)) => Box::pin(gate::run(context, args)).await,
        Some(BenchPart::Reproduce(args)) => Box::pin(reproduce::run(context, args)).await,
        Some(BenchPart::Report(what)) => report::run(context, what),
    }
}
