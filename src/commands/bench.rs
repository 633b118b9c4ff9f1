//! `dsr1 bench`: the engine's own benchmark against a running server.

use std::collections::BTreeMap;

use super::context::{Ask, Context, catalog};
use super::status::probe;
use crate::cli::BenchArgs;
use crate::engine::Found;
use crate::error::{Error, Kind, Result};
use crate::plan::{self, BenchRequest};
use crate::profile::{Bench, Profile, Stack};
use crate::report::ServerState;

/// Runs the command.
pub(super) async fn run(context: &Context, args: BenchArgs) -> Result<()> {
    let found = context
        .engine
        .one_server(args.which.server.as_deref(), &probe()?, &[ServerState::Ready])
        .await?;
    let (profile, stack) = origin(&found, args.profile_file.as_deref())?;
    let facts = context.gather(&stack, None, &Ask::default()).await;
    let bench = Bench {
        input_len: args.input_len.unwrap_or(profile.bench.input_len),
        output_len: args.output_len.unwrap_or(profile.bench.output_len),
        max_concurrency: args.max_concurrency.unwrap_or(profile.bench.max_concurrency),
        num_prompts: args.num_prompts.unwrap_or(profile.bench.num_prompts),
        ..profile.bench
    };
    let request = BenchRequest {
        env: client_env(&found, &facts.paths.hub_cache),
        model: found.status.model,
        server: found.server,
        python: found.python,
        port: found.port,
        stack,
        bench,
    };
    context
        .print_or_finish(&plan::bench(&request, &facts), args.dry_run)
        .await
}

/// The profile and stack that a server was started from.
pub(super) fn origin(found: &Found, file: Option<&std::path::Path>) -> Result<(Profile, Stack)> {
    let catalog = catalog(file)?;
    let stack = catalog.stack(&found.status.stack)?.clone();
    let name = &found.status.profile;
    let profile = catalog
        .profiles()
        .iter()
        .find(|profile| profile.name == *name)
        .cloned();
    let profile = profile.ok_or_else(|| {
        Error::new(
            Kind::Usage,
            format!(
                "{} was started from the profile `{name}`, which is not built in",
                found.status.name
            ),
        )
        .hint("name its file: --profile-file FILE")
    })?;
    Ok((profile, stack))
}

/// Environment of a client beside a server.
pub(super) fn client_env(found: &Found, hub_cache: &str) -> BTreeMap<String, String> {
    let root = match found.server {
        plan::Server::Docker { .. } => plan::MODELS,
        plan::Server::Process { .. } => hub_cache,
    };
    plan::offline_env(root)
}
