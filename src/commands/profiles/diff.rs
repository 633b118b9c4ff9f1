//! `dsr1 profiles diff`: compares two profiles.

use serde::Serialize;

use crate::cli::DiffArgs;
use crate::commands::context::Context;
use crate::error::Result;
use crate::profile::{Change, differences};
use crate::ui;

#[derive(Debug, Serialize)]
struct Compared<'a> {
    schema: &'static str,
    left: &'a str,
    right: &'a str,
    differences: Vec<Change>,
}

pub(super) fn run(context: &Context, args: &DiffArgs) -> Result<()> {
    let catalog = context.catalog(args.profile_file.as_deref())?;
    let left = catalog.resolve(&args.left, args.stack.as_deref())?;
    let right = catalog.resolve(&args.right, args.stack.as_deref())?;
    let compared = Compared {
        schema: "dsr1.profile-diff/1",
        left: &args.left,
        right: &args.right,
        differences: differences(&left, &right),
    };
    context.print(&compared, |compared| {
        ui::profile_diff(
            compared.left,
            compared.right,
            &compared.differences,
            ui::columns(),
        )
    })
}
