//! `dsr1 profiles`: what can be served, and how.

use serde::Serialize;

use super::context::{catalog, precision};
use crate::cli::{Format, Profiles, ProfilesArgs, ShowArgs};
use crate::error::{Error, Kind, Result};
use crate::profile::{EngineFlags, Profile, Stack, render};
use crate::ui;

#[derive(Debug, Serialize)]
struct Listing<'a> {
    schema: &'static str,
    profiles: &'a [Profile],
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: &'static str,
    profile: &'a Profile,
    stack: &'a Stack,
    engine_args: &'a [String],
    engine_env: &'a std::collections::BTreeMap<String, String>,
}

/// Runs the command.
pub(super) fn run(args: &ProfilesArgs, format: Format) -> Result<()> {
    match &args.what {
        Profiles::List => list(format),
        Profiles::Show(args) => show(args, format),
    }
}

fn list(format: Format) -> Result<()> {
    let catalog = catalog(None)?;
    match format {
        Format::Text => ui::print(&ui::profiles(catalog.profiles())),
        Format::Json => ui::print(&ui::json(&Listing {
            schema: "dsr1.profiles/1",
            profiles: catalog.profiles(),
        })),
    }
}

fn show(args: &ShowArgs, format: Format) -> Result<()> {
    let catalog = catalog(args.profile_file.as_deref())?;
    let precision = precision(args.fp4, args.fp8);
    let name = args
        .name
        .as_deref()
        .or_else(|| catalog.overlay())
        .ok_or_else(|| {
            Error::new(Kind::Usage, "no profile is named").hint("dsr1 profiles list shows them")
        })?;
    if let Some(own) = catalog.overlay().filter(|own| *own != name) {
        return Err(Error::new(
            Kind::Usage,
            format!("`{name}` and the file's `{own}` are two profiles"),
        )
        .hint("leave out the name to see the file's"));
    }
    let selection = catalog.select(name, precision, None)?;
    if args.yaml {
        return ui::print(catalog.source(&selection.profile.name).unwrap_or_default());
    }
    let flags: EngineFlags = render(&selection.profile.engine, selection.stack.pins.sglang);
    match format {
        Format::Text => ui::print(&ui::profile(&selection.profile, &selection.stack, &flags)),
        Format::Json => ui::print(&ui::json(&Shown {
            schema: "dsr1.profile/1",
            profile: &selection.profile,
            stack: &selection.stack,
            engine_args: &flags.args,
            engine_env: &flags.env,
        })),
    }
}
