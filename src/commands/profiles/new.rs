//! `dsr1 profiles new`: a file to start from.
//!
//! Not in this module: how a profile is written as text (`profile::yaml`).

use crate::cli::NewArgs;
use crate::commands::context::Context;
use crate::error::Result;
use crate::profile::template;
use crate::ui;

pub(super) fn run(context: &Context, args: &NewArgs) -> Result<()> {
    let catalog = context.catalog(None)?;
    let base = catalog.resolve(&args.from, args.stack.as_deref())?;
    let text = template(&args.name, &base)?;
    // What we print must be what we take.
    let mut files = context.user_files()?;
    files.named = Some(crate::profile::UserFile {
        origin: format!("{}.yaml", args.name),
        text: text.clone(),
    });
    crate::profile::Catalog::with(&files)?;
    ui::print(&text)
}
