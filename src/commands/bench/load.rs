//! A measurement of a running server.

use std::collections::BTreeMap;

use crate::cli::{BenchArgs, SubjectArgs, TrafficArgs};
use crate::commands::ask::base_of;
use crate::commands::context::{Ask, Context};
use crate::commands::status::probe;
use crate::effects::Found;
use crate::effects::docker::Docker;
use crate::effects::load::check_room;
use crate::effects::user_files;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::measure::{Api, Extent, Lengths, Load, PromptFile, PromptForm, PromptSource, Turns};
use crate::plan::{
    self, BenchRequest, MeasureRequest, MeasuredEndpoint, OwnServer, Plan, ServeRequest, Strictness,
};
use crate::profile::{Bench, Count, Profile, Stack};
use crate::report::{Measurement, Outcome, Report, ServerState, Trust};
use crate::ui;

/// Load of a server whose profile is not known: requests in flight, and the lengths of `InferenceX`'s first shape.
const UNKNOWN: (u32, u32, u32) = (16, 1024, 1024);

/// A measurement that is ready to be planned.
enum Prepared {
    /// By the engine's own client.
    Engine(Box<Plan>),
    /// By dsr1's own client.
    Own(Box<MeasureRequest>, Box<Facts>),
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: &BenchArgs) -> Result<()> {
    if let Some(path) = args.records.as_deref().filter(|_| !args.dry_run) {
        // Not after the measurement.
        user_files::check_new(path, true)?;
    }
    match Box::pin(prepare(context, &args.subject, &args.load, args.engine_client)).await? {
        Prepared::Engine(plan) => context.print_or_finish(&plan, args.dry_run).await,
        Prepared::Own(mut request, facts) => {
            if args.strict {
                request.strictness = Strictness::RefusesDoubt;
            }
            request.records = args
                .records
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned());
            Box::pin(measure(context, args, &request, &facts)).await
        }
    }
}

/// Measures once, and prints nothing: another command judges the result.
pub(super) async fn measure_once(context: &Context, args: &BenchArgs) -> Result<Measurement> {
    let (request, facts) = Box::pin(prepare_load(context, &args.subject, &args.load)).await?;
    let plan = plan::measure(&request, &facts);
    let report = Box::pin(context.carry_out(&plan)).await?;
    measured(&report).cloned().ok_or_else(no_result)
}

/// Measures a server with the load of a profile once, and prints nothing: another command judges the result.
pub(in crate::commands) async fn measure_profile(
    context: &Context,
    name: &str,
    bench: &Bench,
) -> Result<Measurement> {
    let found = serving_server(context, Some(name)).await?;
    let stack = context.catalog(None)?.stack(&found.status.stack)?.clone();
    let facts = facts_about(context, &found, &stack).await;
    let (profile, origin) = (found.status.profile.clone(), found.origin());
    let server = OwnServer {
        client: client_request(found, stack, bench.clone(), &facts),
        profile: &profile,
        origin,
    };
    let plan = plan::measure_profile(server, &facts)?;
    let report = Box::pin(context.carry_out(&plan)).await?;
    if context.effects.was_interrupted() {
        // The measurement was complete by then; what follows it is not to begin.
        return Err(Error::new(Kind::Interrupted, "interrupted after a measurement"));
    }
    measured(&report).cloned().ok_or_else(no_result)
}

fn no_result() -> Error {
    Error::new(Kind::Internal, "the measurement has no result")
}

/// Finds the server, and returns the request of a load by dsr1's own client, with the facts about the host.
pub(super) async fn prepare_load(
    context: &Context,
    subject: &SubjectArgs,
    load: &TrafficArgs,
) -> Result<(Box<MeasureRequest>, Box<Facts>)> {
    match Box::pin(prepare(context, subject, load, false)).await? {
        Prepared::Own(request, facts) => Ok((request, facts)),
        Prepared::Engine(_) => Err(Error::new(
            Kind::Internal,
            "the engine's own client has no such result",
        )),
    }
}

async fn prepare(
    context: &Context,
    subject: &SubjectArgs,
    load: &TrafficArgs,
    by_engine: bool,
) -> Result<Prepared> {
    if let Some(most) = load.max_concurrency {
        check_room("--max-concurrency", most)?;
    }
    match &subject.url {
        Some(url) => Box::pin(prepare_url(context, subject, load, url)).await,
        None => Box::pin(prepare_own(context, subject, load, by_engine)).await,
    }
}

/// Prepares the measurement of a server of this host.
async fn prepare_own(
    context: &Context,
    subject: &SubjectArgs,
    load: &TrafficArgs,
    by_engine: bool,
) -> Result<Prepared> {
    let found = serving_server(context, subject.which.server.as_deref()).await?;
    let (profile, stack) = profile_of_server(context, &found, subject.profile_file.as_deref())?;
    let facts = facts_about(context, &found, &stack).await;
    let bench = with_arguments(&profile.bench, load);
    if has_own_lengths(load)
        && let Some(most) = context.effects.context_length(&found.status.base_url).await
    {
        check_lengths(&lengths_of(&bench, load), most, &found.status.name)?;
    }
    if by_engine {
        let request = client_request(found, stack, bench, &facts);
        return Ok(Prepared::Engine(Box::new(plan::bench(&request, &facts))));
    }
    let api =
        api_of(&bench, load).map_err(|error| error.hint("name one with --api, or use --engine-client"))?;
    let name = found.status.profile.clone();
    let origin = found.origin();
    let mut load = load.clone();
    if matches!(found.server, plan::Server::Slurm { .. }) && api == Api::Completions {
        // The router before the engines, SMG 1.13.0, refuses the ids of tokens in `prompt`.
        load.prompts.get_or_insert(PromptForm::Text);
    }
    let load = &load;
    let endpoint = MeasuredEndpoint::Own {
        client: Box::new(client_request(found, stack, bench.clone(), &facts)),
        profile: name,
        origin,
    };
    own((subject, load), endpoint, api, &bench, facts)
}

/// Returns the request for a server that is planned, with the load of its profile and the user's changes.
pub(super) fn planned_request(
    args: (&SubjectArgs, &TrafficArgs),
    server: &ServeRequest,
    facts: &Facts,
) -> Result<MeasureRequest> {
    let bench = with_arguments(&server.profile.bench, args.1);
    let api = api_of(&bench, args.1).map_err(|error| error.hint("name one with --api"))?;
    if has_own_lengths(args.1)
        && let Some(most) = server.launch().settings.context_length
    {
        check_lengths(&lengths_of(&bench, args.1), most, &server.profile.name)?;
    }
    let endpoint = plan::measured_endpoint(server, facts)?;
    own_request(args, endpoint, api, &bench)
}

/// Returns the API that the user names, or that of the profile.
fn api_of(bench: &Bench, load: &TrafficArgs) -> Result<Api> {
    match load.api {
        Some(api) => Ok(api),
        None => Ok(api_for(load, plan::api_of(bench)?)),
    }
}

fn own(
    args: (&SubjectArgs, &TrafficArgs),
    endpoint: MeasuredEndpoint,
    api: Api,
    bench: &Bench,
    facts: Facts,
) -> Result<Prepared> {
    let request = own_request(args, endpoint, api, bench)?;
    Ok(Prepared::Own(Box::new(request), Box::new(facts)))
}

fn own_request(
    args: (&SubjectArgs, &TrafficArgs),
    endpoint: MeasuredEndpoint,
    api: Api,
    bench: &Bench,
) -> Result<MeasureRequest> {
    if api == Api::Chat && args.1.prompts == Some(PromptForm::Ids) {
        return Err(
            Error::new(Kind::Usage, "cannot send --prompts ids with --api chat")
                .cause("a message holds text")
                .hint("leave --prompts out, or pass --api completions or --api generate"),
        );
    }
    check_turns(args.1, api)?;
    Ok(request_of(args, endpoint, api, bench))
}

/// Returns the API that the user names, or one for a server whose own is `own`. A conversation needs more of an answer than text
/// completions of ids tell: one of ids is held over `/generate`, and one of a data file as a chat.
fn api_for(load: &TrafficArgs, own: Api) -> Api {
    if let Some(api) = load.api {
        return api;
    }
    if load.turns <= 1 || own != Api::Completions {
        return own;
    }
    match (&load.data, load.prompts) {
        (Some(_), _) => Api::Chat,
        (None, Some(PromptForm::Text)) => Api::Completions,
        (None, _) => Api::Generate,
    }
}

/// Refuses conversations that cannot go on, because the answers of the API do not have what the next turn needs.
fn check_turns(load: &TrafficArgs, api: Api) -> Result<()> {
    let are_ids = load.prompts.unwrap_or_else(|| PromptForm::of(api)) == PromptForm::Ids;
    if load.turns <= 1 || api != Api::Completions || !are_ids || load.data.is_some() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        "cannot hold a conversation of ids with --api completions",
    )
    .cause("its answers are text, and the ids of their tokens are not known")
    .hint("pass --api generate, --api chat, or --prompts text"))
}

/// Returns the facts that a measurement of a server carries: of its GPUs only those that were chosen for it.
pub(in crate::commands) async fn facts_about(context: &Context, found: &Found, stack: &Stack) -> Facts {
    let ask = Ask {
        gpus: true,
        ..Ask::default()
    };
    let mut facts = context.gather(stack, None, &ask).await;
    if let Some(gpus) = facts.host.gpus.as_mut().filter(|_| !found.gpus.is_empty()) {
        gpus.retain(|gpu| found.gpus.contains(&gpu.index));
    }
    // The daemon itself is not asked: its registry may be far away.
    if !Docker::is_on_this_host(context.env()) {
        facts.docker.endpoint.clone_from(&context.env().docker_host);
    }
    facts
}

/// Prepares the measurement of a server that is known by its URL only.
async fn prepare_url(
    context: &Context,
    subject: &SubjectArgs,
    load: &TrafficArgs,
    url: &str,
) -> Result<Prepared> {
    let stack = context.catalog(None)?.stack("current")?.clone();
    let facts = context.gather(&stack, None, &Ask::default()).await;
    let count = |number: u32| Count::new(number).ok_or_else(|| Error::new(Kind::Internal, "a count of 0"));
    let (concurrency, input, output) = UNKNOWN;
    let bench = Bench {
        backend: Api::Completions.sglang_backend().to_owned(),
        dataset: "random-ids".to_owned(),
        input_len: count(input)?,
        output_len: count(output)?,
        range_ratio: 1.0,
        max_concurrency: count(concurrency)?,
        num_prompts: count(1)?,
        warmup_requests: None,
    };
    let bench = with_arguments(&bench, load);
    let endpoint = MeasuredEndpoint::Url {
        base_url: base_of(url).to_owned(),
        model: subject.model.clone(),
    };
    let api = api_for(load, Api::Completions);
    own((subject, load), endpoint, api, &bench, facts)
}

/// Plans the measurement, carries it out, and fails if its figures must not be used.
async fn measure(context: &Context, args: &BenchArgs, request: &MeasureRequest, facts: &Facts) -> Result<()> {
    let plan = plan::measure(request, facts);
    if args.dry_run {
        return context.print_or_finish(&plan, true).await;
    }
    let report = context.carry_out(&plan).await?;
    let measured = measured(&report).ok_or_else(no_result)?;
    context.print_report(&report, &ui::in_terms_of(args.as_tool, measured))?;
    // The result as JSON has the verdicts.
    check_trust(measured, request.strictness).map_err(|error| error.reported_if(context.is_json()))
}

/// Returns the error for a measurement that is not to be believed.
fn check_trust(measured: &Measurement, strictness: Strictness) -> Result<()> {
    let least = match strictness {
        Strictness::Reports => return Ok(()),
        Strictness::RefusesBad => Trust::Untrusted,
        Strictness::RefusesDoubt => Trust::Doubtful,
    };
    if measured.trust < least {
        return Ok(());
    }
    let mut error = Error::new(
        Kind::Untrusted,
        "the figures of this measurement are not to be used",
    );
    for verdict in measured.verdicts.iter().filter(|verdict| verdict.trust >= least) {
        error = error.cause(format!("{}: {}", verdict.about, verdict.text));
    }
    Err(error)
}

fn measured(report: &Report) -> Option<&Measurement> {
    report.steps.iter().find_map(|step| match &step.outcome {
        Outcome::Measured(measurement) => Some(&**measurement),
        _ => None,
    })
}

fn request_of(
    (subject, args): (&SubjectArgs, &TrafficArgs),
    endpoint: MeasuredEndpoint,
    api: Api,
    bench: &Bench,
) -> MeasureRequest {
    let TrafficArgs {
        request_rate,
        arrivals,
        max_concurrency,
        num_prompts,
        duration,
        max_duration,
        timeout,
        seed,
        stop_at_end,
        no_warm_up,
        ramp,
        turns,
        ..
    } = *args;
    let (closed, _) = plan::load_of_profile(bench);
    let lengths = lengths_of(bench, args);
    let load = match request_rate {
        _ if args.trace.is_some() => Load::Replay {
            speed: args.speed,
            most_in_flight: max_concurrency,
        },
        None => closed,
        Some(per_second) => Load::Rate {
            per_second,
            arrivals,
            most_in_flight: max_concurrency,
        },
    };
    let requests = match load {
        // The whole trace.
        Load::Replay { .. } => u32::MAX,
        _ => plan::requests_for(&load, bench.num_prompts.get(), turns),
    };
    MeasureRequest {
        endpoint,
        vocabulary: subject.vocabulary,
        api,
        load,
        lengths: match (&args.data, &args.trace) {
            (None, None) => lengths,
            // Where the data say nothing, answers have the length of the option or the profile.
            (Some(_), _) => Lengths {
                input: 0,
                ratio: 1.0,
                ..lengths
            },
            (None, Some(_)) => Lengths {
                input: 0,
                output: 0,
                ratio: 1.0,
                shared_prefix: 0,
                turns: Turns::SINGLE,
            },
        },
        extent: Extent {
            requests: num_prompts.unwrap_or(requests),
            least_s: duration.unwrap_or(plan::LEAST_S),
            most_s: max_duration,
            stall_s: timeout.unwrap_or(plan::STALL_S),
            warm_up: !no_warm_up,
            ramp_s: ramp,
        },
        seed,
        ignores_end: !stop_at_end,
        source: source_of(args, api),
        strictness: Strictness::RefusesBad,
        records: None,
    }
}

/// Returns the lengths of the requests, by the profile and the user's words.
fn lengths_of(bench: &Bench, args: &TrafficArgs) -> Lengths {
    Lengths {
        shared_prefix: args.shared_prefix,
        turns: Turns {
            count: args.turns,
            // A single turn has nothing behind it.
            think_s: if args.turns > 1 { args.think_time } else { 0.0 },
        },
        ..plan::load_of_profile(bench).1
    }
}

/// Returns true if the lengths of the requests are those of options and the profile, and not of a file.
const fn has_own_lengths(args: &TrafficArgs) -> bool {
    args.data.is_none() && args.trace.is_none()
}

/// Returns the source of the prompts that the user asks for.
fn source_of(args: &TrafficArgs, api: Api) -> PromptSource {
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    PromptSource {
        form: args.prompts.unwrap_or_else(|| PromptForm::of(api)),
        tokenizer: args.tokenizer.as_deref().map(path),
        file: match (&args.data, &args.trace) {
            (Some(data), _) => Some(PromptFile::Data {
                path: path(data),
                repeats: args.repeat_data,
            }),
            (None, Some(trace)) => Some(PromptFile::Trace { path: path(trace) }),
            (None, None) => None,
        },
    }
}

/// Returns the load of a profile with the user's changes.
fn with_arguments(bench: &Bench, args: &TrafficArgs) -> Bench {
    let or = |asked: Option<u32>, own| asked.and_then(Count::new).unwrap_or(own);
    Bench {
        input_len: or(args.input_len, bench.input_len),
        output_len: or(args.output_len, bench.output_len),
        max_concurrency: or(args.max_concurrency, bench.max_concurrency),
        num_prompts: or(args.num_prompts, bench.num_prompts),
        range_ratio: args.range_ratio.unwrap_or(bench.range_ratio),
        ..bench.clone()
    }
}

fn client_request(found: Found, stack: Stack, bench: Bench, facts: &Facts) -> BenchRequest {
    BenchRequest {
        env: client_env(&found, &facts.paths.hub_cache),
        model: found.status.model,
        server: found.server,
        python: found.python,
        port: found.port,
        base_url: found.status.base_url,
        stack,
        bench,
    }
}

/// Refuses requests that are longer than the context of the server: it would refuse them too, after the client has started.
fn check_lengths(lengths: &Lengths, most: u64, server: &str) -> Result<()> {
    let total = lengths.total();
    if total <= most {
        return Ok(());
    }
    let Lengths {
        input, output, turns, ..
    } = lengths;
    let (requests, hint) = if turns.is_single() {
        (
            format!("requests of {input} and {output} tokens"),
            "pass a smaller --input-len or --output-len",
        )
    } else {
        (
            format!(
                "conversations of {} turns of {input} and {output} tokens",
                turns.count
            ),
            "pass a smaller --turns, --input-len or --output-len",
        )
    };
    Err(Error::new(
        Kind::Usage,
        format!("{requests} are longer than the context of {server}"),
    )
    .cause(format!(
        "its context has {most} tokens, for prompt and answer together; the longest request has {total}"
    ))
    .hint(hint))
}

/// Returns a server that takes requests, and uses its environment from here on.
pub(in crate::commands) async fn serving_server(context: &Context, name: Option<&str>) -> Result<Found> {
    let found = context
        .effects
        .find_server(name, &probe(context)?, ServerState::SERVING)
        .await?;
    context.use_environment_of(&found).await?;
    Ok(found)
}

/// Returns the profile and stack that a server was started from.
fn profile_of_server(
    context: &Context,
    found: &Found,
    file: Option<&std::path::Path>,
) -> Result<(Profile, Stack)> {
    let catalog = context.catalog(file)?;
    let name = &found.status.profile;
    if catalog.source(name).is_none() {
        return Err(Error::new(
            Kind::Usage,
            format!("cannot find the profile `{name}` of {}", found.status.name),
        )
        .cause("it is neither built in nor in the configuration directory")
        .hint("name its file: --profile-file FILE"));
    }
    let selection = catalog.resolve(name, Some(&found.status.stack))?;
    Ok((selection.profile, selection.stack))
}

/// Returns the environment of a client beside a server.
pub(in crate::commands) fn client_env(found: &Found, hub_cache: &str) -> BTreeMap<String, String> {
    let root = match found.server {
        plan::Server::Docker { .. } => plan::MODELS,
        plan::Server::Process { .. } | plan::Server::Slurm { .. } => hub_cache,
    };
    let mut env = found.variables.clone();
    env.extend(plan::offline_env(root));
    env
}
