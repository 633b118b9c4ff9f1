//! `dsr1 watch`: looks after a server, and starts it again when that helps.

use std::time::{Duration, Instant};

use super::context::Context;
use super::events::print;
use super::restart::{await_release, find_plan};
use super::status::probe;
use crate::cli::WatchArgs;
use crate::diagnose::Diagnosis;
use crate::effects::{ServerTask, Watched, host, signal};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::plan::{self, DRAIN_S, Plan, Server};
use crate::report::{Happening, ServerState};
use crate::supervise::{Decision, Failure, Policy, Steady, Supervisor};
use crate::units;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Time for which a server must hang before it is started again: a debugger stops it for some seconds.
const HANG: Duration = Duration::from_secs(20);
/// Most characters of an exception in an event; PyTorch's are followed by advice that does not know the cause.
const LONGEST: usize = 100;

/// Runs the command.
pub(super) async fn run(context: &Context, args: WatchArgs) -> Result<()> {
    let (name, _) = find_plan(context, args.which.server.as_deref()).await?;
    let plan = context.effects.kept_plan(&name)?;
    let watched = context.effects.watched(&plan, &probe(context)?)?;
    let server = watched.server.clone();
    let _alone = context.effects.lock_server(&name, ServerTask::Watch)?;
    let policy = Policy {
        restarts: if args.no_restart { 0 } else { args.max_restarts },
        less_memory: args.less_memory,
    };
    let mut watch = Watch {
        context,
        name,
        watched,
        plan,
        supervisor: Supervisor::new(policy),
        begun: Instant::now(),
        gpus: host::read_gpus(context.env()).await.len(),
    };
    let name = {
        let mut work = Box::pin(watch.run());
        tokio::select! {
            done = &mut work => return done,
            name = signal::wait() => name?,
        }
    };
    leave(context, &server, args.stop, name).await
}

/// Ends the command when the user or a service manager asks: the server goes on, or is stopped.
async fn leave(context: &Context, server: &Server, stop: bool, signal: &str) -> Result<()> {
    let name = server.name();
    let error = Error::new(Kind::Interrupted, format!("interrupted by {signal}"));
    if stop {
        context.effects.stop(server, DRAIN_S).await?;
    }
    let text = if stop {
        format!("{name} is stopped")
    } else if matches!(context.effects.exists(server).await, Ok(true)) {
        format!("{name} goes on running, and nobody watches it now")
    } else {
        format!("{name} does not run, and nobody watches it now; dsr1 restart {name} starts it")
    };
    context.display().event(&Event::Note { text });
    Err(error.reported_if(true))
}

/// A server that is watched.
struct Watch<'a> {
    context: &'a Context,
    name: String,
    watched: Watched,
    /// The plan of its next start.
    plan: Plan,
    supervisor: Supervisor,
    begun: Instant,
    /// Number of GPUs at the begin.
    gpus: usize,
}

/// The result of a decision that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    /// The server is ready again.
    Started,
    /// The start failed; its log says why.
    Failed,
    /// A command of dsr1 stopped the server meanwhile.
    Stopped,
}

impl Watch<'_> {
    /// Watches until the server is stopped, or is not started again.
    async fn run(&mut self) -> Result<()> {
        let first = self.look_at_server().await;
        let mut steady = Steady::new(first.0);
        self.tell_begin(&first);
        let mut hung_since = None;
        let mut change = Some(first.0).filter(|state| !state.is_serving());
        let mut cause = first.1;
        loop {
            let mut goes_on = None;
            match change.take() {
                Some(ServerState::Crashed) => {
                    let found = self.diagnose_crash().await?;
                    goes_on = Some(self.start_again(Some(found)).await?);
                }
                Some(ServerState::Stopped) => goes_on = Some(self.follow_restart().await),
                Some(ServerState::Hung) => {
                    self.tell_event(Happening::Hung, cause.as_deref().unwrap_or_default())?;
                    hung_since = Some(Instant::now());
                }
                Some(state) if hung_since.is_some() => {
                    self.tell_event(Happening::Recovered, state.word())?;
                    hung_since = None;
                }
                _ => {}
            }
            let hangs_long = hung_since.is_some_and(|since: Instant| since.elapsed() >= HANG);
            if goes_on.is_none() && hangs_long && self.supervisor.may_restart() {
                goes_on = Some(self.start_again(None).await?);
            }
            match goes_on {
                Some(false) => return Ok(()),
                Some(true) => {
                    steady = Steady::new(ServerState::Ready);
                    hung_since = None;
                }
                None => {}
            }
            tokio::time::sleep(EVERY).await;
            let (state, why) = self.look_at_server().await;
            cause = why;
            change = steady.see(state);
        }
    }

    /// Looks at the server. A daemon that does not answer shows nothing new.
    async fn look_at_server(&self) -> (ServerState, Option<String>) {
        loop {
            match self.context.effects.state_of(&self.watched).await {
                Ok(seen) => return seen,
                Err(error) => {
                    let text = format!("cannot look at {}: {}", self.name, error.innermost());
                    self.context.display().event(&Event::Note { text });
                    tokio::time::sleep(EVERY * 5).await;
                }
            }
        }
    }

    fn tell_begin(&self, (state, cause): &(ServerState, Option<String>)) {
        let cause = cause
            .as_ref()
            .map_or_else(String::new, |cause| format!(": {cause}"));
        let text = format!("watching {}, which is {}{cause}", self.name, state.word());
        self.context.display().event(&Event::Note { text });
    }

    /// Prints an event, and adds it to the history of the server.
    fn tell_event(&self, what: Happening, text: &str) -> Result<()> {
        self.context.effects.note_event(&self.name, what, text);
        self.print_last()
    }

    fn print_last(&self) -> Result<()> {
        let events = self.context.effects.events(Some(&self.name));
        print(self.context, events.last().map_or(&[], std::slice::from_ref))
    }

    /// Waits while another command starts the server again; returns false if none does, and the server was stopped.
    async fn follow_restart(&mut self) -> bool {
        let effects = &self.context.effects;
        if !effects.is_done_elsewhere(&self.name, ServerTask::Restart) {
            let text = format!("{} was stopped", self.name);
            self.context.display().event(&Event::Note { text });
            return false;
        }
        let text = format!("dsr1 restart starts {} again", self.name);
        self.context.display().event(&Event::Note { text });
        while effects.is_done_elsewhere(&self.name, ServerTask::Restart) {
            tokio::time::sleep(EVERY).await;
        }
        if let Ok(plan) = effects.kept_plan(&self.name) {
            self.plan = plan;
        }
        true
    }

    /// Returns the diagnosis of a server that ended, and tells it.
    async fn diagnose_crash(&self) -> Result<Diagnosis> {
        let found = self.context.effects.diagnose_end(&self.watched.server).await;
        self.tell_event(Happening::Crashed, &failure_line(&found))?;
        Ok(found)
    }

    /// Starts a server again that ended, or hangs if there is no diagnosis, as often as that is allowed; returns false if a
    /// command stopped it meanwhile.
    async fn start_again(&mut self, mut found: Option<Diagnosis>) -> Result<bool> {
        loop {
            self.refuse_bad_gpu().await?;
            let (failure, cause) = match &found {
                Some(found) => (Failure::Ended(found), failure_line(found)),
                None => (Failure::Hung, "it hangs".to_owned()),
            };
            let decided = self.supervisor.decide(failure, self.begun.elapsed());
            match self.carry_out(decided, &cause).await? {
                Carried::Started => return Ok(true),
                Carried::Stopped => return Ok(self.follow_restart().await),
                Carried::Failed => {}
            }
            let mut next = self.diagnose_crash().await?;
            next.was_ready = false;
            found = Some(next);
        }
    }

    /// Carries out a decision.
    async fn carry_out(&mut self, decided: Decision, cause: &str) -> Result<Carried> {
        let (after, fraction, number) = match decided {
            Decision::Leave(why) => return Err(self.give_up(&why, cause)?),
            Decision::Restart {
                after,
                fraction,
                number,
            } => (after, fraction, number),
        };
        let with = fraction.map_or_else(String::new, |fraction| {
            format!(", with --mem-fraction-static {fraction}")
        });
        let wait = units::duration(after);
        self.tell_event(
            Happening::Restarting,
            &format!("restart {number} in {wait}{with} (cause: {cause})"),
        )?;
        tokio::time::sleep(after).await;
        if let Some(fraction) = fraction {
            self.plan = plan::with_fraction(self.plan.clone(), fraction);
        }
        let Ok(_alone) = self.context.effects.lock_server(&self.name, ServerTask::Restart) else {
            return Ok(Carried::Stopped);
        };
        if self.context.effects.was_asked_to_stop(&self.name) {
            return Ok(Carried::Stopped);
        }
        let server = &self.watched.server;
        let held = self.context.effects.holdings(server, self.watched.port).await;
        self.context.effects.end_rest(server).await?;
        await_release(self.context, server, &held).await?;
        match Box::pin(self.context.carry_out_all(&self.plan)).await {
            Ok(_) => {
                self.print_last()?;
                let text = format!(
                    "dsr1 logs {} --previous prints the log of the start that failed",
                    self.name
                );
                self.context.display().event(&Event::Note { text });
                Ok(Carried::Started)
            }
            Err(error)
                if error.kind() == Kind::Server && self.context.effects.was_asked_to_stop(&self.name) =>
            {
                Ok(Carried::Stopped)
            }
            Err(error) if error.kind() == Kind::Server => {
                self.context.display().event(&Event::Note {
                    text: format!("the restart failed: {}", error.innermost()),
                });
                Ok(Carried::Failed)
            }
            Err(error) => {
                self.tell_event(Happening::GaveUp, &error.innermost())?;
                Err(error)
            }
        }
    }

    /// Leaves the server as it is; returns the error that says so.
    fn give_up(&self, why: &str, cause: &str) -> Result<Error> {
        self.tell_event(Happening::GaveUp, why)?;
        let name = &self.name;
        Ok(Error::new(Kind::Server, format!("{name} is not started again"))
            .cause(cause)
            .cause(why)
            .hint(format!(
                "dsr1 diagnose {name} shows the cause and what to do; dsr1 restart {name} starts it again"
            )))
    }

    /// Leaves the server as it is if a GPU is gone, or its driver asks for an action of a person.
    async fn refuse_bad_gpu(&self) -> Result<()> {
        if self.gpus == 0 {
            return Ok(());
        }
        let gpus = host::read_gpus(self.context.env()).await;
        let asks = gpus.iter().find_map(|gpu| {
            let action = gpu.health.as_ref()?.recovery_action.as_ref()?;
            (action != "None").then(|| format!("the driver asks for `{action}` of GPU {}", gpu.index))
        });
        let missing = (gpus.len() < self.gpus).then(|| {
            format!(
                "nvidia-smi lists {} of the {} GPUs that were there",
                gpus.len(),
                self.gpus
            )
        });
        match asks.or(missing) {
            Some(why) => Err(self.give_up(&why, "a GPU of this host has a fault")?),
            None => Ok(()),
        }
    }
}

/// Returns a failure in a line: its title, and the exception if there is one.
fn failure_line(found: &Diagnosis) -> String {
    match (found.title.as_str(), &found.exception) {
        ("", _) => "its log shows no cause".to_owned(),
        (title, Some(exception)) => {
            let line: String = exception
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(LONGEST)
                .collect();
            format!("{title} ({line})")
        }
        (title, None) => title.to_owned(),
    }
}
