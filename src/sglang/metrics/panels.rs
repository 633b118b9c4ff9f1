//! The panels of a dashboard: the queries that a version of SGLang can answer.
//!
//! `$server` is the dashboard's choice of servers, `$__rate_interval` Grafana's window of at least four scrapes.

use crate::profile::Version;
use crate::sglang::metrics::query::{over_ranks, quantile, select};
use crate::sglang::metrics::table::find;
use crate::sglang::metrics::{GPU_JOB, JOB};

/// Grafana's window of a rate.
const WINDOW: &str = "$__rate_interval";
/// The matcher of the servers that the dashboard shows.
const SERVERS: &str = r#"server=~"$server""#;

/// A row of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// Requests and tokens.
    Load,
    /// Times of requests.
    Latency,
    /// KV pool, prefix cache, speculative decoding.
    Cache,
    /// Errors, and the start.
    Faults,
    /// GPUs, by dcgm-exporter.
    Gpus,
}

impl Row {
    /// Every row, from the top.
    pub const ALL: [Self; 5] = [Self::Load, Self::Latency, Self::Cache, Self::Faults, Self::Gpus];

    /// The title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Load => "Load",
            Self::Latency => "Latency",
            Self::Cache => "KV pool, cache and speculative decoding",
            Self::Faults => "Faults and start",
            Self::Gpus => "GPUs",
        }
    }
}

/// The unit of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number.
    Count,
    /// A number per second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// A share from 0 to 1.
    Share,
    /// Bytes.
    Bytes,
    /// Watts.
    Watts,
    /// Degrees Celsius.
    Celsius,
}

/// The form of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines over time.
    Lines,
    /// The last values.
    Values,
}

/// A query of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `PromQL`, with the variables of the dashboard.
    pub query: String,
    /// The name of a line; `{{server}}` stands for the label.
    pub legend: String,
}

/// A panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// The row.
    pub row: Row,
    /// The title, which no other panel has.
    pub title: &'static str,
    /// The unit.
    pub unit: Unit,
    /// The form.
    pub form: Form,
    /// The meaning, and the reason why it may be empty.
    pub description: &'static str,
    /// The queries.
    pub targets: Vec<Target>,
}

fn panel(
    (row, title, unit): (Row, &'static str, Unit),
    description: &'static str,
    targets: Vec<Target>,
) -> Panel {
    Panel {
        row,
        title,
        unit,
        form: Form::Lines,
        description,
        targets,
    }
}

fn target(query: String, legend: &str) -> Target {
    Target {
        query,
        legend: legend.to_owned(),
    }
}

/// Returns the selector of a metric for the servers that are shown.
fn shown(name: &str, more: &str) -> String {
    select(name, &[SERVERS, more])
}

/// Returns the rate of a counter that has no ranks.
fn rate(name: &str, more: &str) -> String {
    format!("sum by (server) (rate({}[{WINDOW}]))", shown(name, more))
}

/// Returns a query that is 0 for a server without such series: a counter with labels begins with its first event.
fn or_zero(query: &str) -> String {
    let up = select("up", &[&format!(r#"job="{JOB}""#), SERVERS]);
    format!("{query} or 0 * max by (server) ({up})")
}

/// Returns the 50th, 95th and 99th percentile of a histogram.
fn quantiles(name: &str) -> Vec<Target> {
    [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")]
        .iter()
        .map(|(share, word)| {
            target(
                quantile(*share, name, &[SERVERS], WINDOW),
                &format!("{{{{server}}}} {word}"),
            )
        })
        .collect()
}

/// Returns the panels for a version, those of a row beside each other.
#[must_use]
pub fn panels(version: Version) -> Vec<Panel> {
    let has = |name: &str| find(name, version).is_some();
    let mut all = load(&has);
    all.extend(latency(&has));
    all.extend(cache());
    all.extend(faults(&has));
    all
}

fn load(has: &dyn Fn(&str) -> bool) -> Vec<Panel> {
    let gauge = |name: &str| over_ranks(&shown(name, ""));
    let tokens = |mode: &str| {
        let series = shown("sglang:realtime_tokens_total", &format!(r#"mode="{mode}""#));
        or_zero(&over_ranks(&format!("rate({series}[{WINDOW}])")))
    };
    let of_tokens = if has("sglang:realtime_tokens_total") {
        vec![
            target(tokens("decode"), "{{server}} generated"),
            target(tokens("prefill_compute"), "{{server}} prompt, computed"),
            target(tokens("prefill_cache"), "{{server}} prompt, from the cache"),
        ]
    } else {
        vec![
            target(gauge("sglang:gen_throughput"), "{{server}} generated"),
            target(
                rate("sglang:prompt_tokens_total", ""),
                "{{server}} prompt, of ended requests",
            ),
        ]
    };
    let mut found = vec![
        panel(
            (Row::Load, "Requests", Unit::Count),
            "Requests in the batch, and those that wait for a place in it.",
            vec![
                target(gauge("sglang:num_running_reqs"), "{{server}} running"),
                target(gauge("sglang:num_queue_reqs"), "{{server}} queued"),
            ],
        ),
        panel(
            (Row::Load, "Tokens per second", Unit::PerSecond),
            "Tokens that were generated, and tokens of prompts.",
            of_tokens,
        ),
        panel(
            (Row::Load, "Requests per second", Unit::PerSecond),
            "Requests that ended, and requests that a client or the server aborted.",
            vec![
                target(rate("sglang:num_requests_total", ""), "{{server}} ended"),
                target(
                    or_zero(&rate("sglang:num_aborted_requests_total", "")),
                    "{{server}} aborted",
                ),
            ],
        ),
    ];
    if has("sglang:scheduler_idle_seconds_total") {
        let series = shown("sglang:scheduler_idle_seconds_total", "");
        found.push(panel(
            (Row::Load, "Idle share of the scheduler", Unit::Share),
            "The share of the time in which the server had no request at all.",
            vec![target(
                format!("avg by (server) (rate({series}[{WINDOW}]))"),
                "{{server}}",
            )],
        ));
    }
    found
}

fn latency(has: &dyn Fn(&str) -> bool) -> Vec<Panel> {
    let of_queue = if has("sglang:queue_time_seconds") {
        quantiles("sglang:queue_time_seconds")
    } else {
        let mean = format!(
            "max by (server) ({})",
            shown("sglang:avg_request_queue_latency", "")
        );
        vec![target(mean, "{{server}} mean")]
    };
    vec![
        panel(
            (Row::Latency, "Time to first token", Unit::Seconds),
            "From the arrival of a request to its first token. Empty while no request arrives.",
            quantiles("sglang:time_to_first_token_seconds"),
        ),
        panel(
            (Row::Latency, "Inter-token latency", Unit::Seconds),
            "Between two tokens of a request. Empty while no token is generated.",
            quantiles("sglang:inter_token_latency_seconds"),
        ),
        panel(
            (Row::Latency, "End-to-end latency", Unit::Seconds),
            "From the arrival of a request to its end. Empty while no request ends.",
            quantiles("sglang:e2e_request_latency_seconds"),
        ),
        panel(
            (Row::Latency, "Time in the queue", Unit::Seconds),
            "From the arrival of a request at the scheduler to its place in the batch. Empty while no request arrives.",
            of_queue,
        ),
    ]
}

fn cache() -> Vec<Panel> {
    let prompt = rate("sglang:prompt_tokens_total", "");
    let cached = format!(
        "({} or 0 * {prompt}) / ({prompt} > 0)",
        rate("sglang:cached_tokens_total", "")
    );
    let of_ranks = |how: &str, name: &str| format!("{how} by (server) ({})", shown(name, ""));
    vec![
        panel(
            (Row::Cache, "KV pool in use", Unit::Share),
            "The share of the KV pool that running requests hold; of data-parallel groups the fullest. Above 0.95 requests \
             are retracted soon.",
            vec![target(of_ranks("max", "sglang:token_usage"), "{{server}}")],
        ),
        panel(
            (Row::Cache, "Prefix cache hits", Unit::Share),
            "The share of prompt tokens that the prefix cache had. Empty while no request ends.",
            vec![target(cached, "{{server}}")],
        ),
        panel(
            (Row::Cache, "Speculative accept length", Unit::Count),
            "Tokens for each step of speculative decoding (MTP). 1 means that no draft is accepted; 0 means that the server has \
             no speculative decoding, or has generated nothing yet.",
            vec![target(of_ranks("avg", "sglang:spec_accept_length"), "{{server}}")],
        ),
    ]
}

fn faults(has: &dyn Fn(&str) -> bool) -> Vec<Panel> {
    let up = select("up", &[&format!(r#"job="{JOB}""#), SERVERS]);
    let mut found = vec![panel(
        (Row::Faults, "Server answers", Unit::Count),
        "1 while /metrics answers, 0 while it does not.",
        vec![target(format!("max by (server) ({up})"), "{{server}}")],
    )];
    // A gauge that only rises, in older versions.
    let retracted = [
        "sglang:num_retracted_requests_total",
        "sglang:total_retracted_reqs",
    ];
    if let Some(name) = retracted.iter().find(|name| has(name)) {
        let rate = over_ranks(&format!("rate({}[{WINDOW}])", shown(name, "")));
        found.push(panel(
            (Row::Faults, "Retractions per second", Unit::PerSecond),
            "Requests that lost their place in the batch because the KV pool was full, and are computed again.",
            vec![target(or_zero(&rate), "{{server}}")],
        ));
    }
    if has("sglang:http_responses_total") {
        let answers = |status: &str| {
            let more = format!(r#"status_code=~"{status}",{}"#, not_probes());
            or_zero(&rate("sglang:http_responses_total", &more))
        };
        found.push(panel(
            (Row::Faults, "HTTP errors per second", Unit::PerSecond),
            "Answers with status 4xx (a wrong request) and 5xx (a fault of the server). Probes of its health are left out.",
            vec![
                target(answers("4.."), "{{server}} 4xx"),
                target(answers("5.."), "{{server}} 5xx"),
            ],
        ));
    }
    let of_start = if has("sglang:startup_time_seconds") {
        let series = shown("sglang:startup_time_seconds", "");
        vec![target(
            format!("max by (server, phase) ({series})"),
            "{{server}} {{phase}}",
        )]
    } else if has("sglang:engine_startup_time") {
        let of = |name: &str| format!("max by (server) ({})", shown(name, ""));
        vec![
            target(of("sglang:engine_startup_time"), "{{server}} start"),
            target(of("sglang:engine_load_weights_time"), "{{server}} weights"),
        ]
    } else {
        Vec::new()
    };
    if !of_start.is_empty() {
        found.push(Panel {
            form: Form::Values,
            ..panel(
                (Row::Faults, "Start-up time", Unit::Seconds),
                "The last start of the server, by phase.",
                of_start,
            )
        });
    }
    if has("sglang:weight_memory_usage_gb") {
        // The engine counts in units of 2^30 bytes.
        let of = |name: &str| format!("max by (server) ({}) * 1073741824", shown(name, ""));
        found.push(Panel {
            form: Form::Values,
            ..panel(
                (Row::Faults, "Memory of a GPU", Unit::Bytes),
                "Memory of the weights and of the KV pool on the GPU that has most of it.",
                vec![
                    target(of("sglang:weight_memory_usage_gb"), "{{server}} weights"),
                    target(of("sglang:kv_cache_memory_usage_gb"), "{{server}} KV pool"),
                ],
            )
        });
    }
    found
}

/// Returns the matcher of the paths that are no probes: a probe answers 503 by design while a server starts.
pub(super) fn not_probes() -> &'static str {
    r#"endpoint!~"/health.*|/ready|/ping""#
}

/// Returns the panels of GPUs. The names are those of dcgm-exporter's default counters (etc/default-counters.csv).
#[must_use]
pub fn gpu_panels() -> Vec<Panel> {
    let of = |title, unit, description, name: &str, factor: &str| {
        let series = select(name, &[&format!(r#"job="{GPU_JOB}""#)]);
        let query = format!("max by (Hostname, gpu) ({series}){factor}");
        panel(
            (Row::Gpus, title, unit),
            description,
            vec![target(query, "GPU {{gpu}}")],
        )
    };
    let busy = "The share of the time in which a kernel ran. It says nothing of how well.";
    let tensor =
        "The share of cycles in which the tensor cores worked. Needs the profiling counters of DCGM.";
    let xid = "The number of the last Xid error; 0 means that there was none.";
    vec![
        of("GPU busy", Unit::Share, busy, "DCGM_FI_DEV_GPU_UTIL", " / 100"),
        of(
            "Tensor cores busy",
            Unit::Share,
            tensor,
            "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
            "",
        ),
        of(
            "GPU memory in use",
            Unit::Bytes,
            "Memory that all processes hold.",
            "DCGM_FI_DEV_FB_USED",
            " * 1048576",
        ),
        of(
            "Power",
            Unit::Watts,
            "The power that a GPU draws.",
            "DCGM_FI_DEV_POWER_USAGE",
            "",
        ),
        of(
            "Temperature",
            Unit::Celsius,
            "The temperature of a GPU.",
            "DCGM_FI_DEV_GPU_TEMP",
            "",
        ),
        of("Last Xid", Unit::Count, xid, "DCGM_FI_DEV_XID_ERRORS", ""),
    ]
}
