//! `dsr1 build`: the image or the venv of a stack.

use super::context::{Ask, Context, asked, names_profile};
use crate::cli::BuildArgs;
use crate::error::Result;
use crate::plan::{self, BuildOptions, BuildRequest, Target};

/// Runs the command.
pub(super) async fn run(context: &Context, args: BuildArgs) -> Result<()> {
    let file = Context::facts_file(&args.plan)?;
    let stack = match &args.profile.stack {
        Some(name) if !names_profile(&args.profile) => context.catalog(None)?.stack(name)?.clone(),
        _ => context.select(&args.profile, file.as_ref()).await?.stack,
    };
    let facts = if let Some(facts) = file {
        facts
    } else {
        let ask = Ask {
            docker: asked(&args.runtime) != Some(Target::Process),
            python: asked(&args.runtime) != Some(Target::Docker),
            base_image: args.runtime.base_image.clone(),
            ..Ask::default()
        };
        context.gather(&stack, None, &ask).await
    };
    let (target, why) = Context::target(&args.runtime, &stack, &facts)?;
    let request = BuildRequest {
        stack,
        target,
        base_image: args.runtime.base_image.clone(),
        options: BuildOptions::default(),
    };
    let mut plan = plan::build(&request, &facts)?;
    plan.notes.extend(why);
    context
        .print_or_finish(&plan, args.plan.dry_run || args.plan.facts.is_some())
        .await
}
