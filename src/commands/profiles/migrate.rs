//! `dsr1 profiles migrate`: rewrites a profile file for another stack.

use serde::Serialize;

use crate::cli::MigrateArgs;
use crate::commands::context::Context;
use crate::error::{Error, Kind, Result};
use crate::profile::{Catalog, UserFile, UserFiles};
use crate::sglang::{Check, Launch, Level, Migration, migrate};
use crate::units::counted;

#[derive(Debug, Serialize)]
struct Migrated<'a> {
    schema: &'static str,
    to: &'a str,
    #[serde(flatten)]
    migration: &'a Migration,
    left: &'a [Check],
}

pub(super) fn run(context: &Context, args: &MigrateArgs) -> Result<()> {
    let catalog = context.catalog(Some(&args.file))?;
    let name = catalog.named().unwrap_or_default().to_owned();
    let text = catalog.source(&name).unwrap_or_default().to_owned();
    let stack = catalog.stack(&args.to)?.clone();
    let found = catalog.resolve(&name, Some(&stack.name))?;
    let migration = migrate(&text, &found)?;
    // The remaining errors are found by checking the new text.
    let mut files: UserFiles = context.user_files()?;
    files.named = Some(UserFile {
        origin: args.file.display().to_string(),
        text: migration.text.clone(),
    });
    let again = Catalog::with(&files)?.resolve(&name, Some(&stack.name))?;
    let launch = Launch::new(&again.profile, &stack, &again.origins, &[]);
    let left: Vec<Check> = launch
        .checks
        .into_iter()
        .filter(|check| check.level == Level::Error)
        .collect();
    let migrated = Migrated {
        schema: "dsr1.migration/1",
        to: &stack.name,
        migration: &migration,
        left: &left,
    };
    context.print_document(&migrated, |migrated| migrated.migration.text.clone())?;
    if !context.is_json() {
        let display = context.display();
        for change in &migration.changes {
            display.event(&crate::event::Event::Note { text: change.clone() });
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!(
            "the new text still has {} that dsr1 cannot correct",
            counted(left.len(), "error")
        ),
    )
    .log(left.iter().map(ToString::to_string).collect())
    .hint("the new text is on stdout: edit it, then run dsr1 profiles validate FILE")
    .reported_if(context.is_json()))
}
