//! `dsr1 status`: the servers on this host, and what they do.

use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use crate::cli::{Format, StatusArgs};
use crate::effects::{Found, Sought};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::report::{ServerState, ServerStatus};
use crate::ui::{self, Renewed};

/// Time between two looks of `--watch`.
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the name of a served model.
const NAME: Duration = Duration::from_millis(300);

/// The servers, as `status` prints them.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    schema: &'static str,
    /// The servers.
    pub(super) servers: Vec<ServerStatus>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: StatusArgs) -> Result<()> {
    if args.watch {
        return context.until_left(watch(context, &args)).await;
    }
    let (listing, unseen) = list(context, &args).await?;
    context.print(&listing, |listing| ui::status(&listing.servers, ui::columns()))?;
    // Last and short, because most such hosts have no containers of dsr1.
    if let Some(why) = unseen {
        context.display().event(&Event::Note {
            text: format!("containers were not looked at: {why}"),
        });
    }
    if !args.check {
        return Ok(());
    }
    let mut unwell = listing.servers.iter().filter(|server| !server.state.is_serving());
    match unwell.next() {
        Some(server) => {
            let name = &server.name;
            let (text, look) = match server.state {
                ServerState::Crashed => (format!("{name} has crashed"), "diagnose"),
                ServerState::Hung => (format!("{name} hangs"), "diagnose"),
                state => (format!("{name} is {}", state.word()), "logs"),
            };
            Err(Error::new(Kind::Server, text)
                .hint(format!("dsr1 {look} {name}"))
                .reported_if(context.is_json()))
        }
        None if listing.servers.is_empty() => {
            let last = context.effects.ended_servers().pop();
            let hint = last.map_or_else(
                || "dsr1 serve starts one".to_owned(),
                |server| format!("dsr1 restart {} starts the last one again", server.name),
            );
            Err(Error::new(Kind::Server, "no server is running")
                .hint(hint)
                .reported_if(context.is_json()))
        }
        None => Ok(()),
    }
}

/// Prints the servers every two seconds, in place on a terminal.
async fn watch(context: &Context, args: &StatusArgs) -> Result<()> {
    let mut screen = Renewed::default();
    loop {
        let (listing, _) = list(context, args).await?;
        match context.output.format {
            Format::Json => ui::print_json_line(&listing)?,
            Format::Text => screen.show(&ui::status(&listing.servers, ui::columns()))?,
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Returns all servers, also those that ended, and the reason why containers were not looked at.
pub(super) async fn list_all(context: &Context) -> Result<(Listing, Option<String>)> {
    let args = StatusArgs {
        server: None,
        all: true,
        check: false,
        watch: false,
    };
    list(context, &args).await
}

/// Returns the servers, or the one that is named, and the reason why containers were not looked at.
async fn list(context: &Context, args: &StatusArgs) -> Result<(Listing, Option<String>)> {
    let probe = probe(context)?;
    let effects = &context.effects;
    let mut ended = Vec::new();
    let (mut found, unseen) = if let Some(name) = args.server.as_deref() {
        match effects.seek_server(Some(name), &probe, ServerState::ANY).await? {
            Sought::There(found) => (vec![*found], None),
            Sought::Ended(status) => {
                ended.push(*status);
                (Vec::new(), None)
            }
        }
    } else {
        let (found, trouble) = effects.servers(&probe).await;
        (found, trouble.map(|error| error.innermost()))
    };
    if args.all {
        let is_here = |server: &ServerStatus| found.iter().any(|found| found.status.name == server.name);
        ended = effects.ended_servers();
        ended.retain(|server| !is_here(server));
    }
    let names = found.iter_mut().map(|server| name_model(context, server));
    futures_util::future::join_all(names).await;
    let listing = Listing {
        schema: "dsr1.status/1",
        servers: found
            .into_iter()
            .map(|server| server.status)
            .chain(ended)
            .collect(),
    };
    Ok((listing, unseen))
}

/// Asks a server that takes requests for the name of its model.
async fn name_model(context: &Context, server: &mut Found) {
    if server.status.state.is_serving() {
        let asked = context.effects.served_model(&server.status.base_url);
        server.status.served_model = tokio::time::timeout(NAME, asked).await.ok().flatten();
    }
}

/// Returns a function from the name of a stack to its readiness path; an unknown stack has the oldest path.
pub(super) fn probe(context: &Context) -> Result<impl Fn(&str) -> String> {
    let catalog = context.catalog(None)?;
    Ok(move |stack: &str| {
        catalog
            .stack(stack)
            .map_or_else(|_| "/health".to_owned(), |stack| stack.probe.clone())
    })
}
