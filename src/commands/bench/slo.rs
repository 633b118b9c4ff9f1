//! `dsr1 bench slo`: the largest load that keeps limits.

use super::course::{carry_out, check_options, shape_of};
use super::load::prepare_load;
use crate::cli::{SearchedBy, SloArgs};
use crate::commands::context::Context;
use crate::effects::load::check_room;
use crate::error::{Error, Kind, Result};
use crate::measure::course::{Axis, Course, Limits, Search, Shape};
use crate::plan::{self, CourseRequest};
use crate::report::Sweep;

/// Largest requests in flight that are tried by default.
const MOST_IN_FLIGHT: f64 = 8192.0;
/// Least and largest requests a second that are tried by default.
const RATES: (f64, f64) = (0.01, 10_000.0);

/// Runs the command.
pub(super) async fn run(context: &Context, args: &SloArgs) -> Result<()> {
    check_options(&args.load)?;
    if args.by == SearchedBy::Concurrency {
        for (option, value) in [("--from", args.from), ("--to", args.to)] {
            check_room(option, value.map_or(0, to_count))?;
        }
    }
    let is_from_data = args.load.data.is_some();
    // Before the server is asked anything, and once more by the profile's length.
    check_tokens(args.tpot, args.load.output_len.filter(|_| !is_from_data))?;
    let (request, facts) = Box::pin(prepare_load(context, &args.subject, &args.load)).await?;
    check_tokens(args.tpot, Some(request.lengths.output).filter(|_| !is_from_data))?;
    let limits = Limits {
        ttft_ms: args.ttft,
        tpot_ms: args.tpot,
        e2e_ms: args.e2e,
        percentile: args.percentile,
    };
    let usual = shape_of(&args.load, None);
    let shape = Shape {
        extent: crate::measure::Extent {
            requests: usual.extent.requests.max(limits.percentile.fewest_requests()),
            ..usual.extent
        },
        ..usual
    };
    let (axis, from, range) = match args.by {
        SearchedBy::Concurrency => {
            let profile = request.load.most_in_flight().unwrap_or(1);
            (Axis::Concurrency, f64::from(profile), (1.0, MOST_IN_FLIGHT))
        }
        SearchedBy::Rate => {
            let axis = Axis::Rate {
                arrivals: args.load.arrivals,
                most_in_flight: args.load.max_concurrency,
            };
            (axis, 1.0, RATES)
        }
    };
    let (from, to) = (args.from.unwrap_or(from), args.to.unwrap_or(range.1));
    check_range(args.by, (args.from, args.to), (from, to), range)?;
    let range = (range.0, to);
    let search = Search {
        axis,
        from,
        range,
        precision: f64::from(args.precision) / 100.0,
        limits,
        shape,
    };
    let mut measure = *request;
    measure.load = axis.load(from);
    let request = CourseRequest {
        measure,
        course: Course::Search(search),
        cool_down_s: 0,
        is_fresh: args.fresh,
    };
    let plan = plan::measure_course("bench slo", &request, &facts);
    match Box::pin(carry_out(context, &plan, args.dry_run)).await? {
        Some(sweep) => check_found(&sweep).map_err(|error| error.reported_if(context.is_json())),
        None => Ok(()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast of a float saturates"
)]
const fn to_count(value: f64) -> u32 {
    value as u32
}

/// Refuses a limit of TPOT of answers of one token.
fn check_tokens(tpot: Option<f64>, output: Option<u32>) -> Result<()> {
    if tpot.is_none() || output != Some(1) {
        return Ok(());
    }
    Err(
        Error::new(Kind::Usage, "--tpot cannot be a limit of answers of one token")
            .cause("TPOT is the time of each token after the first one: --output-len 1 has none")
            .hint("pass --output-len 2 or more, or --ttft or --e2e in place of --tpot"),
    )
}

/// Refuses loads that cannot be tried.
fn check_range(
    by: SearchedBy,
    given: (Option<f64>, Option<f64>),
    (from, to): (f64, f64),
    (least, largest): (f64, f64),
) -> Result<()> {
    for (option, value) in [("--from", given.0), ("--to", given.1)] {
        let Some(value) = value else {
            continue;
        };
        let is_whole = by == SearchedBy::Rate || value.fract() == 0.0;
        if !is_whole || value < least || value > largest {
            let unit = match by {
                SearchedBy::Concurrency => "whole number of requests in flight",
                SearchedBy::Rate => "number of requests a second",
            };
            return Err(
                Error::new(Kind::Usage, format!("{option} {value} cannot be tried"))
                    .hint(format!("pass a {unit} from {least} to {largest}")),
            );
        }
    }
    if from > to {
        return Err(Error::new(
            Kind::Usage,
            format!("the search begins at {from}, above --to {to}"),
        )
        .hint("pass a smaller --from or a larger --to"));
    }
    Ok(())
}

/// Returns the error of a search without a result.
fn check_found(sweep: &Sweep) -> Result<()> {
    match &sweep.found {
        Some(found) if found.meets.is_some() => Ok(()),
        Some(_) => Err(Error::new(Kind::Gate, "no load that was tried keeps the limits")),
        None => {
            let reason = sweep.points.last().and_then(|point| point.reason.clone());
            Err(Error::new(
                Kind::Untrusted,
                "the search cannot decide at its last load, measured four times",
            )
            .cause(reason.unwrap_or_default())
            .hint("remove the cause, then type the same command: it resumes"))
        }
    }
}
