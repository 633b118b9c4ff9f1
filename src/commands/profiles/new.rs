//! `dsr1 profiles new`: prints a profile file to start from, or one for the GPUs of a host.

use serde::Serialize;

use crate::cli::NewArgs;
use crate::commands::context::Context;
use crate::error::Result;
use crate::plan::{Wishes, profile_for_host};
use crate::profile::{Goal, check_profile_name, template};

#[derive(Debug, Serialize)]
struct New<'a> {
    schema: &'static str,
    name: &'a str,
    /// The file, in YAML.
    text: String,
}

pub(super) async fn run(context: &Context, args: &NewArgs) -> Result<()> {
    let text = if args.for_host {
        for_host(context, args).await?
    } else {
        let catalog = context.catalog(None)?;
        let base = catalog.resolve(&args.from, args.stack.as_deref())?;
        template(&args.name, &base)?
    };
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

/// Returns the text of a profile for the GPUs of this host, or of the one that the facts describe.
async fn for_host(context: &Context, args: &NewArgs) -> Result<String> {
    check_profile_name(&args.name)?;
    let facts = context.gpu_facts(args.facts.as_deref()).await?;
    let wishes = Wishes {
        name: &args.name,
        goal: args.goal.map_or(Goal::HighThroughput, Goal::from),
        stack: args.stack.as_deref(),
    };
    profile_for_host(&context.user_files()?, wishes, &facts)
}
