//! `dsr1 mirror`: the local hub cache for other machines, until it is interrupted.

use super::context::Context;
use crate::cli::MirrorArgs;
use crate::engine::hub;
use crate::engine::signal;
use crate::error::{Error, Kind, Result};
use crate::plan::{Plan, ServeMirror, Step, WriteModel};
use crate::rehearsal;
use crate::ui;

/// Runs the command.
pub(super) async fn run(context: &Context, args: MirrorArgs) -> Result<()> {
    let default = || context.engine.env().paths.hub_cache.clone();
    let cache_dir = args
        .cache_dir
        .map_or_else(default, |dir| dir.to_string_lossy().into_owned());
    if args.rehearsal {
        let step = Step::WriteModel(WriteModel {
            repo: rehearsal::REPO.to_owned(),
            cache_dir: cache_dir.clone(),
        });
        context.carry_out(&Plan::new("mirror", vec![step])).await?;
        if args.write_only {
            return Ok(());
        }
    }
    if !std::path::Path::new(&cache_dir).is_dir() {
        return Err(
            Error::new(Kind::Usage, format!("there is no hub cache at `{cache_dir}`"))
                .hint("pull something first, or name another with --cache-dir"),
        );
    }
    let mirror = hub::mirror(&ServeMirror {
        cache_dir: cache_dir.clone(),
        listen: args.listen,
    })
    .await?;
    ui::print(&format!(
        "serving {cache_dir}\nHF_ENDPOINT={}\n",
        mirror.endpoint()
    ))?;
    // Ending it is how it is used: no error.
    signal::wait().await?;
    mirror.shutdown();
    Ok(())
}
