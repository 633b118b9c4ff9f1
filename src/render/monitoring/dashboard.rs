//! Grafana's dashboard as JSON, in the form that Grafana 9 to 12 read (`schemaVersion` 39).

use serde_json::{Value, json};

use crate::render::monitoring::MonitoringRequest;
use crate::sglang::metrics::{Form, JOB, Panel, Row, Unit, gpu_panels, panels};

/// Columns of Grafana's grid.
const COLUMNS: usize = 24;
/// Height of a panel in the grid.
const HEIGHT: usize = 8;

/// Returns the dashboard.
pub(super) fn dashboard(request: &MonitoringRequest) -> String {
    let datasource = || json!({ "type": "prometheus", "uid": "${datasource}" });
    let value = json!({
        "title": "SGLang servers of dsr1",
        "uid": "dsr1-sglang",
        "description": "Written by dsr1 monitoring for the metrics of these versions of SGLang: "
            .to_owned() + &versions(request),
        "tags": ["dsr1", "sglang"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "timezone": "browser",
        "templating": { "list": [
            { "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus" },
            {
                "name": "server", "label": "Server", "type": "query", "datasource": datasource(),
                "query": { "query": format!("label_values(up{{job=\"{JOB}\"}}, server)"), "refId": "servers" },
                "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
                "current": { "text": "All", "value": "$__all" },
            },
        ] },
        "panels": placed(request),
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

fn versions(request: &MonitoringRequest) -> String {
    let all: Vec<String> = request.versions().iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// Returns the panels of all versions, a panel of the same title once, with the queries of each.
fn all_panels(request: &MonitoringRequest) -> Vec<Panel> {
    let mut all: Vec<Panel> = Vec::new();
    let mut of_versions: Vec<Panel> = request.versions().into_iter().flat_map(panels).collect();
    if request.dcgm.is_some() {
        of_versions.extend(gpu_panels());
    }
    for panel in of_versions {
        match all.iter_mut().find(|other| other.title == panel.title) {
            Some(other) => {
                for target in panel.targets {
                    if !other.targets.iter().any(|known| known.query == target.query) {
                        other.targets.push(target);
                    }
                }
            }
            None => all.push(panel),
        }
    }
    all
}

/// Returns the panels at their places in the grid, below the titles of their rows.
fn placed(request: &MonitoringRequest) -> Vec<Value> {
    let all = all_panels(request);
    let (mut found, mut y, mut id) = (Vec::new(), 0, 1);
    for row in Row::ALL {
        let of_row: Vec<&Panel> = all.iter().filter(|panel| panel.row == row).collect();
        if of_row.is_empty() {
            continue;
        }
        found.push(json!({
            "id": id, "type": "row", "title": row.title(), "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
        }));
        id += 1;
        y += 1;
        // Three beside each other, or four if there are four.
        let beside = if of_row.len() == 4 { 4 } else { 3 };
        let width = COLUMNS / beside;
        for (at, panel) in of_row.iter().enumerate() {
            let place =
                json!({ "x": at % beside * width, "y": y + at / beside * HEIGHT, "w": width, "h": HEIGHT });
            found.push(shown(panel, id, &place));
            id += 1;
        }
        y += of_row.len().div_ceil(beside) * HEIGHT;
    }
    found
}

fn shown(panel: &Panel, id: usize, place: &Value) -> Value {
    let datasource = json!({ "type": "prometheus", "uid": "${datasource}" });
    let targets: Vec<Value> = panel
        .targets
        .iter()
        .zip('A'..='Z')
        .map(|(target, letter)| {
            json!({
                "refId": letter.to_string(), "datasource": datasource, "expr": target.query,
                "legendFormat": target.legend, "range": panel.form == Form::Lines,
                "instant": panel.form == Form::Values,
            })
        })
        .collect();
    let (kind, options) = match panel.form {
        Form::Lines => (
            "timeseries",
            json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
        ),
        Form::Values => (
            "stat",
            json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "graphMode": "none", "textMode": "value_and_name",
            }),
        ),
    };
    let mut defaults = json!({ "unit": unit(panel.unit), "min": 0, "custom": { "fillOpacity": 5 } });
    if panel.unit == Unit::Share {
        defaults["max"] = json!(1);
    }
    json!({
        "id": id, "type": kind, "title": panel.title, "description": panel.description,
        "datasource": datasource, "gridPos": place, "targets": targets, "options": options,
        "fieldConfig": { "defaults": defaults, "overrides": [] },
    })
}

/// Returns Grafana's name of a unit.
const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "short",
        // A unit of our own: those of Grafana that are per second name what they count.
        Unit::PerSecond => "suffix:/s",
        Unit::Seconds => "s",
        Unit::Share => "percentunit",
        Unit::Bytes => "bytes",
        Unit::Watts => "watt",
        Unit::Celsius => "celsius",
    }
}
