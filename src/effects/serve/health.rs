//! The health of a server that was ready: whether it works, or hangs. A readiness probe alone does not tell: it goes on answering
//! when a scheduler does nothing any more (0.5.23), and times out under long prefills.

use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::diagnose;
use crate::effects::http::Http;
use crate::effects::process::server::Signs;
use crate::effects::serve::runtime::Runtime;
use crate::effects::serve::start::last_lines;
use crate::error::{Error, Kind, Result};
use crate::event::Stage;
use crate::report::{Load, ServerState};
use crate::sglang::{self, Activity, log};

/// Time without a batch, while requests run, from which a server hangs. A batch takes a second or two, and the metrics of an idle
/// server may state its last requests for 30 seconds (`scheduler.py`, 0.4.10.post2 to 0.5.23).
const SILENCE_S: i64 = 40;
/// Time between two looks at a server that works for a client.
const LOOK: Duration = Duration::from_secs(5);
/// Longest wait for the metrics and the signs of life, in a look that a user waits for.
pub(in crate::effects) const BRIEF: Duration = Duration::from_millis(450);
/// The same, in a look that decides whether a server lives: under long prefills the engine's HTTP server is slow.
pub(in crate::effects) const PATIENT: Duration = Duration::from_secs(5);
/// Most bytes of the metrics.
const MOST_METRICS: u64 = 8 << 20;

/// The state of a server that runs, as one look shows it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::effects) struct Look {
    /// Its state.
    pub(in crate::effects) state: ServerState,
    /// The reason why it is held to hang, with the remedy.
    pub(in crate::effects) cause: Option<String>,
    /// The last stage of its start.
    pub(in crate::effects) stage: Option<String>,
    /// Its load, if it has metrics.
    pub(in crate::effects) load: Option<Load>,
    /// Its counters and latencies, if it has metrics, and the time of their answer.
    pub(in crate::effects) activity: Option<(Instant, Activity)>,
}

impl Look {
    const fn of(state: ServerState, load: Option<Load>) -> Self {
        Self {
            state,
            cause: None,
            stage: None,
            load,
            activity: None,
        }
    }

    fn hung(why: &str, remedy: &str, load: Option<Load>) -> Self {
        Self {
            cause: Some(format!("{why}; {remedy}")),
            ..Self::of(ServerState::Hung, load)
        }
    }
}

/// A server to look at, and what is known of it.
pub(in crate::effects) struct Subject<'a> {
    /// The server.
    pub(in crate::effects) runtime: &'a Runtime<'a>,
    /// `http://127.0.0.1:PORT`.
    pub(in crate::effects) base_url: &'a str,
    /// Path of its readiness probe.
    pub(in crate::effects) probe: &'a str,
    /// True if it was ready before, or a client waits for an answer.
    pub(in crate::effects) was_ready: bool,
}

/// Looks at a server whose process runs, for about twice `patience` at most.
///
/// The metrics decide where there are some: requests that run without a batch show a hang, and no probe is sent, which would cost
/// the engine a request. The probe is asked only while nothing shows that the server was ready.
pub(in crate::effects) async fn look_at_server(
    subject: &Subject<'_>,
    http: &Http,
    patience: Duration,
) -> Look {
    let runtime = subject.runtime;
    let signs = tokio::time::timeout(patience, runtime.signs_of_processes());
    let (signs, lines) = tokio::join!(signs, last_lines(runtime));
    let signs = signs.ok().flatten().unwrap_or_default();
    // A server that is stopped or dies does not answer, so nobody waits for its metrics.
    if let Some(found) = shown_by_log(&signs, of_last_start(&lines)) {
        return found;
    }
    let (load, activity) = read_metrics(http, subject.base_url, patience).await.unzip();
    Look {
        activity,
        ..judge_server(subject, http, patience, load, (&signs, lines)).await
    }
}

/// Returns the state of a server that neither is stopped nor dies, without its counters.
async fn judge_server(
    subject: &Subject<'_>,
    http: &Http,
    patience: Duration,
    load: Option<Load>,
    (signs, mut lines): (&Signs, Vec<String>),
) -> Look {
    let Subject {
        runtime, base_url, ..
    } = *subject;
    if of_last_start(&lines).iter().any(|line| log::is_draining(line)) {
        return Look::of(ServerState::Draining, load);
    }
    if let Some(load) = load.filter(|load| load.unfinished() > 0) {
        // Read again: the request for the metrics leaves a line with the time.
        lines = last_lines(runtime).await;
        let silent = silence(lines.iter().map(String::as_str)).filter(|silent| *silent >= SILENCE_S);
        return match silent {
            Some(silent) if !signs.compiles => Look::hung(
                &format!(
                    "{} requests run, and no batch was computed for {silent} s",
                    load.unfinished()
                ),
                &remedy(runtime.name()),
                Some(load),
            ),
            _ => Look::of(ServerState::Busy, Some(load)),
        };
    }
    let is_ready =
        load.is_some_and(|load| load.finished > 0) || subject.was_ready || has_served(of_last_start(&lines));
    if let Some(load) = load.filter(|_| is_ready) {
        return Look::of(ServerState::Idle, Some(load));
    }
    // A probe may generate, which takes a second or more, and half a minute under long prefills. The list of models needs only
    // the engine's HTTP server.
    let path = if is_ready { "/v1/models" } else { subject.probe };
    match http.get_status(&format!("{base_url}{path}"), patience).await {
        Ok(_) if is_ready => Look::of(ServerState::Ready, None),
        Err(_) if is_ready && patience < PATIENT => Look::of(ServerState::Ready, None),
        Err(_) if is_ready => Look::hung(
            &format!("its HTTP server did not answer within {} s", patience.as_secs()),
            &remedy(runtime.name()),
            None,
        ),
        Ok(200) if load.is_some() => Look::of(ServerState::Idle, load),
        Ok(200) => Look::of(ServerState::Ready, None),
        _ => Look {
            stage: Some(stage(of_last_start(&lines))),
            ..Look::of(ServerState::Starting, None)
        },
    }
}

/// Returns the reason why a server in a paused container is held to hang, with the remedy.
pub(in crate::effects) fn cause_of_pause(name: &str) -> String {
    format!("its container is paused; docker unpause {name} resumes it")
}

/// Returns the last stage of a start that a log shows.
fn stage(lines: &[String]) -> String {
    let found = lines.iter().rev().find_map(|line| log::stage(line));
    match found {
        // Python imports for half a minute before the first line.
        None | Some((Stage::Starting, _)) => "Python imports".to_owned(),
        Some((stage, _)) => stage.title().to_owned(),
    }
}

/// Returns the state that signs of life and the log show.
fn shown_by_log(signs: &Signs, lines: &[String]) -> Option<Look> {
    if let Some(pid) = signs.stopped {
        let why = format!("its process {pid} is stopped by a signal (SIGSTOP)");
        return Some(Look::hung(&why, &format!("kill -CONT {pid} resumes it"), None));
    }
    let dies = lines.iter().any(|line| log::is_dying(line));
    dies.then(|| Look::of(ServerState::Crashed, None))
}

/// Returns the lines since the last start: a container that was started again keeps its log.
fn of_last_start(lines: &[String]) -> &[String] {
    let start = lines.iter().rposition(|line| log::is_start(line));
    &lines[start.unwrap_or(0)..]
}

fn remedy(name: &str) -> String {
    format!("dsr1 stop {name} ends it; py-spy dump shows where its scheduler is")
}

/// Returns true if a log shows that the server was ready.
fn has_served(lines: &[String]) -> bool {
    let is_ready = |line: &String| log::stage(line).is_some_and(|(stage, _)| stage == Stage::Ready);
    lines.iter().any(is_ready)
}

/// Returns the load and the counters by the metrics, these with the time of the answer; `None` if they do not answer, or the
/// server has none.
async fn read_metrics(
    http: &Http,
    base_url: &str,
    patience: Duration,
) -> Option<(Load, (Instant, Activity))> {
    let url = format!("{base_url}/metrics");
    let asked = tokio::time::timeout(patience, http.get_bytes(&url, MOST_METRICS)).await;
    let bytes = asked.ok()?.ok()?;
    let at = Instant::now();
    let text = String::from_utf8_lossy(&bytes);
    Some((sglang::load(&text)?, (at, sglang::activity(&text))))
}

/// Returns the seconds between the last batch and the last line of a log, or the time that the lines span if they have none.
fn silence<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Option<i64> {
    let (mut last, mut seen) = (None, None);
    for line in lines.rev() {
        let Some(time) = diagnose::seconds_of(line) else {
            continue;
        };
        let last = *last.get_or_insert(time);
        seen = Some(last - time);
        if log::is_batch(line) {
            break;
        }
    }
    seen
}

/// Awaits the work of a client, and ends it when the server hangs: twice in a row, so that a moment does not count.
///
/// # Errors
/// Those of the work; [`Kind::Server`] when the server hangs.
pub(in crate::effects) async fn unless_hung<T>(
    runtime: &Runtime<'_>,
    http: &Http,
    base_url: &str,
    during: &str,
    mut work: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>,
) -> Result<T> {
    let subject = Subject {
        runtime,
        base_url,
        probe: "/health",
        was_ready: true,
    };
    let mut before = false;
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(LOOK) => {}
        }
        let found = tokio::select! {
            done = &mut work => return done,
            found = look_at_server(&subject, http, PATIENT) => found,
        };
        let is_hung = found.state == ServerState::Hung;
        if is_hung && before {
            let text = format!("{} hangs during {during}", runtime.name());
            let cause = found.cause.unwrap_or_default();
            let (cause, hint) = cause.split_once("; ").unwrap_or((&cause, ""));
            return Err(Error::new(Kind::Server, text).cause(cause).hint(hint));
        }
        before = is_hung;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_the_last_batch_is_that_of_the_log() {
        let log = [
            "[2026-11-30 06:28:00] Decode batch. #running-req: 3",
            "no stamp",
            "[2026-11-30 06:28:20] INFO:     127.0.0.1:1 - \"GET /health HTTP/1.1\" 200 OK",
            "[2026-11-30 06:28:41] INFO:     127.0.0.1:1 - \"GET /metrics HTTP/1.1\" 200 OK",
        ];
        assert_eq!(silence(log.iter().copied()), Some(41));
        assert_eq!(silence(log[2..].iter().copied()), Some(21));
        assert_eq!(silence(log[..1].iter().copied()), Some(0));
        assert_eq!(silence(["nothing"].into_iter()), None);
    }
}
