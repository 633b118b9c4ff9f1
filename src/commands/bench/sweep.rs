//! `dsr1 bench sweep`: several loads, one after the other.

use std::path::Path;

use super::course::{carry_out, check_options, shape_of};
use super::load::prepare_load;
use super::report::write_page;
use crate::cli::{SweepArgs, TrafficArgs};
use crate::commands::context::Context;
use crate::effects::load::check_room;
use crate::effects::user_files;
use crate::error::{Error, Kind, Result};
use crate::measure::course::{Course, Points, PresetPoints, Shape};
use crate::measure::{Extent, Load, Stage};
use crate::plan::{self, CourseRequest};
use crate::report::{Sweep, Trust};

/// Runs the command.
pub(super) async fn run(context: &Context, args: &SweepArgs) -> Result<()> {
    check_options(&args.load)?;
    if let Some(page) = args.html.as_deref().filter(|_| !args.dry_run) {
        // Not after hours of measuring.
        user_files::check_new(page, args.force)?;
    }
    let preset = args.preset.map(crate::measure::course::Preset::points);
    let stages = stages_of(args, preset.as_ref())?;
    let load = with_preset(&args.load, preset.as_ref());
    let (request, facts) = Box::pin(prepare_load(context, &args.subject, &load)).await?;
    let mut measure = *request;
    if let Some(first) = stages.first() {
        (measure.load, measure.extent) = (first.load, first.extent);
    }
    let request = CourseRequest {
        measure,
        course: Course::Points(Points {
            stages,
            repeats: args.repeats,
        }),
        cool_down_s: args.cool_down,
        is_fresh: args.fresh,
    };
    let plan = plan::measure_course("bench sweep", &request, &facts);
    let Some(sweep) = Box::pin(carry_out(context, &plan, args.dry_run)).await? else {
        return Ok(());
    };
    if let Some(page) = &args.html {
        let files = sweep.points.iter().map(|point| Path::new(&point.file));
        write_page(context, &files.collect::<Vec<_>>(), page, args.force)?;
    }
    check_trust(&sweep).map_err(|error| error.reported_if(context.is_json()))
}

/// Returns the load with the lengths of the preset where the user has none.
pub(super) fn with_preset(load: &TrafficArgs, preset: Option<&PresetPoints>) -> TrafficArgs {
    let mut load = load.clone();
    if let Some((input, output, ratio)) = preset.and_then(|preset| preset.lengths) {
        load.input_len.get_or_insert(input);
        load.output_len.get_or_insert(output);
        load.range_ratio.get_or_insert(ratio);
    }
    load
}

/// Returns the points in their order.
///
/// # Errors
/// [`Kind::Host`] when this host has no room for the connections of one: that is told now, and not after the start of a server.
pub(super) fn stages_of(args: &SweepArgs, preset: Option<&PresetPoints>) -> Result<Vec<Stage>> {
    let stages = list_stages(args, preset);
    let most = stages
        .iter()
        .filter_map(|stage| stage.load.most_in_flight())
        .max();
    let most = most.unwrap_or(0);
    let is_of_preset = args.rates.is_none() && args.concurrency.is_none();
    let option = if args.rates.is_some() {
        "--max-concurrency"
    } else {
        "--concurrency"
    };
    match check_room(option, most) {
        Err(error) if is_of_preset => Err(error.cause(format!(
            "--preset has a point of {most} in flight, and --concurrency takes the place of its points"
        ))),
        checked => checked.map(|()| stages),
    }
}

fn list_stages(args: &SweepArgs, preset: Option<&PresetPoints>) -> Vec<Stage> {
    let shape = shape_of(&args.load, preset.and_then(|preset| preset.waves));
    if let Some(rates) = &args.rates {
        let load = |per_second: &f64| Load::Rate {
            per_second: *per_second,
            arrivals: args.load.arrivals,
            most_in_flight: args.load.max_concurrency,
        };
        return rates.0.iter().map(|rate| shape.stage(load(rate))).collect();
    }
    if let Some(counts) = &args.concurrency {
        let loads = counts.0.iter().map(|count| Load::Concurrency(*count));
        return loads.map(|load| shape.stage(load)).collect();
    }
    let points = preset.map(|preset| preset.points.as_slice()).unwrap_or_default();
    points
        .iter()
        .map(|(slots, least_s)| {
            let own = args.load.duration.or(*least_s);
            let shape = Shape {
                extent: Extent {
                    least_s: own.unwrap_or(shape.extent.least_s),
                    ..shape.extent
                },
                ..shape
            };
            shape.stage(Load::Concurrency(*slots))
        })
        .collect()
}

/// Returns the error for points that must not be used.
pub(super) fn check_trust(sweep: &Sweep) -> Result<()> {
    let bad = sweep
        .points
        .iter()
        .filter(|point| point.trust == Some(Trust::Untrusted));
    let files: Vec<&str> = bad.map(|point| point.file.as_str()).collect();
    if files.is_empty() {
        return Ok(());
    }
    let count = files.len();
    let error = Error::new(
        Kind::Untrusted,
        format!("{count} of {} points are not to be used", sweep.points.len()),
    );
    Err(files.iter().fold(error, |error, file| {
        error.hint(format!("dsr1 bench report {file}"))
    }))
}
