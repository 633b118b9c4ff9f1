//! `dsr1 logs`: prints the log of a server.

use super::context::Context;
use super::status::probe;
use crate::cli::LogsArgs;
use crate::diagnose::LinePattern;
use crate::effects::LogPart;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::report::ServerState;
use crate::ui;
use crate::units::counted;

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
    let wanted = args.grep.as_deref().map(LinePattern::new).transpose().map_err(|why| {
        Error::new(Kind::Usage, "--grep is not a pattern")
            .cause(why)
            .hint("write a regular expression, as in --grep 'error|killed'; a backslash before ( [ . makes it plain")
    })?;
    let (mut lines, mut shown) = (0_usize, 0_usize);
    let mut on_line = |line: &str| {
        lines += 1;
        if wanted.as_ref().is_some_and(|wanted| !wanted.fits(line)) {
            return Ok(());
        }
        shown += 1;
        ui::print_log_line(server.name(), line, format)
    };
    let part = LogPart {
        tail: args.tail,
        since_s: args.since.map(|since| since.as_secs()),
        follow: args.follow,
    };
    let printed = context.effects.logs(&server, part, &mut on_line);
    let ended = if args.follow {
        context.until_left(printed).await
    } else {
        context.until_interrupted(printed).await
    };
    if lines == 0 && ended.is_ok() {
        let when = if args.since.is_some() {
            "in that time"
        } else {
            "yet"
        };
        let text = format!("{} has logged nothing {when}", server.name());
        context.display().event(&Event::Note { text });
    } else if shown == 0 && ended.is_ok() {
        let text = format!(
            "none of the {} of {} fits --grep",
            counted(lines, "line"),
            server.name()
        );
        context.display().event(&Event::Note { text });
    }
    ended
}
