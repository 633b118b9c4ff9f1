//! `dsr1 mirror`: serves the local hub cache to other machines until it is interrupted.

use std::path::Path;
use std::sync::Arc;

use super::context::Context;
use crate::cli::MirrorArgs;
use crate::effects::mirror::{self, Limits, MirrorOptions};
use crate::effects::{listener, signal, user_files};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Reporter};
use crate::plan::{Plan, Step, WriteModel};
use crate::rehearsal;
use crate::report::Mirrored;
use crate::ui;

/// Runs the command.
pub(super) async fn run(context: &Context, args: MirrorArgs) -> Result<()> {
    let default = || context.effects.env().paths.hub_cache.clone();
    let cache_dir = args
        .cache_dir
        .map_or_else(default, |dir| dir.to_string_lossy().into_owned());
    let token = match &args.token_file {
        Some(file) => Some(user_files::read_secret(file)?),
        None => context.effects.env().mirror_token.clone(),
    };
    // A script whose secret is missing would open the cache to everybody.
    if args.token_file.is_none() && token.as_ref().is_some_and(|token| token.expose().is_empty()) {
        return Err(Error::new(Kind::Usage, "`DSR1_MIRROR_TOKEN` is empty")
            .hint("unset it for a mirror without a token; openssl rand -hex 32 makes a token"));
    }
    if args.rehearsal {
        let step = Step::WriteModel(WriteModel {
            repo: rehearsal::REPO.to_owned(),
            cache_dir: cache_dir.clone(),
        });
        let report = context.carry_out(&Plan::new("mirror", vec![step])).await?;
        if args.write_only {
            // People see the result in the progress.
            return if context.is_json() {
                context.print(&report, |report| ui::report(report, false, ui::columns()))
            } else {
                Ok(())
            };
        }
    }
    if !Path::new(&cache_dir).is_dir() {
        return Err(
            Error::new(Kind::Usage, format!("there is no hub cache at `{cache_dir}`"))
                .hint("pull weights first with dsr1 pull, or name another hub cache with --cache-dir"),
        );
    }
    let listener = listener::listen(&args.listen).map_err(|error| {
        if error.kind() == Kind::Host {
            error.hint("choose another address with --listen")
        } else {
            error
        }
    })?;
    let reporter: Arc<dyn Reporter> = Arc::from(context.display());
    let options = MirrorOptions {
        token: token.clone(),
        reporter: Some(Arc::clone(&reporter)),
        limits: Limits::default(),
    };
    let mirror = mirror::mirror(listener, &cache_dir, options)?;
    // An interrupt is the normal end, and not an error. Reading a large cache takes a while.
    tokio::select! {
        ended = signal::wait() => return ended.map(|_| ()),
        snapshots = mirror.served() => {
            let snapshots = snapshots?;
            if snapshots.is_empty() {
                reporter.event(&nothing_served(&cache_dir));
            }
            let mirrored = Mirrored {
                schema: Mirrored::SCHEMA.to_owned(),
                endpoint: mirror.endpoint(),
                cache_dir,
                token: token.is_some(),
                snapshots,
            };
            context.print(&mirrored, ui::mirrored)?;
        }
    }
    signal::wait().await?;
    mirror.shutdown();
    Ok(())
}

/// Returns the warning about a directory without snapshots: `HF_HOME` is easily mistaken for the hub cache in it.
fn nothing_served(cache_dir: &str) -> Event {
    let below = Path::new(cache_dir).join("hub");
    Event::Warning {
        text: format!("nothing is served: there are no snapshots in `{cache_dir}`"),
        hint: if below.is_dir() {
            format!(
                "the hub cache may be the directory below it: --cache-dir {}",
                below.display()
            )
        } else {
            format!(
                "HF_HUB_CACHE={cache_dir} dsr1 pull REPO fetches into it; later snapshots are served, too"
            )
        },
    }
}
