//! `dsr1 upgrade`: replaces a server by another plan, and goes back to the old one if the new one fails or is slower.

use std::time::{Duration, Instant};

use super::bench::measure_profile;
use super::context::Context;
use super::restart::{stop_all, tell_requests};
use super::status::probe;
use super::up_request::make_request;
use crate::cli::{PortChoice, Runtime, UpArgs, UpgradeArgs};
use crate::effects::{Found, ServerTask};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::measure::compare::{Side, Tolerances, judge_replacement};
use crate::plan::upgrade::{Parts, leave_out_server, part, whole};
use crate::plan::{self, GpuChoice, Plan};
use crate::profile::Bench;
use crate::report::{FigureVerdict, GateVerdict, Gated, ServerState, Trust, Upgraded};
use crate::{ui, units};

/// Runs the command.
pub(super) async fn run(context: &Context, args: UpgradeArgs) -> Result<()> {
    let name = args.up.server.name.as_deref().map(plan::container_name);
    let effects = &context.effects;
    let probe = probe(context)?;
    let old = effects
        .find_server(name.as_deref(), &probe, ServerState::SERVING)
        .await?;
    let old_plan = effects.kept_plan(&old.status.name)?;
    let (parts, to, bench) = if args.back {
        let before = effects.plan_before(&old.status.name)?;
        let to = described_plan(&before);
        (part(before), to, None)
    } else {
        let Some(found) = new_parts(context, &args.up, &old).await? else {
            let text = format!("{} already runs with this plan", old.status.name);
            context.display().event(&Event::Note { text });
            return Ok(());
        };
        found
    };
    let server_args = &args.up.server.plan;
    if server_args.dry_run || server_args.facts.is_some() {
        let plan = whole(&parts, &old.server, args.drain);
        return context.print_or_finish(&plan, true).await;
    }
    let bench = bench.filter(|_| !args.no_bench);
    if let Some(bench) = &bench {
        plan::api_of(bench).map_err(|error| error.hint("--no-bench upgrades without a measurement"))?;
    }
    let _alone = effects.lock_server(&old.status.name, ServerTask::Restart)?;
    context.carry_out(&parts.beside).await?;
    let before = match &bench {
        Some(bench) => Some(Box::pin(measure(context, &old.status.name, bench, args.repeats)).await?),
        None => None,
    };
    let until_now = effects.keep_plan_before(&old.status.name)?;
    let upgrade = Upgrade {
        context,
        old: &old,
        old_plan: &old_plan,
        args: &args,
        bench: bench.zip(before),
        until_now,
    };
    let done = Upgraded {
        schema: Upgraded::SCHEMA.to_owned(),
        server: old.status.name.clone(),
        from: described(&old),
        to,
        kept: true,
        down_s: 0.0,
        compared: None,
    };
    Box::pin(upgrade.replace(&parts.in_place, done)).await
}

/// Returns both parts of the new plan, its profile and stack in words, and the measurement that it is judged by; `None` if the old
/// server runs from the same plan.
async fn new_parts(
    context: &Context,
    up: &UpArgs,
    old: &Found,
) -> Result<Option<(Parts, String, Option<Bench>)>> {
    let mut up = up.clone();
    up.keep = true;
    up.server.name = Some(old.status.name.clone());
    up.server.port = PortChoice::Fixed(old.port);
    if matches!(up.server.runtime.runtime, Runtime::Auto) {
        up.server.runtime.runtime = if old.status.runtime == "docker" {
            Runtime::Docker
        } else {
            Runtime::Process
        };
    }
    // The GPUs of the old server are free when the new one starts.
    let is_open = matches!(up.server.gpus, None | Some(GpuChoice::Free));
    if is_open && !old.gpus.is_empty() {
        up.server.gpus = Some(GpuChoice::Indices(old.gpus.clone()));
    }
    let (request, mut facts, notes) = make_request(context, &up).await?;
    // A server that runs from the same plan is not started.
    if plan::labels_of(&plan::up(&request, &facts)?).is_none() {
        return Ok(None);
    }
    leave_out_server(&mut facts, &old.status.name, old.port);
    let mut new = plan::up(&request, &facts)?;
    new.notes.splice(0..0, notes);
    let serve = &request.serve;
    let to = format!("{} on {}", serve.profile.name, serve.stack.name);
    Ok(Some((part(new), to, Some(serve.profile.bench.clone()))))
}

/// Returns the profile and the stack of a server in words.
fn described(server: &Found) -> String {
    format!("{} on {}", server.status.profile, server.status.stack)
}

/// Returns the profile and the stack of a plan in words.
fn described_plan(plan: &Plan) -> String {
    let labels = plan::labels_of(plan);
    let label = |key: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .map_or("?", String::as_str)
    };
    format!("{} on {}", label(plan::LABEL_PROFILE), label(plan::LABEL_STACK))
}

/// Measures a server that runs, as often as asked for. A run that must not be used ends it.
async fn measure(context: &Context, name: &str, bench: &Bench, repeats: u32) -> Result<Side> {
    let mut side = Side::default();
    for _ in 0..repeats {
        let run = Box::pin(measure_profile(context, name, bench)).await?;
        side.files.push(run.saved_to.clone().unwrap_or_default());
        side.runs.push(run);
        if side.trust() == Trust::Untrusted {
            break;
        }
    }
    Ok(side)
}

/// An upgrade under way.
struct Upgrade<'a> {
    context: &'a Context,
    old: &'a Found,
    old_plan: &'a Plan,
    args: &'a UpgradeArgs,
    /// The load by which the new server is judged, and the runs of the old one.
    bench: Option<(Bench, Side)>,
    /// The plan to which `--back` went until now.
    until_now: Option<Vec<u8>>,
}

impl Upgrade<'_> {
    /// Stops the old server and starts the new one in its place; goes back if that fails, or the new one is slower.
    async fn replace(&self, in_place: &Plan, mut done: Upgraded) -> Result<()> {
        tell_requests(self.context, &self.old.status, self.args.drain);
        let down = Instant::now();
        let started = match self.stop(self.args.drain).await {
            Ok(()) => self.context.carry_out(in_place).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            return self.go_back(error, done, down).await;
        }
        done.down_s = down.elapsed().as_secs_f64();
        if let Some((bench, before)) = &self.bench {
            match Box::pin(self.compare(bench, before)).await {
                Ok(compared) => done.compared = Some(compared),
                Err(error) => return Box::pin(self.go_back(error, done, Instant::now())).await,
            }
        }
        if let Some(error) = done.compared.as_ref().and_then(|gated| self.is_slower(gated)) {
            return Box::pin(self.go_back(error, done, Instant::now())).await;
        }
        self.context.print(&done, ui::upgraded)
    }

    /// Measures the new server, and compares it with the old one. Runs of the old one that must not be used decide nothing, whatever
    /// the new one does.
    async fn compare(&self, bench: &Bench, before: &Side) -> Result<Gated> {
        let name = &self.old.status.name;
        let after = if before.trust() == Trust::Untrusted {
            Side::default()
        } else {
            measure(self.context, name, bench, self.args.repeats).await?
        };
        let tolerances = Tolerances {
            percent: f64::from(self.args.tolerance),
            ttft_percent: f64::from(self.args.ttft_tolerance),
        };
        let compared = judge_replacement(before, &after, tolerances);
        if matches!(compared.verdict, GateVerdict::Untrusted | GateVerdict::Refused) {
            self.context.display().event(&Event::Warning {
                text: format!("the measurements do not decide whether {name} is slower: it stays"),
                hint: "dsr1 bench measures it; dsr1 upgrade --back goes back".to_owned(),
            });
        }
        Ok(compared)
    }

    /// Returns the error of a server that is slower than it may be, beyond the noise of the measurements.
    fn is_slower(&self, compared: &Gated) -> Option<Error> {
        if compared.verdict != GateVerdict::Regression {
            return None;
        }
        let of = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        let worse = compared
            .figures
            .iter()
            .filter(|figure| figure.verdict == FigureVerdict::Regression);
        let mut causes: Vec<String> = worse
            .map(|figure| {
                format!(
                    "{}: {} before, {} after; worse by more than the noise and {} %",
                    figure.ratio.metric,
                    of(figure.ratio.a),
                    of(figure.ratio.b),
                    figure.tolerance_percent
                )
            })
            .collect();
        if causes.is_empty() {
            let reasons = compared.untrusted.join("; ");
            causes.push(format!("more requests fail than before: {reasons}"));
        }
        let text = format!("{} is slower with the new plan", self.old.status.name);
        let error = Error::new(Kind::Gate, text);
        Some(causes.into_iter().fold(error, Error::cause))
    }

    /// Starts the old server again, and returns the error for which that was necessary. `down` is the time since which nobody
    /// answers; the time in `done` comes before that.
    async fn go_back(&self, error: Error, mut done: Upgraded, down: Instant) -> Result<()> {
        let name = &self.old.status.name;
        let text = format!("going back to {}: {}", done.from, error.innermost());
        self.context.display().event(&Event::Note { text });
        let back = match self.stop(0).await {
            Ok(()) => self.context.carry_out(self.old_plan).await.map(|_| ()),
            Err(error) => Err(error),
        };
        done.kept = false;
        done.down_s += down.elapsed().as_secs_f64();
        let was_down = units::duration(Duration::from_secs_f64(done.down_s));
        match back {
            Ok(()) => {
                self.context
                    .effects
                    .restore_plan_before(name, self.until_now.as_deref());
                if self.context.is_json() {
                    self.context.print(&done, ui::upgraded)?;
                }
                Err(error
                    .hint(format!(
                        "{name} runs {} again; it was down for {was_down}",
                        done.from
                    ))
                    .reported_if(self.context.is_json()))
            }
            Err(second) => Err(error
                .also(format!(
                    "{name} does not start with {} again: {}",
                    done.from,
                    second.innermost()
                ))
                .hint(format!(
                    "{name} is down: dsr1 diagnose {name} shows why, dsr1 restart {name} starts it"
                ))),
        }
    }

    /// Stops what runs in the place of the server, and waits until nothing of it is left.
    async fn stop(&self, drain_s: u32) -> Result<()> {
        stop_all(self.context, &self.old.server, self.old.port, drain_s).await
    }
}
