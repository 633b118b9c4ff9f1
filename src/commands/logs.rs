//! `dsr1 logs`: prints the log of a server.

use super::context::Context;
use super::status::probe;
use crate::cli::LogsArgs;
use crate::error::{Kind, Result};
use crate::event::Event;
use crate::report::ServerState;
use crate::ui;

/// Runs the command.
pub(super) async fn run(context: &Context, args: LogsArgs) -> Result<()> {
    let (server, kept) = context
        .effects
        .find_log(args.which.server.as_deref(), &probe(context)?, ServerState::ANY)
        .await?;
    if let Some(path) = kept {
        let text = format!(
            "{} has ended; this is the log that it left: {}",
            server.name(),
            path.display()
        );
        context.display().event(&Event::Note { text });
    }
    let format = context.output.format;
    let mut lines = 0_u64;
    let mut on_line = |line: &str| {
        lines += 1;
        ui::print_log_line(server.name(), line, format)
    };
    let printed = context
        .effects
        .logs(&server, args.tail, args.follow, &mut on_line);
    let ended = context.until_interrupted(printed).await;
    if lines == 0 && ended.is_ok() {
        let text = format!("{} has logged nothing yet", server.name());
        context.display().event(&Event::Note { text });
    }
    // To leave a log that is followed is no failure.
    ended.map_err(|error| {
        let is_left = args.follow && error.kind() == Kind::Interrupted;
        error.reported_if(is_left)
    })
}
