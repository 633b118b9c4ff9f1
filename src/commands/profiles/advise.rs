//! `dsr1 profiles advise`: finds the profile that fits a load.

use serde::Serialize;

use crate::cli::AdviseArgs;
use crate::commands::context::Context;
use crate::error::{Error, Kind, Result};
use crate::plan::advise::{Advice, Load, advise, on_a_stack_that_runs};
use crate::profile::Goal;
use crate::sglang;
use crate::ui;

#[derive(Debug, Serialize)]
struct Advised {
    schema: &'static str,
    load: Load,
    /// Description of the GPUs.
    hardware: String,
    advice: Vec<Advice>,
}

pub(super) async fn run(context: &Context, args: &AdviseArgs) -> Result<()> {
    let catalog = context.catalog(None)?;
    let goal = args.goal.map(Goal::from);
    let load = Load::new(args.isl, args.osl, args.concurrency, goal);
    let (length, most) = (u64::from(args.isl) + u64::from(args.osl), sglang::CONTEXT);
    if length > most {
        return Err(Error::new(
            Kind::Usage,
            format!("a request of {length} tokens is longer than the model's context"),
        )
        .cause(format!(
            "DeepSeek-R1 takes {most} tokens, for prompt and answer together"
        ))
        .hint("pass a smaller --isl or --osl"));
    }
    let facts = context.gpu_facts(args.facts.as_deref()).await?;
    let mut selections = Vec::new();
    for profile in catalog.profiles()? {
        // Loads are rated for one engine on one node.
        if profile.is_for_several_nodes() {
            continue;
        }
        let is_made_for = |stack: &String| profile.stack == *stack || profile.on.contains_key(stack);
        if args.stack.as_ref().is_none_or(is_made_for) {
            let own = catalog.resolve(&profile.name, args.stack.as_deref())?;
            // A stack of an older CUDA runs where the profile's own does not.
            selections.push(if args.stack.is_none() {
                on_a_stack_that_runs(&catalog, own, &facts)?
            } else {
                own
            });
        }
    }
    if let Some(stack) = &args.stack {
        catalog.stack(stack)?;
    }
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let advised = Advised {
        schema: "dsr1.advice/1",
        load,
        hardware: gpus.first().map_or_else(
            || "no GPU found: each profile is rated on the GPUs that it is made for".to_owned(),
            |gpu| format!("{} x {}", gpus.len(), gpu.name),
        ),
        advice: advise(selections, load, &facts),
    };
    context.print(&advised, |advised| {
        ui::advice(advised.load, &advised.hardware, &advised.advice)
    })
}
