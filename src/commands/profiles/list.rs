//! `dsr1 profiles list`: one line for each profile.

use serde::Serialize;

use crate::commands::context::Context;
use crate::error::Result;
use crate::event::Event;
use crate::profile::Profile;
use crate::ui;

#[derive(Debug, Serialize)]
struct Listing {
    schema: &'static str,
    profiles: Vec<Profile>,
}

pub(super) fn run(context: &Context) -> Result<()> {
    let catalog = context.catalog(None)?;
    let display = context.display();
    for text in catalog.broken() {
        let (text, hint) = (format!("left out: {text}"), String::new());
        display.event(&Event::Warning { text, hint });
    }
    drop(display);
    let listing = Listing {
        schema: "dsr1.profiles/1",
        profiles: catalog.profiles()?,
    };
    context.print(&listing, |listing| ui::profiles(&listing.profiles))
}
