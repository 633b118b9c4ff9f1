//! `dsr1 build`: builds the image or the venv of a stack.
//!
//! Not in this module tree: the plan of a build (`plan::install`), the build itself (`effects`).

use serde::Serialize;

use super::context::{Ask, Context, asked, image_choice, names_profile, variables};
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
        return context.print(&explained, |explained| {
            ui::corrections(explained.corrections, ui::columns())
        });
    }
    let file = Context::facts_file(&args.plan)?;
    let profile = args.profile.with_name(args.named.as_ref());
    context.use_environment(&args.runtime, file.as_ref()).await?;
    let stack = match &profile.stack {
        None if args.runtime.python.is_some() && !names_profile(&profile) => {
            context.catalog(None)?.stack(plan::FOUND)?.clone()
        }
        Some(name) if !names_profile(&profile) => context.catalog(None)?.stack(name)?.clone(),
        _ => context.select(&profile, file.as_ref()).await?.stack,
    };
    let (image, options) = (image_choice(&args.runtime), options(&args)?);
    // An option about images asks for an image.
    let about_images = image != ImageChoice::default() || options != BuildOptions::default();
    let wanted = asked(&args.runtime).or_else(|| about_images.then_some(Target::Docker));
    let facts = if let Some(facts) = file {
        facts
    } else {
        let ask = Ask::of_runtime(wanted, image.clone());
        context.gather(&stack, None, &ask).await
    };
    let (target, why) = plan::install_target(wanted, &stack, &image, &facts)?;
    let request = BuildRequest {
        stack,
        target,
        image,
        options,
        variables: variables(&args.runtime)?,
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

/// Returns the options of the build.
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
            .map(|text| parse_secret(text))
            .collect::<Result<_>>()?,
        wheels: args.wheels.clone(),
        offline: args.offline,
        push: args.push,
        inline_cache: args.inline_cache,
        refresh: args.refresh.clone().map(|step| (step, now())),
    })
}

/// Reads a secret of the form `ID=FILE` or `ID=env:NAME`.
fn parse_secret(text: &str) -> Result<BuildSecret> {
    let (id, source) = text.split_once('=').ok_or_else(|| {
        Error::new(Kind::Usage, format!("`{}` is not a secret", text.escape_debug()))
            .hint("write it as ID=FILE or ID=env:NAME, such as netrc=$HOME/.netrc or netrc=env:NETRC_TEXT")
    })?;
    // Docker splits its option at commas: the printed script would name another file.
    if source.contains([',', '"']) || source.chars().any(char::is_control) {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` cannot be the source of a secret", source.escape_debug()),
        )
        .cause("it contains a comma, a quote or a control character")
        .hint("make a link to the file under a plain name"));
    }
    Ok(BuildSecret {
        id: id.to_owned(),
        source: match source.strip_prefix("env:") {
            Some(name) => SecretSource::Env(name.to_owned()),
            None => SecretSource::File(source.to_owned()),
        },
    })
}

/// Returns the time as a word that no earlier build had.
fn now() -> String {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        .to_string()
}
