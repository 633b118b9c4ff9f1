//! Several loads one after the other, each with a result. A course that was broken off goes on.

use std::path::Path;
use std::time::Duration;

use super::run::Run;
use super::sitting::{Place, Sitting, StageEnd, nothing_measured};
use crate::effects::files;
use crate::effects::load::{InFlight, NextStage};
use crate::effects::results::{read_measurement, read_partial_sweep};
use crate::effects::serve::results;
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::measure::course::{
    Attained, Axis, Course, Next, PointOutcome, Search, Visit, describe_limits, describe_point, judge_point,
    sum_up, visit_of,
};
use crate::measure::{FailureKind, Load, Stage};
use crate::plan::MeasureCourse;
use crate::report::{FoundLoad, Measurement, Sweep, SweptPoint, Trust, Verdict};
use crate::secret::Secret;

/// Measures the points of a course that are not kept yet.
///
/// # Errors
/// Those of a single measurement; [`Kind::Untrusted`] when a search cannot decide.
pub(in crate::effects) async fn measure_course(
    step: &MeasureCourse,
    place: Place<'_>,
    key: Option<Secret>,
) -> Result<Sweep> {
    let lock_path = format!("{}.lock", step.partial);
    let _lock = lock(Path::new(&lock_path), place.events)?;
    let (mut sweep, mut visits) = begin(step, place)?;
    let kept = visits.len();
    let mut sitting: Option<Sitting<'_>> = None;
    let mut key = key;
    let mut run: Option<Run> = None;
    loop {
        let stage = match step.course.next(&visits) {
            Next::Measure(stage) => stage,
            Next::Found(found) => {
                sweep.found = Some(FoundLoad {
                    unit: unit_of(&step.course).to_owned(),
                    meets: found.meets,
                    misses: found.misses,
                });
                break;
            }
            Next::Done | Next::Undecided(_) => break,
        };
        let sitting = match &mut sitting {
            Some(sitting) => sitting,
            none => {
                let stages = (stage, largest_load(&step.course, stage));
                let limits = step.course.limits().copied();
                let mut sitting =
                    Box::pin(Sitting::open(&step.measure, place, key.take(), stages, limits)).await?;
                // The prompts of kept points are in the server's prefix cache.
                sitting.job.seed = sitting.job.seed.wrapping_add(kept as u64);
                check_same(&sitting, sweep.points.last(), &step.partial)?;
                none.insert(sitting)
            }
        };
        sitting.job.stage = stage;
        show_point(&step.course, visits.len(), stage, place);
        let run = match &mut run {
            Some(run) => {
                run.begin(NextStage {
                    stage,
                    in_flight: in_flight_after(sweep.points.last(), step.cool_down_s),
                });
                run
            }
            none => none.insert(Run::start(sitting)),
        };
        let point = measure_point(step, sitting, run, &visits)
            .await
            .map_err(|error| with_kept(error, visits.len()))?;
        visits.extend(visit_of(&point));
        place.events.note(line_of(&point));
        sweep.points.push(point);
        sweep.loads = sum_up(&sweep.points);
        results::save(Path::new(&step.partial), Sweep::SCHEMA, &sweep)?;
    }
    drop(run);
    let sweep = finish(step, sweep)?;
    // It names no holder any more; a process that waits for it finds its own file.
    let _ = files::remove_if_there(Path::new(&lock_path));
    Ok(sweep)
}

/// Takes the lock of a course: two processes would measure each other, and write one file.
pub(super) fn lock(path: &Path, events: &StepEvents<'_>) -> Result<files::Lock> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).at(Kind::Host, || format!("cannot make `{}`", dir.display()))?;
    }
    match files::try_lock(path, events)? {
        files::Attempt::Taken(lock) => Ok(lock),
        files::Attempt::Busy(who) => Err(Error::new(
            Kind::Usage,
            format!("another dsr1 process measures the same points{who}"),
        )
        .hint("wait for it, or end it")),
    }
}

/// Refuses to go on after points of another server or of other data.
fn check_same(sitting: &Sitting<'_>, last: Option<&SweptPoint>, partial: &str) -> Result<()> {
    let Some(kept) = last.and_then(|point| read_measurement(Path::new(&point.file)).ok()) else {
        return Ok(());
    };
    sitting.difference_to(&kept).map_or(Ok(()), |difference| {
        Err(Error::new(Kind::Usage, format!("cannot resume `{partial}`"))
            .cause(difference)
            .hint("--fresh measures all points again"))
    })
}

/// Measures one point.
async fn measure_point(
    step: &MeasureCourse,
    sitting: &Sitting<'_>,
    run: &mut Run,
    visits: &[Visit],
) -> Result<SweptPoint> {
    let ended = run.stage(sitting).await?;
    let load = ended.ran.stage.load;
    if ended.ran.data_ended {
        return Err(Error::new(Kind::Usage, "the requests of --data do not suffice")
            .cause(format!(
                "all were used at point {}: {}",
                visits.len() + 1,
                load.describe()
            ))
            .hint("--repeat-data uses them again"));
    }
    let limits = step.course.limits();
    let attained = limits.map(|limits| Attained::of(limits, &ended.ran.records));
    let end = ended.early.map_or(StageEnd::Whole, |text| {
        StageEnd::Early(Verdict {
            about: "limits".to_owned(),
            trust: Trust::Untrusted,
            text,
            hint: String::new(),
        })
    });
    let measurement = sitting
        .conclude(ended.ran, (&ended.before, &ended.after), end)
        .await?;
    if is_dead(&measurement, limits.is_some()) {
        let error = nothing_measured(&measurement, sitting.name());
        return Err(sitting.job.target.explain(error).await);
    }
    let outcome = limits
        .zip(attained)
        .map_or(PointOutcome::Measured, |(limits, attained)| {
            judge_point(limits, attained, &measurement)
        });
    Ok(describe_point(&load, outcome, limits, &measurement))
}

/// Returns an error with the advice to go on.
fn with_kept(error: Error, kept: usize) -> Error {
    match kept {
        0 => error,
        1 => error.hint("the same command resumes after the point that is measured"),
        _ => error.hint(format!(
            "the same command resumes after the {kept} points that are measured"
        )),
    }
}

/// Returns the fate of the requests of the last point. After a rate that the server did not keep up with, requests wait there that
/// a smaller load would not have.
fn in_flight_after(last: Option<&SweptPoint>, cool_down_s: u32) -> InFlight {
    let is_piled = last.is_some_and(|point| point.is_saturated || point.outcome == "misses");
    let is_open = last.is_some_and(|point| point.request_rate.is_some());
    if is_piled && is_open {
        InFlight::Drop
    } else if cool_down_s > 0 {
        InFlight::Finish(Duration::from_secs(u64::from(cool_down_s)))
    } else {
        InFlight::TakeOver
    }
}

/// Returns true for a server that answered nothing. In a search, one that refuses all requests may take fewer: only one that is
/// not there ends it.
fn is_dead(measurement: &Measurement, is_search: bool) -> bool {
    let requests = &measurement.requests;
    let all = requests.failed.iter().chain(&requests.failed_elsewhere);
    let failed: u64 = all.clone().map(|(_, count)| count).sum();
    let is_gone = |kind: &str| *kind == FailureKind::Connect.describe();
    requests.completed == 0
        && failed == requests.sent
        && (!is_search || all.clone().all(|(kind, _)| is_gone(kind)))
}

/// Returns the kept points of the same course, or none.
fn begin(step: &MeasureCourse, place: Place<'_>) -> Result<(Sweep, Vec<Visit>)> {
    let measure = &step.measure;
    let new = Sweep {
        server: measure
            .server
            .as_ref()
            .map_or_else(|| measure.base_url.clone(), |server| server.name().to_owned()),
        profile: measure.profile.clone(),
        stack: measure.stack.clone(),
        key: step.key.clone(),
        limits: step.course.limits().map(describe_limits),
        ..Sweep::default()
    };
    let path = Path::new(&step.partial);
    if step.is_fresh || !path.exists() {
        return Ok((new, Vec::new()));
    }
    let kept = read_partial_sweep(path)?;
    // Points whose result is gone, or not of this version, are measured again.
    let is_there = |point: &&SweptPoint| Path::new(&point.file).is_file();
    let there = kept.points.iter().take_while(is_there);
    let visits: Vec<Visit> = there.map_while(visit_of).collect();
    let points: Vec<SweptPoint> = kept.points.into_iter().take(visits.len()).collect();
    let count = points.len();
    if count > 0 {
        place.events.note(format!(
            "resuming {}: {} measured already; --fresh measures all of them",
            step.partial,
            if count == 1 {
                "1 point is".to_owned()
            } else {
                format!("{count} points are")
            }
        ));
    }
    Ok((Sweep { points, ..new }, visits))
}

/// Gives the sweep its name.
fn finish(step: &MeasureCourse, mut sweep: Sweep) -> Result<Sweep> {
    sweep.loads = sum_up(&sweep.points);
    sweep.complete = step.course.limits().is_none() || sweep.found.is_some();
    let name = step
        .measure
        .server
        .as_ref()
        .map_or("server", |server| server.name());
    let dir = &step.measure.results_dir;
    std::fs::create_dir_all(dir).at(Kind::Host, || format!("cannot make `{dir}`"))?;
    let path = results::path_of(dir, name, "sweep");
    sweep.saved_to = Some(path.to_string_lossy().into_owned());
    results::save(&path, Sweep::SCHEMA, &sweep)?;
    let partial = Path::new(&step.partial);
    if sweep.complete {
        files::remove_if_there(partial).at(Kind::Host, || format!("cannot remove `{}`", step.partial))?;
    } else {
        // The points without a decision at the end are measured again by the next start.
        let decided = sweep
            .points
            .iter()
            .rposition(|point| point.outcome != "undecided");
        let mut kept = sweep.clone();
        kept.points.truncate(decided.map_or(0, |last| last + 1));
        results::save(partial, Sweep::SCHEMA, &kept)?;
    }
    Ok(sweep)
}

const fn unit_of(course: &Course) -> &'static str {
    match course {
        Course::Search(Search {
            axis: Axis::Rate { .. },
            ..
        }) => "requests/s",
        Course::Points(_) | Course::Search(_) => "requests in flight",
    }
}

/// Returns the largest load that is known to come.
fn largest_load(course: &Course, first: Stage) -> Load {
    let streams = |load: &Load| load.most_in_flight().unwrap_or(u32::MAX);
    match course {
        Course::Points(points) => {
            let loads = points.stages.iter().map(|stage| stage.load);
            loads.max_by_key(streams).unwrap_or(first.load)
        }
        // A search may double its load several times.
        Course::Search(_) => match first.load.slots() {
            Some(count) => Load::Concurrency(count.saturating_mul(8)),
            None => first.load,
        },
    }
}

fn show_point(course: &Course, number: usize, stage: Stage, place: Place<'_>) {
    let of = course
        .length()
        .map_or_else(String::new, |length| format!(" of {length}"));
    let text = format!("point {}{of}: {}", number + 1, stage.load.describe());
    place.events.activity(&text, None);
}

/// Returns a point in a line.
fn line_of(point: &SweptPoint) -> String {
    let load = visit_of(point).map_or_else(|| point.kind.clone(), |visit| visit.load.describe());
    let figures = point.figures.as_ref().map_or_else(
        || "nothing was measured".to_owned(),
        |figures| {
            let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
            format!(
                "{:.1} output tokens/s, TTFT {}, TPOT {} (medians)",
                figures.output_throughput,
                ms(figures.ttft_p50_ms),
                ms(figures.tpot_p50_ms)
            )
        },
    );
    let outcome = match (&*point.outcome, &point.reason, point.trust) {
        ("measured", Some(reason), Some(trust)) => format!(" [{}: {reason}]", trust.word()),
        ("measured", ..) => String::new(),
        (outcome, Some(reason), _) => format!("; {outcome}: {reason}"),
        (outcome, None, _) => format!("; {outcome}"),
    };
    format!("{load}: {figures}{outcome}")
}
