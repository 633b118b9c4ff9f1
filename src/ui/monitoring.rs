//! The files of a Prometheus and a Grafana, and the metrics that a server lacks.

use std::fmt::Write;

use super::safe;
use super::table::{aligned, row};
use crate::profile::Version;
use crate::sglang::metrics::Absence;

/// Returns the folder that was written, and the next step.
#[must_use]
pub fn monitoring_written(folder: &str, servers: &[String]) -> String {
    format!(
        "wrote {folder} for {servers}\n{folder}/README.md says how to start Prometheus and Grafana\n",
        folder = safe(folder),
        servers = safe(&servers.join(", "))
    )
}

/// Returns the number of metrics that are there, and a line for each that is not.
#[must_use]
pub fn monitoring_checked(url: &str, sglang: Version, needed: usize, absent: &[Absence]) -> String {
    let there = needed.saturating_sub(absent.len());
    let mut out = format!(
        "{} has {there} of the {needed} metrics that the dashboard and the alerts for SGLang {sglang} ask for\n",
        safe(url)
    );
    let rows: Vec<Vec<String>> = absent
        .iter()
        .map(|one| {
            let why = match &one.reason {
                Some(event) => format!("comes with {event}"),
                None => format!("asked for by {}", one.used_by.join(", ")),
            };
            let state = if one.reason.is_some() {
                "not yet"
            } else {
                "missing"
            };
            row([one.name, state, &why])
        })
        .collect();
    let _ = write!(out, "{}", aligned(&rows));
    out
}
