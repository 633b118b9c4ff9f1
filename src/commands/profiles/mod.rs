//! `dsr1 profiles`: lists, shows, compares, checks and writes profiles; one file for each subcommand.
//!
//! Not in this module tree: the meaning of a profile (`profile`).

mod advise;
mod diff;
mod list;
mod migrate;
mod new;
pub(super) mod show;
mod validate;

use super::context::Context;
use crate::cli::{AdviceGoal, Profiles, ProfilesArgs};
use crate::error::Result;
use crate::profile::Goal;

impl From<AdviceGoal> for Goal {
    fn from(goal: AdviceGoal) -> Self {
        match goal {
            AdviceGoal::LowLatency => Self::LowLatency,
            AdviceGoal::HighThroughput => Self::HighThroughput,
        }
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: ProfilesArgs) -> Result<()> {
    match args.what {
        Profiles::List => list::run(context),
        Profiles::Show(args) => show::run(context, &args),
        Profiles::Diff(args) => diff::run(context, &args),
        Profiles::Validate(args) => validate::run(context, &args),
        Profiles::Advise(args) => advise::run(context, &args).await,
        Profiles::Migrate(args) => migrate::run(context, &args),
        Profiles::New(args) => new::run(context, &args).await,
    }
}
