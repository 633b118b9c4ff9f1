//! `dsr1 build`: the image or the venv of a stack.
//!
//! Not in this module: what is built (`plan::install`), the building (`effects`).

use serde::Serialize;

use super::context::{Ask, Context, asked, image_choice, names_profile};
use crate::cli::{self, BuildArgs};
use crate::error::{Error, Kind, Result};
use crate::plan::{
    self, BuildOptions, BuildRequest, BuildSecret, Builder, Correction, ImageChoice, SecretSource, Target,
};
use crate::ui;

pub(super) mod verify;

/// The JSON form of `--explain`.
#[derive(Debug, Serialize)]
struct Explained {
    schema: &'static str,
    corrections: &'static [Correction],
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: BuildArgs) -> Result<()> {
    if args.explain {
        let explained = Explained {
            schema: "dsr1.corrections/1",
            corrections: &plan::CORRECTIONS,
        };
        return context.print(&explained, |explained| ui::corrections(explained.corrections));
    }
    let file = Context::facts_file(&args.plan)?;
    let stack = match &args.profile.stack {
        Some(name) if !names_profile(&args.profile) => context.catalog(None)?.stack(name)?.clone(),
        _ => context.select(&args.profile, file.as_ref()).await?.stack,
    };
    let (image, options) = (image_choice(&args.runtime), options(&args)?);
    // Who asks about the image wants one.
    let about_images = image != ImageChoice::default() || options != BuildOptions::default();
    let wanted = asked(&args.runtime).or_else(|| about_images.then_some(Target::Docker));
    let facts = if let Some(facts) = file {
        facts
    } else {
        let ask = Ask {
            docker: wanted != Some(Target::Process),
            python: wanted != Some(Target::Docker),
            image: image.clone(),
            ..Ask::default()
        };
        context.gather(&stack, None, &ask).await
    };
    let (target, why) = plan::install_target(wanted, &stack, &image, &facts)?;
    let request = BuildRequest {
        stack,
        target,
        image,
        options,
    };
    let mut plan = plan::build(&request, &facts)?;
    plan.notes.extend(why);
    if args.verify {
        let report = context.carry_out(&plan).await?;
        return verify::run(context, &request, &facts, &report).await;
    }
    context
        .print_or_finish(&plan, args.plan.dry_run || args.plan.facts.is_some())
        .await
}

/// How the image is to be built.
fn options(args: &BuildArgs) -> Result<BuildOptions> {
    Ok(BuildOptions {
        no_cache: args.no_cache,
        pull: args.pull,
        tags: args.tag.clone(),
        cache_from: args.cache_from.clone(),
        builder: match args.builder {
            cli::Builder::Auto => None,
            cli::Builder::Buildkit => Some(Builder::Buildkit),
            cli::Builder::Classic => Some(Builder::Classic),
        },
        secrets: args
            .secret
            .iter()
            .map(|text| secret(text))
            .collect::<Result<_>>()?,
        wheels: args.wheels.clone(),
        offline: args.offline,
        push: args.push,
        inline_cache: args.inline_cache,
        refresh: args.refresh.clone().map(|step| (step, now())),
    })
}

/// A secret as it is written: `ID=FILE` or `ID=env:NAME`.
fn secret(text: &str) -> Result<BuildSecret> {
    let (id, source) = text.split_once('=').ok_or_else(|| {
        Error::new(Kind::Usage, format!("`{}` is not a secret", text.escape_debug()))
            .hint("it looks like netrc=$HOME/.netrc or netrc=env:NETRC_TEXT")
    })?;
    // Docker reads its own option at commas: the printed script would mean another file.
    if source.contains([',', '"']) || source.chars().any(char::is_control) {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` cannot name a secret", source.escape_debug()),
        )
        .cause("it holds a comma, a quote or a control character")
        .hint("link the file under a plain name"));
    }
    Ok(BuildSecret {
        id: id.to_owned(),
        source: match source.strip_prefix("env:") {
            Some(name) => SecretSource::Env(name.to_owned()),
            None => SecretSource::File(source.to_owned()),
        },
    })
}

/// A word that was never there before: the time.
fn now() -> String {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        .to_string()
}
