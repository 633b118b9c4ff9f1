//! `dsr1 bench sweep --profiles`: several loads on several servers, each of which is started, verified, measured and stopped.

use std::path::Path;
use std::time::Instant;

use super::course::{check_options, swept};
use super::load::planned_request;
use super::report::write_page;
use super::sweep::{check_trust, stages_of, with_preset};
use crate::cli::{Cli, Command, ServerArgs, SweepArgs, TrafficArgs};
use crate::commands::context::Context;
use crate::commands::restart::await_release;
use crate::effects::{KeptSweep, blocking, kept_points, store, user_files};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, StepEvents};
use crate::facts::Facts;
use crate::measure::Stage;
use crate::measure::course::{Course, Points};
use crate::plan::{self, Combination, CourseRequest, Step};
use crate::redact::redact_certain;
use crate::report::{self, Outcome, Report, StepReport, Sweep, SweptCombination, SweptFailure, SweptPoint};
use crate::units::counted;

/// Runs the command.
pub(super) async fn run(context: &Context, args: &SweepArgs) -> Result<()> {
    check_options(&args.load)?;
    if let Some(page) = args.html.as_deref().filter(|_| !args.dry_run) {
        // Not after hours of measuring.
        user_files::check_new(page, args.force)?;
    }
    let begun = Instant::now();
    let (all, facts) = plan_all(context, args).await?;
    if args.dry_run {
        return context.print_or_finish(&plan::all_combinations(&all), true).await;
    }
    let (sweep, failed) = measure_all(context, args, &all, &facts).await?;
    print_report(context, &sweep, begun)?;
    if let Some(page) = &args.html {
        let files = sweep.points.iter().map(|point| Path::new(&point.file));
        write_page(context, &files.collect::<Vec<_>>(), page, args.force)?;
    }
    let result = match failed {
        None => check_trust(&sweep),
        Some(kind) => Err(failure_of(&sweep, kind)),
    };
    result.map_err(|error| error.reported_if(context.is_json()))
}

/// Plans each combination, and refuses all of them if one cannot start: that is told now, and not after hours.
async fn plan_all(context: &Context, args: &SweepArgs) -> Result<(Vec<Combination>, Facts)> {
    let preset = args.preset.map(crate::measure::course::Preset::points);
    let load = with_preset(&args.load, preset.as_ref());
    let stages = stages_of(args, preset.as_ref())?;
    let own_stack = [None];
    let named: Vec<Option<&String>> = args.servers.stacks.iter().map(Some).collect();
    let stacks = if named.is_empty() { &own_stack[..] } else { &named };
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    let mut host = Facts::default();
    for profile in &args.servers.profiles {
        for stack in stacks {
            let planned = Box::pin(plan_one(context, (args, &load, &stages), (profile, *stack)));
            match planned.await {
                Ok((combination, facts)) => {
                    all.push(combination);
                    host = facts;
                }
                Err(error) => {
                    let on = stack.map_or_else(String::new, |stack| format!(" on {stack}"));
                    refused.push((format!("{profile}{on}"), error));
                }
            }
        }
    }
    if !args.dry_run {
        refused.extend(list_obstacles(&all).await);
    }
    let count = args.servers.profiles.len() * stacks.len();
    if let Some(error) = refusal(refused, count) {
        return Err(error);
    }
    check_distinct(&all)?;
    check_same_load(&all)?;
    Ok((all, host))
}

/// Plans a server with its measurement.
async fn plan_one(
    context: &Context,
    (args, load, stages): (&SweepArgs, &TrafficArgs, &[Stage]),
    (profile, stack): (&str, Option<&String>),
) -> Result<(Combination, Facts)> {
    let server = server_args(args, profile, stack)?;
    let (request, facts, notes) = Box::pin(context.server_request(&server, false, None)).await?;
    let mut measure = planned_request((&args.subject, load), &request, &facts)?;
    if let Some(first) = stages.first() {
        (measure.load, measure.extent) = (first.load, first.extent);
    }
    let course = CourseRequest {
        measure,
        course: Course::Points(Points {
            stages: stages.to_vec(),
            repeats: args.repeats,
        }),
        cool_down_s: args.cool_down,
        is_fresh: args.fresh,
    };
    let measuring = plan::measure_course("bench sweep", &course, &facts);
    let mut combination = plan::combination(&request, measuring, &facts)?;
    combination.plan.notes.splice(0..0, notes);
    Ok((combination, facts))
}

/// Returns the arguments of a server with a profile and a stack.
fn server_args(args: &SweepArgs, profile: &str, stack: Option<&String>) -> Result<ServerArgs> {
    let mut words = vec!["serve".to_owned(), format!("--profile={profile}")];
    words.extend(stack.map(|stack| format!("--stack={stack}")));
    let Some(Command::Serve(serve)) = Cli::command_of(&words) else {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` is not the name of a profile", profile.escape_debug()),
        )
        .hint("dsr1 profiles list"));
    };
    let mut server = serve.server;
    if let Some(runtime) = args.servers.runtime {
        server.runtime.runtime = runtime;
    }
    if let Some(port) = args.servers.port {
        server.port = port;
    }
    server.gpus.clone_from(&args.servers.gpus);
    Ok(server)
}

/// Returns the reasons why servers cannot start here and now, each with the name of its combination. Weights that several
/// servers have are checked once if they are whole.
async fn list_obstacles(all: &[Combination]) -> Vec<(String, Error)> {
    let mut obstacles = Vec::new();
    let mut whole: Vec<&Step> = Vec::new();
    for Combination { name, plan, .. } in all {
        let blockers = plan.blockers.iter().cloned().map(Error::from);
        obstacles.extend(blockers.map(|error| (name.clone(), error)));
        for step in &plan.steps {
            if whole.contains(&step) {
                continue;
            }
            match check_weights(step).await {
                Some(Ok(())) => whole.push(step),
                Some(Err(error)) => obstacles.push((name.clone(), error)),
                None => {}
            }
        }
    }
    obstacles
}

/// Checks the weights of a step; returns `None` for a step that checks none.
async fn check_weights(step: &Step) -> Option<Result<()>> {
    match step.clone() {
        Step::CheckSnapshot(step) => Some(blocking(move || store::check_snapshot(&step).map(drop)).await),
        Step::CheckFolder(step) => Some(blocking(move || store::check_folder(&step).map(drop)).await),
        _ => None,
    }
}

/// Returns the error of combinations that cannot start; `None` without any.
fn refusal(refused: Vec<(String, Error)>, count: usize) -> Option<Error> {
    let kind = refused.first()?.1.kind();
    let text = if count == 1 {
        "the sweep cannot start its server".to_owned()
    } else {
        let mut names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        format!("the sweep cannot start {} of {count} servers", names.len())
    };
    let error = Error::new(kind, text);
    Some(refused.into_iter().fold(error, |error, (name, one)| {
        let causes = std::iter::once(one.message()).chain(one.causes());
        let error = error.cause(format!("{name}: {}", causes.collect::<Vec<_>>().join(": ")));
        one.hints()
            .iter()
            .fold(error, |error, hint| error.hint(hint.clone()))
    }))
}

/// Refuses a combination that is there twice: a goal may name the same profile as another word.
fn check_distinct(all: &[Combination]) -> Result<()> {
    for (index, one) in all.iter().enumerate() {
        if all[..index].iter().any(|earlier| earlier.name == one.name) {
            let text = format!("the sweep has {} twice", one.name);
            return Err(Error::new(Kind::Usage, text)
                .hint("name it once in --profiles; --repeats measures each load several times"));
        }
    }
    Ok(())
}

/// Refuses profiles with other loads of their own: their figures would not be comparable.
fn check_same_load(all: &[Combination]) -> Result<()> {
    let load = |one: &Combination| {
        one.course()
            .map(|course| (course.measure.lengths, course.measure.api))
    };
    let Some(other) = all.iter().find(|one| load(one) != load(&all[0])) else {
        return Ok(());
    };
    let describe = |one: &Combination| {
        load(one).map_or_else(String::new, |(lengths, api)| {
            format!(
                "{} has prompts of {} and answers of {} tokens, range ratio {}, API {}",
                one.name,
                lengths.input,
                lengths.output,
                lengths.ratio,
                api.name()
            )
        })
    };
    Err(Error::new(Kind::Usage, "the profiles have different loads")
        .cause(describe(&all[0]))
        .cause(describe(other))
        .hint("give all of them the same: --isl N --osl N --range-ratio R, and --api if it differs"))
}

/// Measures all combinations that are not kept. Returns the sweep, and the kind of the first failure.
async fn measure_all(
    context: &Context,
    args: &SweepArgs,
    all: &[Combination],
    facts: &Facts,
) -> Result<(Sweep, Option<Kind>)> {
    let display = context.display();
    let file = plan::kept_sweep_file(all, facts);
    let mut kept = KeptSweep::open(file, args.fresh, &StepEvents::new(&*display, 1))?;
    let note = |text: String| display.event(&Event::Note { text });
    let mut failed = None;
    for (index, one) in all.iter().enumerate() {
        let place = format!("server {} of {}: {}", index + 1, all.len(), one.name);
        if kept.has(&one.name) {
            note(format!("{place}: measured already; --fresh measures it again"));
            continue;
        }
        note(place);
        let (failure, swept) = match Box::pin(context.carry_out(&one.plan)).await {
            Ok(report) => (None, swept(report)),
            Err(error) if error.kind() == Kind::Interrupted => {
                let measured = kept
                    .sweep()
                    .combinations
                    .iter()
                    .filter(|one| one.failure.is_none());
                return Err(error.hint(format!(
                    "the same command resumes: {} of {} measured, and the points of this one are kept",
                    counted(measured.count(), "server"),
                    all.len()
                )));
            }
            Err(error) => {
                failed.get_or_insert(error.kind());
                let failure = describe_failure(&error);
                display.event(&Event::Warning {
                    text: format!("{} failed: {}", one.name, failure.message),
                    hint: "the sweep measures the next server".to_owned(),
                });
                (Some(failure), None)
            }
        };
        let (points, path) = points_of(one, swept);
        let has_failed = failure.is_some();
        // Before the wait, whose failure ends the sweep.
        kept.add(describe(one, failure, path), points)?;
        if has_failed {
            let released = release(context, one).await;
            released.map_err(|error| error.hint("the same command resumes: what was measured is kept"))?;
        }
    }
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    Ok((kept.finish(&names)?, failed))
}

/// Waits until nothing of a server that failed is left.
async fn release(context: &Context, one: &Combination) -> Result<()> {
    if let Some((server, _)) = plan::server_of(&one.plan) {
        for held in context.effects.take_left() {
            await_release(context, server, &held).await?;
        }
    }
    Ok(())
}

/// Returns the points of a combination with the file of its sweep; of one that failed, those that are kept.
fn points_of(one: &Combination, swept: Option<Box<Sweep>>) -> (Vec<SweptPoint>, Option<String>) {
    match swept {
        Some(sweep) => (sweep.points, sweep.saved_to),
        None => (one.course().map(kept_points).unwrap_or_default(), None),
    }
}

fn describe(one: &Combination, failure: Option<SweptFailure>, file: Option<String>) -> SweptCombination {
    let server = plan::server_of(&one.plan).map_or_else(String::new, |(server, _)| server.name().to_owned());
    SweptCombination {
        name: one.name.clone(),
        profile: one.profile.clone(),
        stack: one.stack.clone(),
        server,
        failure,
        file,
    }
}

/// Returns a failure as a result keeps it: without secrets, which the log of an engine may have.
fn describe_failure(error: &Error) -> SweptFailure {
    let clean = |text: &String| redact_certain(text).into_owned();
    SweptFailure {
        message: clean(&error.message()),
        causes: error.causes().iter().map(clean).collect(),
        hints: error.hints().iter().map(clean).collect(),
    }
}

fn print_report(context: &Context, sweep: &Sweep, begun: Instant) -> Result<()> {
    let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let report = Report {
        schema: report::SCHEMA.to_owned(),
        command: "bench sweep".to_owned(),
        steps: vec![StepReport {
            title: format!("measure {}", counted(sweep.combinations.len(), "server")),
            elapsed_ms,
            outcome: Outcome::Swept(Box::new(sweep.clone())),
        }],
        elapsed_ms,
    };
    context.print_report(&report, "")
}

/// Returns the error of combinations that failed; the table has their causes.
fn failure_of(sweep: &Sweep, kind: Kind) -> Error {
    let all = &sweep.combinations;
    let failed = all.iter().filter_map(|one| Some((one, one.failure.as_ref()?)));
    let failed: Vec<_> = failed.collect();
    let text = format!("{} of {} servers were not measured", failed.len(), all.len());
    let error = failed
        .iter()
        .fold(Error::new(kind, text), |error, (one, failure)| {
            error.cause(format!("{}: {}", one.name, failure.message))
        });
    error.hint("the same command tries these again, and measures no other one")
}
