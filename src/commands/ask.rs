//! `dsr1 ask`: one question to a running server.

use super::context::Context;
use super::status::probe;
use crate::cli::AskArgs;
use crate::error::Result;
use crate::ui;

/// Runs the command.
pub(super) async fn run(context: &Context, args: AskArgs) -> Result<()> {
    let base_url = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            context
                .engine
                .one_server(args.server.as_deref(), &probe()?)
                .await?
                .status
                .base_url
        }
    };
    let asked = context
        .engine
        .ask(&base_url, &args.question, args.max_tokens, args.temperature);
    let answer = context.until_interrupted(asked).await?;
    context.print(&answer, ui::answer)
}
