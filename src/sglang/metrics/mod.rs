//! SGLang's metrics by version: the names that it exports, and what a dashboard and alerts ask of them.
//!
//! | module | subject |
//! |---|---|
//! | `table` | the metrics: name, kind, labels, versions, meaning |
//! | `query` | `PromQL` over metrics: sums over ranks, rates, quantiles |
//! | `panels` | the panels of a dashboard, for a version |
//! | `alerts` | the alerts, for a version |
//! | `presence` | the names that a server exports, beside those that panels and alerts ask for |
//!
//! Not in this module tree: the files of Prometheus and Grafana (`render::monitoring`), asking a server (`effects`).

mod alerts;
mod panels;
mod presence;
mod query;
mod table;

pub use alerts::{Alert, LONGEST_TTFT_S, Severity, alerts};
pub use panels::{Form, Panel, Row, Target, Unit, gpu_panels, panels};
pub use presence::{Absence, NAMES_QUERY, Needed, absent, names_in, names_of_prometheus, needed};
pub use query::metrics_of;
pub use table::{Appears, Kind, METRICS, Metric, find};

/// The `job` of a scrape of SGLang, which the queries name.
pub const JOB: &str = "sglang";
/// The `job` of a scrape of dcgm-exporter.
pub const GPU_JOB: &str = "dcgm";
