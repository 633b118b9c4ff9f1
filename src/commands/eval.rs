//! `dsr1 eval`: accuracy of a running server.

use super::bench::{client_env, serving_server};
use super::context::{Ask, Context};
use crate::cli::{Eval, EvalArgs, Gsm8kArgs};
use crate::error::{Error, Kind, Result};
use crate::plan::{self, Gsm8kRequest, Threshold};

/// Runs the command.
pub(super) async fn run(context: &Context, args: EvalArgs) -> Result<()> {
    let Eval::Gsm8k(args) = args.what;
    let min_accuracy = args.min_accuracy.map(threshold).transpose()?;
    Box::pin(gsm8k(context, args, min_accuracy)).await
}

async fn gsm8k(context: &Context, args: Gsm8kArgs, min_accuracy: Option<Threshold>) -> Result<()> {
    let found = serving_server(context, args.which.server.as_deref()).await?;
    let stack = context.catalog(None)?.stack(&found.status.stack)?.clone();
    let facts = context.gather(&stack, None, &Ask::default()).await;
    let request = Gsm8kRequest {
        env: client_env(&found, &facts.paths.hub_cache),
        server: found.server,
        python: found.python,
        port: found.port,
        stack,
        data: args.data,
        sha256: args.sha256,
        shots: args.num_shots,
        questions: args.num_questions,
        parallel: args.parallel,
        max_new_tokens: args.max_new_tokens,
        min_accuracy,
    };
    context
        .print_or_finish(&plan::gsm8k(&request, &facts)?, args.dry_run)
        .await
}

fn threshold(share: f64) -> Result<Threshold> {
    Threshold::from_share(share).ok_or_else(|| {
        Error::new(Kind::Usage, format!("--min-accuracy {share} is out of range"))
            .hint("give a number between 0 and 1, such as 0.94")
    })
}
