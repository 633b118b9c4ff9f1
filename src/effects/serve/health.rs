//! The health of a server that was ready: whether it works, or hangs. A readiness probe alone does not tell: it goes on answering
//! when a scheduler does nothing any more (0.5.23), and times out under long prefills.

use std::pin::Pin;
use std::time::Duration;

use crate::diagnose;
use crate::effects::http::Http;
use crate::effects::serve::runtime::Runtime;
use crate::effects::serve::start::last_lines;
use crate::error::{Error, Kind, Result};
use crate::sglang::log;

/// Time without a batch, while requests run, from which a server hangs. A batch takes a second or two.
const SILENCE_S: i64 = 30;
/// Time between two looks at a server that works for a client.
const LOOK: Duration = Duration::from_secs(5);
/// Longest wait for the metrics.
const METRICS: Duration = Duration::from_millis(500);
/// Most bytes of the metrics.
const MOST_METRICS: u64 = 8 << 20;

/// Returns the reason why a server is held to hang, and the remedy; `None` if nothing shows it.
pub(in crate::effects) async fn hang(
    runtime: &Runtime<'_>,
    http: &Http,
    base_url: &str,
) -> Option<(String, String)> {
    let signs = runtime.signs().await?;
    if let Some(pid) = signs.stopped {
        return Some((
            format!("its process {pid} is stopped by a signal (SIGSTOP)"),
            format!("kill -CONT {pid} resumes it"),
        ));
    }
    if signs.compiles {
        return None;
    }
    let url = format!("{base_url}/metrics");
    let asked = tokio::time::timeout(METRICS, http.get_bytes(&url, MOST_METRICS)).await;
    let metrics = asked.ok()?.ok()?;
    let running = log::running_requests(&String::from_utf8_lossy(&metrics))?;
    if running == 0 {
        return None;
    }
    let lines = last_lines(runtime).await;
    let silent = silence(lines.iter().map(String::as_str))?;
    (silent >= SILENCE_S).then(|| {
        (
            format!("{running} requests run, and no batch was computed for {silent} s"),
            format!(
                "dsr1 stop {0} ends it; py-spy dump shows where its scheduler is",
                runtime.name()
            ),
        )
    })
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
    let mut before = false;
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(LOOK) => {}
        }
        let found = tokio::select! {
            done = &mut work => return done,
            found = hang(runtime, http, base_url) => found,
        };
        match found {
            Some((cause, hint)) if before => {
                let text = format!("{} hangs during {during}", runtime.name());
                return Err(Error::new(Kind::Server, text).cause(cause).hint(hint));
            }
            found => before = found.is_some(),
        }
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
