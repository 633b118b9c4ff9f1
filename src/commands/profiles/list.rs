//! `dsr1 profiles list`: one line for each profile.

use serde::Serialize;

use crate::commands::context::Context;
use crate::error::Result;
use crate::profile::Profile;
use crate::ui;

#[derive(Debug, Serialize)]
struct Listing {
    schema: &'static str,
    profiles: Vec<Profile>,
}

pub(super) fn run(context: &Context) -> Result<()> {
    let catalog = context.catalog(None)?;
    context.warn_of_broken(&catalog);
    let listing = Listing {
        schema: "dsr1.profiles/1",
        profiles: catalog.profiles()?,
    };
    context.print(&listing, |listing| ui::profiles(&listing.profiles))
}
