//! Files that start Prometheus and Grafana for servers: a folder with their configuration, and a Compose file.
//!
//! | module | subject |
//! |---|---|
//! | `dashboard` | Grafana's dashboard |
//! | `prometheus` | the scrapes, and the rules of the alerts |
//! | `compose` | the two containers, and Grafana's provisioning |
//! | `guide` | the README of the folder |
//!
//! Not in this module tree: the metrics and the queries (`sglang::metrics`), writing the folder (`effects`).

mod compose;
mod dashboard;
mod guide;
mod prometheus;

use crate::error::{Error, Kind, Result};
use crate::profile::Version;

/// Port of Prometheus on 127.0.0.1.
pub const PROMETHEUS_PORT: u16 = 9090;
/// Port of Grafana on 127.0.0.1.
pub const GRAFANA_PORT: u16 = 3000;

/// A server that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its name, the label `server` of its series.
    pub name: String,
    /// Host and port of its `/metrics`.
    pub address: String,
    /// Its SGLang.
    pub version: Version,
}

/// The request of `dsr1 monitoring`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringRequest {
    /// The servers: at least one.
    pub servers: Vec<Watched>,
    /// URL of dcgm-exporter, if there is one.
    pub dcgm: Option<String>,
    /// Limit of the 99th percentile of the time to first token, in seconds.
    pub ttft_limit_s: u32,
}

impl MonitoringRequest {
    /// Returns each version of the servers once, the oldest first.
    fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<Version> = self.servers.iter().map(|server| server.version).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}

/// A file below the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringFile {
    /// The path below the folder.
    pub path: &'static str,
    /// The text.
    pub text: String,
}

/// Returns the files of the folder.
///
/// # Errors
/// [`Kind::Usage`] if `dcgm` is not the URL of a server.
pub fn monitoring(request: &MonitoringRequest) -> Result<Vec<MonitoringFile>> {
    let file = |path, text| MonitoringFile { path, text };
    Ok(vec![
        file("README.md", guide::guide(request)),
        file("compose.yaml", compose::compose()?),
        file("dashboard.json", dashboard::dashboard(request)),
        file("grafana/dashboards.yaml", compose::dashboards()?),
        file("grafana/datasource.yaml", compose::datasource()?),
        file("prometheus.yml", prometheus::configuration(request)?),
        file("rules.yml", prometheus::rules(request)?),
    ])
}

/// A URL in the parts of a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    scheme: &'static str,
    address: String,
    path: String,
}

/// Returns the parts of the URL of an exporter; without a path it is `/metrics`.
fn endpoint(url: &str) -> Result<Endpoint> {
    let wrong = || {
        Error::new(Kind::Usage, format!("`{}` is not a URL", url.escape_debug()))
            .hint("write it as --dcgm http://127.0.0.1:9400")
    };
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => ("http", rest),
        Some(("https", rest)) => ("https", rest),
        _ => return Err(wrong()),
    };
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let fits = |text: &str, more: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if address.is_empty() || !fits(address, ".:-_[]") || !fits(path, "./-_~") {
        return Err(wrong());
    }
    let path = if path.is_empty() { "metrics" } else { path };
    Ok(Endpoint {
        scheme,
        address: address.to_owned(),
        path: format!("/{path}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::profile::Catalog;

    fn request(versions: &[Version]) -> MonitoringRequest {
        let server = |(at, version): (usize, &Version)| Watched {
            name: format!("dsr1-{at}"),
            address: format!("127.0.0.1:{}", 30_000 + at),
            version: *version,
        };
        MonitoringRequest {
            servers: versions.iter().enumerate().map(server).collect(),
            dcgm: None,
            ttft_limit_s: 30,
        }
    }

    fn text(files: &[MonitoringFile], path: &str) -> String {
        files.iter().find(|file| file.path == path).unwrap().text.clone()
    }

    #[test]
    fn a_dashboard_has_panels_that_do_not_overlap_and_queries_with_a_datasource_of_choice() {
        let catalog = Catalog::load(None).unwrap();
        let versions: Vec<Version> = catalog.stacks().map(|stack| stack.pins.sglang).collect();
        let mut requests: Vec<MonitoringRequest> =
            versions.iter().map(|version| request(&[*version])).collect();
        requests.push(MonitoringRequest {
            dcgm: Some("http://127.0.0.1:9400".to_owned()),
            ..request(&versions)
        });
        for request in requests {
            let files = monitoring(&request).unwrap();
            let dashboard: serde_json::Value = serde_json::from_str(&text(&files, "dashboard.json")).unwrap();
            let panels = dashboard["panels"].as_array().unwrap();
            let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            for panel in panels {
                assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
                assert!(titles.insert(panel["title"].as_str().unwrap()), "{panel}");
                let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
                assert!(at("x") + at("w") <= 24, "{panel}");
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(cells.insert((x, y)), "{panel} overlaps");
                    }
                }
                if panel["type"] == "row" {
                    continue;
                }
                assert_eq!(panel["datasource"]["uid"], "${datasource}");
                let targets = panel["targets"].as_array().unwrap();
                assert!(!targets.is_empty(), "{panel}");
                let mut refs = BTreeSet::new();
                for target in targets {
                    assert!(refs.insert(target["refId"].as_str().unwrap()), "{panel}");
                    assert_eq!(target["datasource"]["uid"], "${datasource}");
                    assert!(!target["expr"].as_str().unwrap().is_empty());
                }
            }
            assert_eq!(request.dcgm.is_some(), titles.contains("Power"));
        }
    }

    #[test]
    fn servers_of_two_versions_share_a_panel_and_a_rule() {
        let files = monitoring(&request(&[
            Version::new(0, 4, 10).post(2),
            Version::new(0, 5, 23),
        ]))
        .unwrap();
        for path in ["dashboard.json", "rules.yml"] {
            let text = text(&files, path);
            for name in [
                "sglang:total_retracted_reqs",
                "sglang:num_retracted_requests_total",
            ] {
                assert!(text.contains(name), "{path} lacks {name}");
            }
        }
        let rules = text(&files, "rules.yml");
        assert_eq!(rules.matches("alert: SglangRetractions\n").count(), 1);
        assert_eq!(rules.matches("alert: SglangServerDown\n").count(), 1);
    }

    #[test]
    fn a_name_stays_a_value() {
        let evil = "x\"\n  - targets: [evil:1]\n$(touch /tmp/dsr1-evil) {{ $labels }} ${HOME}";
        let mut request = request(&[Version::new(0, 5, 23)]);
        evil.clone_into(&mut request.servers[0].name);
        let files = monitoring(&request).unwrap();
        let read: serde_yaml::Value = serde_yaml::from_str(&text(&files, "prometheus.yml")).unwrap();
        let config = &read["scrape_configs"][0]["static_configs"];
        assert_eq!(config.as_sequence().unwrap().len(), 1);
        assert_eq!(config[0]["labels"]["server"].as_str(), Some(evil));
        assert!(!text(&files, "README.md").contains("\n  - targets"));
    }

    #[test]
    fn the_url_of_an_exporter_is_read() {
        let read = endpoint("http://127.0.0.1:9400").unwrap();
        assert_eq!(
            (&*read.address, &*read.path, read.scheme),
            ("127.0.0.1:9400", "/metrics", "http")
        );
        assert_eq!(endpoint("https://gpu/x/metrics").unwrap().path, "/x/metrics");
        for wrong in [
            "127.0.0.1:9400",
            "ftp://x",
            "http://",
            "http://a b",
            "http://x/?a",
            "http://u@x",
        ] {
            assert_eq!(endpoint(wrong).unwrap_err().kind(), Kind::Usage, "{wrong}");
        }
    }
}
