//! `dsr1 bench gate`: a regression from a baseline, by kept results or by measurements of now.

use serde::Serialize;

use super::compare::read_side;
use super::load::measure_once;
use crate::cli::{BenchArgs, Cli, Command, GateArgs};
use crate::commands::context::Context;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::measure::compare::{Side, Tolerances, flags_of_load, judge_change, refuse_same_run};
use crate::report::{FigureVerdict, GateVerdict, Gated};
use crate::ui;

#[derive(Debug, Serialize)]
struct AtGate {
    schema: &'static str,
    #[serde(flatten)]
    gated: Gated,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: &GateArgs) -> Result<()> {
    let baseline = read_side(&args.baseline)?;
    let tolerances = Tolerances {
        percent: args.tolerance,
        ttft_percent: args.ttft_tolerance,
    };
    let judge = |baseline: &Side, result: &Side| judge_change(baseline, result, tolerances, args.anyway);
    let result = match args.subject.as_deref().filter(|subject| are_files(subject)) {
        Some(files) => read_side(files)?,
        None => measure_now(context, args, &baseline, &judge).await?,
    };
    refuse_same_run(&baseline, &result)?;
    let gate = AtGate {
        schema: "dsr1.gate/1",
        gated: judge(&baseline, &result),
    };
    context.print(&gate, |gate| ui::gated(&gate.gated, args.anyway))?;
    // The document has the verdict.
    error_of(&gate.gated).map_or(Ok(()), |error| Err(error.reported_if(context.is_json())))
}

/// Returns true for files, in place of the name of a server.
fn are_files(subject: &str) -> bool {
    subject.split(',').any(|part| {
        let part = part.trim();
        part.contains('/')
            || std::path::Path::new(part)
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("json"))
    }) || subject.contains(',')
}

/// Measures the load of the baseline, as often as asked for. The first run that is not to be compared ends it.
async fn measure_now(
    context: &Context,
    args: &GateArgs,
    baseline: &Side,
    judge: &impl Fn(&Side, &Side) -> Gated,
) -> Result<Side> {
    let load = bench_args(args, baseline)?;
    context.display().event(&Event::Note {
        text: "the runs of the baseline are from another time: what changed on the host since then is in the ratios, too"
            .to_owned(),
    });
    let mut result = Side {
        files: Vec::new(),
        runs: Vec::new(),
    };
    for _ in 0..args.repeats {
        let run = measure_once(context, &load).await?;
        result.files.push(run.saved_to.clone().unwrap_or_default());
        result.runs.push(run);
        let so_far = judge(baseline, &result).verdict;
        if matches!(so_far, GateVerdict::Refused | GateVerdict::Untrusted) {
            break;
        }
    }
    Ok(result)
}

/// Returns the arguments of a measurement of the baseline's load.
fn bench_args(args: &GateArgs, baseline: &Side) -> Result<BenchArgs> {
    let Some(first) = baseline.runs.first() else {
        return Err(Error::new(Kind::Usage, "the baseline has no run"));
    };
    let mut words = vec!["bench".to_owned()];
    words.extend(flags_of_load(&first.load));
    if let Some(name) = &args.subject {
        words.push(name.clone());
    } else if let Some(url) = &args.url {
        words.extend(["--url".to_owned(), url.clone()]);
    } else if first.server.name.is_none() {
        words.extend(["--url".to_owned(), first.server.base_url.clone()]);
    }
    if let Some(file) = &args.profile_file {
        words.extend(["--profile-file".to_owned(), file.to_string_lossy().into_owned()]);
    }
    if let Some(Command::Bench(args)) = Cli::command_of(&words) {
        return Ok(*args);
    }
    Err(Error::new(
        Kind::Usage,
        "the load of the baseline cannot be measured by this dsr1",
    )
    .cause(format!("its options would be: {}", words[1..].join(" ")))
    .hint("measure a new baseline with dsr1 bench"))
}

/// Returns the error of a gate that is not passed.
fn error_of(gated: &Gated) -> Option<Error> {
    match gated.verdict {
        GateVerdict::Passed => None,
        GateVerdict::Regression => {
            let worse = gated
                .figures
                .iter()
                .filter(|figure| figure.verdict == FigureVerdict::Regression);
            let names: Vec<&str> = worse.map(|figure| figure.ratio.metric.as_str()).collect();
            let text = if names.is_empty() {
                "more requests failed than in the baseline".to_owned()
            } else {
                format!("worse than the baseline: {}", names.join(", "))
            };
            Some(Error::new(Kind::Gate, text).hint("dsr1 bench compare BASELINE RESULT shows all figures"))
        }
        GateVerdict::Untrusted => {
            let error = Error::new(Kind::Untrusted, "these results cannot pass a gate");
            Some(
                gated
                    .untrusted
                    .iter()
                    .fold(error, |error, one| error.cause(one.clone())),
            )
        }
        GateVerdict::Refused => {
            let error = Error::new(
                Kind::Usage,
                "the baseline is not one of this load, server and host",
            );
            let error = gated
                .refusals
                .iter()
                .fold(error, |error, one| error.cause(one.clone()));
            Some(error.hint("measure a new baseline here; --anyway compares with this one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_files_or_a_server() {
        for files in ["a.json", "./a", "/tmp/x", "a,b", "a.json,b.json", "A.JSON"] {
            assert!(are_files(files), "{files}");
        }
        for server in ["dsr1-rehearsal", "json", "dsr1-h200.fp8"] {
            assert!(!are_files(server), "{server}");
        }
    }
}
