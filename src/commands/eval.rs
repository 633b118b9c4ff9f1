//! `dsr1 eval`: accuracy of a server.

use super::ask::base_of;
use super::bench::{client_env, facts_about, serving_server};
use super::context::{Ask, Context};
use crate::cli::{Eval, EvalArgs, EvaluationArgs, Gsm8kArgs};
use crate::effects::Found;
use crate::effects::load::check_room;
use crate::error::{Error, Kind, Result};
use crate::evaluate::{AnswerSettings, Task};
use crate::facts::Facts;
use crate::plan::{self, EngineClient, EvaluatedEndpoint, EvaluationRequest, Gsm8kRequest, Plan, Threshold};
use crate::profile::Stack;
use crate::report::{BandVerdict, Evaluation, Outcome, Report};

/// Percent by which the mean length of answers may differ: that of `MLPerf` (`mlcommons/endpoints`, `docs/bench_suite.md`).
const LENGTH_TOLERANCE: f64 = 10.0;

/// Runs the command.
pub(super) async fn run(context: &Context, args: EvalArgs) -> Result<()> {
    match args.what {
        Eval::Gsm8k(args) if args.engine_client => Box::pin(run_script(context, &args)).await,
        Eval::Gsm8k(args) => {
            let own = Own {
                task: Task::Gsm8k,
                shots: args.num_shots,
                year: None,
            };
            Box::pin(evaluate(context, own, &args.evaluation)).await
        }
        Eval::Aime(args) => {
            let own = Own {
                task: Task::Aime,
                shots: None,
                year: args.year,
            };
            Box::pin(evaluate(context, own, &args.evaluation)).await
        }
        Eval::Math500(args) => Box::pin(evaluate(context, Own::of(Task::Math500), &args.evaluation)).await,
        Eval::Mlperf(args) => Box::pin(evaluate(context, Own::of(Task::Mlperf), &args.evaluation)).await,
        Eval::Gpqa(args) => Box::pin(evaluate(context, Own::of(Task::Gpqa), &args.evaluation)).await,
    }
}

/// The arguments that an evaluation has for itself.
#[derive(Debug, Clone, Copy)]
struct Own {
    task: Task,
    shots: Option<u32>,
    year: Option<u32>,
}

impl Own {
    const fn of(task: Task) -> Self {
        Self {
            task,
            shots: None,
            year: None,
        }
    }
}

/// Runs an evaluation by dsr1's own client.
async fn evaluate(context: &Context, own: Own, args: &EvaluationArgs) -> Result<()> {
    let min_accuracy = args.min_accuracy.map(threshold).transpose()?;
    if let Some(parallel) = args.parallel {
        check_room("--parallel", parallel)?;
    }
    if args.length_tolerance.is_some() && args.expect_tokens.is_none() && own.task.is_graded() {
        return Err(
            Error::new(Kind::Usage, "--length-tolerance needs --expect-tokens")
                .cause("no length of answers to these questions is published"),
        );
    }
    let (endpoint, facts) = match &args.url {
        Some(url) => {
            let stack = context.catalog(None)?.stack("current")?.clone();
            let facts = context.gather(&stack, None, &Ask::default()).await;
            let endpoint = EvaluatedEndpoint::Url {
                base_url: base_of(url).to_owned(),
                model: args.model.clone(),
            };
            (endpoint, facts)
        }
        None => Box::pin(own_server(context, own, args)).await?,
    };
    let request = request_of(own, args, endpoint, min_accuracy);
    let plan = plan::evaluate(&request, &facts)?;
    if args.dry_run {
        return context.print_or_finish(&plan, true).await;
    }
    let report = context.carry_out(&plan).await?;
    let result =
        evaluated(&report).ok_or_else(|| Error::new(Kind::Internal, "the evaluation has no result"))?;
    context.print_report(&report, "")?;
    // The result as JSON has the figures, the verdicts and the threshold.
    check_result(result).map_err(|error| error.reported_if(context.is_json()))
}

async fn own_server(
    context: &Context,
    own: Own,
    args: &EvaluationArgs,
) -> Result<(EvaluatedEndpoint, Facts)> {
    let found = serving_server(context, args.which.server.as_deref()).await?;
    let longest = args
        .max_new_tokens
        .unwrap_or(own.task.defaults(args.api).max_tokens);
    if let Some(most) = context.effects.context_length(&found.status.base_url).await
        && u64::from(longest) >= most
    {
        return Err(answer_too_long(longest, most, &found.status.name));
    }
    let stack = context.catalog(None)?.stack(&found.status.stack)?.clone();
    let facts = facts_about(context, &found, &stack).await;
    let endpoint = EvaluatedEndpoint::Own {
        profile: found.status.profile.clone(),
        model: found.status.model.clone(),
        origin: found.origin(),
        client: Box::new(client_of(found, stack, &facts)),
    };
    Ok((endpoint, facts))
}

/// Returns the error for answers that cannot fit into the context of the server: it would refuse each request.
fn answer_too_long(longest: u32, most: u64, server: &str) -> Error {
    Error::new(
        Kind::Usage,
        format!("answers of {longest} tokens are longer than the context of {server}"),
    )
    .cause(format!(
        "its context has {most} tokens, for prompt and answer together"
    ))
    .hint("pass a smaller --max-new-tokens; answers that it cuts are counted apart")
}

fn client_of(found: Found, stack: Stack, facts: &Facts) -> EngineClient {
    EngineClient {
        env: client_env(&found, &facts.paths.hub_cache),
        server: found.server,
        python: found.python,
        port: found.port,
        base_url: found.status.base_url,
        stack,
    }
}

fn request_of(
    own: Own,
    args: &EvaluationArgs,
    endpoint: EvaluatedEndpoint,
    min_accuracy: Option<Threshold>,
) -> EvaluationRequest {
    let defaults = own.task.defaults(args.api);
    EvaluationRequest {
        endpoint,
        settings: AnswerSettings {
            task: own.task,
            api: defaults.api,
            shots: own.shots.unwrap_or(defaults.shots),
            max_tokens: args.max_new_tokens.unwrap_or(defaults.max_tokens),
            temperature: args.temperature.unwrap_or(defaults.temperature),
            top_p: args.top_p.unwrap_or(defaults.top_p),
            seed: args.seed,
        },
        year: own.year,
        data: args.data.clone(),
        sha256: args.sha256.clone(),
        questions: args.num_questions.or(defaults.questions),
        samples: args.samples.unwrap_or(defaults.samples),
        parallel: args.parallel.unwrap_or(defaults.parallel),
        stall_s: args.timeout.unwrap_or(plan::STALL_S),
        min_accuracy,
        expect_tokens: args.expect_tokens,
        length_tolerance: args.length_tolerance.unwrap_or(LENGTH_TOLERANCE),
        fresh: args.fresh,
        show_wrong: args.show_wrong,
    }
}

fn evaluated(report: &Report) -> Option<&Evaluation> {
    report.steps.iter().find_map(|step| match &step.outcome {
        Outcome::AccuracyMeasured(result) => Some(&**result),
        _ => None,
    })
}

/// Returns the error for an evaluation that is not complete, or misses what the user demands.
fn check_result(result: &Evaluation) -> Result<()> {
    let counts = &result.counts;
    if !result.is_complete {
        return Err(Error::new(
            Kind::Untrusted,
            format!(
                "{} of {} requests failed in every attempt",
                counts.failed, counts.planned
            ),
        )
        .cause("the accuracy of the others is not that of the whole set")
        .hint("type the same command again: it sends only these"));
    }
    let missed = result
        .accuracy
        .zip(result.settings.min_accuracy)
        .filter(|(accuracy, least)| accuracy < least);
    if let Some((accuracy, least)) = missed {
        let mut error = Error::new(Kind::Gate, format!("accuracy {accuracy:.3} is below {least:.3}"));
        if let (Some(low), Some(high)) = (result.accuracy_low, result.accuracy_high) {
            error = error.cause(format!(
                "95 % interval {low:.3} to {high:.3} over {} answers",
                counts.answered()
            ));
        }
        return Err(error);
    }
    match &result.length {
        Some(length) if length.verdict != BandVerdict::Within => Err(Error::new(
            Kind::Gate,
            format!(
                "the mean answer has {:.1} tokens, outside {} +- {} %",
                result.tokens.mean, length.expected, length.tolerance_percent
            ),
        )
        .cause("answers of another length are the sign of a broken quantization or of a limit that cuts them")
        .hint("if many ended by `length`, raise --max-new-tokens")),
        _ => Ok(()),
    }
}

/// Runs the engine's own script.
async fn run_script(context: &Context, args: &Gsm8kArgs) -> Result<()> {
    let evaluation = &args.evaluation;
    let min_accuracy = evaluation.min_accuracy.map(threshold).transpose()?;
    let plan = Box::pin(plan_script(context, args, min_accuracy)).await?;
    context.print_or_finish(&plan, evaluation.dry_run).await
}

async fn plan_script(context: &Context, args: &Gsm8kArgs, min_accuracy: Option<Threshold>) -> Result<Plan> {
    let evaluation = &args.evaluation;
    let found = serving_server(context, evaluation.which.server.as_deref()).await?;
    let stack = context.catalog(None)?.stack(&found.status.stack)?.clone();
    let facts = context.gather(&stack, None, &Ask::default()).await;
    let defaults = Task::Gsm8k.defaults(None);
    let request = Gsm8kRequest {
        client: client_of(found, stack, &facts),
        data: evaluation.data.clone(),
        sha256: evaluation.sha256.clone(),
        shots: args.num_shots.unwrap_or(defaults.shots),
        questions: evaluation
            .num_questions
            .or(defaults.questions)
            .unwrap_or(u32::MAX),
        parallel: evaluation.parallel.unwrap_or(defaults.parallel),
        max_new_tokens: evaluation.max_new_tokens.unwrap_or(defaults.max_tokens),
        min_accuracy,
    };
    plan::gsm8k(&request, &facts)
}

fn threshold(share: f64) -> Result<Threshold> {
    Threshold::from_share(share).ok_or_else(|| {
        Error::new(Kind::Usage, format!("--min-accuracy {share} is out of range"))
            .hint("give a number between 0 and 1, such as 0.94")
    })
}
