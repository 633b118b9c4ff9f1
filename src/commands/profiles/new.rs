//! `dsr1 profiles new`: prints a profile file to start from.

use serde::Serialize;

use crate::cli::NewArgs;
use crate::commands::context::Context;
use crate::error::Result;
use crate::profile::template;

#[derive(Debug, Serialize)]
struct New<'a> {
    schema: &'static str,
    name: &'a str,
    /// The file, in YAML.
    text: String,
}

pub(super) fn run(context: &Context, args: &NewArgs) -> Result<()> {
    let catalog = context.catalog(None)?;
    let base = catalog.resolve(&args.from, args.stack.as_deref())?;
    let text = template(&args.name, &base)?;
    // dsr1 must be able to read the text that it prints.
    let mut files = context.user_files()?;
    files.named = Some(crate::profile::UserFile {
        origin: format!("{}.yaml", args.name),
        text: text.clone(),
    });
    crate::profile::Catalog::with(&files)?;
    let new = New {
        schema: "dsr1.profile-new/1",
        name: &args.name,
        text,
    };
    context.print_document(&new, |new| new.text.clone())
}
