//! `dsr1 top`: the servers of this host on a live screen.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::context::Context;
use super::status::probe;
use crate::cli::TopArgs;
use crate::effects::host;
use crate::error::{Error, Kind, Result};
use crate::facts::Gpu;
use crate::report::ServerState;
use crate::top::{Action, Look, Seen, Top};
use crate::ui::{TopInput, TopScreen};

/// Time between two looks at the GPUs: `nvidia-smi` takes a tenth of a second and more on each.
const GPUS: Duration = Duration::from_secs(2);
/// Longest wait for a key, after which what arrived is drawn.
const TICK: Duration = Duration::from_millis(100);
/// Waits after which the screen is drawn though nothing arrived: its age changes.
const TICKS: u32 = 10;
/// Longest wait for the screen to be left when a signal ends the command: a terminal may take no output.
const LEAVE: Duration = Duration::from_secs(1);
/// Most events that are shown.
const MOST_EVENTS: usize = 50;

/// An answer of this host.
enum Answer {
    Look(Look),
    Gpus(Vec<Gpu>),
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: TopArgs) -> Result<()> {
    refuse_without_terminal(context)?;
    let probe = probe(context)?;
    let name = match &args.server {
        Some(name) => {
            let found = context.effects.find_server(Some(name), &probe, ServerState::ANY);
            Some(context.until_interrupted(found).await?.status.name)
        }
        None => None,
    };
    let every = Duration::from_secs(u64::from(args.interval));
    let begun = Instant::now();
    let (answers, arrived) = channel();
    let screen = TopScreen::new(!context.env().no_color)?;
    // On a thread of its own, so that keys are answered while a look takes its time.
    let mut shown = tokio::task::spawn_blocking(move || show_answers(screen, every, begun, &arrived));
    let looking = Box::pin(async {
        tokio::join!(
            look_at_servers(context, name.as_deref(), &probe, (every, begun), &answers),
            look_at_gpus(context, &answers)
        )
    });
    let ended = context.until_left(async {
        tokio::select! {
            done = &mut shown => Ok(done),
            _ = looking => Err(Error::new(Kind::Internal, "the looks at the servers ended")),
        }
    });
    match Box::pin(ended).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(Error::new(Kind::Internal, "the screen failed").cause(error.to_string())),
        Err(error) => {
            // The screen is left when nothing can arrive any more.
            drop(answers);
            let _ = tokio::time::timeout(LEAVE, shown).await;
            Err(error)
        }
    }
}

fn refuse_without_terminal(context: &Context) -> Result<()> {
    let why = if context.is_json() {
        "dsr1 top draws a screen, and prints no JSON"
    } else if !TopScreen::is_possible() {
        "dsr1 top draws a screen, and standard output is not a terminal"
    } else if context.env().dumb_terminal {
        "dsr1 top draws a screen, which a terminal with TERM=dumb cannot show"
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Usage, why)
        .hint("dsr1 status -w prints the servers every two seconds")
        .hint("dsr1 status --format json prints them as JSON"))
}

/// Looks at the servers again and again; nobody hears of one that is looked at too late.
async fn look_at_servers(
    context: &Context,
    name: Option<&str>,
    probe: &impl Fn(&str) -> String,
    (every, begun): (Duration, Instant),
    answers: &Sender<Answer>,
) {
    loop {
        let (found, trouble) = context.effects.servers(probe).await;
        let is_wanted = |of: &str| name.is_none_or(|name| name == of);
        let servers = found.into_iter().filter(|found| is_wanted(&found.status.name));
        let mut events = context.effects.events(name);
        let look = Look {
            servers: servers
                .map(|found| Seen {
                    status: found.status,
                    activity: found
                        .activity
                        .map(|(at, activity)| (at.saturating_duration_since(begun), activity)),
                })
                .collect(),
            sought: name.map(str::to_owned),
            events: events.split_off(events.len().saturating_sub(MOST_EVENTS)),
            trouble: trouble.map(|error| error.innermost()),
        };
        // Without a screen the command is about to end.
        let _ = answers.send(Answer::Look(look));
        tokio::time::sleep(every).await;
    }
}

/// Looks at the GPUs again and again.
async fn look_at_gpus(context: &Context, answers: &Sender<Answer>) {
    loop {
        let gpus = host::read_gpus(context.env()).await;
        let _ = answers.send(Answer::Gpus(gpus));
        tokio::time::sleep(GPUS).await;
    }
}

/// Draws what arrives until a key ends it, or nothing can arrive any more.
fn show_answers(
    mut screen: TopScreen,
    every: Duration,
    begun: Instant,
    arrived: &Receiver<Answer>,
) -> Result<()> {
    let mut top = Top::new(every);
    let (mut is_drawn, mut ticks) = (false, 0);
    loop {
        if !is_drawn || ticks >= TICKS {
            screen.draw(&top.screen(begun.elapsed()))?;
            (is_drawn, ticks) = (true, 0);
        }
        ticks += 1;
        let input = screen.next_input(TICK)?;
        is_drawn &= input.is_none();
        if let Some(TopInput::Key(key)) = input
            && let Some(action) = Action::of(key)
            && !top.do_action(action)
        {
            return Ok(());
        }
        loop {
            match arrived.try_recv() {
                Ok(Answer::Look(look)) => top.add_look(begun.elapsed(), look),
                Ok(Answer::Gpus(gpus)) => top.set_gpus(gpus),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            is_drawn = false;
        }
    }
}
