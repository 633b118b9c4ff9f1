//! `dsr1 logs`: prints the log of a server.

use super::context::Context;
use super::status::probe;
use crate::cli::LogsArgs;
use crate::diagnose::LinePattern;
use crate::effects::{FoundLog, LogPart};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::ui;
use crate::units::counted;

/// Runs the command.
pub(super) async fn run(context: &Context, args: LogsArgs) -> Result<()> {
    let back = args.start.starts_back();
    let name = args.which.server.as_deref();
    let found = context.effects.find_log(name, back, &probe(context)?).await?;
    let server = &found.server;
    if let Some(text) = note_of_file(&found, back, "this is") {
        context.display().event(&Event::Note { text });
    }
    let format = context.output.format;
    let wanted = args.grep.as_deref().map(LinePattern::new).transpose().map_err(|why| {
        Error::new(Kind::Usage, "--grep is not a pattern")
            .cause(why)
            .hint("write a regular expression, as in --grep 'error|killed'; a backslash before ( [ . makes it plain")
    })?;
    let (mut lines, mut shown) = (0_usize, 0_usize);
    let mut on_lines = |some: &[String]| {
        lines += some.len();
        let fitting = some.iter().map(String::as_str);
        let fitting = fitting.filter(|line| wanted.as_ref().is_none_or(|wanted| wanted.fits(line)));
        ui::print_log_lines(server.name(), fitting.inspect(|_| shown += 1), format)
    };
    let part = LogPart {
        tail: args.tail,
        since_s: args.since.map(|since| since.as_secs()),
        follow: args.follow,
    };
    let printed = context.effects.logs(server, part, &mut on_lines);
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

/// Returns a note about a log that is in a file, with words that begin its second part; `None` for any other.
pub(super) fn note_of_file(found: &FoundLog, back: usize, begin: &str) -> Option<String> {
    let path = found.file.as_ref()?.display();
    let name = found.server.name();
    Some(match back {
        0 => format!("{name} has ended; {begin} the log that it left: {path}"),
        1 => format!("{begin} the log of the start of {name} before the last one: {path}"),
        more => format!("{begin} the log of {name} from {more} starts before the last one: {path}"),
    })
}
