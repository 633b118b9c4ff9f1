//! `dsr1 flags`: compares the bundled tables of options with an installed SGLang.

use std::collections::BTreeMap;

use serde::Serialize;

use super::context::{Ask, Context, asked, image_choice, variables};
use crate::cli::{Flags, FlagsArgs, SyncArgs};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{self, BuildRequest, EngineSource, Step};
use crate::sglang::flags::{Parser, ParserDrift, Table, history};
use crate::ui;

#[derive(Debug, Serialize)]
struct Drift {
    schema: &'static str,
    stack: String,
    /// Image or Python of the SGLang.
    source: String,
    parsers: Vec<ParserDrift>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: FlagsArgs) -> Result<()> {
    let Flags::Sync(args) = args.what;
    Box::pin(sync(context, &args)).await
}

/// Returns the SGLang that is installed for a request, and its image or Python.
pub(super) fn installed(request: &BuildRequest, facts: &Facts) -> Result<(EngineSource, String)> {
    let stack = &request.stack;
    let missing = |cause: String| {
        Error::new(
            Kind::Host,
            format!("stack `{}` is not installed here", stack.name),
        )
        .cause(cause)
        .hint(format!("dsr1 build --stack {}", stack.name))
    };
    Ok(match plan::install_step(request, facts)? {
        Step::BuildImage(step) => {
            if !facts.docker.images.contains_key(&step.tag) {
                return Err(missing(format!("the image {} does not exist", step.tag)));
            }
            let source = EngineSource::Image {
                image: step.tag.clone(),
                python: stack.image_python.clone(),
            };
            (source, step.tag)
        }
        Step::CreateVenv(step) => {
            if !facts.paths.ready_venvs.contains(&step.dir) {
                return Err(missing(format!("the venv {} does not exist", step.dir)));
            }
            let python = format!("{}/bin/python3", step.dir);
            let source = EngineSource::Venv {
                python: python.clone(),
                variables: BTreeMap::new(),
            };
            (source, python)
        }
        Step::CheckEnvironment(step) => {
            let source = EngineSource::Venv {
                python: step.python.clone(),
                variables: step.variables,
            };
            (source, step.python)
        }
        other => {
            return Err(Error::new(
                Kind::Internal,
                format!("the plan has no SGLang to ask: {}", other.title()),
            ));
        }
    })
}

async fn sync(context: &Context, args: &SyncArgs) -> Result<()> {
    context.use_environment(&args.runtime, None).await?;
    let name = if args.runtime.python.is_some() {
        plan::FOUND
    } else {
        &args.stack
    };
    let stack = context.catalog(None)?.stack(name)?.clone();
    let ask = Ask::of_runtime(asked(&args.runtime), image_choice(&args.runtime));
    let facts = context.gather(&stack, None, &ask).await;
    let (target, why) = Context::target(&args.runtime, &stack, &facts)?;
    let request = BuildRequest {
        variables: variables(&args.runtime)?,
        ..BuildRequest::new(stack.clone(), target, image_choice(&args.runtime))
    };
    let (source, shown) = installed(&request, &facts).map_err(|error| match why {
        // In the other runtime it may be installed.
        Some(why) => error.hint(why),
        None => error,
    })?;
    let extracts = context
        .one_step(
            &format!("read the options of SGLang in {shown}"),
            "",
            async |events| {
                let mut extracts = Vec::new();
                for (parser, name) in [(Parser::Server, "server"), (Parser::Bench, "benchmark client")] {
                    events.activity(&format!("ask the parser of the {name}"), None);
                    extracts.push((parser, context.effects.extract_flags(&source, parser).await?));
                }
                Ok(extracts)
            },
        )
        .await?;
    let mut parsers = Vec::new();
    for (parser, extract) in extracts {
        let bundled = history(parser).table(stack.pins.sglang);
        let found = Table::from_extract(&extract);
        parsers.push(ParserDrift {
            parser,
            found: extract.sglang,
            bundled: bundled.version,
            options: extract.options.len(),
            differences: bundled.differences(&found),
            stood_in: extract.stood_in.clone(),
        });
    }
    let drift = Drift {
        schema: "dsr1.flag-drift/1",
        stack: stack.name.clone(),
        source: shown,
        parsers,
    };
    context.print(&drift, |drift| ui::drift(&drift.source, &drift.parsers))?;
    let count: usize = drift.parsers.iter().map(|one| one.differences.len()).sum();
    if count == 0 {
        return Ok(());
    }
    Err(Error::new(
        Kind::Gate,
        format!(
            "{} on stack `{}` from the bundled table",
            if count == 1 {
                "1 option differs".to_owned()
            } else {
                format!("{count} options differ")
            },
            stack.name
        ),
    )
    .hint("the installed SGLang is not the version that the stack pins, or it is newer than this dsr1")
    .reported_if(context.is_json()))
}
