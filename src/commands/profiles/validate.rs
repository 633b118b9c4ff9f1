//! `dsr1 profiles validate`: checks a profile on its stack and on others.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::ValidateArgs;
use crate::commands::context::Context;
use crate::error::{Error, Kind, Result};
use crate::plan::{ServeRequest, Target, cluster};
use crate::profile::Accelerator;
use crate::sglang::rules::check_owned;
use crate::sglang::{Check, Level};
use crate::ui;

#[derive(Debug, Serialize)]
struct Validation {
    schema: &'static str,
    profile: String,
    stacks: Vec<OnStack>,
}

/// The checks on one stack.
#[derive(Debug, Serialize)]
struct OnStack {
    stack: String,
    own: bool,
    checks: Vec<Check>,
}

pub(super) fn run(context: &Context, args: &ValidateArgs) -> Result<()> {
    let file = PathBuf::from(&args.profile);
    // The name of a built-in profile is accepted, too.
    let plain = context.catalog(None)?;
    let (catalog, name) = if plain.source(&args.profile).is_some() {
        (plain, args.profile.clone())
    } else {
        let catalog = context.catalog(Some(&file))?;
        let name = catalog.named().unwrap_or_default().to_owned();
        (catalog, name)
    };
    let own = catalog.resolve(&name, None)?;
    let mut stacks = Vec::new();
    for stack in catalog.stacks() {
        let is_own = stack.name == own.stack.name;
        if stack.accelerator != own.stack.accelerator || !(is_own || args.all_stacks) {
            continue;
        }
        let found = catalog.resolve(&name, Some(&stack.name))?;
        let place = found
            .origins
            .place_of("engine.extra_args")
            .map_or_else(String::new, |place| format!("{place}: "));
        for engine in found.profile.engines() {
            check_owned(&engine.extra_args, stack.pins.sglang, &place)?;
        }
        stacks.push(OnStack {
            stack: stack.name.clone(),
            own: is_own,
            checks: cluster::findings(&ServeRequest::new(found, Target::Docker))?,
        });
    }
    stacks.sort_by_key(|on| !on.own);
    // A profile need not fit every stack: only its own and those that it has settings for decide.
    let refused: Vec<String> = stacks
        .iter()
        .filter(|on| on.own || own.profile.on.contains_key(&on.stack))
        .filter(|on| on.checks.iter().any(|check| check.level == Level::Error))
        .map(|on| on.stack.clone())
        .collect();
    let validation = Validation {
        schema: "dsr1.validation/1",
        profile: name,
        stacks,
    };
    context.print(&validation, |validation| {
        let blocks = validation.stacks.iter().map(|on| {
            let of = if on.own { " (its own)" } else { "" };
            ui::checks(&format!("{} on {}{of}", validation.profile, on.stack), &on.checks)
        });
        blocks.collect::<Vec<_>>().join("\n")
    })?;
    if refused.is_empty() {
        return Ok(());
    }
    let error = Error::new(
        Kind::Usage,
        format!(
            "profile `{}` does not fit stack {}",
            validation.profile,
            refused.join(", ")
        ),
    );
    let error = error.hint("each error above names its fix");
    let error = if own.stack.accelerator == Accelerator::Cuda {
        error.hint("dsr1 profiles migrate FILE --to STACK rewrites what it can")
    } else {
        error
    };
    Err(error.reported_if(context.is_json()))
}
