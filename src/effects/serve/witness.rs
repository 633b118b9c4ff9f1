//! The words of a server and its host about themselves while they are measured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::effects::http::Http;
use crate::effects::lines::LogPart;
use crate::effects::load::Watch;
use crate::effects::serve::runtime::Runtime;
use crate::measure::{EndedRequests, ServerFacts};
use crate::secret::Secret;
use crate::sglang::log;
use crate::sglang::witness::{Counters, counters, differences, told_facts};

/// Longest wait for an answer that is not the load's.
const WAIT: Duration = Duration::from_secs(5);
/// Most bytes of the metrics.
const MOST_METRICS: u64 = 64 << 20;
/// Most lines of a log that are looked at, and most that are kept.
const MOST_LINES: usize = 200_000;
const KEPT_LINES: usize = 5;
/// Longest time for the log's lines.
const READING: Duration = Duration::from_secs(10);

/// A look at a server and its host.
#[derive(Debug, Clone)]
pub(super) struct Look {
    at: Instant,
    counters: Option<Counters>,
    /// Microseconds in which some task waited for a processor.
    pressure_us: Option<u64>,
    /// The client's requests that have ended, and those in flight.
    ended: u64,
    in_flight: u64,
}

/// Looks at the server's counters, the client's, and the host's pressure.
pub(super) async fn look_at(http: &Http, base_url: &str, watch: &Watch) -> Look {
    let url = format!("{base_url}/metrics");
    let fetched = http.get_bytes(&url, MOST_METRICS);
    let metrics = tokio::time::timeout(WAIT, fetched)
        .await
        .ok()
        .and_then(Result::ok);
    let count = |counter: &AtomicU32| u64::from(counter.load(Ordering::Relaxed));
    Look {
        at: Instant::now(),
        ended: count(&watch.completed) + count(&watch.failed),
        in_flight: count(&watch.in_flight),
        counters: metrics.and_then(|bytes| counters(&String::from_utf8_lossy(&bytes))),
        pressure_us: cpu_pressure_us(),
    }
}

/// Returns the facts that a server tells of itself; none if it does not.
pub(super) async fn description_of(
    http: &Http,
    base_url: &str,
    key: Option<&Secret>,
) -> BTreeMap<String, String> {
    // The name of 0.5.10 on, and the older one.
    for path in ["/server_info", "/get_server_info"] {
        let url = format!("{base_url}{path}");
        if let Ok((200, info)) = http.get_json_with(&url, key, WAIT).await {
            return told_facts(&info);
        }
    }
    BTreeMap::new()
}

/// Returns the facts about a server between two looks.
pub(super) async fn facts_between(
    runtime: Option<&Runtime<'_>>,
    (before, after): (&Look, &Look),
    (told_before, told_after): (&BTreeMap<String, String>, &BTreeMap<String, String>),
) -> ServerFacts {
    let pair = before.counters.zip(after.counters);
    let cached_share = pair.and_then(|(before, after)| {
        let prompt = after.prompt_tokens - before.prompt_tokens;
        // A server without a hit so far has no such series.
        let cached = after.cached_tokens? - before.cached_tokens.unwrap_or(0.0);
        (prompt > 0.0).then(|| cached / prompt)
    });
    let retracted =
        pair.and_then(|(before, after)| count_of(after.retracted? - before.retracted.unwrap_or(0.0)));
    let ended = pair.and_then(|(of_before, of_after)| {
        Some(EndedRequests {
            of_server: count_of(of_after.answered? - of_before.answered.unwrap_or(0.0))?,
            of_client: after.ended.checked_sub(before.ended)?,
            in_flight: before.in_flight.max(after.in_flight),
        })
    });
    let mean_ttft = pair.and_then(|(before, after)| {
        let ((sum, count), (sum_before, count_before)) = (after.ttft?, before.ttft.unwrap_or_default());
        Duration::try_from_secs_f64((sum - sum_before) / (count - count_before)).ok()
    });
    let wall = after.at.duration_since(before.at).as_secs_f64();
    let idle_share = pair.and_then(|(before, after)| {
        let ((idle, schedulers), (idle_before, _)) = (after.idle?, before.idle?);
        let share = (idle - idle_before) / (wall * f64::from(schedulers));
        share.is_finite().then(|| share.clamp(0.0, 1.0))
    });
    let is_told = !told_before.is_empty() && !told_after.is_empty();
    ServerFacts {
        compiled: match runtime {
            Some(runtime) => compiled_since(runtime, before.at).await,
            None => None,
        },
        cached_share,
        retracted,
        changes: is_told.then(|| differences(told_before, told_after)),
        ended,
        mean_ttft,
        idle_share,
    }
}

/// Returns the difference of two counters; `None` if a server that started again made it negative.
fn count_of(difference: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    (difference >= 0.0).then_some(difference as u64)
}

/// Returns the share of the time between two looks in which some task of the host waited for a processor.
pub(super) fn pressure_between(before: &Look, after: &Look) -> Option<f64> {
    let waited = Duration::from_micros(after.pressure_us?.checked_sub(before.pressure_us?)?);
    let wall = after.at.duration_since(before.at).as_secs_f64();
    (wall > 0.0).then(|| waited.as_secs_f64() / wall)
}

/// Returns the lines about compilers in a log since a moment; `None` if the log cannot be read.
async fn compiled_since(runtime: &Runtime<'_>, since: Instant) -> Option<Vec<String>> {
    let part = LogPart {
        since_s: Some(since.elapsed().as_secs()),
        ..LogPart::default()
    };
    let mut stream = runtime.log(part).await.ok()?;
    let lines = stream.rest(READING).await;
    let compiled = lines
        .iter()
        .take(MOST_LINES)
        .filter(|line| log::compiles(line).is_some());
    Some(
        compiled
            .take(KEPT_LINES)
            .map(|line| line.chars().take(160).collect())
            .collect(),
    )
}

/// Returns the microseconds in which some task waited for a processor (`Documentation/accounting/psi.rst` of Linux).
fn cpu_pressure_us() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.rsplit_once("total=")?.1.trim().parse().ok()
}
