//! `dsr1 status`: the servers on this host.

use serde::Serialize;

use super::context::Context;
use crate::cli::StatusArgs;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::report::{ServerState, ServerStatus};
use crate::ui;

#[derive(Debug, Serialize)]
struct Listing {
    schema: &'static str,
    servers: Vec<ServerStatus>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: StatusArgs) -> Result<()> {
    let probe = probe(context)?;
    let (mut found, trouble) = context.effects.servers(&probe).await;
    let mut unseen = None;
    if let Some(name) = args.server {
        let any = ServerState::ANY;
        found = vec![context.effects.find_server(Some(&name), &probe, any).await?];
    } else if let Some(error) = trouble {
        unseen = Some(error.innermost());
    }
    for server in &mut found {
        if server.status.state == ServerState::Ready {
            server.status.served_model = context.effects.served_model(&server.status.base_url).await;
        }
        if matches!(server.status.state, ServerState::Starting | ServerState::Exited) {
            server.status.cause = context
                .effects
                .cause_of_end(&server.server, server.status.state == ServerState::Starting)
                .await;
        }
        // An engine of which a process died gathers diagnostics for seconds before it ends.
        if server.status.cause.is_some() && server.status.state == ServerState::Starting {
            server.status.state = ServerState::Exited;
        }
    }
    let listing = Listing {
        schema: "dsr1.status/1",
        servers: found.into_iter().map(|server| server.status).collect(),
    };
    context.print(&listing, |listing| ui::status(&listing.servers))?;
    // Last and short, because most such hosts have no containers of dsr1.
    if let Some(why) = unseen {
        context.display().event(&Event::Note {
            text: format!("containers were not looked at: {why}"),
        });
    }
    let mut unwell = listing
        .servers
        .iter()
        .filter(|server| server.state != ServerState::Ready);
    match unwell.next() {
        Some(server) if args.check => {
            let text = format!("{} is not ready", server.name);
            Err(Error::new(Kind::Server, text)
                .hint(format!("dsr1 logs {}", server.name))
                .reported_if(context.is_json()))
        }
        None if args.check && listing.servers.is_empty() => {
            Err(Error::new(Kind::Server, "no server is running")
                .hint("dsr1 serve starts one")
                .reported_if(context.is_json()))
        }
        _ => Ok(()),
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
