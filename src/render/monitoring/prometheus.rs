//! Prometheus's configuration and the rules of the alerts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::profile::to_text;
use crate::render::monitoring::{MonitoringRequest, PROMETHEUS_PORT, endpoint};
use crate::sglang::metrics::{Alert, GPU_JOB, JOB, alerts};

#[derive(Serialize)]
struct Configuration {
    global: Global,
    rule_files: [&'static str; 1],
    scrape_configs: Vec<Scrape>,
}

#[derive(Serialize)]
struct Global {
    scrape_interval: &'static str,
    evaluation_interval: &'static str,
}

#[derive(Serialize)]
struct Scrape {
    job_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_path: Option<String>,
    #[serde(rename = "scrape_timeout", skip_serializing_if = "Option::is_none")]
    timeout: Option<&'static str>,
    static_configs: Vec<Targets>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metric_relabel_configs: Vec<Relabel>,
}

#[derive(Serialize)]
struct Relabel {
    source_labels: [&'static str; 1],
    regex: &'static str,
    target_label: &'static str,
    replacement: &'static str,
}

/// Returns the rule that gives SGLang's metrics the names of its sources again.
///
/// A Prometheus before 3.0 asks for `OpenMetrics` and names no escaping; `prometheus_client` from 0.23 on then answers
/// `sglang_NAME` instead of `sglang:NAME` (`exposition.py`, `choose_encoder`). Which one arrives depends on both versions.
fn original_names() -> Relabel {
    Relabel {
        source_labels: ["__name__"],
        regex: "sglang_(.+)",
        target_label: "__name__",
        replacement: "sglang:$1",
    }
}

#[derive(Serialize)]
struct Targets {
    targets: [String; 1],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'static str, String>,
}

/// Returns `prometheus.yml`.
pub(super) fn configuration(request: &MonitoringRequest) -> Result<String> {
    let servers = request.servers.iter().map(|server| Targets {
        targets: [server.address.clone()],
        labels: BTreeMap::from([
            ("server", server.name.clone()),
            ("sglang", server.version.to_string()),
        ]),
    });
    let mut scrapes = vec![
        Scrape {
            job_name: JOB,
            scheme: None,
            metrics_path: None,
            timeout: Some("10s"),
            static_configs: servers.collect(),
            metric_relabel_configs: vec![original_names()],
        },
        Scrape {
            job_name: "prometheus",
            scheme: None,
            metrics_path: None,
            timeout: None,
            static_configs: vec![Targets {
                targets: [format!("127.0.0.1:{PROMETHEUS_PORT}")],
                labels: BTreeMap::new(),
            }],
            metric_relabel_configs: Vec::new(),
        },
    ];
    if let Some(url) = &request.dcgm {
        let endpoint = endpoint(url)?;
        scrapes.push(Scrape {
            job_name: GPU_JOB,
            scheme: Some(endpoint.scheme),
            metrics_path: Some(endpoint.path),
            timeout: None,
            static_configs: vec![Targets {
                targets: [endpoint.address],
                labels: BTreeMap::new(),
            }],
            metric_relabel_configs: Vec::new(),
        });
    }
    to_text(&Configuration {
        global: Global {
            scrape_interval: "15s",
            evaluation_interval: "15s",
        },
        rule_files: ["rules.yml"],
        scrape_configs: scrapes,
    })
}

#[derive(Serialize)]
struct Rules {
    groups: [Group; 1],
}

#[derive(Serialize)]
struct Group {
    name: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    alert: &'static str,
    expr: String,
    #[serde(rename = "for")]
    lasts: &'static str,
    labels: BTreeMap<&'static str, &'static str>,
    annotations: BTreeMap<&'static str, String>,
}

/// Returns `rules.yml`.
pub(super) fn rules(request: &MonitoringRequest) -> Result<String> {
    let mut all: Vec<Alert> = Vec::new();
    for alert in request
        .versions()
        .into_iter()
        .flat_map(|version| alerts(version, request.ttft_limit_s))
    {
        match all.iter_mut().find(|other| other.name == alert.name) {
            Some(other) if other.condition.contains(&alert.condition) => {}
            // A condition of another version: each has values for the servers that export its metrics.
            Some(other) => other.condition = format!("({}) or ({})", other.condition, alert.condition),
            None => all.push(alert),
        }
    }
    let rules = all.into_iter().map(|alert| Rule {
        alert: alert.name,
        expr: alert.condition,
        lasts: alert.lasts,
        labels: BTreeMap::from([("severity", alert.severity.word())]),
        annotations: BTreeMap::from([("summary", alert.summary), ("description", alert.remedy)]),
    });
    to_text(&Rules {
        groups: [Group {
            name: JOB,
            rules: rules.collect(),
        }],
    })
}
