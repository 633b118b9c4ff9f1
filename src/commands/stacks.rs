//! `dsr1 stacks`: the pinned engines.

use std::collections::BTreeMap;

use serde::Serialize;

use super::context::Context;
use crate::cli::{StackArgs, StackDiffArgs, Stacks, StacksArgs};
use crate::error::Result;
use crate::profile::{Catalog, Stack, StackChange, UNKNOWN_PIN, stack_differences};
use crate::sglang::flags::{Difference, Parser, history};
use crate::ui;

#[derive(Debug, Serialize)]
struct Listing<'a> {
    schema: &'static str,
    stacks: Vec<&'a Stack>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: &'static str,
    stack: &'a Stack,
    /// The file and line of each version; empty if the stack extends none.
    places: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Compared<'a> {
    schema: &'static str,
    left: &'a str,
    right: &'a str,
    differences: Vec<StackChange>,
    options: Vec<Difference>,
}

/// Runs the command.
pub(super) fn run(context: &Context, args: StacksArgs) -> Result<()> {
    match args.what {
        Stacks::List => list(context),
        Stacks::Show(args) => show(context, &args),
        Stacks::Diff(args) => diff(context, &args),
    }
}

fn list(context: &Context) -> Result<()> {
    let catalog = context.catalog(None)?;
    context.warn_of_broken(&catalog);
    let listing = Listing {
        schema: "dsr1.stacks/1",
        stacks: catalog.stacks().collect(),
    };
    context.print(&listing, |listing| ui::stacks(&listing.stacks))
}

fn show(context: &Context, args: &StackArgs) -> Result<()> {
    let catalog = context.catalog(None)?;
    let stack = catalog.stack(&args.name)?;
    if args.yaml {
        return ui::print(catalog.stack_source(&args.name).unwrap_or_default());
    }
    let shown = Shown {
        schema: "dsr1.stack/1",
        stack,
        places: places(&catalog, stack),
    };
    context.print(&shown, |shown| ui::stack(shown.stack, &shown.places))
}

/// Returns the file and line of each version and of the image of a stack that extends another.
fn places(catalog: &Catalog, stack: &Stack) -> BTreeMap<String, String> {
    let origins = catalog.stack_origins(&stack.name);
    let Some(origins) = origins.filter(|_| stack.extends.is_some()) else {
        return BTreeMap::new();
    };
    [
        "base_image",
        "driver_min",
        "pins.cuda",
        "pins.flashinfer",
        "pins.kernel",
        "pins.sglang",
        "pins.torch",
    ]
    .into_iter()
    // No file states an unknown version.
    .filter(|path| match *path {
        "pins.flashinfer" => stack.pins.flashinfer != UNKNOWN_PIN,
        "pins.kernel" => stack.pins.kernel != UNKNOWN_PIN,
        "pins.torch" => stack.pins.torch != UNKNOWN_PIN,
        _ => true,
    })
    .filter_map(|path| {
        let place = origins.place_of(path)?;
        // An image that is not named follows the version.
        let version = origins.place_of("pins.sglang").filter(|version| {
            let at = |file: &str| origins.files().iter().position(|(name, _)| name == file);
            path == "base_image" && at(&place.file) < at(&version.file)
        });
        let text = match version {
            Some(version) => format!("{place}, with the version of {version}"),
            None => place.to_string(),
        };
        Some((path.to_owned(), text))
    })
    .collect()
}

fn diff(context: &Context, args: &StackDiffArgs) -> Result<()> {
    let catalog = context.catalog(None)?;
    let (left, right) = (catalog.stack(&args.left)?, catalog.stack(&args.right)?);
    let servers = history(Parser::Server);
    let compared = Compared {
        schema: "dsr1.stack-diff/1",
        left: &args.left,
        right: &args.right,
        differences: stack_differences(left, right),
        options: servers
            .table(left.pins.sglang)
            .differences(&servers.table(right.pins.sglang)),
    };
    context.print(&compared, |compared| {
        ui::stack_diff(
            compared.left,
            compared.right,
            &compared.differences,
            &compared.options,
            args.flags,
            ui::columns(),
        )
    })
}
