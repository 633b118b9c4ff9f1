//! `dsr1 events`: what happened to the servers of this host.

use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use crate::cli::{EventsArgs, Format};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::plan;
use crate::report::ServerEvent;
use crate::ui;

/// Time between two looks at the histories.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: &'static str,
    #[serde(flatten)]
    event: &'a ServerEvent,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: EventsArgs) -> Result<()> {
    let name = args.server.as_deref().map(plan::container_name);
    let mut events = context.effects.events(name.as_deref());
    if let (Some(asked), true) = (&args.server, events.is_empty()) {
        return Err(Error::new(
            Kind::Usage,
            format!("nothing is known of a server `{}`", asked.escape_debug()),
        )
        .hint("dsr1 events lists the events of all servers of this user"));
    }
    print(context, &events)?;
    if events.is_empty() && !args.follow {
        context.display().event(&Event::Note {
            text: "no server was started by this user yet".to_owned(),
        });
    }
    if !args.follow {
        return Ok(());
    }
    let following = async {
        loop {
            tokio::time::sleep(EVERY).await;
            let now = context.effects.events(name.as_deref());
            // An old history may have lost its older half.
            let new = match events.last() {
                Some(last) => now.iter().rposition(|event| event == last).map_or(0, |at| at + 1),
                None => 0,
            };
            print(context, &now[new..])?;
            events = now;
        }
    };
    context.until_left(following).await
}

/// Prints events: a line for each, or a JSON object on a line of its own.
pub(super) fn print(context: &Context, events: &[ServerEvent]) -> Result<()> {
    match context.output.format {
        Format::Text => ui::print_on(&ui::events(events)),
        Format::Json => events.iter().try_for_each(|event| {
            ui::print_json_line(&Line {
                schema: "dsr1.event/1",
                event,
            })
        }),
    }
}
