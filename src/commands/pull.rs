//! `dsr1 pull`: weights, proven.

use super::context::{Ask, Context, limit_rate};
use crate::cli::PullArgs;
use crate::error::Result;
use crate::plan::{self, PullRequest};
use crate::profile::Model;

/// Runs the command.
pub(super) async fn run(context: &Context, args: PullArgs) -> Result<()> {
    let endpoint = context.endpoint(&args.hub)?;
    let file = Context::facts_file(&args.plan)?;
    let (model, facts) = if let Some(repo) = &args.repo {
        let model = Model {
            repo: repo.clone(),
            revision: args.revision.clone().unwrap_or_else(|| "main".to_owned()),
            size_bytes: 0,
            license: "see the repository's page".to_owned(),
        };
        let stack = context.catalog(None)?.stack("cpu")?.clone();
        (model, context.gather(&stack, None, &Ask::default()).await)
    } else {
        let selection = context.select(&args.profile, file.as_ref()).await?;
        let facts = context
            .gather(&selection.stack, Some(&selection.profile), &Ask::default())
            .await;
        (selection.profile.model, facts)
    };
    let request = PullRequest {
        repo: model.repo,
        revision: model.revision,
        endpoint,
        license: model.license,
        size_bytes: (model.size_bytes > 0).then_some(model.size_bytes),
        max_workers: usize::from(args.hub.max_workers),
        limit_rate: limit_rate(&args.hub)?,
    };
    let plan = plan::pull(&request, &file.unwrap_or(facts))?;
    context
        .print_or_finish(&plan, args.plan.dry_run || args.plan.facts.is_some())
        .await
}
