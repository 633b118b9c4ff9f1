//! The alerts: the conditions that a version of SGLang can show, and what to do.

use crate::profile::Version;
use crate::sglang::metrics::JOB;
use crate::sglang::metrics::panels::not_probes;
use crate::sglang::metrics::query::{increase, over_ranks, quantile, select};
use crate::sglang::metrics::table::find;

/// The longest limit of the time to first token, in seconds: the largest bucket of the histogram is 400 s in all versions that
/// were read, and a quantile never exceeds it.
pub const LONGEST_TTFT_S: u32 = 399;

/// The severity of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nobody is served.
    Critical,
    /// Requests are slow or some of them fail.
    Warning,
}

impl Severity {
    /// The severity as the label has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The name.
    pub name: &'static str,
    /// The severity.
    pub severity: Severity,
    /// The time for which the condition must hold, as Prometheus writes it.
    pub lasts: &'static str,
    /// The condition: `PromQL` that has a value for each server on which it holds.
    pub condition: String,
    /// The values that the condition compares: `PromQL` that has a value on a healthy server, too.
    pub signals: Vec<String>,
    /// The fault in a sentence.
    pub summary: String,
    /// The remedy.
    pub remedy: String,
}

/// The server of an alert, in Prometheus's templates.
const SERVER: &str = "{{ $labels.server }}";
/// The matcher of the paths that generate tokens, for the requests that are not answered yet.
const GENERATES: &str =
    r#"method="POST",endpoint=~"/generate|/v1/completions|/v1/chat/completions|/v1/messages|/v1/responses""#;

fn alert(
    (name, severity, lasts): (&'static str, Severity, &'static str),
    condition: String,
    signals: Vec<String>,
    summary: &str,
    remedy: &str,
) -> Alert {
    let filled = |text: &str| text.replace("SERVER", SERVER);
    Alert {
        name,
        severity,
        lasts,
        condition,
        signals,
        summary: filled(summary),
        remedy: format!(
            "{} {}",
            filled(remedy),
            filled("dsr1 diagnose SERVER reads its log.")
        ),
    }
}

/// Returns the alerts for a version. `ttft_limit_s` is the limit of the 99th percentile of the time to first token.
#[must_use]
pub fn alerts(version: Version, ttft_limit_s: u32) -> Vec<Alert> {
    let has = |name: &str| find(name, version).is_some();
    let up = select("up", &[&format!(r#"job="{JOB}""#)]);
    let mut all = vec![
        alert(
            ("SglangServerDown", Severity::Critical, "1m"),
            format!("max by (server) ({up}) == 0"),
            vec![format!("max by (server) ({up})")],
            "SERVER does not answer",
            "Its /metrics has not answered for a minute: the server ended, or its host is not reachable. dsr1 status lists what \
             runs, and dsr1 serve starts it again.",
        ),
        hung(&has),
    ];
    let usage = "max by (server) (sglang:token_usage)".to_owned();
    all.push(alert(
        ("SglangKvPoolNearlyFull", Severity::Warning, "5m"),
        format!("{usage} > 0.95"),
        vec![usage],
        "the KV pool of SERVER is nearly full",
        "Running requests hold more than 95 % of the KV pool. Requests wait, or are retracted and computed again: send fewer at a \
         time, lower max_running_requests, or raise mem_fraction in the profile.",
    ));
    all.extend(retractions(&has, &up));
    all.extend(queue(ttft_limit_s));
    if has("sglang:http_responses_total") {
        let errors = increase(
            "sglang:http_responses_total",
            &[r#"status_code=~"5..""#, not_probes()],
            "5m",
            &up,
        );
        all.push(alert(
            ("SglangServerErrors", Severity::Warning, "1m"),
            format!("{errors} > 0"),
            vec!["sglang:http_responses_total".to_owned()],
            "SERVER answers with status 5xx",
            "Requests failed within the last 5 minutes because of the server, not of the client.",
        ));
    }
    let accepted = "avg by (server) (sglang:spec_accept_length)".to_owned();
    let usual = "avg by (server) (avg_over_time(sglang:spec_accept_length[6h]))";
    all.push(alert(
        ("SglangAcceptLengthDropped", Severity::Warning, "15m"),
        format!("{accepted} > 0 and {accepted} < 0.75 * {usual}"),
        vec![accepted],
        "speculative decoding (MTP) of SERVER accepts fewer tokens",
        "The accept length is a quarter below its mean of 6 hours, so that generation is slower. Either the prompts changed, or \
         the draft model works no more: compare with dsr1 bench.",
    ));
    all
}

/// Requests run and nothing is computed.
fn hung(has: &dyn Fn(&str) -> bool) -> Alert {
    let running = over_ranks("sglang:num_running_reqs");
    let (waiting, progress, signals) = if has("sglang:realtime_tokens_total") {
        // A request that hangs from its arrival may never be counted as running, but it is open.
        let open = format!(
            "sum by (server) ({})",
            select("sglang:http_requests_active", &[GENERATES])
        );
        let computed = "sum by (server) (increase(sglang:realtime_tokens_total[1m]))".to_owned();
        (
            format!("({running} > 0 or {open} > 0)"),
            computed.clone(),
            vec![running, open, computed],
        )
    } else {
        // `generation_tokens_total` rises at the end of a request, which takes minutes; this histogram rises with each token.
        let tokens = "sum by (server) (increase(sglang:inter_token_latency_seconds_count[1m]))";
        let first = "sum by (server) (increase(sglang:time_to_first_token_seconds_count[1m]))";
        (
            format!("{running} > 0"),
            format!("({tokens} > 0 or {first})"),
            vec![running, tokens.to_owned(), first.to_owned()],
        )
    };
    alert(
        ("SglangServerHung", Severity::Critical, "1m"),
        format!("{waiting} unless {progress} > 0"),
        signals,
        "SERVER hangs",
        "It has requests, and has computed no token for a minute. dsr1 status shows what the engine's processes do; dsr1 stop SERVER \
         ends it, and dsr1 serve starts it again.",
    )
}

fn retractions(has: &dyn Fn(&str) -> bool, up: &str) -> Option<Alert> {
    let (condition, signal) = if has("sglang:num_retracted_requests_total") {
        let name = "sglang:num_retracted_requests_total";
        (increase(name, &[], "5m", up), name)
    } else if has("sglang:total_retracted_reqs") {
        let name = "sglang:total_retracted_reqs";
        (format!("sum by (server) (increase({name}[5m]))"), name)
    } else {
        return None;
    };
    Some(alert(
        ("SglangRetractions", Severity::Warning, "5m"),
        format!("{condition} > 0"),
        vec![signal.to_owned()],
        "SERVER retracts requests",
        "The KV pool was full, so that requests lost their place and are computed again. Lower max_running_requests, or raise \
         mem_fraction or schedule_conservativeness in the profile.",
    ))
}

fn queue(ttft_limit_s: u32) -> Vec<Alert> {
    let queued = over_ranks("sglang:num_queue_reqs");
    let running = over_ranks("sglang:num_running_reqs");
    let slope = over_ranks("deriv(sglang:num_queue_reqs[10m])");
    let least = over_ranks("min_over_time(sglang:num_queue_reqs[10m])");
    let ttft = quantile(0.99, "sglang:time_to_first_token_seconds", &[], "5m");
    vec![
        alert(
            ("SglangQueueGrows", Severity::Warning, "5m"),
            format!("{slope} > 0.01 and {least} > 0"),
            vec![slope.clone(), least.clone()],
            "the queue of SERVER grows",
            "For 10 minutes requests have come faster than they are served. Send fewer, or add a server; dsr1 profiles advise names a \
             profile for the load.",
        ),
        alert(
            ("SglangIdleWithQueue", Severity::Critical, "2m"),
            format!("{queued} > 0 unless {running} > 0"),
            vec![queued, running],
            "requests of SERVER wait and none runs",
            "Requests wait in the queue while the batch is empty: the scheduler does not admit them. A prompt may need more KV pool \
             than there is, or the server hangs.",
        ),
        alert(
            ("SglangTimeToFirstToken", Severity::Warning, "5m"),
            format!("{ttft} > {ttft_limit_s}"),
            vec![ttft],
            &format!("the first token of SERVER takes longer than {ttft_limit_s} s"),
            "Of the last 5 minutes, one request in a hundred waited longer than this limit. The panels show if the queue or long \
             prompts take the time.",
        ),
    ]
}
