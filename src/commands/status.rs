//! `dsr1 status`: the servers on this host.

use serde::Serialize;

use super::context::Context;
use crate::error::Result;
use crate::event::Event;
use crate::report::ServerStatus;
use crate::ui;

#[derive(Debug, Serialize)]
struct Listing {
    schema: &'static str,
    servers: Vec<ServerStatus>,
}

/// Runs the command.
pub(super) async fn run(context: &Context) -> Result<()> {
    let probe = probe(context)?;
    let (found, trouble) = context.effects.servers(&probe).await;
    if let Some(error) = trouble {
        let text = [vec![error.message()], error.causes()].concat().join(": ");
        context.display().event(&Event::Note {
            text: format!("containers are not listed: {text}"),
        });
    }
    let listing = Listing {
        schema: "dsr1.status/1",
        servers: found.into_iter().map(|server| server.status).collect(),
    };
    context.print(&listing, |listing| ui::status(&listing.servers))
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
