//! `dsr1 profiles advise`: which profile fits a load.

use crate::cli::AdviseArgs;
use crate::commands::context::Context;
use crate::error::Result;

pub(super) async fn run(_context: &Context, _args: &AdviseArgs) -> Result<()> {
    Ok(())
}
