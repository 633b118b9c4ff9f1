//! `dsr1 bench`: the engine's own benchmark against a running server.

use std::collections::BTreeMap;

use super::context::{Ask, Context};
use super::status::probe;
use crate::cli::BenchArgs;
use crate::effects::Found;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{self, BenchRequest, Plan};
use crate::profile::{Bench, Count, Profile, Stack};
use crate::report::ServerState;

/// Runs the command.
pub(super) async fn run(context: &Context, args: BenchArgs) -> Result<()> {
    let found = context
        .effects
        .find_server(
            args.which.server.as_deref(),
            &probe(context)?,
            ServerState::SERVING,
        )
        .await?;
    context.use_environment_of(&found).await?;
    let (profile, stack) = profile_of_server(context, &found, args.profile_file.as_deref())?;
    let facts = context.gather(&stack, None, &Ask::default()).await;
    let or = |asked: Option<u32>, own| asked.and_then(Count::new).unwrap_or(own);
    let bench = Bench {
        input_len: or(args.input_len, profile.bench.input_len),
        output_len: or(args.output_len, profile.bench.output_len),
        max_concurrency: or(args.max_concurrency, profile.bench.max_concurrency),
        num_prompts: or(args.num_prompts, profile.bench.num_prompts),
        ..profile.bench
    };
    if let Some(most) = context.effects.context_length(&found.status.base_url).await {
        check_lengths(&bench, most, &found.status.name)?;
    }
    let plan = plan_bench(found, stack, bench, &facts);
    context.print_or_finish(&plan, args.dry_run).await
}

/// Returns the plan of a benchmark of a server of this stack.
pub(super) fn plan_bench(found: Found, stack: Stack, bench: Bench, facts: &Facts) -> Plan {
    let request = BenchRequest {
        env: client_env(&found, &facts.paths.hub_cache),
        model: found.status.model,
        server: found.server,
        python: found.python,
        port: found.port,
        stack,
        bench,
    };
    plan::bench(&request, facts)
}

/// Refuses requests that are longer than the context of the server: it would refuse them too, after the client has started.
fn check_lengths(bench: &Bench, most: u64, server: &str) -> Result<()> {
    let (input, output) = (bench.input_len.get(), bench.output_len.get());
    if u64::from(input) + u64::from(output) <= most {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!("requests of {input} and {output} tokens are longer than the context of {server}"),
    )
    .cause(format!(
        "its context has {most} tokens, for prompt and answer together"
    ))
    .hint("pass a smaller --input-len or --output-len"))
}

/// Returns the profile and stack that a server was started from.
pub(super) fn profile_of_server(
    context: &Context,
    found: &Found,
    file: Option<&std::path::Path>,
) -> Result<(Profile, Stack)> {
    let catalog = context.catalog(file)?;
    let name = &found.status.profile;
    if catalog.source(name).is_none() {
        return Err(Error::new(
            Kind::Usage,
            format!("cannot find the profile `{name}` of {}", found.status.name),
        )
        .cause("it is neither built in nor in the configuration directory")
        .hint("name its file: --profile-file FILE"));
    }
    let selection = catalog.resolve(name, Some(&found.status.stack))?;
    Ok((selection.profile, selection.stack))
}

/// Returns the environment of a client beside a server.
pub(super) fn client_env(found: &Found, hub_cache: &str) -> BTreeMap<String, String> {
    let root = match found.server {
        plan::Server::Docker { .. } => plan::MODELS,
        plan::Server::Process { .. } => hub_cache,
    };
    let mut env = found.variables.clone();
    env.extend(plan::offline_env(root));
    env
}
