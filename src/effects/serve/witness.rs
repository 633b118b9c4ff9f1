//! The words of a server and its host about themselves while they are measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::effects::http::Http;
use crate::effects::lines::LogPart;
use crate::effects::serve::runtime::Runtime;
use crate::measure::ServerFacts;
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
}

/// Looks at the server's counters and the host's pressure.
pub(super) async fn look_at(http: &Http, base_url: &str) -> Look {
    let url = format!("{base_url}/metrics");
    let fetched = http.get_bytes(&url, MOST_METRICS);
    let metrics = tokio::time::timeout(WAIT, fetched)
        .await
        .ok()
        .and_then(Result::ok);
    Look {
        at: Instant::now(),
        counters: metrics.and_then(|bytes| counters(&String::from_utf8_lossy(&bytes))),
        pressure_us: cpu_pressure_us(),
    }
}

/// Returns the facts that a server tells of itself; none if it does not.
pub(super) async fn description_of(http: &Http, base_url: &str) -> BTreeMap<String, String> {
    // The name of 0.5.10 on, and the older one.
    for path in ["/server_info", "/get_server_info"] {
        if let Ok((200, info)) = http.get_json(&format!("{base_url}{path}"), WAIT).await {
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
    let retracted = pair.and_then(|(before, after)| {
        let count = after.retracted? - before.retracted.unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        (count >= 0.0).then_some(count as u64)
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
    }
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
