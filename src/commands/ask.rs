//! `dsr1 ask`: sends one question to a running server.

use serde::Serialize;

use super::context::Context;
use super::status::probe;
use crate::cli::AskArgs;
use crate::error::{Error, Kind, Result};
use crate::report::{Answer, ServerState};
use crate::ui;

#[derive(Debug, Serialize)]
struct Answered<'a> {
    schema: &'static str,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: AskArgs) -> Result<()> {
    if !(0.0..=2.0).contains(&args.temperature) {
        return Err(Error::new(
            Kind::Usage,
            format!("--temperature {} is out of range", args.temperature),
        )
        .hint("give a number between 0 and 2; DeepSeek recommends 0.5 to 0.7 for R1"));
    }
    let base_url = match &args.url {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            url.trim_end_matches('/').to_owned()
        }
        Some(url) => {
            return Err(
                Error::new(Kind::Usage, format!("`{}` is not a URL", url.escape_debug()))
                    .hint("write it as --url http://127.0.0.1:30000"),
            );
        }
        None => {
            context
                .effects
                .find_server(args.server.as_deref(), &probe(context)?, &[ServerState::Ready])
                .await?
                .status
                .base_url
        }
    };
    let request = context
        .effects
        .ask(&base_url, &args.question, args.max_tokens, args.temperature);
    let answer = context.until_interrupted(request).await?;
    let answered = Answered {
        schema: "dsr1.answer/1",
        answer: &answer,
    };
    context.print(&answered, |answered| ui::answer(answered.answer))
}
