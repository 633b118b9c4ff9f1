//! The common part of `bench sweep` and `bench slo`.

use crate::cli::TrafficArgs;
use crate::commands::context::Context;
use crate::error::{Error, Kind, Result};
use crate::measure::Extent;
use crate::measure::course::Shape;
use crate::plan::{self, Plan};
use crate::report::{Outcome, Report, Sweep};

/// Returns the extent of all points: the user's words, or the usual ones.
pub(super) fn shape_of(args: &TrafficArgs, waves: Option<u32>) -> Shape {
    Shape {
        extent: Extent {
            requests: args.num_prompts.unwrap_or(plan::FEWEST),
            least_s: args.duration.unwrap_or(plan::LEAST_S),
            most_s: args.max_duration,
            stall_s: args.timeout.unwrap_or(plan::STALL_S),
            warm_up: true,
            ramp_s: 0,
        },
        waves: match (args.num_prompts, waves) {
            (Some(_), None) => 0,
            (_, waves) => waves.unwrap_or(plan::WAVES),
        },
    }
}

/// Refuses options that only a single load has.
///
/// # Errors
/// [`Kind::Usage`] with the option.
pub(super) fn check_options(args: &TrafficArgs) -> Result<()> {
    let single = [
        ("--no-warm-up", args.no_warm_up),
        ("--ramp", args.ramp > 0),
        ("--trace", args.trace.is_some()),
        ("--turns", args.turns > 1),
    ];
    match single.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => Err(
            Error::new(Kind::Usage, format!("{option} is an option of a single load"))
                .cause("here each load takes over from the one before it")
                .hint("leave it out, or measure single loads with dsr1 bench"),
        ),
    }
}

/// Carries the plan out and prints its report; returns its sweep, or `None` if the plan was only printed.
pub(super) async fn carry_out(context: &Context, plan: &Plan, is_dry: bool) -> Result<Option<Sweep>> {
    if is_dry {
        context.print_or_finish(plan, true).await?;
        return Ok(None);
    }
    let report = Box::pin(context.carry_out(plan)).await?;
    context.print_report(&report, "")?;
    let sweep = swept(report).ok_or_else(|| Error::new(Kind::Internal, "the sweep has no result"))?;
    Ok(Some(*sweep))
}

/// Returns the sweep of a report; `None` if it has none.
pub(super) fn swept(report: Report) -> Option<Box<Sweep>> {
    report.steps.into_iter().find_map(|step| match step.outcome {
        Outcome::Swept(sweep) => Some(sweep),
        _ => None,
    })
}
