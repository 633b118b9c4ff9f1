//! `dsr1 profiles show`: shows one profile, its stack, and the arguments of the engine.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::{ProfileArgs, ShowArgs};
use crate::commands::context::{Context, criteria, profile_name};
use crate::error::Result;
use crate::plan::{ServeRequest, Target, cluster};
use crate::profile::{Profile, Selection, Stack};
use crate::sglang::{Check, EngineFlags, Launch};
use crate::ui;

#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: &'static str,
    profile: &'a Profile,
    stack: &'a Stack,
    engine_args: Vec<&'a str>,
    engine_env: BTreeMap<String, String>,
    checks: &'a [Check],
}

/// Returns the document and the text about a profile.
pub(in crate::commands) fn describe(
    context: &Context,
    asked: &ProfileArgs,
) -> Result<(serde_json::Value, String)> {
    let catalog = context.catalog(asked.profile_file.as_deref())?;
    let (name, precision) = profile_name(&catalog, asked)?;
    let selection = catalog.select(&name, &criteria(precision, asked, None))?;
    let Launch { flags, .. } = Launch::new(&selection.profile, &selection.stack, &selection.origins, &[]);
    let checks = cluster::findings(&ServeRequest::new(selection.clone(), Target::Docker))?;
    let shown = document(&selection, &flags, &checks);
    let text = ui::profile(&selection.profile, &selection.stack, &flags, &checks);
    Ok((serde_json::to_value(&shown).unwrap_or_default(), text))
}

fn document<'a>(selection: &'a Selection, flags: &'a EngineFlags, checks: &'a [Check]) -> Shown<'a> {
    Shown {
        schema: "dsr1.profile/1",
        profile: &selection.profile,
        stack: &selection.stack,
        engine_args: flags.argv().collect(),
        engine_env: flags.environment(),
        checks,
    }
}

pub(super) fn run(context: &Context, args: &ShowArgs) -> Result<()> {
    let catalog = context.catalog(args.profile_file.as_deref())?;
    let asked = ProfileArgs {
        profile: args.name.clone(),
        profile_file: args.profile_file.clone(),
        fp4: args.fp4,
        fp8: args.fp8,
        stack: args.stack.clone(),
    };
    let (name, precision) = profile_name(&catalog, &asked)?;
    let selection = catalog.select(&name, &criteria(precision, &asked, None))?;
    let Selection {
        profile,
        stack,
        origins,
        ..
    } = &selection;
    if args.yaml {
        return ui::print(catalog.source(&profile.name).unwrap_or_default());
    }
    let Launch { flags, .. } = Launch::new(profile, stack, origins, &[]);
    let checks = cluster::findings(&ServeRequest::new(selection.clone(), Target::Docker))?;
    let shown = document(&selection, &flags, &checks);
    context.print(&shown, |_| ui::profile(profile, stack, &flags, &checks))
}
