//! The Compose file of Prometheus and Grafana, and Grafana's provisioning.
//!
//! Both use the host's network, so that they reach servers on 127.0.0.1, and listen on 127.0.0.1 only.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::profile::to_text;
use crate::render::monitoring::{GRAFANA_PORT, PROMETHEUS_PORT};

/// Prometheus's image: the long-term release 3.5, of 2025-07.
const PROMETHEUS_IMAGE: &str = "prom/prometheus:v3.5.0";
/// Grafana's image, of 2025-07.
const GRAFANA_IMAGE: &str = "grafana/grafana:12.1.0";

#[derive(Serialize)]
struct File {
    services: BTreeMap<&'static str, Service>,
    volumes: BTreeMap<&'static str, Map<String, Value>>,
}

#[derive(Serialize)]
struct Service {
    image: &'static str,
    network_mode: &'static str,
    restart: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<&'static str, String>,
    volumes: Vec<&'static str>,
    cap_drop: [&'static str; 1],
    security_opt: [&'static str; 1],
}

fn service(image: &'static str, volumes: Vec<&'static str>) -> Service {
    Service {
        image,
        network_mode: "host",
        restart: "unless-stopped",
        command: Vec::new(),
        environment: BTreeMap::new(),
        volumes,
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
    }
}

/// Returns `compose.yaml`.
pub(super) fn compose() -> Result<String> {
    let prometheus = Service {
        command: vec![
            "--config.file=/etc/prometheus/prometheus.yml".to_owned(),
            "--storage.tsdb.path=/prometheus".to_owned(),
            "--storage.tsdb.retention.time=30d".to_owned(),
            format!("--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"),
        ],
        ..service(
            PROMETHEUS_IMAGE,
            vec![
                "./prometheus.yml:/etc/prometheus/prometheus.yml:ro",
                "./rules.yml:/etc/prometheus/rules.yml:ro",
                "prometheus-data:/prometheus",
            ],
        )
    };
    // Compose stops with this text if the variable is not set, so that Grafana never starts with its known password.
    let password = "${GRAFANA_PASSWORD:?make it first, README.md says how}";
    let variables = [
        ("GF_SECURITY_ADMIN_PASSWORD", password.to_owned()),
        ("GF_SERVER_HTTP_ADDR", "127.0.0.1".to_owned()),
        ("GF_SERVER_HTTP_PORT", GRAFANA_PORT.to_string()),
        ("GF_AUTH_ANONYMOUS_ENABLED", "false".to_owned()),
        ("GF_USERS_ALLOW_SIGN_UP", "false".to_owned()),
        ("GF_ANALYTICS_REPORTING_ENABLED", "false".to_owned()),
        ("GF_ANALYTICS_CHECK_FOR_UPDATES", "false".to_owned()),
    ];
    let grafana = Service {
        environment: BTreeMap::from(variables),
        ..service(
            GRAFANA_IMAGE,
            vec![
                "./grafana/datasource.yaml:/etc/grafana/provisioning/datasources/dsr1.yaml:ro",
                "./grafana/dashboards.yaml:/etc/grafana/provisioning/dashboards/dsr1.yaml:ro",
                "./dashboard.json:/etc/dsr1/dashboards/dashboard.json:ro",
                "grafana-data:/var/lib/grafana",
            ],
        )
    };
    to_text(&File {
        services: BTreeMap::from([("prometheus", prometheus), ("grafana", grafana)]),
        volumes: BTreeMap::from(["prometheus-data", "grafana-data"].map(|name| (name, Map::new()))),
    })
}

/// Returns Grafana's datasource. It has no uid: the dashboard finds it by its type.
pub(super) fn datasource() -> Result<String> {
    to_text(&json!({
        "apiVersion": 1,
        "datasources": [{
            "name": "Prometheus", "type": "prometheus", "access": "proxy", "isDefault": true,
            "url": format!("http://127.0.0.1:{PROMETHEUS_PORT}"),
            "jsonData": { "timeInterval": "15s" },
        }],
    }))
}

/// Returns the place of Grafana's dashboards.
pub(super) fn dashboards() -> Result<String> {
    to_text(&json!({
        "apiVersion": 1,
        "providers": [{
            "name": "dsr1", "type": "file", "allowUiUpdates": true,
            "options": { "path": "/etc/dsr1/dashboards" },
        }],
    }))
}
